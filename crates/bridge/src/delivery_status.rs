//! What deliveries report to a bot's status and log: refused credentials, rate limits, refused calls.

use tieline_core::connector::LimitScope;
use tieline_core::ids::{IntegrationId, MessageId};
use tieline_core::message_state::LedgerStep;
use tieline_core::timestamp::Timestamp;
use tieline_store::message;
use tieline_store::status::{self, StatusChange, StatusError};
use tracing::{debug, warn};

use crate::integration_log;
use crate::world::World;

/// Code of refused credentials in an integration's log.
const CONFIG_INVALID: &str = "config_invalid";
/// [`StatusError::message`] for several calls in a row that failed transiently.
pub const CALLS_FAIL: &str = "calls to the platform fail and are retried";
/// The code of a bot's rate limit in its log and on the ledger.
const RATE_LIMITED: &str = "rate_limited";
/// The code of one chat's rate limit in the bot's log.
const CHAT_RATE_LIMITED: &str = "chat_rate_limited";

/// The platform refused the bot's credentials, in a delivery or a probe.
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

/// A rate limit reported by the platform.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateLimit<'a> {
    /// The platform's code.
    pub(crate) code: &'a str,
    /// Whether it applies to the bot or to one chat.
    pub(crate) scope: LimitScope,
    /// When it ends, if the platform says so.
    pub(crate) until: Option<Timestamp>,
}

/// The platform throttles calls. A limit of one chat is not a limit of the bot: it is only logged.
pub(crate) async fn rate_limited(world: &World, id: &IntegrationId, limit: &RateLimit<'_>) {
    let RateLimit { code, scope, until } = *limit;
    let end = until.map_or_else(String::new, |until| format!(" until {until}"));
    let (log_code, whose) = match scope {
        LimitScope::Bot => (RATE_LIMITED, "the bot"),
        LimitScope::Chat => (CHAT_RATE_LIMITED, "one chat"),
    };
    let message = format!("the platform limits the rate of {whose}{end}: code {code}; replies wait and are not lost");
    integration_log::warn(world, id, log_code, &message).await;
    // Chats that meet the same limit report it within moments of each other.
    let is_new = |until: &Timestamp| world.cooldowns.limit(id, *until, world.clock.now());
    if let Some(until) = until.filter(|until| scope == LimitScope::Bot && is_new(until)) {
        let changes = [
            StatusChange::RateLimitedUntil(Some(until)),
            StatusChange::CallsHeldUntil(Some(until)),
        ];
        integration_log::note_all(world, id, &changes).await;
    }
}

/// The bot's account has changed, or an operator wants to try: rate limits that the platform has set before hold back no call. Another process
/// that knows one keeps it until its end.
pub async fn lift_limits(world: &World, id: &IntegrationId) {
    world.cooldowns.lift(id);
    let changes = [StatusChange::RateLimitedUntil(None), StatusChange::CallsHeldUntil(None)];
    integration_log::note_all(world, id, &changes).await;
}

/// Reads the bot's rate limit that another process has stored, once per bot and process: a platform may extend the limit of a bot that goes on
/// calling. If the table can't be read, the next call tries again.
pub(crate) async fn read_stored_limit(world: &World, id: &IntegrationId) {
    if world.cooldowns.is_stored_limit_read(id) {
        return;
    }
    match status::calls_held_until(&world.store, id).await {
        Ok(until) => world.cooldowns.note_stored_limit(id, until, world.clock.now()),
        Err(error) => debug!(account.id = %id, error = %error, "stored rate limit of the bot can't be read"),
    }
}

/// Adds the step of a reply that a rate limit delays to the ledger.
pub(crate) async fn note_limit(world: &World, message: &MessageId, code: &str) {
    note(world, message, RATE_LIMITED, code).await;
}

/// Adds the step of a reply whose files the platform takes in no form, not even as links, to the ledger.
pub(crate) async fn note_lost_files(world: &World, message: &MessageId, code: &str) {
    note(world, message, "files_not_sent", code).await;
}

async fn note(world: &World, message: &MessageId, step: &str, code: &str) {
    let entry = LedgerStep::new(world.clock.now(), step).code(code);
    if let Err(error) = message::note(&world.store, message, &[entry]).await {
        warn!(event.key = %message, error = %error, "{step} can't be recorded in the ledger");
    }
}

/// The platform refused a call for good. The end of the reply is logged by the code that ends it.
pub(crate) async fn call_refused(world: &World, id: &IntegrationId, code: &str) {
    let error = error_now(world, code, "the platform refuses a call");
    integration_log::note_often(world, id, "call_refused", StatusChange::LastError(error)).await;
}

/// Several calls in a row have failed transiently, the last one with `code`.
pub(crate) async fn calls_failing(world: &World, id: &IntegrationId, code: &str) {
    integration_log::warn(world, id, "platform_unavailable", &format!("{CALLS_FAIL}: code {code}")).await;
    let error = error_now(world, code, CALLS_FAIL);
    integration_log::note_often(world, id, "calls_failing", StatusChange::LastError(error)).await;
}

fn error_now(world: &World, code: &str, message: &str) -> StatusError {
    StatusError {
        at: world.clock.now(),
        code: code.to_owned(),
        message: message.to_owned(),
    }
}
