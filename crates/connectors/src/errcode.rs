//! Classification of responses of APIs that report success and failure by an `errcode` in the body.

use std::time::Duration;

use serde_json::Value;
use tieline_core::connector::{LimitScope, TokenError, Verdict};
use tieline_core::http_types::{AccessToken, ApiAnswer};
use tieline_core::reply::Progress;
use tieline_core::secret::Secret;
use tieline_core::timestamp::Timestamp;

use crate::file_upload::UploadProgress;

/// Success.
const OK: i64 = 0;
/// The system is busy; nothing was done.
const BUSY: i64 = -1;

/// An access token is renewed this long before it expires.
const RENEWAL: Duration = Duration::from_secs(5 * 60);
/// Lifetime of an access token if the platform doesn't send it.
const LIFETIME_S: u64 = 7200;

/// Codes of an API that are not permanent refusals.
#[derive(Debug)]
pub(crate) struct Codes {
    /// The access token is invalid or has expired.
    pub(crate) token: &'static [i64],
    /// Codes of exceeded rate limits, and how long to wait.
    pub(crate) limits: &'static [(i64, Duration)],
    /// How long to wait after an HTTP 429.
    pub(crate) pause: Duration,
    /// Whether an object without `errcode` is a success.
    pub(crate) may_be_absent: bool,
}

/// Meaning of a response.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// Success, with the body.
    Ok(Value),
    /// The access token has expired.
    TokenExpired,
    /// Rate limit exceeded.
    SlowDown { after: Duration, code: String },
    /// A transient fault without any effect.
    Passing(String),
    /// The platform may or may not have acted on it.
    Lost(String),
    /// Refused permanently.
    Refused { code: i64 },
}

impl Outcome {
    /// Reads a response.
    pub(crate) fn of(answer: &ApiAnswer, codes: &Codes) -> Self {
        let (status, retry_after_s) = match answer {
            ApiAnswer::NotSent => return Self::Passing("not_sent".to_owned()),
            ApiAnswer::Unknown => return Self::Lost("no_answer".to_owned()),
            ApiAnswer::Answered {
                status, retry_after_s, ..
            } => (*status, *retry_after_s),
        };
        let body = answer
            .json()
            .filter(|body| body.is_object() && (200..300).contains(&status));
        let Some(body) = body else {
            return Self::without_code(status, retry_after_s, codes);
        };
        let code = match body.get("errcode") {
            None if codes.may_be_absent => OK,
            code => match code.and_then(Value::as_i64) {
                Some(code) => code,
                // No code at all, and nothing else to classify it by.
                None if codes.may_be_absent => return Self::Passing(BUSY.to_string()),
                None => return Self::without_code(status, retry_after_s, codes),
            },
        };
        match code {
            OK => Self::Ok(body),
            code => Self::of_code(code, retry_after_s, codes),
        }
    }

    /// Meaning of an error code.
    pub(crate) fn of_code(code: i64, retry_after_s: Option<u64>, codes: &Codes) -> Self {
        let limit = codes.limits.iter().find(|(limit, _)| *limit == code);
        match (code, limit) {
            (BUSY, _) => Self::Passing(code.to_string()),
            (_, Some((_, pause))) => Self::slow_down(code, *pause, retry_after_s),
            _ if codes.token.contains(&code) => Self::TokenExpired,
            _ => Self::Refused { code },
        }
    }

    /// A gateway responded instead of the platform. The platform may have executed the call although the gateway gave up.
    fn without_code(status: u16, retry_after_s: Option<u64>, codes: &Codes) -> Self {
        match status {
            429 => Self::slow_down(429, codes.pause, retry_after_s),
            200..=299 | 500 | 504 => Self::Lost(format!("http_{status}")),
            501.. => Self::Passing(format!("http_{status}")),
            _ => Self::Refused {
                code: i64::from(status),
            },
        }
    }

    fn slow_down(code: i64, pause: Duration, retry_after_s: Option<u64>) -> Self {
        Self::SlowDown {
            after: retry_after_s.map_or(pause, Duration::from_secs),
            code: code.to_string(),
        }
    }
}

/// Verdict on a file after the response to its upload. Uploading is idempotent.
pub(crate) fn uploaded(outcome: Outcome) -> Verdict {
    match outcome {
        Outcome::Ok(body) => match body["media_id"].as_str().filter(|key| !key.is_empty()) {
            Some(key) => Verdict::Accepted(Progress::write(&UploadProgress {
                key: Some(key.to_owned()),
            })),
            None => Verdict::Refused {
                code: "no_media_id".to_owned(),
            },
        },
        Outcome::TokenExpired => Verdict::TokenExpired,
        Outcome::SlowDown { after, code } => Verdict::SlowDown {
            retry_after: Some(after),
            code,
            scope: LimitScope::Bot,
        },
        Outcome::Passing(code) | Outcome::Lost(code) => Verdict::Retry { code },
        Outcome::Refused { code } => Verdict::Refused { code: code.to_string() },
    }
}

/// The access token in a response.
///
/// # Errors
/// [`TokenError::Unavailable`] if there is none.
pub(crate) fn access_token(body: &Value, now: Timestamp) -> Result<AccessToken, TokenError> {
    let token = body["access_token"].as_str().filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| TokenError::Unavailable {
        code: "no_token".to_owned(),
    })?;
    let life = Duration::from_secs(body["expires_in"].as_u64().unwrap_or(LIFETIME_S));
    Ok(AccessToken {
        token: Secret::new(token),
        expires_at: now.after(life - RENEWAL.min(life / 2)),
    })
}
