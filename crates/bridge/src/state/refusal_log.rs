//! Sampling of log lines about refused requests.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tieline_core::timestamp::Timestamp;

/// Sampling window.
const WINDOW: Duration = Duration::from_secs(30);
/// Most lines about refused requests in [`WINDOW`], of all integrations together.
const MAX_REFUSALS: u32 = 20;

/// Samples refused requests: strangers can provoke any number, and the log must neither grow with them nor hide them.
#[derive(Debug, Default)]
pub struct RefusalLog {
    window: Mutex<RefusalWindow>,
}

#[derive(Debug, Default)]
struct RefusalWindow {
    begun_at: Option<Timestamp>,
    n_logged: u32,
    n_left_out: u64,
}

impl RefusalLog {
    /// Whether a refusal is logged: then the number of those left out before it.
    pub fn sample(&self, now: Timestamp) -> Option<u64> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        // After the clock was set back a new window starts.
        let is_open = window.begun_at.is_some_and(|at| at <= now && now.since(at) < WINDOW);
        if !is_open {
            window.begun_at = Some(now);
            window.n_logged = 0;
        }
        if window.n_logged >= MAX_REFUSALS {
            window.n_left_out += 1;
            return None;
        }
        window.n_logged += 1;
        Some(std::mem::take(&mut window.n_left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_sampled_and_those_left_out_are_counted() {
        let log = RefusalLog::default();
        let at = |s| Timestamp::from_secs(s);
        for _ in 0..MAX_REFUSALS {
            assert_eq!(log.sample(at(100)), Some(0));
        }
        for _ in 0..1000 {
            assert_eq!(log.sample(at(129)), None);
        }
        assert_eq!(log.sample(at(130)), Some(1000));
        assert_eq!(log.sample(at(130)), Some(0));
        // The clock was set back.
        assert_eq!(log.sample(at(50)), Some(0));
    }
}
