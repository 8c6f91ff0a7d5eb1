//! Classification of API responses.
//!
//! See [WeChat Docs/全局返回码](https://developers.weixin.qq.com/doc/offiaccount/Getting_Started/Global_Return_Code.html).

use std::time::Duration;

use tieline_core::http_types::ApiAnswer;

use crate::errcode::Codes;
pub(super) use crate::errcode::Outcome;

/// Cooldown after "too many calls this minute".
const RATE_PAUSE: Duration = Duration::from_secs(10);
/// Cooldown after "too many calls today": the count is reset at midnight, or by the operator.
const QUOTA_PAUSE: Duration = Duration::from_secs(15 * 60);

/// Error codes that we act on.
pub(super) mod code {
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

/// Codes that are not permanent refusals. Without an `errcode` the call succeeded.
const CODES: Codes = Codes {
    token: &[code::BAD_CREDENTIAL, code::BAD_TOKEN, code::TOKEN_EXPIRED],
    limits: &[(code::DAILY_QUOTA, QUOTA_PAUSE), (code::MINUTE_QUOTA, RATE_PAUSE)],
    pause: RATE_PAUSE,
    may_be_absent: true,
};

/// Reads a response.
pub(super) fn outcome(answer: &ApiAnswer) -> Outcome {
    Outcome::of(answer, &CODES)
}

/// An error code for the operator: with words if it has a cause that can be removed.
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
