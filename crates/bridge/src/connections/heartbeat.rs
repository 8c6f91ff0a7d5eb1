//! The heartbeat, written by a task of its own, so that slow work elsewhere can't make this process look dead.

use std::sync::Arc;

use tieline_core::conversation::Owner;
use tieline_store::StoreError;
use tieline_store::leases;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use super::Options;
use super::shared::RelayShared;

/// Writes heartbeats for as long as it is polled. As soon as `stop` changes, they announce that this process leaves.
pub(super) async fn beat(shared: Arc<RelayShared>, options: Options, mut stop: watch::Receiver<bool>) {
    let me = shared.world.settings.owner.clone();
    let mut joined = false;
    loop {
        let begun = Instant::now();
        let leaving = *stop.borrow_and_update();
        // A write that takes longer is started again: the client may still be backing off from a table that is available again.
        let pause = match timeout(options.lease / 3, write(&shared, &options, &me, joined, leaving)).await {
            Ok(Ok(())) => {
                joined = true;
                let margin = options.lease / 5;
                shared.lease.renewed(begun, options.lease.saturating_sub(margin));
                options.heartbeat.saturating_sub(begun.elapsed())
            }
            Ok(Err(error)) => {
                warn!(error = %error, "heartbeat can't be written");
                options.tick
            }
            Err(_) => {
                warn!("heartbeat can't be written in time");
                options.tick
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            Ok(()) = stop.changed() => {}
        }
    }
}

async fn write(
    shared: &RelayShared,
    options: &Options,
    me: &Owner,
    joined: bool,
    leaving: bool,
) -> Result<(), StoreError> {
    let store = &shared.world.store;
    let expires_at = shared.world.clock.now().after(options.lease);
    if !joined {
        return leases::join(store, me, expires_at).await;
    }
    match leases::beat(store, me, expires_at, leaving).await {
        // The entry of this process expired and was deleted. The shard map shows which shards it still holds.
        Err(StoreError::Conflict) => leases::join(store, me, expires_at).await,
        other => other,
    }
}
