//! Watches a lease: whether it is still held by this process, and whether the run was asked to stop.

use tieline_core::conversation::StopCause;
use tokio::sync::watch;
use tokio::time::Instant;

/// What the holder of a lease hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseSignal {
    /// Nothing.
    Nothing,
    /// The run was asked to stop.
    Stop(StopCause),
    /// The lease is another's, or could not be renewed in time: nothing may be sent any more.
    Lost,
}

/// What is known of a lease.
#[derive(Debug, Clone, Copy)]
pub struct LeaseState {
    /// What was heard last.
    pub heard: LeaseSignal,
    /// Until when the lease is good, if it isn't renewed. A process that stood still finds it in the past.
    pub good_until: Instant,
}

/// The reader's end of a lease that a heartbeat renews.
#[derive(Debug, Clone)]
pub struct LeaseWatch(watch::Receiver<LeaseState>);

impl LeaseWatch {
    /// A lease that is good until then, of which that is heard already, and the keeper's end of it.
    #[must_use]
    pub fn new(good_until: Instant, heard: LeaseSignal) -> (watch::Sender<LeaseState>, Self) {
        let (keeper, holder) = watch::channel(LeaseState { heard, good_until });
        (keeper, Self(holder))
    }

    /// What was heard last.
    #[must_use]
    pub fn heard(&self) -> LeaseSignal {
        let known = *self.0.borrow();
        if Instant::now() >= known.good_until {
            return LeaseSignal::Lost;
        }
        known.heard
    }

    /// Whether nothing may be sent any more.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.heard() == LeaseSignal::Lost
    }

    /// Waits until something is heard.
    pub async fn hear(&self) -> LeaseSignal {
        self.wait_for(|known| known.heard != LeaseSignal::Nothing).await
    }

    /// Waits until nothing may be sent any more.
    pub async fn lost(&self) {
        self.wait_for(|known| known.heard == LeaseSignal::Lost).await;
    }

    async fn wait_for(&self, wanted: impl FnMut(&LeaseState) -> bool) -> LeaseSignal {
        let mut known = self.0.clone();
        match known.wait_for(wanted).await {
            Ok(known) => known.heard,
            // The heartbeat has ended.
            Err(_) => LeaseSignal::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_lease_that_nobody_renews_is_lost() {
        let later = || Instant::now() + Duration::from_secs(30);
        let (keeper, hold) = LeaseWatch::new(later(), LeaseSignal::Nothing);
        assert_eq!(hold.heard(), LeaseSignal::Nothing);
        keeper.send_modify(|known| known.good_until = Instant::now());
        assert!(hold.is_lost());
        keeper.send_modify(|known| known.good_until = later());
        assert!(!hold.is_lost());
        drop(keeper);
        hold.lost().await;
    }
}
