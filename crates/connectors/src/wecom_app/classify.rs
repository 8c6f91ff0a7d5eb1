//! Classification of responses to a reply's calls.

use serde_json::Value;
use tieline_core::connector::{Context, LimitScope, Planned, SentCall, Verdict};
use tieline_core::http_types::ApiAnswer;
use tieline_core::reply::Progress;

use super::api_error::{Outcome, code, named, outcome};
use super::compose::{AppProgress, CallKind};

/// Classifies the response to a call of [`super::compose::deliver`].
pub(super) fn classify(sent: &SentCall<'_>, answer: &ApiAnswer, cx: &Context<'_>) -> Verdict {
    let Planned {
        before,
        on_success: after,
    }: Planned<AppProgress> = match sent.read() {
        Ok(planned) => planned,
        Err(verdict) => return verdict,
    };
    match outcome(answer) {
        Outcome::Ok(body) => match unreached(&body) {
            Some(code) => Verdict::Refused { code: code.to_owned() },
            None => Verdict::Accepted(Progress::write(&after)),
        },
        Outcome::TokenExpired => Verdict::TokenExpired,
        Outcome::SlowDown { after, code } => Verdict::SlowDown {
            retry_after: Some(after),
            code,
            scope: LimitScope::Bot,
        },
        Outcome::Passing(code) => Verdict::Retry { code },
        // Stored before it is sent again, so that a duplicate is detected.
        Outcome::Lost(code) if before.unsure_since.is_none() => Verdict::FallBack {
            progress: Progress::write(&AppProgress {
                unsure_since: Some(cx.now),
                ..before
            }),
            code,
        },
        Outcome::Lost(code) => Verdict::Retry { code },
        Outcome::Refused { code } => refused(code, before, &after),
    }
}

fn refused(code: i64, before: AppProgress, after: &AppProgress) -> Verdict {
    let is_about_reach = matches!(
        code,
        code::IP_NOT_ALLOWED | code::NOT_PERMITTED | code::NOT_VISIBLE | code::NO_RECEIVER
    );
    // A task id and a response code are accepted once: if the first response was lost, the first call succeeded.
    let is_used_up = match after.call {
        CallKind::Text => false,
        CallKind::Card => code == code::TASK_ID_USED,
        CallKind::Update => true,
    };
    if is_about_reach || after.call == CallKind::Text {
        Verdict::Refused { code: named(code) }
    } else if is_used_up && before.unsure_since.is_some() {
        Verdict::Accepted(Progress::write(after))
    } else {
        Verdict::FallBack {
            progress: Progress::write(&AppProgress {
                no_cards: true,
                unsure_since: None,
                ..before
            }),
            code: named(code),
        }
    }
}

/// Success may still mean that the only receiver got nothing: outside the application's visible range, or without a licence.
///
/// See [WeCom Docs/发送应用消息](https://developer.work.weixin.qq.com/document/path/90236).
pub(super) fn unreached(body: &Value) -> Option<&'static str> {
    let has = |list: &str| match &body[list] {
        Value::String(ids) => !ids.is_empty(),
        Value::Array(ids) => !ids.is_empty(),
        _ => false,
    };
    if has("invaliduser") {
        return Some("invaliduser_not_in_visible_range");
    }
    has("unlicenseduser").then_some("unlicenseduser_without_api_licence")
}
