//! Error codes of the platform, and their meaning for a reply.

use std::time::Duration;

use tieline_core::connector::{LimitScope, Verdict};
use tieline_core::http_types::ApiAnswer;

use super::wire::ApiBody;

/// Ban by the platform's CDN (Cloudflare), which responds without JSON. It ends if all traffic stops.
///
/// See [Discord Docs/Invalid Request Limit](https://discord.com/developers/docs/topics/rate-limits#invalid-request-limit-aka-cloudflare-bans).
const BAN: Duration = Duration::from_mins(10);
/// Wait after too many direct channels were opened. The platform doesn't say how long its limit lasts.
const DIRECT_CHANNELS: Duration = Duration::from_mins(1);
/// Longest wait that is accepted.
const MAX_WAIT_S: f64 = 24.0 * 3600.0;

/// Meaning of a response.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Success.
    Done(ApiBody),
    /// No response, a transient fault, or rate limited: with the verdict.
    Later(Verdict),
    /// Refused.
    Refused { meaning: Meaning, code: String },
}

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The interaction's token has expired or is invalid.
    TokenGone,
    /// The message was deleted.
    MessageGone,
    /// Too many edits of a message that is more than an hour old.
    TooOldToEdit,
    /// The bot lacks permission to read the message that it refers to.
    NoHistory,
    /// The server's automatic moderation blocks the text.
    Blocked,
    /// The bot's token is wrong or was reset.
    BadToken,
    /// Too many direct channels were opened in a short time.
    TooManyDirect,
    /// Refused permanently.
    Other,
}

/// See [Discord Docs/JSON Error Codes](https://discord.com/developers/docs/topics/opcodes-and-status-codes#json).
const fn meaning(code: i64) -> Meaning {
    match code {
        10015 | 10062 | 50027 => Meaning::TokenGone,
        10008 => Meaning::MessageGone,
        30046 => Meaning::TooOldToEdit,
        40003 => Meaning::TooManyDirect,
        160_002 => Meaning::NoHistory,
        200_000 | 200_001 => Meaning::Blocked,
        _ => Meaning::Other,
    }
}

/// Reads a response.
pub(super) fn outcome(answer: &ApiAnswer) -> Outcome {
    let ApiAnswer::Answered {
        status,
        retry_after_s,
        body,
    } = answer
    else {
        let code = "unreachable".to_owned();
        return Outcome::Later(Verdict::Retry { code });
    };
    let body: Option<ApiBody> = serde_json::from_slice(body).ok();
    let header = retry_after_s.map(Duration::from_secs);
    if let Some(ban) = ban(answer) {
        return Outcome::Later(Verdict::SlowDown {
            retry_after: Some(ban),
            code: format!("http_{status}"),
            scope: LimitScope::Bot,
        });
    }
    match (status, body) {
        (200..=299, body) => Outcome::Done(body.unwrap_or_default()),
        // Refused with 429 too, but another attempt would be refused as long as the message is that old.
        (429, Some(body)) if meaning(body.code) != Meaning::TooOldToEdit => Outcome::Later(Verdict::SlowDown {
            retry_after: body.retry_after.and_then(seconds).or(header),
            code: busy_code(&body),
            scope: scope(&body),
        }),
        (500..=599, _) => Outcome::Later(Verdict::Retry {
            code: format!("http_{status}"),
        }),
        (_, Some(body)) if meaning(body.code) == Meaning::TooManyDirect => Outcome::Later(Verdict::SlowDown {
            retry_after: header.or(Some(DIRECT_CHANNELS)),
            code: busy_code(&body),
            scope: LimitScope::Chat,
        }),
        (_, body) => {
            let code = body.map_or(0, |body| body.code);
            Outcome::Refused {
                meaning: if *status == 401 && meaning(code) == Meaning::Other {
                    Meaning::BadToken
                } else {
                    meaning(code)
                },
                code: refusal_code(*status, code),
            }
        }
    }
}

/// How long all traffic has to stop, if the response is a ban. A shorter `Retry-After` doesn't end it earlier.
pub(super) fn ban(answer: &ApiAnswer) -> Option<Duration> {
    match answer {
        ApiAnswer::Answered {
            status: 403 | 429,
            retry_after_s,
            body,
        } if serde_json::from_slice::<ApiBody>(body).is_err() => {
            Some(retry_after_s.map_or(BAN, Duration::from_secs).max(BAN))
        }
        _ => None,
    }
}

/// A limit that isn't global applies to one route, whose major parameter is the channel or the interaction.
///
/// See [Discord Docs/Rate limits](https://discord.com/developers/docs/topics/rate-limits#rate-limits).
const fn scope(body: &ApiBody) -> LimitScope {
    if body.global { LimitScope::Bot } else { LimitScope::Chat }
}

fn busy_code(body: &ApiBody) -> String {
    match (body.global, body.code) {
        (true, _) => "global_429".to_owned(),
        (false, 0) => "429".to_owned(),
        (false, code) => code.to_string(),
    }
}

fn refusal_code(status: u16, code: i64) -> String {
    match code {
        0 => format!("http_{status}"),
        code => code.to_string(),
    }
}

/// Never shorter than the platform demands: requests that come too early count against the bot.
fn seconds(wait: f64) -> Option<Duration> {
    let wait = Duration::try_from_secs_f64(wait.min(MAX_WAIT_S)).ok()?;
    Some(wait + Duration::from_millis(1))
}
