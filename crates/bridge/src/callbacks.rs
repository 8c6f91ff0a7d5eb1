//! Agents that answer later: their events, kept in order, and the runner woken.

use std::time::Duration;

use serde_json::Value;
use tieline_agents::webhook::events::{self, InvalidEvents};
use tieline_core::agent::AgentEvent;
use tieline_core::envelope::{WakeUp, WakeUpV1};
use tieline_core::ids::RunId;
use tieline_queue::{QueueError, work};
use tieline_store::run::{self, Appended, RunRecord};
use tieline_store::{StoreError, conversation};

use crate::operator::{self, RunGrant};
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
/// # Errors
/// [`CallbackError`].
pub async fn take_in(world: &World, id: &RunId, token: &str, body: &[u8]) -> Result<Progress, CallbackError> {
    let grant = prove(world, id, token)?;
    let numbered = events::parse(body)?;
    let raw = raw_events(body);
    open(world, &grant).await?;
    let now = world.clock.now();
    for (it, raw) in numbered.iter().zip(raw) {
        let ends = it.event.as_ref().is_some_and(AgentEvent::is_terminal);
        match run::append_event(&world.store, id, it.seq, &raw, ends, now).await? {
            Appended::New | Appended::Duplicate => {}
            Appended::Closed | Appended::Unknown => return Err(CallbackError::Closed),
        }
    }
    // Also for a repetition: whoever kept the events first may have died before waking.
    // If whoever wakes dies too, the run's own watchdog sees what is kept.
    let wake = WakeUpV1::new(grant.organization.clone(), grant.conversation.clone());
    work::send(&world.queues, &[(WakeUp::V1(wake), Duration::ZERO)]).await?;
    progress_of(world, id).await
}

/// What is known of a run's events.
///
/// # Errors
/// [`CallbackError`].
pub async fn progress(world: &World, id: &RunId, token: &str) -> Result<Progress, CallbackError> {
    let grant = prove(world, id, token)?;
    let mut progress = progress_of(world, id).await?;
    progress.closed |= !is_under_way(world, &grant).await?;
    Ok(progress)
}

fn prove(world: &World, id: &RunId, token: &str) -> Result<RunGrant, CallbackError> {
    let grant = operator::open_run_token(world, token).filter(|grant| grant.run == *id);
    grant.ok_or(CallbackError::Unauthorized)
}

/// Each event as it was told, in the order of the body.
fn raw_events(body: &[u8]) -> Vec<String> {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let list = match value {
        Value::Array(list) => list,
        one => vec![one],
    };
    list.into_iter().map(|mut it| it["event"].take().to_string()).collect()
}

/// Makes the run ready for its first callback.
async fn open(world: &World, grant: &RunGrant) -> Result<(), CallbackError> {
    let now = world.clock.now();
    if run::get_run(&world.store, &grant.run, now).await?.is_some() {
        return Ok(());
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
    };
    run::open_run(&world.store, &record).await?;
    Ok(())
}

async fn is_under_way(world: &World, grant: &RunGrant) -> Result<bool, CallbackError> {
    let found = conversation::load(&world.store, &grant.conversation, world.clock.now()).await?;
    Ok(found
        .and_then(|found| found.run)
        .is_some_and(|state| state.id == grant.run))
}

async fn progress_of(world: &World, id: &RunId) -> Result<Progress, CallbackError> {
    let found = run::get_run(&world.store, id, world.clock.now()).await?;
    let last_seq = run::last_seq(&world.store, id, 0).await?;
    Ok(Progress {
        last_seq,
        closed: found.is_some_and(|run| run.closed),
    })
}
