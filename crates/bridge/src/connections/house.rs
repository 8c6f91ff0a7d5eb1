//! What all bots of a process share.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tieline_core::link::Patience;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::dial::Tls;
use super::gate::Gates;
use super::inlet::Inlet;
use super::scribe::Scribe;
use crate::world::World;

/// Most bots that are read from the table at the same time.
const LOADING: usize = 32;

/// What all bots of a process share.
pub(super) struct House {
    /// The world.
    pub(super) world: World,
    /// Where events go.
    pub(super) inlet: Inlet,
    /// Who writes statuses.
    pub(super) scribe: Scribe,
    /// What TLS needs.
    pub(super) tls: Tls,
    /// How patient we are.
    pub(super) patience: Patience,
    /// Whether what we hold is ours.
    pub(super) lease: Lease,
    /// For whoever looks after us.
    pub(super) gauges: Gauges,
    /// How many bots are read from the table at the same time.
    pub(super) loading: Semaphore,
    /// Through which connections are opened.
    pub(super) gates: Gates,
}

impl House {
    /// A house without bots.
    pub(super) fn new(world: World, inlet: Inlet, scribe: Scribe, tls: Tls, patience: Patience) -> Self {
        Self {
            world,
            inlet,
            scribe,
            tls,
            patience,
            lease: Lease::default(),
            gauges: Gauges::default(),
            loading: Semaphore::new(LOADING),
            gates: Gates::default(),
        }
    }
}

/// Whether our heartbeat lives, by our own clock and with a margin: so we know before others do.
///
/// When it has run out, sockets that stand go on being read, for nobody else may be able to reach the table either and a message that
/// isn't read is lost; but none is opened, and no mailbox is emptied, before the heartbeat is back.
#[derive(Default)]
pub(super) struct Lease {
    until: Mutex<Option<Instant>>,
    beaten_at: Mutex<Option<Instant>>,
}

impl Lease {
    /// A heartbeat that was begun at `begun` was written.
    pub(super) fn renewed(&self, begun: Instant, for_: Duration) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun + for_);
        *self.beaten_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun);
    }

    /// Whether it lives.
    pub(super) fn is_valid(&self) -> bool {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    /// How old the latest heartbeat is.
    pub(super) fn age(&self) -> Option<Duration> {
        let beaten_at = *self.beaten_at.lock().unwrap_or_else(PoisonError::into_inner);
        beaten_at.map(|at| at.elapsed())
    }

    /// Waits until it lives.
    pub(super) async fn valid(&self) {
        const POLL: Duration = Duration::from_millis(100);
        while !self.is_valid() {
            tokio::time::sleep(POLL).await;
        }
    }
}

/// What whoever looks after us wants to know.
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
    house: Arc<House>,
    gauge: Gauge,
}

impl Counted {
    /// Counts one more.
    pub(super) fn new(house: &Arc<House>, gauge: Gauge) -> Self {
        gauge(&house.gauges).fetch_add(1, Ordering::Relaxed);
        Self {
            house: Arc::clone(house),
            gauge,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.gauge)(&self.house.gauges).fetch_sub(1, Ordering::Relaxed);
    }
}
