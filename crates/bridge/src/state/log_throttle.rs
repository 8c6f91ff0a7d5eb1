//! Throttle of log lines.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quick_cache::unsync::Cache;
use tieline_core::ids::IntegrationId;
use tieline_core::timestamp::Timestamp;

/// Log lines that strangers can provoke are throttled to one per this time.
const QUIET_TIME: Duration = Duration::from_secs(30);
/// Most keys that are remembered.
const MAX_REMEMBERED: usize = 20_000;

/// When each kind of line was last written. Bounded: a line whose key was evicted may be written once more.
#[derive(Debug)]
pub struct LogThrottle {
    last: Mutex<Cache<(IntegrationId, &'static str), Timestamp>>,
}

impl Default for LogThrottle {
    fn default() -> Self {
        Self {
            last: Mutex::new(Cache::new(MAX_REMEMBERED)),
        }
    }
}

impl LogThrottle {
    /// Whether `what` may be written again.
    pub fn lets_pass(&self, id: &IntegrationId, what: &'static str, now: Timestamp) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (id.clone(), what);
        // After the clock was set back no line is suppressed.
        if last
            .get(&key)
            .is_some_and(|at| *at <= now && now.since(*at) < QUIET_TIME)
        {
            return false;
        }
        last.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_line_passes_once_in_a_while() {
        let throttle = LogThrottle::default();
        let id = IntegrationId::new("int_1");
        assert!(throttle.lets_pass(&id, "a", Timestamp::from_secs(0)));
        assert!(!throttle.lets_pass(&id, "a", Timestamp::from_secs(29)));
        assert!(throttle.lets_pass(&id, "b", Timestamp::from_secs(29)));
        assert!(throttle.lets_pass(&id, "a", Timestamp::from_secs(30)));
    }

    #[test]
    fn one_evicted_key_repeats_one_line_and_not_all() {
        let throttle = LogThrottle::default();
        let at = Timestamp::from_secs(0);
        let id = |n: usize| IntegrationId::new(format!("int_{n}"));
        for n in 0..=MAX_REMEMBERED {
            assert!(throttle.lets_pass(&id(n), "a", at));
        }
        let last = throttle.last.lock().unwrap();
        assert_eq!(last.len(), MAX_REMEMBERED);
    }
}
