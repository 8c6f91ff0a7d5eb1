//! What all bots of a process share.

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
use crate::world::World;

/// Most bots that are read from the table at the same time.
const LOADING: usize = 32;

/// What all bots of a process share.
pub(super) struct RelayShared {
    /// The world.
    pub(super) world: World,
    /// Runs for its bots.
    pub(super) runs: AcceptedRuns,
    /// Where events go.
    pub(super) inbound_writer: InboundWriter,
    /// Who writes statuses.
    pub(super) status_writer: StatusWriter,
    /// What TLS needs.
    pub(super) tls: Tls,
    /// How patient we are.
    pub(super) patience: Patience,
    /// Whether what we hold is ours.
    pub(super) lease: Lease,
    /// For health checks and metrics.
    pub(super) gauges: Gauges,
    /// How many bots are read from the table at the same time.
    pub(super) loading: Semaphore,
    /// Through which connections are opened.
    pub(super) gates: ConnectLimiters,
}

impl RelayShared {
    /// A shared without bots.
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
            gates: ConnectLimiters::default(),
        }
    }
}

/// Whether our heartbeat lives, by our own clock and with a margin: so we know before others do.
///
/// When it has run out, sockets that stand go on being read, since other relays may be unable to reach the table either and a message that
/// isn't read is lost; but none is opened, and no mailbox is emptied, before the heartbeat is back and we have seen what is still ours.
#[derive(Default)]
pub(super) struct Lease(Mutex<Beats>);

#[derive(Default)]
struct Beats {
    until: Option<Instant>,
    beaten_at: Option<Instant>,
    /// How often it began to live: at first, and after each time that it had run out.
    n_lives: u64,
    /// In which of these lives we last saw what is ours.
    seen: u64,
}

impl Lease {
    fn beats(&self) -> MutexGuard<'_, Beats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A heartbeat that was begun at `begun` was written.
    pub(super) fn renewed(&self, begun: Instant, for_: Duration) {
        let mut beats = self.beats();
        if beats.until.is_none_or(|until| until <= Instant::now()) {
            beats.n_lives += 1;
        }
        beats.until = Some(begun + for_);
        beats.beaten_at = Some(begun);
    }

    /// Which life it is in: for [`Lease::saw`].
    pub(super) fn life(&self) -> u64 {
        self.beats().n_lives
    }

    /// Who holds what was read after that life had begun, and what is not ours any more is given up. Whether this was the first look
    /// in it.
    pub(super) fn saw(&self, life: u64) -> bool {
        let mut beats = self.beats();
        let first = beats.seen < life;
        beats.seen = beats.seen.max(life);
        first
    }

    /// Whether it lives.
    pub(super) fn is_valid(&self) -> bool {
        let beats = self.beats();
        beats.seen == beats.n_lives && beats.until.is_some_and(|until| Instant::now() < until)
    }

    /// How old the latest heartbeat is.
    pub(super) fn age(&self) -> Option<Duration> {
        self.beats().beaten_at.map(|at| at.elapsed())
    }

    /// Waits until it lives.
    pub(super) async fn valid(&self) {
        const POLL: Duration = Duration::from_millis(100);
        while !self.is_valid() {
            tokio::time::sleep(POLL).await;
        }
    }
}

/// What health checks and metrics report.
#[derive(Default)]
pub(super) struct Gauges {
    pub(super) shards: AtomicUsize,
    pub(super) bots: AtomicUsize,
    pub(super) connected: AtomicUsize,
    pub(super) leaving: AtomicBool,
}

/// Names one of them.
type Gauge = fn(&Gauges) -> &AtomicUsize;

/// Counts one as long as it lives.
pub(super) struct Counted {
    shared: Arc<RelayShared>,
    gauge: Gauge,
}

impl Counted {
    /// Counts one more.
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
    fn who_was_away_looks_before_anything_is_his_again() {
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
