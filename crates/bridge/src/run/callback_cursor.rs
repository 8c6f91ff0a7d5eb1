//! How far the callbacks of an agent are applied to the reply of its run.

use tieline_core::conversation::RunPhase;
use tieline_store::reply::{self, ReplyRecord};
use tieline_store::{message, run};

use super::{LeasedConversation, RunError};
use crate::world::World;

/// The number of the last callback that the reply contains.
pub(super) fn applied(record: &ReplyRecord) -> u64 {
    let cursor = record.resume.as_ref().and_then(|resume| resume.cursor.as_deref());
    cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(0)
}

/// Whether something has come for a run whose lease was given back just now: the callback's wake-up found the lease held and ended.
pub(super) async fn has_news(world: &World, held: &LeasedConversation) -> Result<bool, RunError> {
    let run = held.run();
    if run.phase != RunPhase::Deferred {
        return Ok(false);
    }
    if run.stop.is_some() {
        return Ok(true);
    }
    let Some(last) = run.messages.last() else {
        return Ok(false);
    };
    let now = world.clock.now();
    let Some(record) = message::get(&world.store, last, now).await? else {
        return Ok(false);
    };
    let found = reply::get(&world.store, &record.reply, now).await?;
    let applied = found.as_ref().map_or(0, applied);
    let Some(mut head) = run::get_run(&world.store, &run.id, now).await? else {
        return Ok(false);
    };
    Ok(run::last_seq(&world.store, &mut head).await? > applied)
}
