//! Keeps the limits on sends that all processes share, without a write to the table for every send.
//!
//! A process takes sends in blocks that it must use soon ([`tieline_store::quota`]). A block that was used up in time is followed by
//! one twice as long, one that wasn't by one as long as was of use: a trickle takes one by one and leaves the rest to others.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tieline_core::budget::{Quota, QuotaScope};
use tieline_core::ids::{ChatId, IntegrationId};
use tieline_core::reply::Stage;
use tieline_core::timestamp::Timestamp;
use tieline_store::quota::{self, Taken};
use tracing::warn;

use crate::world::World;

/// Most blocks that are remembered.
const MAX_KEPT: usize = 20_000;
/// Sends of a quota that are kept for final texts.
const RESERVE: u32 = 1;
/// Longest block.
const MAX_BLOCK: u32 = 64;

/// Blocks that were taken, by what they are of.
#[derive(Debug, Default)]
pub struct RateLimiter {
    blocks: Mutex<HashMap<Key, Block>>,
}

type Key = (IntegrationId, &'static str, Option<ChatId>);

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
    fn use_one(&self, key: &Key, now: Timestamp) -> Result<(), u32> {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        match blocks.get_mut(key) {
            Some(block) if block.left > 0 && now < block.until => {
                block.left -= 1;
                Ok(())
            }
            // One that ran out long ago says nothing about now.
            Some(block) if now.since(block.until) < std::time::Duration::from_secs(5) => Err(block.next()),
            _ => Err(1),
        }
    }

    /// Keeps a block of which one send is used at once.
    fn keep(&self, key: Key, taken: u32, until: Timestamp) {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if blocks.len() >= MAX_KEPT {
            blocks.clear();
        }
        let left = taken.saturating_sub(1);
        blocks.insert(key, Block { taken, left, until });
    }
}

/// Takes one send into `chat` of every quota that counts calls of that name. Gives the time before which it may not be sent, if there is one.
///
/// Only a final text takes the last send that is left: growing texts would use up what it needs.
///
/// A table that can't be read delays no call: the platform's own "slower" is obeyed all the same.
pub async fn take(
    world: &World,
    bot: &IntegrationId,
    chat: &ChatId,
    call: &str,
    stage: Stage,
    quotas: &[Quota],
) -> Option<Timestamp> {
    let reserve = if stage == Stage::Final { 0 } else { RESERVE };
    for limit in quotas.iter().filter(|limit| limit.counts(call)) {
        let chat = (limit.scope == QuotaScope::Chat).then_some(chat);
        let key = (bot.clone(), limit.name, chat.cloned());
        let now = world.clock.now();
        let Err(n) = world.rate_limiter.use_one(&key, now) else {
            continue;
        };
        match quota::take(&world.store, bot, limit, chat, n, reserve, now).await {
            Ok(Taken::Granted { n, until }) => world.rate_limiter.keep(key, n, until),
            Ok(Taken::Wait(at)) => return Some(at),
            Err(error) => warn!(account.id = %bot, error = %error, "shared limit can't be read"),
        }
    }
    None
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
