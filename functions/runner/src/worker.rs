//! The runner as a container: it asks the queue itself, so that waiting for agents isn't paid by the second.

use std::time::Duration;

use anyhow::Context as _;
use tieline_aws::shutdown::{DRAIN, Signals};
use tieline_bridge::metrics;
use tieline_bridge::pollers::{self, Concurrency};
use tieline_bridge::world::World;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

/// How long a wake-up waits for a slot before it goes back to the queue.
const SLOT_WAIT: Duration = Duration::from_secs(20);

/// Serves wake-ups from the queue until a signal, then finishes the runs it has. What can't be finished in time another process goes on
/// with when its lease has run out.
pub(crate) async fn serve(world: World) -> anyhow::Result<()> {
    let slots = world.settings.slots;
    let world = world.with_slots(slots, SLOT_WAIT);
    let (stop, stopped) = watch::channel(false);
    let concurrency = Concurrency::of(&world, 0);
    let mut running = tokio::spawn(pollers::run(world.clone(), concurrency, stopped));
    let watching = tokio::spawn(metrics::keep_writing(world.metrics.clone(), world.clock));
    let mut signals = Signals::listen()?;
    info!("running what is on the queue");
    tokio::select! {
        () = signals.received() => {}
        ended = &mut running => return ended.context("the poller panicked"),
    }
    info!("stopping");
    stop.send_replace(true);
    if timeout(DRAIN, running).await.is_err() {
        warn!("runs that are not finished go on in another process");
    }
    watching.abort();
    world.metrics.write(world.clock.now());
    info!("stopped");
    Ok(())
}
