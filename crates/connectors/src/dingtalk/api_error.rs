//! Platform answers, sorted by what follows from them.

use std::time::Duration;

use serde_json::Value;
use tieline_core::http_types::ApiAnswer;

/// What an answer means.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// It worked. The body, for what it says about parts of it.
    Ok(Value),
    /// Too fast.
    Throttled {
        /// How long to wait.
        after: Duration,
        code: String,
    },
    /// The access token has run out.
    TokenExpired,
    /// The platform is at fault.
    Busy(String),
    /// It never left.
    NotSent,
    /// It left, and nothing came back.
    Lost,
    /// For good.
    Refused(String),
}

/// QPS limits are counted by the second.
const THROTTLED: Duration = Duration::from_secs(2);
/// A source address that called 10,000 times in 20 s is blocked for minutes.
///
/// See [DingTalk Docs/调用频率限制](https://open.dingtalk.com/document/development/call-frequency-limit).
const ADDRESS_BLOCKED: Duration = Duration::from_secs(60);

/// The code under which card calls refuse for good, with status 500, what is wrong with the template: its key, its variable.
const CARD_REFUSED: &str = "unknownError";

/// Whether 400 or 401 with this code refuses the credentials, and not something else about the call.
fn is_credentials_code(code: &str) -> bool {
    matches!(
        code,
        "invalidClientIdOrSecret" | "authFailed" | "unauthorized" | "auth.error" | "InvalidAuthentication"
    )
}

/// The code with which an answer refuses the credentials. `None` for everything else, which may pass by itself or by the operator's
/// doing: a fault of the platform, an address that isn't on the list, an application that isn't published.
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
    /// The same for a call about a card, where one fault of the platform is none.
    pub(super) fn of_card_api(answer: &ApiAnswer) -> Self {
        match Self::of_api(answer) {
            Self::Busy(code) if code == CARD_REFUSED => Self::Refused(code),
            outcome => outcome,
        }
    }

    /// Reads an answer of the new API.
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

    /// A page of HTML: a gateway, or the block of our address.
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
