//! Writes of replies, of which those hear at once who wait for one in this process.

use tieline_core::timestamp::Timestamp;
use tieline_store::StoreError;
use tieline_store::reply::{self, ReplyRecord};

use crate::world::World;

/// Writes what a reply has come to: see [`reply::save`].
///
/// # Errors
/// As there.
pub(crate) async fn save(
    world: &World,
    before: Option<&ReplyRecord>,
    after: &mut ReplyRecord,
    now: Timestamp,
) -> Result<(), StoreError> {
    // On the heap: a run that shows an answer awaits this in many places, and a thread's stack holds all of it.
    let saved = Box::pin(reply::save(&world.store, before, after, now)).await;
    match &saved {
        Ok(()) => world.local_replies.written(after),
        // Perhaps it was done, and only its answer was lost.
        Err(_) => world.local_replies.changed(&after.id),
    }
    saved
}

/// Writes a reply that starts over: see [`reply::restart`].
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
