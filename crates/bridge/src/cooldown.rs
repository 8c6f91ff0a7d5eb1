//! Cooldowns of a bot's ways to show a reply: after a platform refused one, it isn't tried for a while.
//!
//! Kept in this process's memory: another process finds out with one call of its own, and a restart clears them.

use std::time::Duration;

use tracing::warn;

use crate::accounts::Bot;
use crate::world::World;
use crate::{delivery_status, integration_log};

/// Code of the entries in an integration's log that list the permissions which the platform misses.
pub const PERMISSION_MISSING: &str = "permission_missing";

/// Starts a cooldown of one way of the bot, and writes the reason to its log.
pub(crate) async fn rest(world: &World, bot: &Bot, way: &'static str, rest: Duration, code: &str) {
    let (id, now) = (&bot.account.integration, world.clock.now());
    world.cooldowns.rest(id, way, now.after(rest), now);
    let minutes = rest.as_secs() / 60;
    let message = format!("the platform refuses replies by {way}, which rests for {minutes} minutes: code {code}");
    warn!(account.id = %id, way, code, "the platform refused this way of replying: it cools down, and replies take another");
    integration_log::warn(world, id, "way_closed", &message).await;
    delivery_status::call_refused(world, id, code).await;
}

/// Starts a cooldown of the bot's richer way to show answers, and writes the reason to its log.
pub(crate) async fn close(world: &World, bot: &Bot, rest: Duration, code: &str, missing: &[String]) {
    let id = &bot.account.integration;
    let now = world.clock.now();
    world.cooldowns.close(id, now.after(rest), now);
    let minutes = rest.as_secs() / 60;
    let message =
        format!("the platform refuses the richer way to show answers, which rests for {minutes} minutes: code {code}");
    if !missing.is_empty() {
        integration_log::warn(world, id, PERMISSION_MISSING, &missing.join(", ")).await;
    }
    warn!(account.id = %id, code, "the platform refused the richer way of replying: it cools down, and replies take another");
    integration_log::warn(world, id, "way_closed", &message).await;
    delivery_status::call_refused(world, id, code).await;
}
