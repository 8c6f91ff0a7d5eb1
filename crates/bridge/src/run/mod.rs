//! Run: turns a wake-up into an agent's answer in the chat.
//!
//! The order of durable writes is the whole design. Acquire (conversation: lease and run, one write) → agent → **result** (reply) →
//! chat (progress on the reply after every call) → ledger (each message) → settle (conversation: run gone, next run or no lease).
//! A process that dies anywhere leaves a state from which the next lease holder continues; nothing before it is repeated.

mod agent_refs;
mod agent_stream;
mod attachments;
pub mod batch;
mod callback_cursor;
mod deferred;
mod earlier_answers;
mod execute;
mod finish;
#[cfg(test)]
pub(crate) mod fixture;
mod follow_up;
mod group_context;
mod incoming_guard;
mod lease;
mod lease_heartbeat;
mod look;
mod media_prefetch;
mod next_run;
mod other_account;
mod outgoing_guard;
mod parked;
mod reply_fence;
mod request;
mod sealed;
mod senders;
mod slot;
mod speakers;
mod standalone_reply;
mod stream_reply;
#[cfg(test)]
mod tests;
mod waiting_signs;
mod watchdog;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tieline_core::conversation::{Conversation, RunPhase};
use tieline_core::envelope::WakeUpV1;
use tieline_queue::QueueError;
use tieline_store::StoreError;
use tokio::time::Instant;
use tracing::{info, warn};

use self::batch::WHEN_FULL_AT_MOST;
use self::lease::{Acquired, LeasedConversation, acquire, give_back, release, settle, uncount_attempt, update};
use self::slot::Slots;
use self::watchdog::Watchdog;
use crate::conversation::Contended;
use crate::deliver::DeliverError;
use crate::tenant_slots::{Missing, Slot};
use crate::world::World;

/// Most processes that may start to work on one run: a run that kills them all is given up.
const MAX_ATTEMPTS: u32 = 6;
/// After so many attempts not even the notice of its end is sent: a notice that kills each process that sends it must not block the conversation for ever.
const LAST_ATTEMPT: u32 = 2 * MAX_ATTEMPTS;
/// When a run that was started and has no slot among its tenant's is retried.
const WHEN_FULL: Duration = Duration::from_secs(2);

/// How long a conversation that always has messages pending leaves its slot to others. No run yields for longer.
const REST: Duration = WHEN_FULL_AT_MOST.saturating_add(Duration::from_secs(1));

/// Outcome of a wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It is done.
    Done,
    /// Retry it after this time.
    Again(Duration),
    /// Retry it when this slot is free.
    Full(Missing),
}

/// Why a wake-up failed. It stays on the queue and is retried.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The table failed.
    #[error("table is unavailable")]
    Store(#[source] StoreError),
    /// The queue failed.
    #[error("queue is unavailable")]
    Queue(#[from] QueueError),
    /// Another process holds the conversation now. Not an error to the caller: that process continues.
    #[error("lease is lost")]
    Lost,
    /// Too many other writers change the conversation at the same time.
    #[error(transparent)]
    Contended(#[from] Contended),
    /// A bug of ours, which must not end other runs of this process.
    #[error("the run panicked")]
    Panicked,
}

impl RunError {
    /// Whether it is caused by a bug of ours, which will most likely occur again, and not by an outage.
    fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Panicked | Self::Store(StoreError::Unreadable { .. } | StoreError::Unsealable | StoreError::TooLarge)
        )
    }
}

impl From<DeliverError> for RunError {
    fn from(error: DeliverError) -> Self {
        match error {
            DeliverError::Store(error) => error.into(),
            DeliverError::Lost => Self::Lost,
        }
    }
}

impl From<StoreError> for RunError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::Lost,
            error => Self::Store(error),
        }
    }
}

/// Works on the conversation of a wake-up until its mailbox is empty, or hands over at `until`. `granted`: a slot that it
/// has waited for.
///
/// # Errors
/// [`RunError`] if the wake-up must be retried.
pub async fn wake(
    world: &World,
    wake: &WakeUpV1,
    until: Option<Instant>,
    granted: Option<Slot>,
) -> Result<Next, RunError> {
    let mut watch = Watchdog::new(world, wake);
    let slots = Slots::begin(world, &wake.organization, granted).await;
    let working = async {
        match &wake.reply {
            // Boxed: else both branches and their futures would be nested on the stack.
            Some(reply) => Box::pin(standalone_reply::deliver(world, &mut watch, wake, reply, until, slots)).await,
            None => Box::pin(work_through(world, &mut watch, wake, until, slots)).await,
        }
    };
    // Nothing of it is reused after a panic: what it held is dropped, and locks are taken though they are poisoned.
    let done = AssertUnwindSafe(working).catch_unwind().await;
    match done.unwrap_or(Err(RunError::Panicked)) {
        Err(RunError::Lost) => {
            info!(conversation = %wake.conversation, "conversation is held by another process now");
            Ok(Next::Done)
        }
        // If this record stayed on the queue as well, there would be one more each time.
        Ok(Next::Again(_) | Next::Full(_)) if watch.is_sent_on() => Ok(Next::Done),
        Err(error) if watch.is_sent_on() => {
            log_failure(wake, 1, &error);
            Ok(Next::Done)
        }
        other => other,
    }
}

async fn work_through(
    world: &World,
    watch: &mut Watchdog<'_>,
    wake: &WakeUpV1,
    until: Option<Instant>,
    mut slots: Slots,
) -> Result<Next, RunError> {
    let done = match Box::pin(acquire(world, watch, wake, &mut slots)).await {
        Ok(Acquired::Nothing) => Ok(Next::Done),
        Ok(Acquired::Elsewhere(conversation)) => {
            Ok(Box::pin(media_prefetch::keep(world, &conversation, until, &mut slots)).await)
        }
        Ok(Acquired::Full(conversation, missing)) => {
            Box::pin(media_prefetch::keep(world, &conversation, until, &mut slots)).await;
            Ok(Next::Full(missing))
        }
        Ok(Acquired::NotBefore(at)) => Ok(Next::Again(at.since(world.clock.now()))),
        Ok(Acquired::LeasedConversation(held)) => {
            let (id, fence) = (held.id(), held.fence);
            // By now it has the lease's claim.
            world.parked_runs.remove(&id);
            match Box::pin(work_on(world, *held, &mut slots, until)).await {
                Err(RunError::Lost) => Box::pin(give_back(world, &id, fence)).await.and(Err(RunError::Lost)),
                Err(error) if !error.is_lasting() => {
                    // If this fails too, the attempt counts.
                    if let Err(uncounted) = Box::pin(uncount_attempt(world, &id, fence)).await {
                        warn!(conversation = %id, error = %uncounted, "attempt that an outage ended is counted");
                    }
                    Err(error)
                }
                done => done,
            }
        }
        Err(error) => Err(error),
    };
    slots.leave(world).await;
    done
}

async fn work_on(
    world: &World,
    mut held: LeasedConversation,
    slots: &mut Slots,
    until: Option<Instant>,
) -> Result<Next, RunError> {
    loop {
        let left = if held.run().phase == RunPhase::Deferred {
            Box::pin(deferred::resume(world, &mut held, until)).await?
        } else {
            Box::pin(execute::resume(world, &mut held, until)).await?
        };
        match left {
            Left::Finished => {}
            Left::Parked(again) if held.run().phase != RunPhase::Calling => {
                let conversation = held.conversation.clone();
                Box::pin(park(world, held, again)).await?;
                // After the release: the agent may call back any time, or the platform be ready.
                return Ok(Box::pin(media_prefetch::keep(world, &conversation, until, slots)).await);
            }
            Left::Parked(again) => {
                Box::pin(park(world, held, again)).await?;
                return Ok(Next::Done);
            }
        }
        match Box::pin(settle(world, held, until)).await? {
            Some(next) => held = next,
            None => return Ok(Next::Done),
        }
        if slots.yield_to_others(world).await {
            return Box::pin(rest(world, held, REST)).await;
        }
        let organization = &held.conversation.key.organization;
        if slots.ensure(world, organization, Some(held.run())).await?.is_some() {
            return Box::pin(rest(world, held, WHEN_FULL)).await;
        }
    }
}

/// Releases a run that continues later, in a wake-up after this time at the latest.
async fn park(world: &World, held: LeasedConversation, again: Option<Duration>) -> Result<(), RunError> {
    // Before the lease's claim ends: the bot's connection is kept as long as there is either.
    note_parked(world, &held.conversation, again.unwrap_or_default());
    release(world, held, again).await
}

/// Notes a parked run until its agent may no longer call back, or until the lease of the wake-up that continues it would have expired.
fn note_parked(world: &World, conversation: &Conversation, again: Duration) {
    let now = world.clock.now();
    let until = conversation.run.as_ref().and_then(|run| match run.phase {
        RunPhase::Deferred => run.deferred_until,
        RunPhase::Calling | RunPhase::Delivering => Some(now.after(again + world.settings.lease)),
    });
    if let Some(until) = until {
        let key = &conversation.key;
        world.parked_runs.add(key.id(), key.integration.clone(), until, now);
    }
}

/// Releases a run whose agent has not been called yet, since its tenant has no free slot.
async fn rest(world: &World, mut held: LeasedConversation, for_: Duration) -> Result<Next, RunError> {
    let until = world.clock.now().after(for_);
    update(world, &mut held, |it| execute::rest(it, until)).await?;
    Box::pin(park(world, held, Some(for_))).await?;
    Ok(Next::Done)
}

/// How far this process got with a run.
enum Left {
    /// Its messages have ended.
    Finished,
    /// It continues later, in whichever process is woken then.
    Parked(Option<Duration>),
}

/// Logs why a wake-up stays on the queue.
pub fn log_failure(wake: &WakeUpV1, attempt: u32, error: &RunError) {
    let error = crate::error_chain::chain(error);
    warn!(conversation = %wake.conversation, queue.attempt = attempt, error, "wake-up stays on the queue");
}
