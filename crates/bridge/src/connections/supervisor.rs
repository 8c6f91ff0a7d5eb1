//! Reconcile loop of a relay's shards: reads the shard map, acquires and releases shards, and applies what operators change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tieline_core::conversation::Owner;
use tieline_core::shard_plan::{self, Member, Plan};
use tieline_store::StoreError;
use tieline_store::leases::{self, ShardMap};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::bot_status::OwnershipGap;
use super::desired_bots::DesiredBots;
use super::shard::Shard;
use super::shared::RelayShared;
use super::{Options, heartbeat};
use crate::metrics;

/// Timeout of one call to the table.
const CALL_WITHIN: Duration = Duration::from_secs(4);
/// Entries of processes dead for so long are deleted.
const FORGET_AFTER: Duration = Duration::from_hours(1);
/// After this the new holder announces that a shard's connections are up, even if some aren't: as long as a first attempt may take.
const SETTLE_WITHIN: Duration = Duration::from_secs(30);
/// How often the state of the connections is logged.
const REPORT_EVERY: Duration = metrics::PERIOD;

/// Acquires, holds and releases shards.
pub(super) struct Supervisor {
    shared: Arc<RelayShared>,
    options: Options,
    n_shards: usize,
    me: Owner,
    /// No shard is acquired before then.
    take_after: Option<Instant>,
    held: BTreeMap<usize, Shard>,
    /// Shards that are being released.
    going: BTreeMap<usize, JoinHandle<()>>,
    desired_bots: DesiredBots,
    shard_maps: watch::Sender<Arc<ShardMap>>,
    reported_at: Instant,
}

impl Supervisor {
    /// A supervisor that holds no shard yet.
    pub(super) fn new(shared: Arc<RelayShared>, options: Options) -> Self {
        let world = &shared.world;
        let n_shards = world.queues.urls().relay.len().max(1);
        Self {
            n_shards,
            me: world.settings.owner.clone(),
            options,
            take_after: None,
            held: BTreeMap::new(),
            going: BTreeMap::new(),
            desired_bots: DesiredBots::new(n_shards),
            shard_maps: watch::channel(Arc::default()).0,
            reported_at: Instant::now(),
            shared,
        }
    }

    /// Reconciles until `stop` says so, then releases all shards.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut leaving = false;
        // The heartbeat ends with this task, however that ends.
        let mut heartbeats = JoinSet::new();
        heartbeats.spawn(heartbeat::beat(
            Arc::clone(&self.shared),
            self.options.clone(),
            stop.clone(),
        ));
        loop {
            let hurry = self.reconcile(leaving).await;
            if leaving && self.held.is_empty() && self.going.is_empty() {
                break;
            }
            let pause = if hurry || leaving {
                self.options.hurried
            } else {
                self.options.tick
            };
            tokio::select! {
                () = sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop), if !leaving => {
                    leaving = true;
                    self.shared.gauges.leaving.store(true, Ordering::Relaxed);
                    info!(shards = self.held.len(), "releasing all shards");
                }
            }
        }
        heartbeats.shutdown().await;
        if let Err(error) = leases::leave(&self.shared.world.store, &self.me).await {
            debug!(error = %error, "the heartbeat can't be removed; it expires by itself");
        }
    }

    /// Reads the shard map once and acts on it. Returns whether the next run should come soon.
    async fn reconcile(&mut self, leaving: bool) -> bool {
        self.report();
        self.going.retain(|_, task| !task.is_finished());
        let life = self.shared.lease.life();
        let looked = timeout(CALL_WITHIN, leases::shard_map(&self.shared.world.store)).await;
        let shard_map = match looked {
            Ok(Ok(shard_map)) => Arc::new(shard_map),
            Ok(Err(error)) => {
                warn!(error = %error, "shard map can't be read");
                return self.look_away(leaving);
            }
            Err(_) => {
                warn!("shard map can't be read in time");
                return self.look_away(leaving);
            }
        };
        self.shard_maps.send_replace(Arc::clone(&shard_map));
        self.drop_lost(&shard_map);
        // The table was unavailable to this relay and perhaps to the others: they may be alive too, and get time to write a heartbeat.
        if self.shared.lease.saw(life) && life > 1 {
            self.take_after = Some(Instant::now() + self.options.lease);
        }
        if !leaving {
            self.take_back(&shard_map).await;
        }
        let plan = self.plan(&shard_map, leaving);
        let heirs = self.has_heirs(&shard_map);
        for shard in &plan.give {
            self.give(*shard, heirs);
        }
        if !leaving {
            self.take(&plan, &shard_map).await;
            self.follow().await;
            self.say_ready().await;
        }
        self.forget_dead(&shard_map).await;
        let now = self.shared.world.clock.now();
        let free = (0..self.n_shards).any(|shard| shard_map.holder(shard, now).is_none());
        free || shard_map.living(now).any(|task| task.leaving) || !self.going.is_empty()
    }

    /// The shard map can't be read. Held shards are kept, since no other relay can read the table either; a relay that is leaving still leaves.
    fn look_away(&mut self, leaving: bool) -> bool {
        if leaving {
            let all: Vec<_> = self.held.keys().copied().collect();
            for shard in all {
                self.give(shard, false);
            }
        }
        false
    }

    /// Drops shards that another relay holds now.
    fn drop_lost(&mut self, shard_map: &ShardMap) {
        let lost = self.held.extract_if(.., |number, shard| {
            let seen = shard_map.shards.get(number);
            !seen.is_some_and(|seen| seen.owner.as_ref() == Some(&self.me) && seen.fence == shard.fence)
        });
        for (number, shard) in lost {
            warn!(shard = number, "another process holds the shard now");
            tokio::spawn(shard.lose());
        }
    }

    fn plan(&self, shard_map: &ShardMap, leaving: bool) -> Plan {
        let now = self.shared.world.clock.now();
        let others = shard_map.living(now).filter(|task| task.owner.node != self.me.node);
        let mut members: Vec<_> = others
            .map(|task| Member {
                name: task.owner.node.clone(),
                leaving: task.leaving,
            })
            .collect();
        members.push(Member {
            name: self.me.node.clone(),
            leaving,
        });
        let holders: Vec<_> = (0..self.n_shards)
            .map(|shard| {
                // Shards that were just acquired, and shards that stay ours until another relay acquires them.
                let ours = self.held.contains_key(&shard) || self.going.contains_key(&shard);
                let holder = shard_map.holder(shard, now).map(|owner| owner.node.as_str());
                holder.or_else(|| ours.then_some(self.me.node.as_str()))
            })
            .collect();
        shard_plan::plan(&members, &holders, &self.me.node)
    }

    /// Whether another process could take over from this one.
    fn has_heirs(&self, shard_map: &ShardMap) -> bool {
        let now = self.shared.world.clock.now();
        shard_map
            .living(now)
            .any(|task| task.owner.node != self.me.node && !task.leaving)
    }

    fn give(&mut self, shard: usize, heirs: bool) {
        let Some(held) = self.held.remove(&shard) else { return };
        info!(shard, "releasing the shard");
        let handing = held.hand_over(self.shard_maps.subscribe(), heirs, self.options.linger);
        self.going.insert(shard, tokio::spawn(handing));
    }

    async fn take(&mut self, plan: &Plan, shard_map: &ShardMap) {
        if self.take_after.is_some_and(|at| Instant::now() < at) {
            return;
        }
        for number in &plan.take {
            if !self.going.contains_key(number) {
                self.take_one(*number, shard_map).await;
            }
        }
    }

    /// Takes back shards that the table assigns to this process but that it doesn't hold: the answer to an acquisition was lost, or a release
    /// failed for too long. No other relay may acquire them while this one is alive.
    async fn take_back(&mut self, shard_map: &ShardMap) {
        let ours = shard_map
            .shards
            .iter()
            .filter(|(_, seen)| seen.owner.as_ref() == Some(&self.me));
        let ours: Vec<_> = ours.map(|(number, _)| *number).collect();
        for number in ours {
            if !self.held.contains_key(&number) && !self.going.contains_key(&number) {
                self.take_one(number, shard_map).await;
            }
        }
    }

    async fn take_one(&mut self, number: usize, shard_map: &ShardMap) {
        if !self.shared.lease.is_valid() {
            return;
        }
        let seen = shard_map.shards.get(&number);
        let now = self.shared.world.clock.now();
        let taking = leases::acquire(&self.shared.world.store, number, seen, &self.me, now);
        match timeout(CALL_WITHIN, taking).await {
            Ok(Ok(fence)) => {
                info!(shard = number, fence, "acquired the shard");
                let others = seen.filter(|seen| seen.owner.as_ref() != Some(&self.me));
                let ownership_gap = others.and_then(|seen| self.ownership_gap(seen, shard_map));
                self.held
                    .insert(number, Shard::new(&self.shared, number, fence, ownership_gap));
            }
            Ok(Err(StoreError::Conflict)) => debug!(shard = number, "another relay acquired the shard first"),
            Ok(Err(error)) => warn!(shard = number, error = %error, "shard can't be acquired"),
            Err(_) => warn!(shard = number, "shard can't be acquired in time"),
        }
    }

    /// Since when a shard has had no holder: since its release, or since its holder's last heartbeat. `None` if a new process of the same name
    /// has overwritten that heartbeat.
    fn ownership_gap(&self, seen: &leases::Shard, shard_map: &ShardMap) -> Option<OwnershipGap> {
        if let Some(since) = seen.given_at {
            let was_released = true;
            return Some(OwnershipGap { since, was_released });
        }
        let owner = seen.owner.as_ref()?;
        let dead = shard_map.tasks.get(&owner.node).filter(|task| task.owner == *owner)?;
        Some(OwnershipGap {
            since: dead.expires_at.before(self.options.lease),
            was_released: false,
        })
    }

    /// Applies what operators have changed.
    async fn follow(&mut self) {
        let shards = self.held.keys().copied().collect();
        let reading = self.desired_bots.refresh(&self.shared.world.store, &shards);
        match timeout(CALL_WITHIN * 2, reading).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(error = %error, "list of bots can't be read"),
            Err(_) => warn!("list of bots can't be read in time"),
        }
        let read = self.desired_bots.take_read();
        for (number, shard) in &mut self.held {
            if (read.contains(number) || shard.is_to_follow())
                && let Some(wanted) = self.desired_bots.of(*number)
            {
                shard.follow(&wanted);
            }
        }
    }

    /// Announces to the previous holders that they may close their connections.
    async fn say_ready(&mut self) {
        for (number, shard) in &mut self.held {
            if shard.said_ready || !self.desired_bots.is_known(*number) {
                continue;
            }
            if !shard.is_settled() && shard.taken_at.elapsed() < SETTLE_WITHIN {
                continue;
            }
            let saying = leases::ready(&self.shared.world.store, *number, &self.me, shard.fence);
            match timeout(CALL_WITHIN, saying).await {
                Ok(Ok(()) | Err(StoreError::Conflict)) => shard.said_ready = true,
                Ok(Err(error)) => {
                    warn!(shard = number, error = %error, "can't announce that the shard's connections are up")
                }
                Err(_) => warn!(
                    shard = number,
                    "can't announce in time that the shard's connections are up"
                ),
            }
        }
    }

    async fn forget_dead(&self, shard_map: &ShardMap) {
        let now = self.shared.world.clock.now();
        let dead = shard_map.tasks.values();
        for task in dead.filter(|task| now.since(task.expires_at) >= FORGET_AFTER) {
            if let Err(error) = leases::forget(&self.shared.world.store, task).await {
                debug!(error = %error, "entry of a dead process can't be deleted yet");
            }
        }
    }

    fn report(&mut self) {
        if self.reported_at.elapsed() < REPORT_EVERY {
            return;
        }
        self.reported_at = Instant::now();
        let watched = &self.shared.world.metrics;
        if self.shared.lease.is_valid() {
            watched.heartbeat();
        }
        let mut counts = BTreeMap::new();
        for shard in self.held.values() {
            shard.count(&mut counts);
        }
        watched.connection_states(counts);
        let gauges = &self.shared.gauges;
        info!(
            shards = gauges.shards.load(Ordering::Relaxed),
            bots = gauges.bots.load(Ordering::Relaxed),
            connected = gauges.connected.load(Ordering::Relaxed),
            events_waiting = self.shared.inbound_writer.n_waiting(),
            "state of this relay's connections"
        );
    }
}
