//! Keeps the limits on sends that all processes share, without a write to the table for every send.
//!
//! A process that makes few of a quota's sends doesn't count them with the others, unless the platform has asked to go slower
//! ([`crate::state::rate_limiter`]). Else it takes sends in blocks that it must use soon ([`tieline_store::quota`]). A block that was used up in time is followed by
//! one twice as long, one that wasn't by one as long as was of use: a trickle takes one by one and leaves the rest to others.

use tieline_core::budget::{Quota, QuotaScope};
use tieline_core::ids::{ChatId, IntegrationId};
use tieline_core::reply::Stage;
use tieline_core::timestamp::Timestamp;
use tieline_store::quota::{self, Taken};
use tracing::warn;

use crate::state::rate_limiter::Counted;
use crate::world::World;

/// Sends of a quota that are kept for final texts.
const RESERVE: u32 = 1;

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
        let Counted::Together(n_earlier) = world.rate_limiter.tally(&key, limit, now) else {
            continue;
        };
        if n_earlier > 0
            && let Ok(Taken::Wait(at)) = quota::take(&world.store, bot, limit, chat, n_earlier, reserve, now).await
        {
            return Some(at);
        }
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
