//! Facts about a bot that its deliveries learn, for its status and its log: refused credentials, rate limits, refusals.

use tieline_core::ids::IntegrationId;
use tieline_core::timestamp::Timestamp;
use tieline_store::status::{StatusChange, StatusError};

use crate::integration_log;
use crate::world::World;

/// The code under which refused credentials are in an integration's log.
const CONFIG_INVALID: &str = "config_invalid";

/// The platform refused the bot's credentials, to a delivery or to a probe.
pub(crate) async fn credentials_refused(world: &World, id: &IntegrationId, code: &str) {
    let message = "the platform refuses the credentials";
    integration_log::warn(world, id, CONFIG_INVALID, &format!("{message}: code {code}")).await;
    let error = error_now(world, code, message);
    let changes = [
        StatusChange::CredentialsRefused(Some(error.clone())),
        StatusChange::LastError(error),
    ];
    integration_log::note_all(world, id, &changes).await;
}

/// The platform asked the bot to send nothing before `until`.
pub(crate) async fn rate_limited(world: &World, id: &IntegrationId, until: Timestamp) {
    // Chats that meet the same limit say the same within moments.
    if world.cooldowns.limit(id, until) {
        integration_log::note(world, id, StatusChange::RateLimitedUntil(Some(until))).await;
    }
}

/// The platform refused a call for good. The reply's own end is logged by who ends it.
pub(crate) async fn call_refused(world: &World, id: &IntegrationId, code: &str) {
    let error = error_now(world, code, "the platform refuses a call");
    integration_log::note_often(world, id, "call_refused", StatusChange::LastError(error)).await;
}

/// Several calls in a row have failed in passing, the last one with `code`.
pub(crate) async fn calls_failing(world: &World, id: &IntegrationId, code: &str) {
    let message = "calls to the platform fail and are retried";
    integration_log::warn(world, id, "platform_unavailable", &format!("{message}: code {code}")).await;
    let error = error_now(world, code, message);
    integration_log::note_often(world, id, "calls_failing", StatusChange::LastError(error)).await;
}

fn error_now(world: &World, code: &str, message: &str) -> StatusError {
    StatusError {
        at: world.clock.now(),
        code: code.to_owned(),
        message: message.to_owned(),
    }
}
