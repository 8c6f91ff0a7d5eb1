//! The bots of one shard, for as long as this process holds it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tieline_core::backoff::Backoff;
use tieline_core::connection_state::Kick;
use tieline_core::ids::IntegrationId;
use tieline_store::StoreError;
use tieline_store::config::desired_connections::Live;
use tieline_store::config::integration;
use tieline_store::leases::{self, ShardMap};
use tieline_store::log::Level;
use tieline_store::status::{self, ConnectionState, StatusChange};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

use super::bot::BotTask;
use super::bot_context::BotContext;
use super::bot_status::{BotStatus, Change, EndGuard, OwnershipGap};
use super::drain;
use super::relay_consumer;
use super::shared::{Counted, RelayShared};
use super::socket_registry::{BotCommand, End};
use super::status_writer::StatusUpdate;
use super::trigger_wants::TriggerWants;
use crate::accounts::{self, AccountError};
use crate::error_chain::chain;
use crate::world::chance;

/// Time limit for bots to end.
const END_WITHIN: Duration = Duration::from_secs(4);
/// How long a restarted bot waits for its previous connection to end.
const RESTART_WITHIN: Duration = Duration::from_secs(3);
/// Least time between two starts of a bot whose task panics.
const REVIVE_AFTER: Duration = Duration::from_secs(30);
/// Between attempts after the table failed.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(200),
    cap: Duration::from_secs(10),
};

/// A shard held by this process.
pub(super) struct Shard {
    shared: Arc<RelayShared>,
    /// Its number.
    pub(super) number: usize,
    /// The fencing token acquired with it.
    pub(super) fence: u64,
    /// When it was acquired.
    pub(super) taken_at: Instant,
    /// Whether this process has announced that the shard's connections are up.
    pub(super) said_ready: bool,
    /// Whether its bots have been started from the list.
    has_followed: bool,
    /// The time without a holder before this one, if it had one.
    ownership_gap: Option<OwnershipGap>,
    bots: HashMap<IntegrationId, BotHandle>,
    /// Whether the task of a bot has ended since the bots were last looked at.
    any_has_ended: Arc<AtomicBool>,
    /// Bots that are no longer wanted and have not ended yet: see [`drain`].
    draining: HashMap<IntegrationId, BotHandle>,
    stop_mailbox: watch::Sender<bool>,
    mailbox: JoinHandle<()>,
    _counted: Counted,
}

/// Handle of a bot of this shard.
struct BotHandle {
    live: Live,
    orders: UnboundedSender<Box<BotCommand>>,
    status: Arc<BotStatus>,
    begun: Instant,
    task: JoinHandle<()>,
}

impl Shard {
    /// A shard without bots yet.
    pub(super) fn new(
        shared: &Arc<RelayShared>,
        number: usize,
        fence: u64,
        ownership_gap: Option<OwnershipGap>,
    ) -> Self {
        let (stop_mailbox, stopped) = watch::channel(false);
        Self {
            shared: Arc::clone(shared),
            number,
            fence,
            taken_at: Instant::now(),
            said_ready: false,
            has_followed: false,
            ownership_gap,
            bots: HashMap::new(),
            any_has_ended: Arc::default(),
            draining: HashMap::new(),
            mailbox: tokio::spawn(relay_consumer::consume(Arc::clone(shared), number, stopped)),
            stop_mailbox,
            _counted: Counted::new(shared, |gauges| &gauges.shards),
        }
    }

    /// Whether the bots must be compared with the list although the list is unchanged: they haven't been yet, or a bot's task has died.
    pub(super) fn is_to_follow(&self) -> bool {
        !self.has_followed || self.has_dead_bot()
    }

    fn has_dead_bot(&self) -> bool {
        if !self.any_has_ended.swap(false, Ordering::AcqRel) {
            return false;
        }
        let ended = self.bots.values().filter(|bot| bot.status.has_ended());
        let can_be_restarted: Vec<_> = ended.map(BotHandle::is_dead).collect();
        if !can_be_restarted.is_empty() {
            // Some may not be restarted yet.
            self.any_has_ended.store(true, Ordering::Release);
        }
        can_be_restarted.contains(&true)
    }

    /// Starts, restarts and ends bots to match the list.
    pub(super) fn follow(&mut self, wanted: &HashMap<&IntegrationId, &Live>) {
        self.has_followed = true;
        self.draining.retain(|_, bot| !bot.task.is_finished());
        let gone = self.bots.extract_if(|id, _| !wanted.contains_key(id));
        for (id, bot) in gone {
            tokio::spawn(drain::drain(Arc::clone(&self.shared), id.clone(), bot.orders.clone()));
            self.draining.insert(id, bot);
        }
        for (&id, &live) in wanted {
            let before = match self.bots.get_mut(id) {
                Some(bot) if bot.is_dead() => {
                    error!(account.id = %id, "bot task died; restarting it");
                    self.bots.remove(id)
                }
                Some(bot) => match bot.status.change(&bot.live, live) {
                    Change::Nothing => continue,
                    Change::Trigger => {
                        bot.live = live.clone();
                        tokio::spawn(tell_trigger(Arc::clone(&self.shared), id.clone(), bot.orders.clone()));
                        continue;
                    }
                    Change::Settings => self.bots.remove(id),
                },
                None => None,
            };
            let before = before.or_else(|| self.draining.remove(id)).map(|bot| {
                bot.order(BotCommand::End(End::HandedOver));
                bot.task
            });
            // Bots added later had no holder before.
            let ownership_gap = self.ownership_gap.filter(|_| !self.said_ready && before.is_none());
            let status = Arc::new(BotStatus::new(ownership_gap, Arc::clone(&self.any_has_ended)));
            let bot = BotHandle::start(&self.shared, live.clone(), self.fence, before, status);
            self.bots.insert(id.clone(), bot);
        }
    }

    /// Whether the first attempt of every bot is over.
    pub(super) fn is_settled(&self) -> bool {
        self.bots.values().all(|bot| bot.status.settled.load(Ordering::Relaxed))
    }

    /// Counts its bots per platform and connection state.
    pub(super) fn count(&self, counts: &mut BTreeMap<(&'static str, &'static str), usize>) {
        for bot in self.bots.values() {
            if let Some(platform) = bot.status.platform.get() {
                *counts.entry((platform, bot.status.state().as_str())).or_default() += 1;
            }
        }
    }

    /// Ends all bots at once: another relay holds the shard.
    pub(super) async fn lose(self) {
        self.stop_mailbox.send_replace(true);
        end_all(self.bots.into_values().chain(self.draining.into_values())).await;
    }

    /// Releases the shard. Bots whose platform allows only one socket end first; the others stay connected until the next holder's are up.
    pub(super) async fn hand_over(self, mut shard_maps: watch::Receiver<Arc<ShardMap>>, heirs: bool, linger: Duration) {
        let Self {
            shared,
            number,
            fence,
            bots,
            draining,
            stop_mailbox,
            mailbox,
            ..
        } = self;
        stop_mailbox.send_replace(true);
        let (warm, strict): (Vec<_>, Vec<_>) = bots
            .into_values()
            .chain(draining.into_values())
            .partition(|bot| bot.status.warm.load(Ordering::Relaxed));
        end_all(strict).await;
        // Messages that it has received go to its bots before another consumer reads the same queue.
        let _ = timeout(END_WITHIN, mailbox).await;
        give(&shared, number, fence, linger).await;
        if heirs && !warm.is_empty() {
            let stands = shard_maps.wait_for(|shard_map| {
                let shard = shard_map.shards.get(&number);
                shard.is_some_and(|shard| shard.fence > fence && shard.ready)
            });
            if timeout(linger, stands).await.is_err() {
                info!(
                    shard = number,
                    "no relay has taken over the shard's connections in time"
                );
            }
        }
        end_all(warm).await;
    }
}

async fn give(shared: &RelayShared, shard: usize, fence: u64, patience: Duration) {
    let me = &shared.world.settings.owner;
    let until = Instant::now() + patience;
    let mut failures = 0;
    loop {
        match timeout(
            END_WITHIN,
            leases::release(&shared.world.store, shard, me, fence, shared.world.clock.now()),
        )
        .await
        {
            Ok(Ok(()) | Err(StoreError::Conflict)) => return,
            Ok(Err(error)) => warn!(shard, error = %error, "shard can't be released"),
            Err(_) => warn!(shard, "shard can't be released: the table doesn't answer"),
        }
        failures += 1;
        let wait = BACKOFF.wait(failures, chance());
        // If this process lives on, it takes the shard back; if it leaves, the shard is free once its last heartbeat expires.
        if Instant::now() + wait >= until {
            return;
        }
        sleep(wait).await;
    }
}

async fn end_all(bots: impl IntoIterator<Item = BotHandle>) {
    let bots: Vec<_> = bots.into_iter().collect();
    for bot in &bots {
        bot.order(BotCommand::End(End::HandedOver));
    }
    let until = Instant::now() + END_WITHIN;
    for mut bot in bots {
        if tokio::time::timeout_at(until, &mut bot.task).await.is_err() {
            warn!(account.id = %bot.live.integration, "bot did not end in time");
            bot.task.abort();
        }
    }
}

impl BotHandle {
    fn start(
        shared: &Arc<RelayShared>,
        live: Live,
        fence: u64,
        before: Option<JoinHandle<()>>,
        status: Arc<BotStatus>,
    ) -> Self {
        let (orders, receiver) = unbounded_channel();
        let serving = serve(
            Arc::clone(shared),
            live.clone(),
            fence,
            EndGuard(Arc::clone(&status)),
            (orders.downgrade(), receiver),
            before,
        );
        Self {
            live,
            orders,
            status,
            begun: Instant::now(),
            task: tokio::spawn(serving),
        }
    }

    /// Whether its task ended without being told to, which only a panic causes. False until it may be restarted.
    fn is_dead(&self) -> bool {
        self.status.has_ended() && self.begun.elapsed() >= REVIVE_AFTER
    }

    fn order(&self, order: BotCommand) {
        // A bot that has ended already needs no command.
        let _ = self.orders.send(Box::new(order));
    }
}

type Orders = (
    tokio::sync::mpsc::WeakUnboundedSender<Box<BotCommand>>,
    UnboundedReceiver<Box<BotCommand>>,
);

/// Runs one bot, from its first read of the table to its end.
async fn serve(
    shared: Arc<RelayShared>,
    live: Live,
    fence: u64,
    end_guard: EndGuard,
    (line, mut orders): Orders,
    before: Option<JoinHandle<()>>,
) {
    let _counted = Counted::new(&shared, |gauges| &gauges.bots);
    let status = &end_guard.0;
    if let Some(mut before) = before
        && timeout(RESTART_WITHIN, &mut before).await.is_err()
    {
        // There must not be two, and status that the old one would still report isn't true of the new one.
        before.abort();
    }
    let id = live.integration.clone();
    let loaded = tokio::select! {
        loaded = load(&shared, &live, fence) => loaded,
        () = told_to_end(&mut orders) => return,
    };
    let end = match loaded {
        Some((context, kick)) => {
            status.begins(context.version);
            // The supervisor may have ended by now; then no command can arrive either.
            let Some(sender) = line.upgrade() else { return };
            shared.world.sockets.connect(&id, sender.clone());
            let weak = sender.downgrade();
            drop(sender);
            let end = BotTask::new(context, Arc::clone(status), orders, kick).serve().await;
            if let Some(sender) = weak.upgrade() {
                shared.world.sockets.disconnect(&id, &sender);
            }
            end
        }
        None => {
            status.settled.store(true, Ordering::Relaxed);
            told_to_end(&mut orders).await;
            return;
        }
    };
    if end == End::Dropped {
        Box::pin(report_dropped(&shared, &id, fence)).await;
    }
}

async fn told_to_end(orders: &mut UnboundedReceiver<Box<BotCommand>>) {
    while let Some(order) = orders.recv().await {
        if matches!(*order, BotCommand::End(_)) {
            return;
        }
    }
}

/// Loads what a bot needs. `None`: it can't be connected as configured, which its status reports.
async fn load(shared: &Arc<RelayShared>, live: &Live, fence: u64) -> Option<(BotContext, Option<Kick>)> {
    let mut failures = 0;
    loop {
        // A read of the table takes kilobytes, which a bot would keep for as long as it lives: they are allocated for the read only.
        let place = shared.loading.acquire().await;
        let loaded = Box::pin(try_load(shared, live, fence)).await;
        drop(place);
        match loaded {
            Ok(loaded) => return loaded,
            Err(error) => {
                failures += 1;
                warn!(account.id = %live.integration, error = %error, attempt = failures, "bot can't be read");
                sleep(BACKOFF.wait(failures, chance())).await;
            }
        }
    }
}

async fn try_load(
    shared: &Arc<RelayShared>,
    live: &Live,
    fence: u64,
) -> Result<Option<(BotContext, Option<Kick>)>, StoreError> {
    let world = &shared.world;
    let id = &live.integration;
    let Some(bound) = integration::load_bound(&world.store, id).await? else {
        return Ok(None);
    };
    let wants = TriggerWants::of(bound.trigger);
    let bot = match accounts::open(world, &bound.integration) {
        Ok(bot) => bot,
        Err(AccountError::Store(error @ StoreError::Unavailable { .. })) => return Err(error),
        Err(error) => {
            report_unusable(shared, id, fence, &chain(&error));
            return Ok(None);
        }
    };
    let mode = bot.connector.manifest().mode(bound.integration.mode);
    let (Some(protocol), Some(mode)) = (bot.connector.stream(), mode) else {
        report_unusable(shared, id, fence, "the platform has no long connection");
        return Ok(None);
    };
    if mode.login && bot.account.credentials.iter().next().is_none() {
        report_logged_out(shared, id, fence);
        return Ok(None);
    }
    let known = status::get(&world.store, id).await?.kick;
    // A change of the integration, or a restart, clears it.
    let kick = known.filter(|kick| kick.version == bound.integration.version);
    let context = BotContext {
        shared: Arc::clone(shared),
        bot,
        learned: Arc::default(),
        protocol,
        wants,
        version: bound.integration.version,
        fence,
        two_sockets: mode.two_sockets,
    };
    Ok(Some((
        context,
        kick.map(|kick| Kick {
            at: kick.at,
            down: kick.down,
        }),
    )))
}

async fn tell_trigger(shared: Arc<RelayShared>, id: IntegrationId, orders: UnboundedSender<Box<BotCommand>>) {
    match integration::load_bound(&shared.world.store, &id).await {
        Ok(bound) => {
            let wants = TriggerWants::of(bound.and_then(|bound| bound.trigger));
            // A bot that has ended needs no trigger.
            let _ = orders.send(Box::new(BotCommand::Trigger(wants)));
        }
        Err(error) => warn!(account.id = %id, error = %error, "what its trigger wants stays as it was"),
    }
}

fn report_unusable(shared: &RelayShared, id: &IntegrationId, fence: u64, why: &str) {
    warn!(account.id = %id, error = why, "bot can't be connected");
    let now = shared.world.clock.now();
    let changes = vec![
        StatusChange::State(ConnectionState::Disconnected, Some("config_invalid".to_owned())),
        StatusChange::ConnectedAt(None),
        StatusChange::Owner(None),
        StatusChange::LastError(status::StatusError {
            at: now,
            code: "config_invalid".to_owned(),
            message: why.to_owned(),
        }),
    ];
    let entry = tieline_store::log::LogEntry {
        at: now,
        level: Level::Error,
        code: "config_invalid".to_owned(),
        message: why.to_owned(),
    };
    shared.status_writer.note(StatusUpdate {
        integration: id.clone(),
        fence,
        changes,
        entry: Some(entry),
    });
}

/// Reports a bot that is not logged in yet. A login changes the integration, which restarts the bot.
fn report_logged_out(shared: &RelayShared, id: &IntegrationId, fence: u64) {
    shared.status_writer.note(StatusUpdate {
        integration: id.clone(),
        fence,
        changes: vec![
            StatusChange::State(ConnectionState::NeedsLogin, None),
            StatusChange::ConnectedAt(None),
            StatusChange::Owner(None),
        ],
        entry: None,
    });
}

/// Reports that no relay holds a connection any more, unless the integration itself is gone.
async fn report_dropped(shared: &RelayShared, id: &IntegrationId, fence: u64) {
    if let Ok(None) = integration::get(&shared.world.store, id).await {
        return;
    }
    let changes = vec![
        StatusChange::State(ConnectionState::Disconnected, None),
        StatusChange::ConnectedAt(None),
        StatusChange::ReconnectAttempts(0),
        StatusChange::RateLimitedUntil(None),
        StatusChange::Owner(None),
    ];
    shared.status_writer.note(StatusUpdate {
        integration: id.clone(),
        fence,
        changes,
        entry: None,
    });
}
