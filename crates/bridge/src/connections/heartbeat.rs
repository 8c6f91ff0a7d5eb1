//! The heartbeat: written by itself, so that nothing else that is slow can make this process look dead.

use std::sync::Arc;

use tieline_core::conversation::Owner;
use tieline_store::StoreError;
use tieline_store::leases;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use super::Options;
use super::shared::RelayShared;

/// Writes heartbeats for as long as it is polled; the first one that says that we leave as soon as `stop` does.
pub(super) async fn beat(shared: Arc<RelayShared>, options: Options, mut stop: watch::Receiver<bool>) {
    let me = shared.world.settings.owner.clone();
    let mut joined = false;
    loop {
        let begun = Instant::now();
        let leaving = *stop.borrow_and_update();
        // One that takes longer is started again: it may be the client's own patience with a table that is back by now.
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
        // We were dead for so long that we were forgotten. What is still ours the picture tells.
        Err(StoreError::Conflict) => leases::join(store, me, expires_at).await,
        other => other,
    }
}
