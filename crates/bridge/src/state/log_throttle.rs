//! Throttle of log lines.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tieline_core::ids::IntegrationId;
use tieline_core::timestamp::Timestamp;

/// Lines that strangers can provoke are throttled to one in this time.
const QUIET_TIME: Duration = Duration::from_secs(30);
/// Most keys that are remembered.
const MAX_REMEMBERED: usize = 20_000;

/// Remembers when something was last written.
#[derive(Debug, Default)]
pub struct LogThrottle {
    last: Mutex<HashMap<(IntegrationId, &'static str), Timestamp>>,
}

impl LogThrottle {
    /// Whether `what` may be written again.
    pub fn lets_pass(&self, id: &IntegrationId, what: &'static str, now: Timestamp) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= MAX_REMEMBERED {
            last.clear();
        }
        let key = (id.clone(), what);
        // A clock that was set back suppresses no line.
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
    fn the_same_is_let_pass_once_in_a_while() {
        let throttle = LogThrottle::default();
        let id = IntegrationId::new("int_1");
        assert!(throttle.lets_pass(&id, "a", Timestamp::from_secs(0)));
        assert!(!throttle.lets_pass(&id, "a", Timestamp::from_secs(29)));
        assert!(throttle.lets_pass(&id, "b", Timestamp::from_secs(29)));
        assert!(throttle.lets_pass(&id, "a", Timestamp::from_secs(30)));
    }
}
