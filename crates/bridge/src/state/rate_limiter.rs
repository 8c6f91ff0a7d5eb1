//! Blocks of sends that this process took of shared quotas.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quick_cache::unsync::Cache;
use tieline_core::ids::{ChatId, IntegrationId};
use tieline_core::timestamp::Timestamp;

/// Most blocks that are remembered.
const MAX_KEPT: usize = 20_000;
/// Longest block.
const MAX_BLOCK: u32 = 64;

/// Blocks that were taken, by what they are of. Bounded: sends of an evicted block are lost, and a new block is taken.
#[derive(Debug)]
pub struct RateLimiter {
    blocks: Mutex<Cache<Key, Block>>,
}

impl Default for RateLimiter {
    fn default() -> Self {
        Self {
            blocks: Mutex::new(Cache::new(MAX_KEPT)),
        }
    }
}

/// What a block is of: bot, quota and, where the quota is per chat, chat.
pub(crate) type Key = (IntegrationId, &'static str, Option<ChatId>);

/// Sends that were taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    taken: u32,
    left: u32,
    until: Timestamp,
}

impl Block {
    /// How many to take after this one.
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
    /// Uses a send of a block that is still good. Else tells how many to take.
    pub(crate) fn use_one(&self, key: &Key, now: Timestamp) -> Result<(), u32> {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut block) = blocks.get_mut(key) else {
            return Err(1);
        };
        if block.left > 0 && now < block.until {
            block.left -= 1;
            return Ok(());
        }
        // One that ran out long ago says nothing about now.
        let is_recent = now.since(block.until) < Duration::from_secs(5);
        Err(if is_recent { block.next() } else { 1 })
    }

    /// Keeps a block of which one send is used at once.
    pub(crate) fn keep(&self, key: Key, taken: u32, until: Timestamp) {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let left = taken.saturating_sub(1);
        blocks.insert(key, Block { taken, left, until });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
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
        // Two of four were used when their time was over.
        assert_eq!(allowance.use_one(&key, at(10)), Err(2));
        assert_eq!(allowance.use_one(&key, at(100)), Err(1));
    }
}
