//! The clock that the journeys read.

use tieline_core::timestamp::Timestamp;
use tokio::time::Instant;

/// Wall-clock time that follows tokio's clock, so that a paused runtime pauses it too.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall: Timestamp,
    origin: Instant,
}

impl Clock {
    /// A clock that shows `wall` now.
    #[must_use]
    pub fn starting_at(wall: Timestamp) -> Self {
        Self {
            wall,
            origin: Instant::now(),
        }
    }

    /// A clock that shows the system's time.
    #[must_use]
    pub fn system() -> Self {
        let since_epoch = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self::starting_at(Timestamp::default().after(since_epoch))
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.wall.after(self.origin.elapsed())
    }
}
