//! Lookups: calls that ask a platform about an attachment or a quoted message.

use std::time::Duration;

use tieline_core::backoff::Backoff;
use tieline_core::connector::{Lookup, MediaError, TokenError};
use tieline_core::http_types::ApiAnswer;
use tokio::time::{Instant, sleep};

use crate::accounts::Bot;
use crate::courier;
use crate::world::{World, chance};

/// Most retries after a transient failure.
const MAX_RETRIES: u32 = 2;
/// Between two attempts. At least one second: most rate limits are per second.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_secs(2),
    cap: Duration::from_secs(4),
};

/// Why a lookup failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    /// No access token.
    #[error("no access token")]
    Token(#[from] TokenError),
    /// The platform doesn't return what was asked for.
    #[error("the platform does not return it")]
    Refused(#[from] MediaError),
}

/// Sends a lookup and reads its answer. Retries failures that the platform calls transient, if the wait ends before `until`, and fetches a new
/// token if the platform no longer accepts the old one.
///
/// # Errors
/// [`LookupError`].
pub(crate) async fn look_up<T>(
    world: &World,
    bot: &Bot,
    lookup: &Lookup<'_, T>,
    until: Instant,
) -> Result<T, LookupError> {
    let (mut renewed, mut failures) = (false, 0);
    loop {
        let answer = courier::send(world, bot, &lookup.call).await?;
        match (lookup.read)(&answer) {
            Err(MediaError::TokenExpired) if !renewed => {
                renewed = true;
                courier::forget_token(world, bot).await;
            }
            Err(MediaError::Passing) if failures < MAX_RETRIES => {
                failures += 1;
                let wait = wait_after(&answer, failures);
                if Instant::now() + wait >= until {
                    return Err(MediaError::Passing.into());
                }
                sleep(wait).await;
            }
            read => return Ok(read?),
        }
    }
}

/// How long to wait before retry number `attempt`.
fn wait_after(answer: &ApiAnswer, attempt: u32) -> Duration {
    let least = match answer {
        ApiAnswer::Answered { retry_after_s, .. } => retry_after_s.unwrap_or_default(),
        ApiAnswer::NotSent | ApiAnswer::Unknown => 0,
    };
    BACKOFF.wait(attempt, chance()).max(Duration::from_secs(least))
}

#[cfg(test)]
mod tests;
