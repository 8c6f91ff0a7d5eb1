//! Which of an agent's callbacks are applied to the reply of its run.

use tieline_core::conversation::{RunPhase, RunState};
use tieline_store::reply::{self, ReplyRecord};
use tieline_store::{message, run};

use super::RunError;
use crate::world::World;

/// The sequence number of the last callback that the reply contains.
pub(super) fn applied(record: &ReplyRecord) -> u64 {
    let cursor = record.resume.as_ref().and_then(|resume| resume.cursor.as_deref());
    cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(0)
}

/// Whether a run without a lease holder has unapplied callbacks or a stop: the callback's wake-up found the lease held and ended, or died.
pub(super) async fn has_news(world: &World, run: &RunState) -> Result<bool, RunError> {
    if run.phase != RunPhase::Deferred {
        return Ok(false);
    }
    if run.stop.is_some() {
        return Ok(true);
    }
    let now = world.clock.now();
    // Most runs have no callbacks yet when they are checked.
    let Some(mut head) = run::get_run(&world.store, &run.id, now).await? else {
        return Ok(false);
    };
    let Some(last) = run.messages.last() else {
        return Ok(false);
    };
    let Some(record) = message::get(&world.store, last, now).await? else {
        return Ok(false);
    };
    let found = reply::get(&world.store, &record.reply, now).await?;
    let applied = found.as_ref().map_or(0, applied);
    Ok(run::last_seq(&world.store, &mut head).await? > applied)
}
