//! Verdicts on messages, sent by the API or a `sessionWebhook`: whether one was sent, may have been sent, or needs another way.

use std::time::Duration;

use serde_json::Value;
use tieline_core::connector::{LimitScope, Verdict};
use tieline_core::http_types::ApiAnswer;
use tieline_core::reply::Progress;
use tieline_core::timestamp::Timestamp;

use super::{accepted, fall_back};
use crate::dingtalk::api_error::Outcome;
use crate::dingtalk::progress::{CardState, DingTalkProgress, Withheld};

/// How often the message size is halved when the platform finds a message too long.
const MAX_SHRINKS: u8 = 4;
/// Time for which a `sessionWebhook` is blocked after its rate limit was exceeded.
///
/// See [DingTalk Docs/自定义机器人发送群消息](https://open.dingtalk.com/document/development/custom-robots-send-group-messages).
const WEBHOOK_BLOCK: Duration = Duration::from_secs(600);

/// Name of the way over a `sessionWebhook`, which the platform closes for all of a bot's replies.
pub(in crate::dingtalk) const WEBHOOK: &str = "session_webhook";

/// A message that was sent: progress without it and with it.
pub(super) struct Sending {
    pub(super) before: DingTalkProgress,
    pub(super) after: DingTalkProgress,
    /// Whether the whole answer can be read through a link.
    pub(super) has_link: bool,
    /// Whether the chat can be reached through the API too.
    pub(super) has_api: bool,
    pub(super) now: Timestamp,
}

/// Classifies the API's response to a message.
pub(super) fn sent_by_api(outcome: Outcome, sending: &Sending) -> Verdict {
    match outcome {
        Outcome::Ok(body) => delivered(&body, sending),
        Outcome::NotSent => Verdict::Retry {
            code: "not_sent".to_owned(),
        },
        Outcome::Lost => unconfirmed(sending, "no_answer".to_owned()),
        Outcome::Refused(code) | Outcome::Busy(code) if is_too_long(&code) => shrunk(sending, code),
        Outcome::Busy(code) if may_be_sent(&code) => unconfirmed(sending, code),
        Outcome::Busy(code) => Verdict::Retry { code },
        Outcome::Throttled { after, code } => Verdict::SlowDown {
            retry_after: Some(after),
            code,
            scope: LimitScope::Bot,
        },
        Outcome::TokenExpired => Verdict::TokenExpired,
        Outcome::Refused(code) if code.starts_with("contain.") => withheld(sending, code),
        Outcome::Refused(code) => refused(sending, code),
    }
}

/// No message can be sent. A card that took no text is marked first.
fn refused(sending: &Sending, code: impl Into<String>) -> Verdict {
    given_up(sending.before.clone(), code.into())
}

fn given_up(shown: DingTalkProgress, code: String) -> Verdict {
    if shown.card != CardState::Stuck {
        return Verdict::Refused { code };
    }
    let shown = DingTalkProgress {
        given_up: Some(code.clone()),
        ..shown
    };
    fall_back(&shown, code)
}

/// The message may have been sent. Messages aren't idempotent, so it isn't repeated, and a part after it would leave a hole in the answer: if
/// the API reaches the chat, a notice says that the answer may be missing.
fn unconfirmed(sending: &Sending, code: String) -> Verdict {
    if !sending.has_api {
        return refused(sending, code);
    }
    let shown = DingTalkProgress {
        unconfirmed: Some(code.clone()),
        ..sending.before.clone()
    };
    fall_back(&shown, code)
}

/// The notice was sent, or can't be: either way the answer itself stays unconfirmed.
pub(super) fn loss_notified(outcome: Outcome, shown: DingTalkProgress) -> Verdict {
    match outcome {
        Outcome::TokenExpired => Verdict::TokenExpired,
        Outcome::Throttled { after, code } => Verdict::SlowDown {
            retry_after: Some(after),
            code,
            scope: LimitScope::Bot,
        },
        Outcome::NotSent => Verdict::Retry {
            code: "not_sent".to_owned(),
        },
        Outcome::Busy(code) if !may_be_sent(&code) => Verdict::Retry { code },
        Outcome::Ok(_) | Outcome::Busy(_) | Outcome::Lost | Outcome::Refused(_) => {
            let code = shown.unconfirmed.clone().unwrap_or_default();
            given_up(shown, code)
        }
    }
}

/// The platform's moderation blocks the content: an allowed notice says so.
///
/// See [DingTalk Docs/自定义机器人发送群消息](https://open.dingtalk.com/document/development/custom-robots-send-group-messages).
fn withheld(sending: &Sending, code: String) -> Verdict {
    let next = match sending.before.withheld {
        Withheld::No => Withheld::Answer,
        Withheld::Answer if sending.has_link => Withheld::Link,
        Withheld::Answer | Withheld::Link => return refused(sending, code),
    };
    let shown = DingTalkProgress {
        withheld: next,
        ..sending.before.clone()
    };
    fall_back(&shown, code)
}

/// A batch call succeeds even if its only recipient got nothing.
fn delivered(body: &Value, sending: &Sending) -> Verdict {
    let has = |list: &str| body[list].as_array().is_some_and(|ids| !ids.is_empty());
    if has("invalidStaffIdList") {
        return refused(sending, "invalidStaffIdList");
    }
    if has("flowControlledStaffIdList") {
        return Verdict::SlowDown {
            retry_after: None,
            code: "flowControlledStaffIdList".to_owned(),
            scope: LimitScope::Chat,
        };
    }
    accepted(&sending.after)
}

/// Whether the platform failed after it may have sent the message: its processing limit of 3 s was exceeded, or it reports an unknown
/// outcome. A failure before that, at a gateway, has no effect.
///
/// See [DingTalk Docs/机器人发送群聊消息](https://open.dingtalk.com/document/development/the-robot-sends-a-group-message).
fn may_be_sent(code: &str) -> bool {
    matches!(
        code,
        "500" | "504" | "system.error" | "unknownError" | "unknown.send.result"
    )
}

fn is_too_long(code: &str) -> bool {
    code.ends_with("msgParam.tooLong")
}

fn shrunk(sending: &Sending, code: String) -> Verdict {
    let mut shown = sending.before.clone();
    if shown.shrunk >= MAX_SHRINKS {
        return refused(sending, code);
    }
    shown.shrunk += 1;
    fall_back(&shown, code)
}

/// Classifies a response of a `sessionWebhook`: the status is 200 even if refused; `errcode` decides.
///
/// See [DingTalk Docs/自定义机器人发送群消息](https://open.dingtalk.com/document/development/custom-robots-send-group-messages).
pub(super) fn webhook(answer: &ApiAnswer, sending: &Sending) -> Verdict {
    let (status, retry_after_s) = match answer {
        ApiAnswer::NotSent => {
            return Verdict::Retry {
                code: "not_sent".to_owned(),
            };
        }
        ApiAnswer::Unknown => return unconfirmed(sending, "no_answer".to_owned()),
        ApiAnswer::Answered {
            status, retry_after_s, ..
        } => (*status, *retry_after_s),
    };
    let errcode = answer.json().and_then(|body| errcode(&body["errcode"]));
    match (errcode, status) {
        (Some(code), _) => by_errcode(code, sending),
        (None, 429) => Verdict::SlowDown {
            retry_after: retry_after_s.map(Duration::from_secs),
            code: "429".to_owned(),
            // A session webhook belongs to one chat.
            scope: LimitScope::Chat,
        },
        (None, 500 | 504) => unconfirmed(sending, status.to_string()),
        (None, 500..) => Verdict::Retry {
            code: status.to_string(),
        },
        (None, _) => closed(sending, status.to_string()),
    }
}

fn errcode(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn by_errcode(code: i64, sending: &Sending) -> Verdict {
    let word = code.to_string();
    match code {
        0 => accepted(&sending.after),
        -1 => Verdict::Retry { code: word },
        // The group is dissolved: no other way works either.
        400_013 => refused(sending, word),
        430_101..=430_104 => withheld(sending, word),
        // Too long.
        460_101 | 101_002 => shrunk(sending, word),
        // Rate limit exceeded: the `sessionWebhook` is blocked for a while, the API is not.
        410_100 | 130_101 => {
            let rests = sending
                .before
                .clone()
                .with_webhook_at_rest(sending.now.after(WEBHOOK_BLOCK));
            Verdict::Resting {
                progress: Progress::write(&rests),
                code: word,
                way: WEBHOOK,
                rest: WEBHOOK_BLOCK,
            }
        }
        _ => closed(sending, word),
    }
}

/// The `sessionWebhook` is closed for good: another way is tried.
fn closed(sending: &Sending, code: String) -> Verdict {
    let shown = DingTalkProgress {
        webhook_closed: true,
        ..sending.before.clone()
    };
    fall_back(&shown, code)
}
