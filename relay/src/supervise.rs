//! Runs the relay from its start to SIGTERM and the shutdown that follows.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tieline_aws::shutdown::{DRAIN, Signals};
use tieline_bridge::connections::{Connections, Options};
use tieline_bridge::metrics;
use tieline_bridge::pollers::{self, Concurrency};
use tieline_bridge::world::World;
use tieline_server::Limits;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::health;

/// Holds connections until a signal, then releases them. Where relays run everything it polls `work`, too, and finishes its
/// runs; those that can't be finished in time are continued by another process when their leases have expired.
pub(crate) async fn supervise(world: World, listen: SocketAddr, mut signals: Signals) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("can't listen on {listen}"))?;
    info!("health endpoint listens on {}", listener.local_addr()?);
    let connections = Arc::new(Connections::start(world.clone(), Options::default())?);
    let serving = tokio::spawn(tieline_server::serve(
        listener,
        health::router(world.clone(), Arc::clone(&connections)),
        limits(),
    ));
    let watching = tokio::spawn(metrics::keep_writing(world.metrics.clone(), world.clock));

    let (stop, stopped) = watch::channel(false);
    let mut running = tokio::spawn(run(world.clone(), stopped));

    tokio::select! {
        () = signals.received() => {}
        ended = &mut running => return ended.context("the poller panicked"),
    }
    info!("stopping");
    stop.send_replace(true);
    // Concurrently: runs for bots that other relays hold by then continue, and send their calls to those relays.
    let ending = async { tokio::join!(connections.stop(), &mut running) };
    if timeout(DRAIN, ending).await.is_err() {
        warn!("unfinished runs continue in another process");
    }
    watching.abort();
    world.metrics.write(world.clock.now());
    serving.abort();
    info!("stopped");
    Ok(())
}

/// Polls `work` until `stop` says so, if relays run everything.
async fn run(world: World, mut stop: watch::Receiver<bool>) {
    if world.settings.relays_run {
        let concurrency = Concurrency::of(&world, 0);
        return pollers::run(world, concurrency, stop).await;
    }
    // The sender lives until then.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Limits of the health endpoint: it has few callers, and the file descriptors are needed for the bots' connections.
fn limits() -> Limits {
    let limits = Limits {
        max_connections: 64,
        max_small_bodies_bytes: 1024 * 1024,
        max_large_bodies_bytes: 1024 * 1024,
        ..Limits::default()
    };
    limits.within_descriptors()
}
