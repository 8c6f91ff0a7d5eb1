//! Backoff between retries.

use std::time::Duration;

/// Exponential backoff, capped, with jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest first wait.
    pub base: Duration,
    /// The longest wait of all.
    pub cap: Duration,
}

impl Backoff {
    /// How long to wait before attempt number `attempt` (from 1). `chance` is a random number.
    ///
    /// Between half and all of `min(cap, base · 2^(attempt-1))`, so that a retry is never immediate and concurrent ones spread out.
    #[must_use]
    pub fn wait(self, attempt: u32, chance: u64) -> Duration {
        let factor = 1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        let longest = self.base.saturating_mul(factor).min(self.cap);
        let half = longest / 2;
        let spread = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        half + Duration::from_millis(chance % spread)
    }

    /// Like [`Self::wait`], for waits that don't start concurrently: `min(cap, base · 2^(attempt-1))`, plus or minus a fifth, but never more
    /// than `cap`.
    #[must_use]
    pub fn wait_about(self, attempt: u32, chance: u64) -> Duration {
        let factor = 1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        let nominal = self.base.saturating_mul(factor).min(self.cap);
        let fifth = nominal / 5;
        let spread = u64::try_from((fifth * 2).as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        (nominal - fifth + Duration::from_millis(chance % spread)).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn stays_in_bounds(attempt in 0u32..80, chance: u64, base_ms in 1u64..10_000, cap_ms in 1u64..600_000) {
            let backoff = Backoff { base: Duration::from_millis(base_ms), cap: Duration::from_millis(cap_ms) };
            let wait = backoff.wait(attempt, chance);
            prop_assert!(wait <= backoff.cap.max(Duration::from_millis(1)));
            prop_assert!(wait >= backoff.base.min(backoff.cap) / 2);
            let about = backoff.wait_about(attempt, chance);
            prop_assert!(about <= backoff.cap && about >= backoff.base.min(backoff.cap) * 4 / 5);
        }
    }
}
