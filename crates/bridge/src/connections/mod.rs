//! Long connections: which process holds which bots, and what is sent and received over their sockets.
//!
//! Bots are hashed onto shards, each with one holder at a time ([`tieline_store::leases`]). A holder opens its bots' sockets, drives each
//! platform's state machine ([`tieline_core::stream`]), puts events on the queue before they are acknowledged, and sends the calls of
//! runners, which reach it through the shard's queue. So do wake-ups: the holder processes those for its bots. Decisions are made in `core`
//! and carried out here.

pub mod relay_call;

mod accepted_runs;
mod bot;
mod bot_context;
mod bot_status;
mod connect;
mod connect_limiter;
mod connection;
mod desired_bots;
mod dial;
mod drain;
mod frame_memory;
mod heartbeat;
mod inbound_writer;
mod poll;
mod read_filter;
mod relay_consumer;
mod shard;
mod shared;
pub(crate) mod socket_registry;
mod status_writer;
mod supervisor;
mod transport;
mod trigger_wants;
mod upgrade;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tieline_core::connection_state::Patience;
use tieline_store::leases::LINGER;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::world::World;
use inbound_writer::InboundWriter;
use shared::RelayShared;
use status_writer::StatusWriter;
use supervisor::Supervisor;

/// How this process holds connections.
#[derive(Debug, Clone)]
pub struct Options {
    /// Time between two heartbeats.
    pub heartbeat: Duration,
    /// How long a heartbeat is valid: after that the bots of a dead process are free to be acquired.
    pub lease: Duration,
    /// Time between two runs of the reconcile loop, which reads who holds which shard and what operators have changed.
    pub tick: Duration,
    /// The same while shards are changing holders.
    pub hurried: Duration,
    /// How long sockets stay open after their shard was released, until those of the next holder are up.
    pub linger: Duration,
    /// How long to wait at shutdown for events and status updates that the queue and the table have not accepted yet.
    pub drain: Duration,
    /// Timeouts and backoff of bots.
    pub patience: Patience,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(3),
            lease: Duration::from_secs(10),
            tick: Duration::from_secs(1),
            hurried: Duration::from_millis(250),
            // Long enough for a slow successor: until its sockets are up, ours are the only ones.
            linger: LINGER,
            drain: Duration::from_secs(60),
            patience: Patience::default(),
        }
    }
}

/// The connections of this process.
pub struct Connections {
    shared: Arc<RelayShared>,
    options: Options,
    stop: watch::Sender<bool>,
    ending: Mutex<Option<Ending>>,
}

/// Tasks awaited at shutdown.
struct Ending {
    supervising: JoinHandle<()>,
    writing: JoinHandle<()>,
}

/// State of this process's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Whether the heartbeat is valid, so that this process holds its shards.
    pub alive: bool,
    /// Age of the latest heartbeat.
    pub heartbeat_age: Option<Duration>,
    /// Number of shards held.
    pub shards: usize,
    /// Number of bots on them.
    pub bots: usize,
    /// Number of bots connected.
    pub connected: usize,
    /// Number of events that wait for the queue.
    pub events_waiting: usize,
    /// Whether all shards are being released.
    pub leaving: bool,
}

/// Why no connections can be held.
#[derive(Debug, thiserror::Error)]
#[error("TLS can't be set up")]
pub struct StartError(#[source] rustls::Error);

impl Connections {
    /// Starts to acquire this process's share of the shards.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(world: World, options: Options) -> Result<Self, StartError> {
        let tls = dial::Tls::new().map_err(StartError)?;
        let inbound_writer = InboundWriter::new(&world.queues, &world.store, world.clock);
        let (status_writer, writing) = StatusWriter::new(world.store.clone());
        let shared = Arc::new(RelayShared::new(
            world,
            inbound_writer,
            status_writer,
            tls,
            options.patience,
        ));
        let (stop, stopped) = watch::channel(false);
        let supervising = tokio::spawn(Supervisor::new(Arc::clone(&shared), options.clone()).run(stopped));
        Ok(Self {
            shared,
            options,
            stop,
            ending: Mutex::new(Some(Ending { supervising, writing })),
        })
    }

    /// State of the connections.
    #[must_use]
    pub fn health(&self) -> Health {
        let gauges = &self.shared.gauges;
        Health {
            alive: self.shared.lease.is_valid(),
            heartbeat_age: self.shared.lease.age(),
            shards: gauges.shards.load(Ordering::Relaxed),
            bots: gauges.bots.load(Ordering::Relaxed),
            connected: gauges.connected.load(Ordering::Relaxed),
            events_waiting: self.shared.inbound_writer.n_waiting(),
            leaving: gauges.leaving.load(Ordering::Relaxed),
        }
    }

    /// Releases all shards and finishes what is in flight, runs last: they may take as long as their agents. A second call doesn't wait.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let Some(Ending { supervising, writing }) = self.ending.lock().await.take() else {
            return;
        };
        // Its only error is a panic, which was logged.
        let _ = supervising.await;
        let (inbound_writer, drain) = (&self.shared.inbound_writer, self.options.drain);
        if timeout(drain, inbound_writer.drained()).await.is_err() {
            warn!(
                events_waiting = inbound_writer.n_waiting(),
                "the queue did not accept all events in time"
            );
        }
        self.shared.status_writer.end();
        if timeout(drain, writing).await.is_err() {
            warn!("the table did not accept all status updates in time");
        }
        info!("connections are closed");
        self.shared.runs.finished().await;
    }
}
