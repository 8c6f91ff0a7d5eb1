//! The queues' clock.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Source of the queues' time, so that a test can move it.
///
/// It drives deduplication windows, delays, visibility and retention. Long polls wait by real time.
/// After a jump of the clock, call [`Embedded::wake`](crate::Embedded::wake).
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    /// The machine's time at the start, which then advances by the time that passes: a delay lasts as long whatever the machine's clock is set to.
    pub fn system() -> Self {
        let steady = Mutex::new(Steady::starting_at(wall_ms(), Instant::now()));
        Self::new(move || {
            let mut steady = steady.lock().unwrap_or_else(PoisonError::into_inner);
            steady.now_ms(wall_ms(), Instant::now())
        })
    }

    /// A clock that reads `now`, in milliseconds since 1970.
    pub fn new(now: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Always positive: 0 means never.
    pub(crate) fn now_ms(&self) -> i64 {
        (self.0)().max(1)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock(..)")
    }
}

fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    millis(since)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// By how much more than the monotonic clock the machine's clock must have advanced to count as a suspension. Less is the clock being slewed.
const MIN_SUSPENDED_MS: i64 = 500;
/// Longest suspension that is counted: far less than messages are retained, since it may also be a clock that was set.
const MAX_SUSPENDED_MS: i64 = 24 * 3600 * 1000;

/// Time that has passed, including that while the machine was suspended, which the monotonic clock doesn't count.
#[derive(Debug)]
struct Steady {
    start_ms: i64,
    origin: Instant,
    suspended_ms: i64,
    /// By how much the machine's clock was last ahead of the start and the monotonic clock.
    ahead_ms: i64,
}

impl Steady {
    const fn starting_at(wall_ms: i64, origin: Instant) -> Self {
        Self {
            start_ms: wall_ms,
            origin,
            suspended_ms: 0,
            ahead_ms: 0,
        }
    }

    fn now_ms(&mut self, wall_ms: i64, now: Instant) -> i64 {
        let counted_ms = self
            .start_ms
            .saturating_add(millis(now.saturating_duration_since(self.origin)));
        let ahead_ms = wall_ms.saturating_sub(counted_ms);
        let jump_ms = ahead_ms.saturating_sub(self.ahead_ms);
        if jump_ms.saturating_abs() >= MIN_SUSPENDED_MS {
            self.ahead_ms = ahead_ms;
            self.suspended_ms += jump_ms.clamp(0, MAX_SUSPENDED_MS);
        }
        counted_ms.saturating_add(self.suspended_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3600 * 1000;

    /// What the clock shows after each pair of what the machine's clock shows and the seconds that have passed, both from the start.
    fn shown(read: &[(i64, u64)]) -> Vec<i64> {
        let (start_ms, origin) = (1_800_000_000_000, Instant::now());
        let mut steady = Steady::starting_at(start_ms, origin);
        let at = |&(wall_ms, passed_s): &(i64, u64)| {
            let now = origin + Duration::from_secs(passed_s);
            steady.now_ms(start_ms + wall_ms, now) - start_ms
        };
        read.iter().map(at).collect()
    }

    #[test]
    fn clock_that_is_set_back_stops_nothing() {
        let read = [(1000, 1), (2000 - 8 * HOUR_MS, 2), (12_000 - 8 * HOUR_MS, 12)];
        assert_eq!(shown(&read), [1000, 2000, 12_000]);
    }

    #[test]
    fn clock_that_is_set_forward_ends_no_retention() {
        let years_ms = 5 * 365 * 24 * HOUR_MS;
        let read = [(years_ms, 1), (years_ms + 1000, 2), (3000, 3)];
        let day_ms = MAX_SUSPENDED_MS;
        assert_eq!(shown(&read), [1000 + day_ms, 2000 + day_ms, 3000 + day_ms]);
    }

    #[test]
    fn suspension_counts_and_slewing_does_not() {
        let read = [(1300, 1), (2300, 2), (HOUR_MS + 3000, 3), (HOUR_MS + 4000, 4)];
        assert_eq!(shown(&read), [1000, 2000, HOUR_MS + 3000, HOUR_MS + 4000]);
    }
}
