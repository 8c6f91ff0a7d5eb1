//! State shared by all bots of a process.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tieline_core::connection_state::Patience;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::accepted_runs::AcceptedRuns;
use super::connect_limiter::ConnectLimiters;
use super::dial::Tls;
use super::inbound_writer::InboundWriter;
use super::status_writer::StatusWriter;
use crate::memory_budget::MemoryBudget;
use crate::world::World;

/// Most bots read from the table concurrently.
const LOADING: usize = 32;

/// Memory budget for unfinished frames: an organization's share has the longest message of any platform twice.
const MAX_FRAMES_BYTES: usize = 64 * 1024 * 1024;

/// State shared by all bots of a process.
pub(super) struct RelayShared {
    /// The world.
    pub(super) world: World,
    /// Runs for its bots.
    pub(super) runs: AcceptedRuns,
    /// Writes events to the inbound queue.
    pub(super) inbound_writer: InboundWriter,
    /// Writes statuses to the table.
    pub(super) status_writer: StatusWriter,
    /// TLS configuration.
    pub(super) tls: Tls,
    /// Timeouts and backoff of bots.
    pub(super) patience: Patience,
    /// Whether this process still holds its shards.
    pub(super) lease: Lease,
    /// For health checks and metrics.
    pub(super) gauges: Gauges,
    /// Limits how many bots are read from the table concurrently.
    pub(super) loading: Semaphore,
    /// Memory budget for unfinished frames.
    pub(super) frame_budget: Arc<MemoryBudget>,
    /// Limits how many connections are opened concurrently.
    pub(super) gates: ConnectLimiters,
}

impl RelayShared {
    /// State of a process without bots.
    pub(super) fn new(
        world: World,
        inbound_writer: InboundWriter,
        status_writer: StatusWriter,
        tls: Tls,
        patience: Patience,
    ) -> Self {
        Self {
            runs: AcceptedRuns::new(&world),
            world,
            inbound_writer,
            status_writer,
            tls,
            patience,
            lease: Lease::default(),
            gauges: Gauges::default(),
            loading: Semaphore::new(LOADING),
            frame_budget: Arc::new(MemoryBudget::of(MAX_FRAMES_BYTES)),
            gates: ConnectLimiters::default(),
        }
    }
}

/// Whether this process's heartbeat is valid, by its own clock and with a margin: so this process knows before other relays do.
///
/// When it has expired, open sockets are still read, since other relays may be unable to reach the table either and a message that isn't
/// read is lost; but none is opened, and no shard's queue is consumed, before a heartbeat is written and the shard map was read again.
#[derive(Default)]
pub(super) struct Lease(Mutex<Beats>);

#[derive(Default)]
struct Beats {
    until: Option<Instant>,
    beaten_at: Option<Instant>,
    /// How often it became valid: at first, and each time after it had expired. The number of its epoch.
    n_lives: u64,
    /// The latest epoch in which the shard map was read.
    seen: u64,
}

impl Lease {
    fn beats(&self) -> MutexGuard<'_, Beats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A heartbeat whose write started at `begun` was written.
    pub(super) fn renewed(&self, begun: Instant, for_: Duration) {
        let mut beats = self.beats();
        if beats.until.is_none_or(|until| until <= Instant::now()) {
            beats.n_lives += 1;
        }
        beats.until = Some(begun + for_);
        beats.beaten_at = Some(begun);
    }

    /// Its current epoch: for [`Lease::saw`].
    pub(super) fn life(&self) -> u64 {
        self.beats().n_lives
    }

    /// Records that the shard map was read after that epoch had begun, and that shards held by others were dropped. Returns whether this was
    /// the first read in it.
    pub(super) fn saw(&self, life: u64) -> bool {
        let mut beats = self.beats();
        let first = beats.seen < life;
        beats.seen = beats.seen.max(life);
        first
    }

    /// Whether it is valid.
    pub(super) fn is_valid(&self) -> bool {
        let beats = self.beats();
        beats.seen == beats.n_lives && beats.until.is_some_and(|until| Instant::now() < until)
    }

    /// Age of the latest heartbeat.
    pub(super) fn age(&self) -> Option<Duration> {
        self.beats().beaten_at.map(|at| at.elapsed())
    }

    /// Waits until it is valid.
    pub(super) async fn valid(&self) {
        const POLL: Duration = Duration::from_millis(100);
        while !self.is_valid() {
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Gauges for health checks and metrics.
#[derive(Default)]
pub(super) struct Gauges {
    pub(super) shards: AtomicUsize,
    pub(super) bots: AtomicUsize,
    pub(super) connected: AtomicUsize,
    pub(super) leaving: AtomicBool,
}

/// Selects a gauge.
type Gauge = fn(&Gauges) -> &AtomicUsize;

/// Counts in a gauge for as long as it lives.
pub(super) struct Counted {
    shared: Arc<RelayShared>,
    gauge: Gauge,
}

impl Counted {
    /// Increments the gauge.
    pub(super) fn new(shared: &Arc<RelayShared>, gauge: Gauge) -> Self {
        gauge(&shared.gauges).fetch_add(1, Ordering::Relaxed);
        Self {
            shared: Arc::clone(shared),
            gauge,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.gauge)(&self.shared.gauges).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(8);

    #[test]
    fn an_expired_lease_is_valid_only_after_the_shard_map_was_read_again() {
        let lease = Lease::default();
        let long_ago = Instant::now().checked_sub(LEASE).unwrap();
        assert!(!lease.is_valid(), "never beaten");
        lease.renewed(long_ago, LEASE);
        let away = lease.life();
        assert!(lease.saw(away), "the first look of this life");
        assert!(!lease.is_valid(), "run out");
        lease.renewed(Instant::now(), LEASE);
        assert!(!lease.saw(away), "begun before the heartbeat was back");
        assert!(!lease.is_valid());
        assert!(lease.saw(lease.life()));
        assert!(lease.is_valid());
        lease.renewed(Instant::now(), LEASE);
        assert!(lease.is_valid(), "nothing was missed");
        assert!(!lease.saw(lease.life()));
    }
}
