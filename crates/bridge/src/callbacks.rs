//! Agents that answer later: their events, kept in order, and the runner woken.

use std::time::Duration;

use tieline_agents::webhook::events::{self, InvalidEvents, Numbered};
use tieline_core::agent::AgentEvent;
use tieline_core::envelope::WakeUpV1;
use tieline_core::ids::RunId;
use tieline_queue::QueueError;
use tieline_store::run::{self, Appended, Excess, NewEvent, RunRecord};
use tieline_store::{StoreError, conversation};

use crate::operator::{self, RunGrant};
use crate::wakeups;
use crate::world::World;

/// Why events are not taken.
#[derive(Debug, thiserror::Error)]
pub enum CallbackError {
    /// The token is not this run's.
    #[error("the token is not this run's")]
    Unauthorized,
    /// The run is over.
    #[error("the run is over")]
    Closed,
    /// The run takes no such amount.
    #[error("more than a run takes: {0:?}")]
    Excess(Excess),
    /// They can't be read.
    #[error("the events can't be read")]
    Invalid(#[from] InvalidEvents),
    /// The table.
    #[error("table is unavailable")]
    Store(#[from] StoreError),
    /// The queue.
    #[error("queue is unavailable")]
    Queue(#[from] QueueError),
}

/// What is known of a run's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The last event before which none is missing.
    pub last_seq: u64,
    /// Whether the run is over.
    pub closed: bool,
}

/// Keeps the events of a callback and wakes the runner. Doing it again changes nothing.
///
/// Events before one that is not taken are kept, and the runner is woken for them.
///
/// # Errors
/// [`CallbackError`].
pub async fn take_in(world: &World, id: &RunId, token: &str, body: &[u8]) -> Result<Progress, CallbackError> {
    let grant = prove(world, id, token)?;
    let numbered = events::parse(body)?;
    let mut head = open(world, &grant).await?;
    let kept = keep(world, &mut head, &numbered).await;
    // Whatever became of the last of them: the ones before it are kept, the terminal one perhaps among them. Also for a
    // repetition: the call that stored the events first may have died before waking.
    // If that one dies too, the run's own watchdog finds the stored events, but it comes seldom: so the wake-up has one of its own.
    let wake = WakeUpV1::new(grant.organization.clone(), grant.conversation.clone());
    wakeups::send_watched(world, [(wake, Duration::ZERO)]).await?;
    kept?;
    progress_of(world, Some(head)).await
}

/// Keeps them in the order given, up to the first that is not taken.
async fn keep(world: &World, head: &mut RunRecord, numbered: &[Numbered]) -> Result<(), CallbackError> {
    for it in numbered {
        let event = NewEvent {
            seq: it.seq,
            json: &it.json,
            ends: it.event.as_ref().is_some_and(AgentEvent::is_terminal),
        };
        match run::append_event(&world.store, head, &event).await? {
            Appended::New | Appended::Duplicate => {}
            Appended::Closed => return Err(CallbackError::Closed),
            Appended::Refused(excess) => return Err(CallbackError::Excess(excess)),
        }
    }
    Ok(())
}

/// What is known of a run's events.
///
/// # Errors
/// [`CallbackError`].
pub async fn progress(world: &World, id: &RunId, token: &str) -> Result<Progress, CallbackError> {
    let grant = prove(world, id, token)?;
    let head = run::get_run(&world.store, id, world.clock.now()).await?;
    let mut progress = progress_of(world, head).await?;
    progress.closed |= !is_under_way(world, &grant).await?;
    Ok(progress)
}

fn prove(world: &World, id: &RunId, token: &str) -> Result<RunGrant, CallbackError> {
    let grant = operator::open_run_token(world, token).filter(|grant| grant.run == *id);
    grant.ok_or(CallbackError::Unauthorized)
}

/// Makes the run ready for its first callback.
async fn open(world: &World, grant: &RunGrant) -> Result<RunRecord, CallbackError> {
    let now = world.clock.now();
    if let Some(mut head) = run::get_run(&world.store, &grant.run, now).await? {
        // A run whose agent answers at once and calls back as well ends without closing it. What comes now would never be read.
        head.closed |= !is_under_way(world, grant).await?;
        return Ok(head);
    }
    let found = conversation::load(&world.store, &grant.conversation, now)
        .await?
        .ok_or(CallbackError::Closed)?;
    let state = found
        .run
        .filter(|state| state.id == grant.run)
        .ok_or(CallbackError::Closed)?;
    let record = RunRecord {
        id: grant.run.clone(),
        organization: grant.organization.clone(),
        integration: found.key.integration,
        conversation: grant.conversation.clone(),
        started_at: state.started_at,
        closed: false,
        end: None,
        n_events: 0,
        n_bytes: 0,
        last_seq: 0,
    };
    run::open_run(&world.store, &record).await?;
    // Another callback may have opened it first, and got further.
    let head = run::get_run(&world.store, &grant.run, now).await?;
    head.ok_or(CallbackError::Closed)
}

async fn is_under_way(world: &World, grant: &RunGrant) -> Result<bool, CallbackError> {
    let found = conversation::load(&world.store, &grant.conversation, world.clock.now()).await?;
    Ok(found
        .and_then(|found| found.run)
        .is_some_and(|state| state.id == grant.run))
}

async fn progress_of(world: &World, head: Option<RunRecord>) -> Result<Progress, CallbackError> {
    let Some(mut head) = head else {
        return Ok(Progress {
            last_seq: 0,
            closed: false,
        });
    };
    Ok(Progress {
        last_seq: run::last_seq(&world.store, &mut head).await?,
        closed: head.closed,
    })
}
