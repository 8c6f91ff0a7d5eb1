//! From the start to SIGTERM and the end that follows it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tieline_aws::shutdown::{DRAIN, Signals};
use tieline_bridge::connections::{Connections, Options};
use tieline_bridge::metrics;
use tieline_bridge::world::World;
use tieline_server::Limits;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::health;

/// Holds connections until a signal, then gives them away.
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

    signals.received().await;
    info!("stopping");
    if timeout(DRAIN, connections.stop()).await.is_err() {
        warn!("connections are cut off");
    }
    watching.abort();
    world.metrics.write(world.clock.now());
    serving.abort();
    info!("stopped");
    Ok(())
}

/// Limits of the health endpoint: its callers are few, the descriptors are for the bots' connections.
fn limits() -> Limits {
    let limits = Limits {
        max_connections: 64,
        max_small_bodies_bytes: 1024 * 1024,
        max_large_bodies_bytes: 1024 * 1024,
        ..Limits::default()
    };
    limits.within_descriptors()
}
