//! Rate limiter of callbacks, per bot: a flood at one bot's address must not use up the functions and tables that all bots share.
//!
//! Processing a callback takes about twelve milliseconds of an instance, which serves one at a time. So callbacks beyond [`INTERVAL`] would mostly
//! be throttled anyway, and are refused here at less cost. Platforms redeliver refused callbacks.

use std::collections::HashMap;
use std::time::Duration;

use tieline_core::ids::is_shaped;
use tokio::time::Instant;

/// Interval at which a bot's callbacks are admitted by this instance: a hundred a second.
const INTERVAL: Duration = Duration::from_millis(10);
/// Callbacks of a bot that may arrive in a burst.
const BURST: u32 = 200;
/// Most bots that are counted. Entries whose time has passed are dropped.
const MAX_BOTS: usize = 4096;

/// Counts callbacks per bot as the theoretical arrival time of the next one (generic cell rate algorithm). Bounded.
#[derive(Debug, Default)]
pub(crate) struct CallbackLimiter {
    free_at: HashMap<Box<str>, Instant>,
}

impl CallbackLimiter {
    /// Counts a callback of `integration`. Returns whether it may be processed.
    pub(crate) fn admit(&mut self, integration: &str, now: Instant) -> bool {
        // Not counted here: it is refused without a read, and may have any length.
        if !is_shaped("int", integration) {
            return true;
        }
        let free_at = self.free_at.get(integration).copied().unwrap_or(now).max(now);
        if free_at >= now + INTERVAL * BURST {
            return false;
        }
        if self.free_at.len() >= MAX_BOTS {
            self.free_at.retain(|_, free_at| *free_at > now);
        }
        if self.free_at.len() < MAX_BOTS || self.free_at.contains_key(integration) {
            self.free_at.insert(integration.into(), free_at + INTERVAL);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bot(n: usize) -> String {
        format!("int_{n:024x}")
    }

    #[test]
    fn a_bot_gets_a_hundred_callbacks_a_second_after_a_burst_and_others_lose_none() {
        let (mut limiter, start) = (CallbackLimiter::default(), Instant::now());
        let (flooded, quiet) = (bot(1), bot(2));
        let admitted = |limiter: &mut CallbackLimiter, from: u64, to: u64| {
            let at = (from..to).map(|ms| start + Duration::from_millis(ms));
            // Five a millisecond.
            at.flat_map(|at| [at; 5])
                .filter(|at| limiter.admit(&flooded, *at))
                .count()
        };
        assert_eq!(admitted(&mut limiter, 0, 1000), 200 + 100);
        assert_eq!(admitted(&mut limiter, 1000, 2000), 100);
        assert!(limiter.admit(&quiet, start + Duration::from_secs(2)));
        assert_eq!(admitted(&mut limiter, 10_000, 10_001), 5, "it has recovered");
    }

    #[test]
    fn made_up_bot_ids_use_no_memory() {
        let (mut limiter, start) = (CallbackLimiter::default(), Instant::now());
        for n in 0..3 * MAX_BOTS {
            assert!(limiter.admit(&bot(n), start), "what isn't counted is processed");
        }
        assert_eq!(limiter.free_at.len(), MAX_BOTS);
        assert!(limiter.admit(&bot(9 * MAX_BOTS), start + INTERVAL));
        assert_eq!(limiter.free_at.len(), 1, "what says nothing any more is dropped");
        assert!(limiter.admit(&"x".repeat(9999), start));
        assert_eq!(limiter.free_at.len(), 1);
    }
}
