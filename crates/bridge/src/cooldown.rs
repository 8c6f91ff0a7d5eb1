//! Cooldowns of showing a reply that a platform has closed for a bot, for a while.
//!
//! In this process's memory: another one finds out with one call of its own, and a restart forgives.

use std::time::Duration;

use tracing::warn;

use crate::accounts::Bot;
use crate::world::World;
use crate::{delivery_status, integration_log};

/// The code under which an integration's log has the permissions that its platform misses.
pub const PERMISSION_MISSING: &str = "permission_missing";

/// Lets a way of the bot rest for a while, and tells its operator why.
pub(crate) async fn rest(world: &World, bot: &Bot, way: &'static str, rest: Duration, code: &str) {
    let (id, now) = (&bot.account.integration, world.clock.now());
    world.cooldowns.rest(id, way, now.after(rest), now);
    let minutes = rest.as_secs() / 60;
    let message = format!("the platform refuses replies by {way}, which rests for {minutes} minutes: code {code}");
    warn!(account.id = %id, way, code, "reply takes another way, and so do the next ones");
    integration_log::warn(world, id, "way_closed", &message).await;
    delivery_status::call_refused(world, id, code).await;
}

/// Closes the bot's richer way for a while, and tells its operator why.
pub(crate) async fn close(world: &World, bot: &Bot, rest: Duration, code: &str, missing: &[String]) {
    let id = &bot.account.integration;
    world.cooldowns.close(id, world.clock.now().after(rest));
    let minutes = rest.as_secs() / 60;
    let message =
        format!("the platform refuses the richer way to show answers, which rests for {minutes} minutes: code {code}");
    if !missing.is_empty() {
        integration_log::warn(world, id, PERMISSION_MISSING, &missing.join(", ")).await;
    }
    warn!(account.id = %id, code, "reply takes another way, and so do the next ones");
    integration_log::warn(world, id, "way_closed", &message).await;
    delivery_status::call_refused(world, id, code).await;
}
