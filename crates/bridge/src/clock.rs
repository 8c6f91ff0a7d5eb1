//! The clock that the journeys read.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use tieline_core::timestamp::Timestamp;
use tokio::time::Instant;

/// How far the system's time may drift from this clock before the clock follows. Smaller differences are the system's time being slewed.
const MAX_DRIFT_MS: i64 = 500;
/// How far back the clock steps at once. For a smaller step back it stands still until the system's time has caught up, since no code here
/// expects time to run backwards.
const MAX_STILL_MS: i64 = 5000;

/// Wall-clock time that follows tokio's clock, so that a paused runtime pauses it too.
///
/// A clock that shows the system's time also follows that one where it leaves the monotonic clock: after the machine was suspended,
/// which the monotonic clock doesn't count, or when the system's time is set. It goes back only if the time was set back by more
/// than a few seconds.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall: Timestamp,
    origin: Instant,
    system: Option<&'static System>,
}

/// The system's time, compared with the monotonic clock.
#[derive(Debug)]
struct System {
    wall: SystemTime,
    origin: std::time::Instant,
    followed_ms: AtomicI64,
    latest_ms: AtomicI64,
}

impl Clock {
    /// A clock that shows `wall` now and from then on advances with tokio's clock.
    #[must_use]
    pub fn starting_at(wall: Timestamp) -> Self {
        Self {
            wall,
            origin: Instant::now(),
            system: None,
        }
    }

    /// A clock that shows the system's time.
    #[must_use]
    pub fn system() -> Self {
        let system = System::starting_at(SystemTime::now(), std::time::Instant::now());
        let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self {
            // Leaked: a process has one such clock, which lives as long as the process.
            system: Some(Box::leak(Box::new(system))),
            ..Self::starting_at(Timestamp::default().after(since_epoch))
        }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let now = self.wall.after(self.origin.elapsed());
        match self.system {
            Some(system) => system.show(now, SystemTime::now(), std::time::Instant::now()),
            None => now,
        }
    }
}

impl System {
    fn starting_at(wall: SystemTime, origin: std::time::Instant) -> Self {
        Self {
            wall,
            origin,
            followed_ms: AtomicI64::new(0),
            latest_ms: AtomicI64::new(i64::MIN),
        }
    }

    /// The time to show when tokio's clock has advanced to `counted`.
    fn show(&self, counted: Timestamp, wall: SystemTime, monotonic: std::time::Instant) -> Timestamp {
        let now_ms = counted.as_millis() + self.follow(self.drift_ms(wall, monotonic));
        let latest_ms = self.latest_ms.load(Ordering::Relaxed);
        if (latest_ms.saturating_sub(MAX_STILL_MS)..latest_ms).contains(&now_ms) {
            return Timestamp::from_millis(latest_ms);
        }
        self.latest_ms.store(now_ms, Ordering::Relaxed);
        Timestamp::from_millis(now_ms)
    }

    fn follow(&self, drift_ms: i64) -> i64 {
        let followed_ms = self.followed_ms.load(Ordering::Relaxed);
        if drift_ms.abs_diff(followed_ms) <= MAX_DRIFT_MS.unsigned_abs() {
            return followed_ms;
        }
        self.followed_ms.store(drift_ms, Ordering::Relaxed);
        drift_ms
    }

    /// How far the system's time has drifted from the monotonic clock since the start.
    ///
    /// Not compared with tokio's clock, which tests pause and advance by hand.
    fn drift_ms(&self, wall: SystemTime, monotonic: std::time::Instant) -> i64 {
        let millis = |span: std::time::Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let passed = match wall.duration_since(self.wall) {
            Ok(forward) => millis(forward),
            Err(back) => -millis(back.duration()),
        };
        passed - millis(monotonic.saturating_duration_since(self.origin))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What a clock that began at 1000 s shows, given how far (in ms) each clock of the machine has advanced since.
    fn shown(looks: &[(i64, u64)]) -> Vec<i64> {
        let (wall, origin) = (SystemTime::now(), std::time::Instant::now());
        let system = System::starting_at(wall, origin);
        let look = |(wall_ms, monotonic_ms): &(i64, u64)| {
            let moved = Duration::from_millis(wall_ms.unsigned_abs());
            let wall = if *wall_ms < 0 { wall - moved } else { wall + moved };
            let passed = Duration::from_millis(*monotonic_ms);
            let counted = Timestamp::from_secs(1000).after(passed);
            system.show(counted, wall, origin + passed).as_millis() - 1_000_000
        };
        looks.iter().map(look).collect()
    }

    #[test]
    fn time_during_a_suspend_counts() {
        assert_eq!(
            shown(&[(10, 10), (3_600_020, 20), (3_600_030, 30)]),
            [10, 3_600_020, 3_600_030]
        );
    }

    #[test]
    fn slewing_is_not_followed() {
        assert_eq!(shown(&[(1400, 1000), (1700, 2000)]), [1000, 2000]);
    }

    #[test]
    fn time_set_back_a_little_stands_still_and_set_back_far_is_followed() {
        assert_eq!(shown(&[(1000, 1000), (-1000, 1500), (500, 3000)]), [1000, 1000, 1000]);
        assert_eq!(
            shown(&[(1000, 1000), (-90_000, 1500), (-89_000, 2500)]),
            [1000, -90_000, -89_000]
        );
    }

    #[test]
    fn paused_runtime_clock_is_not_corrected() {
        let (wall, origin) = (SystemTime::now(), std::time::Instant::now());
        let system = System::starting_at(wall, origin);
        let (soon, moved) = (Duration::from_millis(1), Timestamp::from_secs(3600));
        assert_eq!(system.show(moved, wall + soon, origin + soon), moved);
    }
}
