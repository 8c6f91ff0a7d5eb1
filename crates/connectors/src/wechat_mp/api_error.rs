//! Answers of the API, sorted by what follows from them.
//!
//! See [WeChat Docs/全局返回码](https://developers.weixin.qq.com/doc/offiaccount/Getting_Started/Global_Return_Code.html).

use std::time::Duration;

use serde_json::Value;
use tieline_core::http_types::ApiAnswer;

/// After "too many calls this minute".
const RATE_PAUSE: Duration = Duration::from_secs(10);
/// After "too many calls today": the count is reset at midnight, or by the operator.
const QUOTA_PAUSE: Duration = Duration::from_secs(15 * 60);

/// The platform's codes that we act on.
pub(super) mod code {
    pub(in super::super) const BUSY: i64 = -1;
    pub(in super::super) const OK: i64 = 0;
    pub(in super::super) const BAD_CREDENTIAL: i64 = 40001;
    pub(in super::super) const BAD_TOKEN: i64 = 40014;
    pub(in super::super) const BAD_APP_ID: i64 = 40013;
    pub(in super::super) const BAD_APP_SECRET: i64 = 40125;
    pub(in super::super) const IP_NOT_ALLOWED: i64 = 40164;
    pub(in super::super) const SECRET_FROZEN: i64 = 40243;
    pub(in super::super) const TOKEN_EXPIRED: i64 = 42001;
    pub(in super::super) const NOT_FOLLOWING: i64 = 43004;
    pub(in super::super) const DAILY_QUOTA: i64 = 45009;
    pub(in super::super) const MINUTE_QUOTA: i64 = 45011;
    pub(in super::super) const WINDOW_CLOSED: i64 = 45015;
    pub(in super::super) const MESSAGES_USED_UP: i64 = 45047;
    pub(in super::super) const NOT_PERMITTED: i64 = 48001;
    pub(in super::super) const CONTENT_NOT_ALLOWED: i64 = 87014;
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// Success: the body.
    Ok(Value),
    /// The access token has expired.
    TokenExpired,
    /// Too many calls.
    SlowDown { after: Duration, code: String },
    /// A passing fault; nothing was done.
    Passing(String),
    /// The platform may or may not have acted on it.
    Lost(String),
    /// For good.
    Refused { code: i64 },
}

impl Outcome {
    /// Reads an answer. Where there is no `errcode` the call has succeeded.
    pub(super) fn of(answer: &ApiAnswer) -> Self {
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
            return Self::without_json(status, retry_after_s);
        };
        match body.get("errcode").map_or(Some(code::OK), Value::as_i64) {
            Some(code::OK) => Self::Ok(body),
            Some(code::BAD_CREDENTIAL | code::BAD_TOKEN | code::TOKEN_EXPIRED) => Self::TokenExpired,
            Some(code::BUSY) | None => Self::Passing(code::BUSY.to_string()),
            Some(code::DAILY_QUOTA) => Self::slow_down(code::DAILY_QUOTA, QUOTA_PAUSE, retry_after_s),
            Some(code::MINUTE_QUOTA) => Self::slow_down(code::MINUTE_QUOTA, RATE_PAUSE, retry_after_s),
            Some(code) => Self::Refused { code },
        }
    }

    /// A gateway between us and the platform answered. It may have given up on work that was then done.
    fn without_json(status: u16, retry_after_s: Option<u64>) -> Self {
        match status {
            429 => Self::slow_down(429, RATE_PAUSE, retry_after_s),
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

/// A code as the operator reads it: with words where the platform's number has a cause that can be removed.
pub(super) fn named(code: i64) -> String {
    let words = match code {
        code::BAD_APP_ID => "_wrong_app_id",
        code::BAD_APP_SECRET => "_wrong_app_secret",
        code::IP_NOT_ALLOWED => "_ip_not_allowed",
        code::SECRET_FROZEN => "_app_secret_frozen",
        code::NOT_FOLLOWING => "_not_following",
        code::WINDOW_CLOSED => "_window_closed",
        code::MESSAGES_USED_UP => "_message_quota_used_up",
        code::NOT_PERMITTED => "_customer_service_not_permitted",
        code::CONTENT_NOT_ALLOWED => "_content_not_allowed",
        _ => "",
    };
    format!("{code}{words}")
}
