//! Classification of responses.
//!
//! See [openclaw-weixin/docs/protocol.md](https://github.com/Tencent/openclaw-weixin/blob/main/docs/protocol.md).

use serde::Deserialize as _;
use serde_json::Value;
use tieline_core::http_types::ApiAnswer;

use super::wire::Envelope;

/// The login has ended: the person logged in elsewhere, or removed the bot.
const LOGIN_ENDED: i64 = -14;
/// The reply window is closed, its messages are used up, or the context token is not valid.
const WINDOW_CLOSED: i64 = -2;
/// Rate limit exceeded.
const RATE_LIMIT: i64 = -12;
/// The platform is busy.
const BUSY: i64 = -1;
/// A front-end proxy timed out while waiting for the platform.
const TIMED_OUT: u16 = 524;

/// Meaning of a response.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// Success.
    Ok(Value),
    /// The login has ended.
    LoggedOut(String),
    /// The platform accepts no more replies to this message of the person.
    WindowClosed,
    /// Rate limit exceeded.
    RateLimited,
    /// The platform did not answer in time, which is normal for a held call.
    TimedOut,
    /// A transient fault.
    Transient(String),
    /// Refused permanently.
    Refused(String),
}

impl Outcome {
    /// Reads a response. Errors of the API come with status 200.
    pub(super) fn of(answer: &ApiAnswer) -> Self {
        match answer {
            ApiAnswer::NotSent => Self::Transient("unreachable".to_owned()),
            ApiAnswer::Unknown => Self::TimedOut,
            ApiAnswer::Answered { status, .. } => match status {
                200..=299 => answer
                    .json()
                    .map_or_else(|| Self::Transient("not_json".to_owned()), Self::of_body),
                401 | 403 => Self::LoggedOut(format!("http_{status}")),
                &TIMED_OUT | 504 => Self::TimedOut,
                429 => Self::RateLimited,
                400..=499 => Self::Refused(format!("http_{status}")),
                _ => Self::Transient(format!("http_{status}")),
            },
        }
    }

    fn of_body(body: Value) -> Self {
        let Ok(envelope) = Envelope::deserialize(&body) else {
            return Self::Transient("not_an_object".to_owned());
        };
        match envelope.code() {
            0 => Self::Ok(body),
            LOGIN_ENDED => Self::LoggedOut(LOGIN_ENDED.to_string()),
            WINDOW_CLOSED => Self::WindowClosed,
            RATE_LIMIT => Self::RateLimited,
            BUSY => Self::Transient(BUSY.to_string()),
            code => Self::Refused(code.to_string()),
        }
    }
}
