//! Acquires and releases the lease of a conversation, and settles its runs.

use std::time::Duration;

use tieline_core::conversation::{Conversation, Lease, RunPhase, RunState};
use tieline_core::envelope::{WakeUp, WakeUpV1};
use tieline_core::ids::{ConversationId, IntegrationId};
use tieline_core::timestamp::{CLOCKS_DIFFER, Timestamp};
use tieline_queue::work;
use tieline_store::config::integration::{self, Bound};
use tieline_store::{StoreError, conversation};
use tokio::time::Instant;

use super::look::{held_by, look_at, parked};
use super::next_run::{NotDue, next_run, rebind, take};
use super::slot::{Slots, Working};
use super::watchdog::Watchdog;
use super::{REST, RunError, callback_cursor};
use crate::conversation::{self as conversations, Change, Contended, MAX_RACES};
use crate::local_claims::ClaimGuard;
use crate::tenant_slots::Missing;
use crate::wakeups;
use crate::world::World;

/// How long after a lost write the lease is acquired again: the other writer has finished by then.
const AFTER_LOST_WRITE: Duration = Duration::from_secs(1);
/// How much time a process must have left to start another run.
const AMPLE: Duration = Duration::from_secs(10 * 60);
/// For so long after a run's start, or after the time for its agent's callbacks, attempts that an outage of tables or queues ends don't count.
const OUTAGE: Duration = Duration::from_hours(24);

/// A conversation whose lease this process holds, with a run in it.
pub(super) struct LeasedConversation {
    pub(super) conversation: Conversation,
    pub(super) fence: u64,
    pub(super) bound: Option<Bound>,
    /// The agent's id of the conversation, learned in this run.
    pub(super) conversation_ref: Option<String>,
    /// Whether the agent's protocol keeps no transcript, so that we do. Learned when it is called.
    pub(super) keeps_turns: bool,
    taking: ClaimGuard,
    /// The slot for work at the tables.
    pub(super) working: Working,
}

impl LeasedConversation {
    const fn new(
        conversation: Conversation,
        fence: u64,
        bound: Option<Bound>,
        taking: ClaimGuard,
        working: Working,
    ) -> Self {
        Self {
            conversation,
            fence,
            bound,
            conversation_ref: None,
            keeps_turns: false,
            taking,
            working,
        }
    }

    pub(super) fn run(&self) -> &RunState {
        self.conversation
            .run
            .as_ref()
            .expect("a held conversation has a run until it is settled")
    }

    /// Whether `found` is the conversation under the lease that this process wanted to acquire, whatever others have changed since.
    fn is_in(&self, found: &Conversation) -> bool {
        let run = |conversation: &Conversation| conversation.run.as_ref().map(|run| run.id.clone());
        let lease = |conversation: &Conversation| {
            let lease = conversation.lease.as_ref();
            lease.map(|lease| (lease.owner.clone(), lease.fence))
        };
        lease(found) == lease(&self.conversation) && run(found) == run(&self.conversation)
    }

    pub(super) fn id(&self) -> ConversationId {
        self.conversation.key.id()
    }
}

/// Outcome of acquiring a conversation's lease.
pub(super) enum Acquired {
    /// This process holds it.
    LeasedConversation(Box<LeasedConversation>),
    /// There is nothing to do.
    Nothing,
    /// Another process holds it.
    Elsewhere(Box<Conversation>),
    /// There is nothing to do before then.
    NotBefore(Timestamp),
    /// No slot is free for its run.
    Full(Box<Conversation>, Missing),
}

/// Acquires the conversation's lease, if it is free and there is work, and one of the `slots` for that. Work for another relay is
/// forwarded to the queue of its shard: if that relay dies, the process that acquires the shard finds it there.
///
/// While a conversation has a run, a watchdog is in flight: a received one is sent on before it is deleted, and before a run starts
/// without one, one is sent.
pub(super) async fn acquire(
    world: &World,
    watch: &mut Watchdog<'_>,
    wake: &WakeUpV1,
    slots: &mut Slots,
) -> Result<Acquired, RunError> {
    let mut tried: Option<LeasedConversation> = None;
    for race in 0..MAX_RACES {
        let now = world.clock.now();
        // Boxed: it would else be on the stack for as long as the lease is being acquired.
        let (before, is_eventual) = match Box::pin(look_at(world, watch, wake, race == 0)).await? {
            Some((before, is_eventual)) => (*before, is_eventual),
            None => return Ok(Acquired::Nothing),
        };
        if let Some(held) = tried.take() {
            // The earlier write succeeded and only its response was lost.
            if held.is_in(&before) {
                return Ok(Acquired::LeasedConversation(Box::new(LeasedConversation {
                    conversation: before,
                    ..held
                })));
            }
            slots.take_back_work(held.working);
        }
        // What a watchdog finds nearly always.
        if before.run.is_none() && before.pending.is_empty() {
            return Ok(Acquired::Nothing);
        }
        let watched_by = before.run.as_ref().and_then(|run| run.watch);
        let is_watched_by_another = wake.watch && watched_by.is_some() && watched_by != wake.watch_at;
        if is_watched_by_another && !is_parked_with_work(world, &before).await? {
            return Ok(Acquired::Nothing);
        }
        if let Some(holder) = held_by(world, &before) {
            if wake.watch {
                watch.after_lease(holder.expires_at).await?;
                return Ok(Acquired::Nothing);
            }
            return Ok(Acquired::Elsewhere(Box::new(before)));
        }
        if wake.watch
            && let Some(parked) = parked(&before).filter(|parked| now < parked.until)
            && !has_news(world, before.run.as_ref()).await?
        {
            watch.after_callback(parked).await?;
            return Ok(Acquired::Nothing);
        }
        if let Some(at) = rests_until(&before, now) {
            return Ok(Acquired::NotBefore(at));
        }
        let bound = integration::look_up(&world.store, &before.key.integration, world.clock.now()).await?;
        let mut after = match in_our_hands(world, &before, bound.as_ref()) {
            Ok(after) => after,
            Err(NotDue(_)) if is_eventual => continue,
            Err(NotDue(None)) => return Ok(Acquired::Nothing),
            Err(NotDue(Some(at))) => return Ok(Acquired::NotBefore(at)),
        };
        if wake.relay.is_none()
            && let Some(bot) = of_another_relay(world, bound.as_ref()).await
        {
            if wake.watch {
                watch.again().await?;
            }
            let forwarded = WakeUpV1 {
                relay: Some(bot),
                watch: false,
                ..wake.clone()
            };
            wakeups::send_to_relay(world, forwarded).await?;
            return Ok(Acquired::Nothing);
        }
        if let Some(missing) = slots.ensure(world, &wake.organization, after.run.as_ref()).await? {
            return Ok(Acquired::Full(Box::new(before), missing));
        }
        // The watchdog of a run whose agent is to call back may be due much later, and so is no watchdog for what follows now.
        let kept = watched_by.filter(|_| before.run.as_ref().is_some_and(|run| run.phase != RunPhase::Deferred));
        let name = match (kept, wake.watch_at) {
            // It is sent on for as long as the run exists.
            (Some(name), _) if !wake.watch => name,
            // It was sent with the wake-up and is still in flight.
            (None, Some(name)) if !wake.watch && name > now.after(CLOCKS_DIFFER) => name,
            _ => watch.begin().await?,
        };
        if let Some(run) = &mut after.run {
            run.watch = Some(name);
        }
        let fence = after.lease.as_ref().map_or(0, |lease| lease.fence);
        let Some(taking) = world
            .local_claims
            .enter(wake.conversation.as_str(), fence, &before.key.integration)
        else {
            crate::pause_after_race(race).await;
            continue;
        };
        let saved = conversation::save(&world.store, &before, &mut after).await;
        let working = slots.hand_over_work(&wake.organization);
        let held = LeasedConversation::new(after, fence, bound, taking, working);
        match saved {
            Ok(()) => return Ok(Acquired::LeasedConversation(Box::new(held))),
            Err(StoreError::Conflict) => {
                tried = Some(held);
                crate::pause_after_race(race).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Contended.into())
}

/// The bot of the conversation, if its relay is to run it and is another process.
async fn of_another_relay(world: &World, bound: Option<&Bound>) -> Option<IntegrationId> {
    let bot = wakeups::relay_of(world, bound?)?;
    let shard = world.shard_of(&bot)?;
    let (me, now) = (&world.settings.owner, world.clock.now());
    let is_elsewhere = world.sockets.is_held_by_another(&world.store, now, shard, me).await;
    is_elsewhere.then_some(bot)
}

/// Whether a run that was given back until its agent calls back has something to do. Its own watchdog may ask that only minutes later, so
/// that of the wake-up for it must.
async fn is_parked_with_work(world: &World, conversation: &Conversation) -> Result<bool, RunError> {
    let is_free = conversation.lease.as_ref().is_none_or(Lease::is_given_back);
    let run = conversation.run.as_ref();
    let Some(run) = run.filter(|run| is_free && run.phase == RunPhase::Deferred) else {
        return Ok(false);
    };
    Ok(run.stop.is_some() || callback_cursor::has_news(world, run).await?)
}

async fn has_news(world: &World, run: Option<&RunState>) -> Result<bool, RunError> {
    match run {
        Some(run) => callback_cursor::has_news(world, run).await,
        None => Ok(false),
    }
}

/// Until when a run yields to others. A stopped run doesn't yield, nor one that a clock which was ahead has told to.
pub(super) fn rests_until(conversation: &Conversation, now: Timestamp) -> Option<Timestamp> {
    let run = conversation.run.as_ref().filter(|run| run.stop.is_none())?;
    let is_credible = |at: &Timestamp| at.since(now) <= REST + CLOCKS_DIFFER;
    run.rests_until.filter(|at| *at > now && is_credible(at))
}

/// The free conversation as it would be under our lease.
fn in_our_hands(world: &World, before: &Conversation, bound: Option<&Bound>) -> Result<Conversation, NotDue> {
    let now = world.clock.now();
    let me = &world.settings.owner;
    let mut after = before.clone();
    match &mut after.run {
        Some(run) => {
            run.attempt = attempt_after(run, before.lease.as_ref());
            // It has only waited for a slot so far, which doesn't count as the agent's time.
            if run.rests_until.take().is_some() {
                run.started_at = run.started_at.max(now);
            }
        }
        None => {
            rebind(&mut after, bound, now);
            let (run, n_taken) = next_run(&after, bound, now)?;
            take(&mut after, run, n_taken);
        }
    }
    // The version grows with every acquisition, so it serves as the fencing token.
    let expires_at = now.after(world.settings.lease);
    after.lease = Some(Lease {
        owner: me.clone(),
        fence: before.version + 1,
        expires_at,
    });
    after.updated_at = now;
    Ok(after)
}

/// The number of the attempt that begins with this acquisition. A run that is parked until its agent calls back is looked at again and again:
/// only looks in a row that didn't end by releasing the lease count, because each of them has ended its process, or would.
fn attempt_after(run: &RunState, lease: Option<&Lease>) -> u32 {
    let is_released = lease.is_none_or(Lease::is_given_back);
    match run.phase == RunPhase::Deferred && is_released {
        true => 1,
        false => run.attempt + 1,
    }
}

/// Settles a finished run: starts the next one if messages are due, else releases the lease. Either is one write.
pub(super) async fn settle(
    world: &World,
    held: LeasedConversation,
    until: Option<Instant>,
) -> Result<Option<LeasedConversation>, RunError> {
    let LeasedConversation {
        conversation: mut before,
        fence,
        mut bound,
        conversation_ref,
        keeps_turns: _,
        taking,
        working,
    } = held;
    let id = before.key.id();
    let left = before.run.as_ref().map(|run| run.id.clone());
    for race in 0..MAX_RACES {
        if !before.pending.is_empty() {
            // It may be bound to another agent by now.
            bound = integration::look_up(&world.store, &before.key.integration, world.clock.now()).await?;
        }
        let (mut after, wait) = settled(world, &before, bound.as_ref(), conversation_ref.as_ref(), until);
        match conversation::save(&world.store, &before, &mut after).await {
            Ok(()) => {
                // If this process dies before, the watchdog finds the pending messages.
                if let Some(wait) = wait {
                    work::send(&world.queues, &[(wake_up(&after), wait)]).await?;
                }
                return Ok(after
                    .run
                    .is_some()
                    .then(|| LeasedConversation::new(after, fence, bound, taking, working)));
            }
            Err(StoreError::Conflict) => {
                crate::pause_after_race(race).await;
                before = reload(world, &id, fence).await?;
                // No other process writes under our fencing token: the write was applied and only its response was lost.
                if before.run.as_ref().map(|run| &run.id) != left.as_ref() {
                    if before.run.is_some() {
                        return Ok(Some(LeasedConversation::new(before, fence, bound, taking, working)));
                    }
                    work::send(&world.queues, &[(wake_up(&before), Duration::ZERO)]).await?;
                    return Ok(None);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Contended.into())
}

/// The conversation after its run: with the next one, or without a lease and, if messages are pending, the time until they are due.
fn settled(
    world: &World,
    before: &Conversation,
    bound: Option<&Bound>,
    conversation_ref: Option<&String>,
    until: Option<Instant>,
) -> (Conversation, Option<Duration>) {
    let now = world.clock.now();
    let mut after = before.clone();
    after.updated_at = now;
    let run = after.run.take();
    let session_number = run.as_ref().map(|run| run.session);
    if let Some(session) = session_number.and_then(|number| after.session_numbered_mut(number)) {
        session.last_at = session.last_at.max(now);
        session.runs += 1;
        session.conversation_ref = conversation_ref.cloned().or_else(|| session.conversation_ref.take());
    }
    after.forget_left();
    rebind(&mut after, bound, now);
    let wait = match next_run(&after, bound, now) {
        Ok((next, n_taken)) if has_time(until) => {
            let watch = run.and_then(|run| run.watch);
            take(&mut after, RunState { watch, ..next }, n_taken);
            if let Some(lease) = &mut after.lease {
                lease.expires_at = lease.expires_at.max(now.after(world.settings.lease));
            }
            return (after, None);
        }
        Ok(_) => Some(Duration::ZERO),
        Err(NotDue(at)) => at.map(|at| at.since(now)),
    };
    after.lease = None;
    (after, wait)
}

/// Whether this process lives long enough for another run. Most agents can't resume an interrupted answer.
fn has_time(until: Option<Instant>) -> bool {
    until.is_none_or(|until| until.saturating_duration_since(Instant::now()) >= AMPLE)
}

/// The conversation as others have changed it, if this process still holds its lease.
async fn reload(world: &World, id: &ConversationId, fence: u64) -> Result<Conversation, RunError> {
    let found = conversation::load(&world.store, id, world.clock.now()).await?;
    found.filter(|it| is_held_under(it, fence)).ok_or(RunError::Lost)
}

/// Compare-and-swap on the leased conversation: reads it again and reapplies the change after a lost race.
pub(super) async fn update(
    world: &World,
    held: &mut LeasedConversation,
    change: impl Fn(&mut Conversation),
) -> Result<(), RunError> {
    let (known, fence) = (Some(held.conversation.clone()), held.fence);
    let id = held.id();
    let saving = conversations::update_found::<_, RunError>(world, &id, known, |found| {
        let mut after = found.filter(|it| is_held_under(it, fence)).ok_or(RunError::Lost)?;
        change(&mut after);
        Ok(Change::save(after, ()))
    });
    let (saved, ()) = Box::pin(saving).await?;
    held.conversation = saved.ok_or(RunError::Lost)?;
    Ok(())
}

/// Whether no later holder than that of this fencing token has acquired the conversation.
fn is_held_under(conversation: &Conversation, fence: u64) -> bool {
    conversation.lease.as_ref().is_some_and(|lease| lease.fence == fence)
}

/// Releases the lease with the run still in the conversation, and schedules a wake-up for it.
pub(super) async fn release(
    world: &World,
    mut held: LeasedConversation,
    again: Option<Duration>,
) -> Result<(), RunError> {
    // The lease first: a wake-up that finds it held ends. If this process dies in between, the watchdog finds the run.
    update(world, &mut held, |conversation| conversation.lease = None).await?;
    let is_now = again.is_some_and(|delay| delay.is_zero());
    let again = match !is_now && callback_cursor::has_news(world, held.run()).await? {
        true => Some(Duration::ZERO),
        false => again,
    };
    let Some(delay) = again else {
        return Ok(());
    };
    if held.run().phase == RunPhase::Deferred {
        let wake = WakeUpV1::new(held.conversation.key.organization.clone(), held.id());
        wakeups::send_watched(world, [(wake, delay)]).await?;
    } else {
        work::send(&world.queues, &[(wake_up(&held.conversation), delay)]).await?;
    }
    Ok(())
}

/// Releases the lease of a conversation that was abandoned because of a lost write, if this process still holds it: else the
/// conversation would wait until the lease expires.
pub(super) async fn give_back(world: &World, id: &ConversationId, fence: u64) -> Result<(), RunError> {
    let (found, is_released) = conversations::update::<_, RunError>(world, id, |found| {
        let ours = found.filter(|it| it.run.is_some() && is_held_by_us(world, it, fence));
        let Some(mut after) = ours else {
            return Change::Leave(false);
        };
        after.lease = None;
        Change::save(after, true)
    })
    .await?;
    if let Some(released) = found.filter(|_| is_released) {
        work::send(&world.queues, &[(wake_up(&released), AFTER_LOST_WRITE)]).await?;
    }
    Ok(())
}

/// Doesn't count an attempt that ended by an outage: only attempts that end their process, or would, lead to giving the run up. The lease
/// stays until it expires. After [`OUTAGE`] attempts count again, so that no run is attempted for ever.
pub(super) async fn uncount_attempt(world: &World, id: &ConversationId, fence: u64) -> Result<(), RunError> {
    let now = world.clock.now();
    conversations::update::<_, RunError>(world, id, |found| {
        let Some(mut after) = found.filter(|it| is_held_by_us(world, it, fence)) else {
            return Change::Leave(());
        };
        // Not the first: its holder may have recorded a reply, which only later attempts look for.
        match &mut after.run {
            Some(run) if run.attempt > 1 && now.since(expected_end(run)) < OUTAGE => run.attempt -= 1,
            _ => return Change::Leave(()),
        }
        Change::save(after, ())
    })
    .await?;
    Ok(())
}

/// When a run's agent is expected to have answered, as far as it is known. One that calls back may take days.
fn expected_end(run: &RunState) -> Timestamp {
    let is_deferred = run.phase == RunPhase::Deferred;
    run.deferred_until.filter(|_| is_deferred).unwrap_or(run.started_at)
}

/// Whether the conversation has the lease that this process acquired with this fence.
fn is_held_by_us(world: &World, conversation: &Conversation, fence: u64) -> bool {
    let lease = conversation.lease.as_ref();
    lease.is_some_and(|lease| lease.fence == fence && lease.owner == world.settings.owner)
}

fn wake_up(conversation: &Conversation) -> WakeUp {
    WakeUp::V1(WakeUpV1::new(
        conversation.key.organization.clone(),
        conversation.key.id(),
    ))
}
