//! Watches a lease: whether it is still held by this process, for how long, and whether the run was asked to stop.

use std::sync::Arc;
use std::time::Duration;

use tieline_core::conversation::StopCause;
use tieline_core::timestamp::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::clock::Clock;

/// Signal to the holder of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseSignal {
    /// Nothing.
    Nothing,
    /// The run was asked to stop.
    Stop(StopCause),
    /// Another process holds the lease, or it could not be renewed in time: nothing may be sent any more.
    Lost,
}

/// State of a lease.
#[derive(Debug, Clone, Copy)]
pub struct LeaseState {
    /// The latest signal.
    pub signal: LeaseSignal,
    /// Until when the lease is valid if it isn't renewed. After the process or its machine was suspended, this is in the past.
    pub good_until: Timestamp,
}

/// The reader's end of a lease that a heartbeat renews.
#[derive(Debug, Clone)]
pub struct LeaseWatch {
    state: watch::Receiver<LeaseState>,
    clock: Clock,
    renew: Arc<Notify>,
}

/// The heartbeat's end of a lease.
#[derive(Debug)]
pub struct LeaseKeeper {
    /// State of the lease.
    pub state: Arc<watch::Sender<LeaseState>>,
    /// Notified when the lease is needed for longer than it is valid.
    pub renew: Arc<Notify>,
}

impl LeaseWatch {
    /// A lease that is valid until `good_until`, with its latest signal, and the keeper's end of it.
    #[must_use]
    pub fn new(clock: Clock, good_until: Timestamp, signal: LeaseSignal) -> (LeaseKeeper, Self) {
        let (said, state) = watch::channel(LeaseState { signal, good_until });
        let renew = Arc::new(Notify::new());
        let keeper = LeaseKeeper {
            state: Arc::new(said),
            renew: Arc::clone(&renew),
        };
        (keeper, Self { state, clock, renew })
    }

    /// The latest signal.
    #[must_use]
    pub fn signal(&self) -> LeaseSignal {
        let known = *self.state.borrow();
        if self.clock.now() >= known.good_until {
            return LeaseSignal::Lost;
        }
        known.signal
    }

    /// Whether nothing may be sent any more.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.signal() == LeaseSignal::Lost
    }

    /// Whether a person typed `/stop`.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.signal() == LeaseSignal::Stop(StopCause::Stopped)
    }

    /// Waits for a signal.
    pub async fn next_signal(&self) -> LeaseSignal {
        self.wait_for(|known| known.signal != LeaseSignal::Nothing).await
    }

    /// Waits until nothing may be sent any more.
    pub async fn lost(&self) {
        self.wait_for(|known| known.signal == LeaseSignal::Lost).await;
    }

    /// Waits until a person types `/stop`, or nothing may be sent any more.
    pub async fn stopped(&self) {
        let is_end = |signal| matches!(signal, LeaseSignal::Lost | LeaseSignal::Stop(StopCause::Stopped));
        self.wait_for(|known| is_end(known.signal)).await;
    }

    /// Ensures that the lease is valid for `needed` from now, and requests a renewal if it isn't. `false`: that wasn't achieved within
    /// `patience`, and work that takes so long must not be started.
    pub async fn ensure(&self, needed: Duration, patience: Duration) -> bool {
        let lasts = |known: &LeaseState| known.good_until > self.clock.now().after(needed);
        if lasts(&self.state.borrow()) {
            return !self.is_lost();
        }
        self.renew.notify_one();
        let ended = |known: &LeaseState| known.signal == LeaseSignal::Lost || lasts(known);
        let waited = timeout(patience, self.wait_for(ended)).await;
        waited.is_ok() && !self.is_lost() && lasts(&self.state.borrow())
    }

    async fn wait_for(&self, wanted: impl FnMut(&LeaseState) -> bool) -> LeaseSignal {
        // The keeper may not have looked at the clock yet since a call that took long.
        if self.is_lost() {
            return LeaseSignal::Lost;
        }
        let mut known = self.state.clone();
        match known.wait_for(wanted).await {
            Ok(known) => known.signal,
            // The heartbeat task has ended.
            Err(_) => LeaseSignal::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn clock() -> Clock {
        Clock::starting_at(Timestamp::from_secs(1000))
    }

    fn watch(clock: Clock, left: Duration) -> (LeaseKeeper, LeaseWatch) {
        LeaseWatch::new(clock, clock.now().after(left), LeaseSignal::Nothing)
    }

    #[tokio::test]
    async fn a_lease_that_is_not_renewed_is_lost() {
        let clock = clock();
        let (keeper, hold) = watch(clock, LEASE);
        assert_eq!(hold.signal(), LeaseSignal::Nothing);
        keeper.state.send_modify(|known| known.good_until = clock.now());
        assert!(hold.is_lost());
        keeper
            .state
            .send_modify(|known| known.good_until = clock.now().after(LEASE));
        assert!(!hold.is_lost());
        drop(keeper);
        hold.lost().await;
    }

    /// The monotonic clock doesn't count the time for which a machine is suspended; the clock of the lease does.
    #[tokio::test]
    async fn a_lease_expires_by_the_clock_that_it_was_written_with() {
        let behind = Clock::starting_at(Timestamp::from_secs(1000));
        let after_suspension = Clock::starting_at(Timestamp::from_secs(1031));
        let (_keeper, hold) = LeaseWatch::new(after_suspension, behind.now().after(LEASE), LeaseSignal::Nothing);
        assert!(hold.is_lost());
        assert_eq!(hold.next_signal().await, LeaseSignal::Lost, "before the keeper says so");
    }

    #[tokio::test]
    async fn work_longer_than_the_lease_renews_it_first() {
        let clock = clock();
        let (keeper, hold) = watch(clock, Duration::from_secs(1));
        assert!(hold.ensure(Duration::from_millis(500), Duration::ZERO).await);
        let (needed, patience) = (Duration::from_secs(15), Duration::from_millis(50));
        assert!(!hold.ensure(needed, patience).await, "the heartbeat doesn't answer");
        let renewing = async {
            keeper.renew.notified().await;
            keeper
                .state
                .send_modify(|known| known.good_until = clock.now().after(LEASE));
        };
        let (is_good, ()) = tokio::join!(hold.ensure(needed, Duration::from_secs(5)), renewing);
        assert!(is_good);
    }
}
