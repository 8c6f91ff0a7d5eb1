//! Classification of platform responses.

use std::time::Duration;

use serde_json::Value;
use tieline_core::http_types::ApiAnswer;

/// Meaning of a response.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// Success. With the body, because it may report failed parts.
    Ok(Value),
    /// Rate limit exceeded.
    Throttled {
        /// How long to wait.
        after: Duration,
        code: String,
    },
    /// The access token has expired.
    TokenExpired,
    /// A transient fault of the platform.
    Busy(String),
    /// The request was never sent.
    NotSent,
    /// The request was sent, but there is no response.
    Lost,
    /// Refused permanently.
    Refused(String),
}

/// QPS limits are counted by the second.
const THROTTLED: Duration = Duration::from_secs(2);
/// A source address that called 10,000 times in 20 s is blocked for minutes.
///
/// See [DingTalk Docs/调用频率限制](https://open.dingtalk.com/document/development/call-frequency-limit).
const ADDRESS_BLOCKED: Duration = Duration::from_secs(60);

/// Code with which card calls are refused permanently, with status 500, if the template's key or variable is wrong.
const CARD_REFUSED: &str = "unknownError";

/// Whether 400 or 401 with this code means refused credentials rather than another problem of the call.
fn is_credentials_code(code: &str) -> bool {
    matches!(
        code,
        "invalidClientIdOrSecret" | "authFailed" | "unauthorized" | "auth.error" | "InvalidAuthentication"
    )
}

/// The code with which a response refuses the credentials. `None` for everything else, which may pass or which the operator can fix: a
/// fault of the platform, an IP address that isn't on the allow list, an application that isn't published.
pub(super) fn credentials_refused(answer: &ApiAnswer) -> Option<String> {
    let ApiAnswer::Answered { status, .. } = answer else {
        return None;
    };
    let body = answer.json().unwrap_or_default();
    let code = body["code"].as_str().unwrap_or_default();
    match status {
        401 if code.is_empty() => Some("unauthorized".to_owned()),
        400 | 401 if is_credentials_code(code) => Some(code.to_owned()),
        _ => None,
    }
}

impl Outcome {
    /// Like [`Self::of_api`], for a card call, where one supposed fault of the platform is a permanent refusal.
    pub(super) fn of_card_api(answer: &ApiAnswer) -> Self {
        match Self::of_api(answer) {
            Self::Busy(code) if code == CARD_REFUSED => Self::Refused(code),
            outcome => outcome,
        }
    }

    /// Reads a response of the new API.
    ///
    /// See [DingTalk Docs/全局错误码](https://open.dingtalk.com/document/development/server-api-error-codes-1).
    pub(super) fn of_api(answer: &ApiAnswer) -> Self {
        match answer {
            ApiAnswer::NotSent => Self::NotSent,
            ApiAnswer::Unknown => Self::Lost,
            ApiAnswer::Answered {
                status, retry_after_s, ..
            } => Self::of_status(*status, *retry_after_s, answer.json()),
        }
    }

    fn of_status(status: u16, retry_after_s: Option<u64>, body: Option<Value>) -> Self {
        let Some(body) = body.filter(Value::is_object) else {
            return Self::without_json(status, retry_after_s);
        };
        if body["status"] == 1111 {
            return Self::throttled("address_blocked", Some(ADDRESS_BLOCKED.as_secs()));
        }
        let code = body["code"].as_str().unwrap_or_default();
        match status {
            200..=299 if body["success"] != false => Self::Ok(body),
            401 => Self::TokenExpired,
            _ if is_token_code(code) => Self::TokenExpired,
            429 => Self::throttled(code, retry_after_s),
            _ if is_throttle_code(code) => Self::throttled(code, retry_after_s),
            500.. => Self::Busy(named(code, status)),
            _ => Self::Refused(named(code, status)),
        }
    }

    /// A response without JSON, usually HTML: from a gateway, or because our IP address is blocked.
    fn without_json(status: u16, retry_after_s: Option<u64>) -> Self {
        match status {
            401 => Self::TokenExpired,
            429 => Self::throttled("429", retry_after_s),
            200..=299 => Self::throttled("not_json", Some(ADDRESS_BLOCKED.as_secs())),
            500.. => Self::Busy(status.to_string()),
            _ => Self::Refused(status.to_string()),
        }
    }

    fn throttled(code: &str, after_s: Option<u64>) -> Self {
        Self::Throttled {
            after: after_s.map_or(THROTTLED, Duration::from_secs),
            code: named(code, 429),
        }
    }
}

fn named(code: &str, status: u16) -> String {
    if code.is_empty() {
        status.to_string()
    } else {
        code.to_owned()
    }
}

fn is_token_code(code: &str) -> bool {
    matches!(
        code,
        "InvalidAuthentication" | "invalidParameter.token.invalid" | "40014" | "42001"
    )
}

fn is_throttle_code(code: &str) -> bool {
    code.contains("QpsLimit")
        || matches!(
            code,
            "90018" | "90002" | "send.too.fast" | "send.byToken.tooFast" | "too.many.group" | "too.many.people"
        )
}
