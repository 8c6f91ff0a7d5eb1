//! Answers of the API, sorted by what follows from them.
//!
//! See [WeCom Docs/全局错误码](https://developer.work.weixin.qq.com/document/path/90313).

use std::time::Duration;

use serde_json::Value;
use tieline_core::http_types::ApiAnswer;

/// The limits are counted by the minute.
///
/// See [WeCom Docs/访问频率限制](https://developer.work.weixin.qq.com/document/path/90312).
const RATE_PAUSE: Duration = Duration::from_secs(30);
/// A wait that lets calls that run at the same time end.
const CONCURRENCY_PAUSE: Duration = Duration::from_secs(2);

/// The platform's codes that we act on.
pub(super) mod code {
    pub(in super::super) const BUSY: i64 = -1;
    pub(in super::super) const OK: i64 = 0;
    pub(in super::super) const BAD_TOKEN: i64 = 40014;
    pub(in super::super) const TOKEN_EXPIRED: i64 = 42001;
    /// A card's task id that was used before.
    pub(in super::super) const TASK_ID_USED: i64 = 42014;
    pub(in super::super) const RATE: i64 = 45009;
    pub(in super::super) const CONCURRENCY: i64 = 45033;
    pub(in super::super) const NOT_PERMITTED: i64 = 60011;
    pub(in super::super) const IP_NOT_ALLOWED: i64 = 60020;
    pub(in super::super) const NOT_VISIBLE: i64 = 60021;
    pub(in super::super) const NO_RECEIVER: i64 = 81013;
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// Success: the body, for what it says about parts of it.
    Ok(Value),
    /// The access token has expired.
    TokenExpired,
    /// Too fast.
    SlowDown { after: Duration, code: String },
    /// A passing fault; nothing was done.
    Passing(String),
    /// The platform may or may not have acted on it.
    Lost(String),
    /// For good.
    Refused { code: i64 },
}

impl Outcome {
    /// Reads an answer.
    pub(super) fn of(answer: &ApiAnswer) -> Self {
        let (status, retry_after_s) = match answer {
            ApiAnswer::NotSent => return Self::Passing("not_sent".to_owned()),
            ApiAnswer::Unknown => return Self::Lost("no_answer".to_owned()),
            ApiAnswer::Answered {
                status, retry_after_s, ..
            } => (*status, *retry_after_s),
        };
        let body = answer.json().filter(|_| (200..300).contains(&status));
        let Some(code) = body.as_ref().and_then(|body| body.get("errcode")?.as_i64()) else {
            return Self::without_code(status, retry_after_s);
        };
        match code {
            code::OK => Self::Ok(body.unwrap_or_default()),
            code::BAD_TOKEN | code::TOKEN_EXPIRED => Self::TokenExpired,
            code::BUSY => Self::Passing(code.to_string()),
            code::RATE => Self::slow_down(code, RATE_PAUSE, retry_after_s),
            code::CONCURRENCY => Self::slow_down(code, CONCURRENCY_PAUSE, retry_after_s),
            code => Self::Refused { code },
        }
    }

    /// A gateway between us and the platform answered. It may have given up on work that was then done.
    fn without_code(status: u16, retry_after_s: Option<u64>) -> Self {
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

/// A code as the operator reads it: with words where the platform's number has a cause that the operator can remove.
pub(super) fn named(code: i64) -> String {
    let words = match code {
        code::NOT_PERMITTED => "_not_permitted",
        code::IP_NOT_ALLOWED => "_ip_not_allowed",
        code::NOT_VISIBLE => "_user_not_in_visible_range",
        code::NO_RECEIVER => "_no_receiver_in_visible_range",
        _ => "",
    };
    format!("{code}{words}")
}
