//! Writes of replies, each published at once to the tasks of this process that wait for the reply.

use tieline_core::timestamp::Timestamp;
use tieline_store::StoreError;
use tieline_store::reply::{self, ReplyRecord};

use crate::world::World;

/// Saves a reply: see [`reply::save`].
///
/// # Errors
/// As there.
pub(crate) async fn save(
    world: &World,
    before: Option<&ReplyRecord>,
    after: &mut ReplyRecord,
    now: Timestamp,
) -> Result<(), StoreError> {
    // On the heap: a run that shows an answer awaits this in many places, and would keep all of these futures on its thread's stack.
    let saved = Box::pin(reply::save(&world.store, before, after, now)).await;
    match &saved {
        Ok(()) => world.local_replies.written(after),
        // The write may have succeeded and only its response been lost.
        Err(_) => world.local_replies.changed(&after.id),
    }
    saved
}

/// Saves a reset reply: see [`reply::restart`].
///
/// # Errors
/// As there.
pub(crate) async fn restart(
    world: &World,
    before: &ReplyRecord,
    after: &mut ReplyRecord,
    now: Timestamp,
) -> Result<(), StoreError> {
    let restarted = reply::restart(&world.store, before, after, now).await;
    world.local_replies.changed(&after.id);
    restarted
}
