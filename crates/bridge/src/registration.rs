//! Registration of a bot at its platform: our callback address, commands and menus.

use std::time::Duration;

use tieline_core::backoff::Backoff;
use tieline_core::connector::{Proof, TokenError};
use tieline_core::http_types::{ApiAnswer, HttpCall};
use tieline_core::outbound_url;
use tokio::time::sleep;
use tracing::info;

use crate::accounts::Bot;
use crate::courier;
use crate::world::{World, chance};

/// How often a call is made in all, if it fails transiently.
const MAX_ATTEMPTS: u32 = 3;
/// Between two attempts.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_secs(1),
    cap: Duration::from_secs(2),
};
/// The longest `Retry-After` that is waited for: an operator waits for the result.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// A call that the platform has not accepted.
struct Failure {
    code: String,
    /// How long to wait at least before the call is repeated. `None`: repeating it at once is pointless.
    retry_after: Option<Duration>,
}

/// Registers the bot at a platform that requires it. Returns the names and codes of failed calls.
///
/// Calls that fail transiently are repeated after the others, so that one of them doesn't keep another from being made.
pub async fn register(world: &World, bot: &Bot, callback_url: &str) -> Vec<String> {
    if bot.connector.manifest().proof == Proof::Operator {
        return Vec::new();
    }
    let mut pending = bot.connector.registration(callback_url, &bot.context(world, None));
    let mut failed = Vec::new();
    for attempt in 1.. {
        let (mut again, mut wait) = (Vec::new(), BACKOFF.wait(attempt, chance()));
        for call in pending {
            let Some(failure) = make(world, bot, &call).await else {
                continue;
            };
            info!(account.id = %bot.account.integration, call = call.name, code = failure.code, attempt, "platform has not accepted a registration");
            match failure.retry_after.filter(|_| attempt < MAX_ATTEMPTS) {
                Some(least) => {
                    wait = wait.max(least);
                    again.push(call);
                }
                None => failed.push(format!("{}: {}", call.name, failure.code)),
            }
        }
        if again.is_empty() {
            break;
        }
        pending = again;
        sleep(wait).await;
    }
    failed
}

/// Makes one call. `None`: it was accepted.
async fn make(world: &World, bot: &Bot, call: &HttpCall) -> Option<Failure> {
    let is_allowed = outbound_url::check(&call.url, &world.settings.allow_private).is_ok();
    let (code, retry_after) = match courier::send(world, bot, call).await {
        Ok(ApiAnswer::Answered { status: 200..=299, .. }) => return None,
        Ok(ApiAnswer::Answered {
            status, retry_after_s, ..
        }) => (status.to_string(), transient(status, retry_after_s)),
        Ok(ApiAnswer::NotSent | ApiAnswer::Unknown) => ("unreachable".to_owned(), is_allowed.then_some(Duration::ZERO)),
        Err(TokenError::Refused { code }) => (code, None),
        Err(TokenError::Unavailable { code }) => (code, Some(Duration::ZERO)),
    };
    Some(Failure { code, retry_after })
}

/// How long to wait at least after such a status. `None` if it is permanent, or the platform asks for a longer wait than we have time for.
fn transient(status: u16, retry_after_s: Option<u64>) -> Option<Duration> {
    let is_transient = matches!(status, 408 | 429 | 500..=599);
    let wait = Duration::from_secs(retry_after_s.unwrap_or_default());
    (is_transient && wait <= LONGEST_WAIT).then_some(wait)
}
