//! Classification of API responses.
//!
//! See [WeCom Docs/全局错误码](https://developer.work.weixin.qq.com/document/path/90313).

use std::time::Duration;

use tieline_core::http_types::ApiAnswer;

use crate::errcode::Codes;
pub(super) use crate::errcode::Outcome;

/// Cooldown after an exceeded rate limit. Limits are counted per minute.
///
/// See [WeCom Docs/访问频率限制](https://developer.work.weixin.qq.com/document/path/90312).
const RATE_PAUSE: Duration = Duration::from_secs(30);
/// Wait that lets concurrent calls end.
const CONCURRENCY_PAUSE: Duration = Duration::from_secs(2);

/// Error codes that we act on.
pub(super) mod code {
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

/// Codes that are not permanent refusals.
const CODES: Codes = Codes {
    token: &[code::BAD_TOKEN, code::TOKEN_EXPIRED],
    limits: &[(code::RATE, RATE_PAUSE), (code::CONCURRENCY, CONCURRENCY_PAUSE)],
    pause: RATE_PAUSE,
    may_be_absent: false,
};

/// Reads a response.
pub(super) fn outcome(answer: &ApiAnswer) -> Outcome {
    Outcome::of(answer, &CODES)
}

/// An error code for the operator: with words if it has a cause that the operator can remove.
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
