//! Rate limiter for quotas shared by all processes, without a write to the table for every send.
//!
//! A process that makes only few of a quota's sends doesn't count them with the others, unless the platform has asked to slow down
//! ([`crate::state::rate_limiter`]). Else it reserves sends in blocks that it must use soon ([`tieline_store::quota`]). After a block that was used up in
//! time the next is twice as long, after another one as long as the part that was used: a trickle reserves one send at a time and leaves the rest to others.
//!
//! Calls over a bot's only connection all come from the process that holds it, so it counts them by itself. A new holder doesn't know what
//! the previous one has sent: if that is too much, the platform asks to slow down, and from then on every send is counted in the table too.

use tieline_core::budget::{Quota, QuotaScope};
use tieline_core::ids::{ChatId, IntegrationId};
use tieline_core::reply::Stage;
use tieline_core::timestamp::Timestamp;
use tieline_store::quota::{self, Taken};
use tracing::warn;

use crate::state::rate_limiter::Counted;
use crate::world::World;

/// Sends of a quota reserved for final texts.
const RESERVE: u32 = 1;

/// A call that is about to be sent.
#[derive(Debug, Clone, Copy)]
pub struct PlannedCall<'a> {
    /// The bot.
    pub bot: &'a IntegrationId,
    /// The chat it goes to.
    pub chat: &'a ChatId,
    /// Its name: see [`tieline_core::http_types::ApiCall::name`].
    pub name: &'a str,
    /// What it shows. Only a final text may take the last send that is left: growing texts would use up what it needs.
    pub stage: Stage,
    /// Whether it goes over the bot's only connection, which this process holds.
    pub over_own_connection: bool,
}

/// Takes one send of every quota that counts the call. Returns the time before which it may not be sent, if there is one.
///
/// A table that can't be read delays no call: if the platform itself throttles, that is obeyed all the same.
pub async fn take(world: &World, call: PlannedCall<'_>, quotas: &[Quota]) -> Option<Timestamp> {
    let PlannedCall { bot, chat, stage, .. } = call;
    let reserve = if stage == Stage::Final { 0 } else { RESERVE };
    for limit in quotas.iter().filter(|limit| limit.counts(call.name)) {
        let chat = (limit.scope == QuotaScope::Chat).then_some(chat);
        let key = (bot.clone(), limit.name, chat.cloned());
        let now = world.clock.now();
        if call.over_own_connection {
            if let Err(at) = world.rate_limiter.take_alone(&key, limit, reserve, now) {
                return Some(at);
            }
            if !world.rate_limiter.is_strict(bot, now) {
                continue;
            }
        }
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
