//! This process's sends of shared quotas: a few uncounted, more in blocks reserved from the table.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quick_cache::unsync::Cache;
use tieline_core::budget::Quota;
use tieline_core::ids::{ChatId, IntegrationId};
use tieline_core::timestamp::Timestamp;
use tieline_store::quota;

/// Most blocks remembered.
const MAX_KEPT: usize = 20_000;
/// Longest block.
const MAX_BLOCK: u32 = 64;
/// The part of a quota that a process may send per window without counting it in the table: one in so many. Two windows may meet, so one
/// process makes at most half of the sends uncounted, and a second one the other half.
const OWN_SHARE: u32 = 4;
/// How long every send of a bot is counted in the table after its platform has throttled it.
const STRICT: Duration = Duration::from_mins(10);

/// Reserved blocks, by their key. Bounded: sends of an evicted block are lost, and a new block is reserved.
#[derive(Debug)]
pub struct RateLimiter {
    blocks: Mutex<Cache<Key, Block>>,
    tallies: Mutex<Cache<Key, Tally>>,
    /// Up to when this process has given out sends over connections that only it has: see [`quota::take_alone`].
    alone: Mutex<Cache<Key, i64>>,
    strict: Mutex<Cache<IntegrationId, Timestamp>>,
}

/// This process's recent sends of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tally {
    from: Timestamp,
    last: Timestamp,
    n: u32,
    /// Sends of the window before, if it ended recently: the platform counts both together.
    n_before: u32,
    is_shared: bool,
}

/// Whether a send must be counted in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// No: this process has made few.
    Alone,
    /// Yes, and so must be this many earlier ones.
    Together(u32),
}

impl Default for RateLimiter {
    fn default() -> Self {
        Self {
            blocks: Mutex::new(Cache::new(MAX_KEPT)),
            tallies: Mutex::new(Cache::new(MAX_KEPT)),
            alone: Mutex::new(Cache::new(MAX_KEPT)),
            strict: Mutex::new(Cache::new(MAX_KEPT)),
        }
    }
}

/// Key of a block: bot, quota and, where the quota is per chat, chat.
pub(crate) type Key = (IntegrationId, &'static str, Option<ChatId>);

/// Sends that were reserved together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    taken: u32,
    left: u32,
    until: Timestamp,
}

impl Block {
    /// How many to reserve after this block.
    fn next(self) -> u32 {
        let used = self.taken - self.left;
        if self.left == 0 {
            (self.taken * 2).min(MAX_BLOCK)
        } else {
            used.max(1)
        }
    }
}

impl RateLimiter {
    /// The bot's platform throttles: other processes may be sending too.
    pub(crate) fn slowed(&self, bot: &IntegrationId, now: Timestamp) {
        let mut strict = self.strict.lock().unwrap_or_else(PoisonError::into_inner);
        strict.insert(bot.clone(), now.after(STRICT));
    }

    /// Whether the bot's platform has throttled recently.
    pub(crate) fn is_strict(&self, bot: &IntegrationId, now: Timestamp) -> bool {
        let strict = self.strict.lock().unwrap_or_else(PoisonError::into_inner);
        strict.peek(bot).is_some_and(|until| now < *until)
    }

    /// Takes a send over a connection that only this process has.
    ///
    /// # Errors
    /// The time of the next send.
    pub(crate) fn take_alone(&self, key: &Key, quota: &Quota, reserve: u32, now: Timestamp) -> Result<(), Timestamp> {
        let mut alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let given_out = alone.get(key).copied().unwrap_or_default();
        alone.insert(key.clone(), quota::take_alone(quota, given_out, reserve, now)?);
        Ok(())
    }

    /// Whether one more send must be counted in the table. The uncounted ones are few enough for two processes that know
    /// nothing of each other.
    pub(crate) fn tally(&self, key: &Key, quota: &Quota, now: Timestamp) -> Counted {
        let is_strict = self.is_strict(&key.0, now);
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let known = tallies.get(key).copied();
        let current = |it: &Tally| {
            let since = if it.is_shared { it.last } else { it.from };
            now.since(since) < quota.per
        };
        let before = known.filter(|it| !it.is_shared && now.since(it.last) < quota.per);
        let mut tally = known.filter(current).unwrap_or(Tally {
            from: now,
            last: now,
            n: 0,
            n_before: before.map_or(0, |before| before.n),
            is_shared: false,
        });
        tally.last = now;
        let counted = if tally.is_shared {
            Counted::Together(0)
        } else if !is_strict && tally.n < quota.sends / OWN_SHARE {
            tally.n += 1;
            Counted::Alone
        } else {
            tally.is_shared = true;
            Counted::Together(tally.n + tally.n_before)
        };
        tallies.insert(key.clone(), tally);
        counted
    }

    /// Uses a send of a valid block. Else returns how many to reserve.
    pub(crate) fn use_one(&self, key: &Key, now: Timestamp) -> Result<(), u32> {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut block) = blocks.get_mut(key) else {
            return Err(1);
        };
        if block.left > 0 && now < block.until {
            block.left -= 1;
            return Ok(());
        }
        // A block that expired long ago says nothing about the current rate.
        let is_recent = now.since(block.until) < Duration::from_secs(5);
        Err(if is_recent { block.next() } else { 1 })
    }

    /// Stores a new block, of which one send is used at once.
    pub(crate) fn keep(&self, key: Key, taken: u32, until: Timestamp) {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let left = taken.saturating_sub(1);
        blocks.insert(key, Block { taken, left, until });
    }
}

#[cfg(test)]
mod tests {
    use tieline_core::budget::{Calls, QuotaScope};

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    const QUOTA: Quota = Quota {
        name: "api",
        scope: QuotaScope::Account,
        sends: 8,
        per: Duration::from_secs(10),
        calls: Calls::All,
    };

    #[test]
    fn few_sends_of_a_process_are_not_counted_in_the_table() {
        let limiter = RateLimiter::default();
        let key: Key = (IntegrationId::new("int_1"), "api", None);
        let tally = |secs| limiter.tally(&key, &QUOTA, at(secs));
        assert_eq!((tally(0), tally(9)), (Counted::Alone, Counted::Alone));
        // A new window.
        assert_eq!((tally(10), tally(11)), (Counted::Alone, Counted::Alone));
        // The uncounted sends are counted too, once: also those of the window before, which may lie only seconds back.
        assert_eq!((tally(12), tally(13)), (Counted::Together(4), Counted::Together(0)));
        assert_eq!(tally(22), Counted::Together(0), "for as long as it goes on");
        assert_eq!(tally(32), Counted::Alone);
        assert_eq!((tally(50), tally(51)), (Counted::Alone, Counted::Alone));
        assert_eq!(tally(52), Counted::Together(2), "the window before ended long ago");
    }

    #[test]
    fn every_send_is_counted_after_the_platform_throttled() {
        let limiter = RateLimiter::default();
        let key: Key = (IntegrationId::new("int_1"), "api", None);
        limiter.slowed(&key.0, at(0));
        assert_eq!(limiter.tally(&key, &QUOTA, at(1)), Counted::Together(0));
        let other: Key = (IntegrationId::new("int_2"), "api", None);
        assert_eq!(limiter.tally(&other, &QUOTA, at(1)), Counted::Alone);
        assert_eq!(limiter.tally(&key, &QUOTA, at(700)), Counted::Alone);
    }

    #[test]
    fn sends_over_an_own_connection_are_counted_without_the_table() {
        let limiter = RateLimiter::default();
        let key: Key = (IntegrationId::new("int_1"), "api", None);
        let take = |reserve, secs| limiter.take_alone(&key, &QUOTA, reserve, at(secs));
        assert_eq!(take(0, 0), Ok(()));
        // Two at once, of which the second is reserved for the final text.
        let wait = take(1, 0).unwrap_err();
        assert!(wait > at(0) && wait <= at(2), "{wait}");
        assert_eq!(take(0, 0), Ok(()));
        assert!(take(0, 0).is_err());
        assert_eq!(take(1, 4), Ok(()));
    }

    #[test]
    fn blocks_grow_with_use_and_shrink_without() {
        let allowance = RateLimiter::default();
        let key: Key = (IntegrationId::new("int_1"), "api", None);
        assert_eq!(allowance.use_one(&key, at(0)), Err(1));
        allowance.keep(key.clone(), 1, at(6));
        assert_eq!(allowance.use_one(&key, at(1)), Err(2));
        allowance.keep(key.clone(), 2, at(7));
        assert_eq!(allowance.use_one(&key, at(2)), Ok(()));
        assert_eq!(allowance.use_one(&key, at(3)), Err(4));
        allowance.keep(key.clone(), 4, at(9));
        assert_eq!(allowance.use_one(&key, at(4)), Ok(()));
        // Two of four were used when the block expired.
        assert_eq!(allowance.use_one(&key, at(10)), Err(2));
        assert_eq!(allowance.use_one(&key, at(100)), Err(1));
    }
}
