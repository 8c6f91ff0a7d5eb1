//! Callbacks of agents that answer asynchronously: stores their events in order and wakes the runner.

use std::time::Duration;

use tieline_agents::webhook::events::{self, InvalidEvents, Numbered};
use tieline_core::agent::AgentEvent;
use tieline_core::conversation::{RunPhase, RunState};
use tieline_core::envelope::WakeUpV1;
use tieline_core::ids::RunId;
use tieline_queue::QueueError;
use tieline_store::run::{self, Appended, Excess, NewEvent, RunRecord};
use tieline_store::{StoreError, conversation};

use crate::operator::{self, RunGrant};
use crate::wakeups;
use crate::world::World;

/// Why events of a callback are rejected.
#[derive(Debug, thiserror::Error)]
pub enum CallbackError {
    /// The token does not belong to this run.
    #[error("the token does not belong to this run")]
    Unauthorized,
    /// The run is over.
    #[error("the run is over")]
    Closed,
    /// The events exceed what one run may store.
    #[error("callback limit of the run exceeded: {0:?}")]
    Excess(Excess),
    /// They can't be read.
    #[error("the events can't be read")]
    Invalid(#[from] InvalidEvents),
    /// The table failed.
    #[error("table is unavailable")]
    Store(#[from] StoreError),
    /// The queue failed.
    #[error("queue is unavailable")]
    Queue(#[from] QueueError),
}

/// Which events of a run are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The highest sequence number up to which no event is missing.
    pub last_seq: u64,
    /// Whether the run is over.
    pub closed: bool,
}

/// Stores the events of a callback and wakes the runner. Idempotent.
///
/// If one event is rejected, the events before it stay stored, and the runner is woken for them.
///
/// # Errors
/// [`CallbackError`].
pub async fn accept(world: &World, id: &RunId, token: &str, body: &[u8]) -> Result<Progress, CallbackError> {
    let grant = prove(world, id, token)?;
    let numbered = events::parse(body)?;
    let mut head = open(world, &grant).await?;
    let kept = keep(world, &mut head, &numbered).await;
    // Also if the last of them was rejected: the events before it are stored, possibly the terminal one among them. And also for a
    // repetition: the call that stored the events first may have died before waking the runner.
    // If this call dies too, the run's own watchdog finds the stored events, but it looks rarely: so the wake-up has a watchdog of its own.
    let wake = WakeUpV1::new(grant.organization.clone(), grant.conversation.clone());
    wakeups::send_watched(world, [(wake, Duration::ZERO)]).await?;
    kept?;
    progress_of(world, Some(head)).await
}

/// Stores the events in the given order, up to the first that is rejected.
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

/// Which events of a run are stored.
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

/// Opens the run for its first callback.
async fn open(world: &World, grant: &RunGrant) -> Result<RunRecord, CallbackError> {
    let now = world.clock.now();
    if let Some(mut head) = run::get_run(&world.store, &grant.run, now).await? {
        // A run whose agent answers synchronously and also calls back ends without closing it. Events that arrive now would never be read.
        head.closed |= !is_under_way(world, grant).await?;
        return Ok(head);
    }
    let found = conversation::load(&world.store, &grant.conversation, now)
        .await?
        .ok_or(CallbackError::Closed)?;
    let state = found
        .run
        .filter(|state| takes_events(state, grant))
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
    // A concurrent callback may have opened it first, and stored more events.
    let head = run::get_run(&world.store, &grant.run, now).await?;
    head.ok_or(CallbackError::Closed)
}

async fn is_under_way(world: &World, grant: &RunGrant) -> Result<bool, CallbackError> {
    let found = conversation::load(&world.store, &grant.conversation, world.clock.now()).await?;
    Ok(found
        .and_then(|found| found.run)
        .is_some_and(|state| takes_events(&state, grant)))
}

/// Whether it is the grant's run, and its answer may still grow: while that is delivered, nothing is added to it.
fn takes_events(state: &RunState, grant: &RunGrant) -> bool {
    state.id == grant.run && state.phase != RunPhase::Delivering
}

async fn progress_of(world: &World, head: Option<RunRecord>) -> Result<Progress, CallbackError> {
    let Some(mut head) = head else {
        return Ok(Progress {
            last_seq: 0,
            closed: false,
        });
    };
    let last_seq = run::last_seq(&world.store, &mut head).await?;
    // Before the terminal event, missing ones are still accepted.
    let is_complete = head.end.is_some_and(|end| last_seq >= end);
    Ok(Progress {
        last_seq,
        closed: head.closed || is_complete,
    })
}
