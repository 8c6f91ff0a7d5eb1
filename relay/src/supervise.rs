//! From the start to SIGTERM and the end that follows it.

use std::future::IntoFuture as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tieline_bridge::connections::{Connections, Options};
use tieline_bridge::metrics;
use tieline_bridge::world::World;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::health;

/// The container is killed 120 s after SIGTERM.
const DRAIN: Duration = Duration::from_secs(110);

/// Holds connections until SIGTERM, then gives them away.
pub(crate) async fn supervise(world: World, listen: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("can't listen on {listen}"))?;
    info!("health endpoint listens on {}", listener.local_addr()?);
    let connections = Arc::new(Connections::start(world.clone(), Options::default())?);
    let serving = tokio::spawn(axum::serve(listener, health::router(Arc::clone(&connections))).into_future());
    let watching = tokio::spawn(metrics::keep_writing(world.clone()));

    wait_for_signal().await?;
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

async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
