//! Classification of responses.
//!
//! See [WeCom Docs/全局错误码](https://developer.work.weixin.qq.com/document/path/90313) and
//! [WeCom Docs/智能机器人长连接](https://developer.work.weixin.qq.com/document/path/101463).

use std::time::Duration;

use serde_json::Value;
use tieline_core::account::ConnectionMode;
use tieline_core::connector::{Context, LimitScope, Planned, SentCall, Verdict};
use tieline_core::http_types::ApiAnswer;
use tieline_core::reply::Progress;

use super::compose::Rest;
use super::socket_progress::{CallKind, CardState, SocketCallInFlight, SocketProgress, Way};

/// A wait that lets a limit of 30 a minute recover.
const RATE_PAUSE: Duration = Duration::from_secs(10);

/// Error codes that we act on.
mod code {
    pub(super) const OK: i64 = 0;
    pub(super) const BUSY: i64 = -1;
    pub(super) const VERSION_CONFLICT: i64 = 6000;
    /// A parameter is refused.
    pub(super) const PARAMETER: i64 = 40058;
    pub(super) const RATE: i64 = 45009;
    pub(super) const CONCURRENCY: i64 = 45033;
    /// `response_url` is unknown, used or too old.
    pub(super) const CODE_SPENT: i64 = 60140;
    pub(super) const CHAT_UNKNOWN: i64 = 93006;
    pub(super) const ALREADY_ANSWERED: i64 = 846_606;
    /// Rate limit exceeded; or no message was ever sent to the bot in that chat.
    pub(super) const SEND_LIMIT: i64 = 846_607;
    /// The id of a card was used before.
    pub(super) const TASK_ID_USED: i64 = 42014;
    /// The stream is older than 10 minutes.
    pub(super) const STREAM_TOO_OLD: i64 = 846_608;
    pub(super) const NOT_SUBSCRIBED: i64 = 846_609;
}

/// Classifies the response to a call.
pub(super) fn classify(sent: &SentCall<'_>, answer: &ApiAnswer, cx: &Context<'_>) -> Verdict {
    match cx.account.mode {
        ConnectionMode::Webhook => match sent.read() {
            Ok(Planned { before, .. }) => responded(answer, Once::Polled(before)),
            Err(verdict) => verdict,
        },
        ConnectionMode::LongConnection => match sent.read() {
            Ok(planned) => over_socket(planned, answer, cx),
            Err(verdict) => verdict,
        },
    }
}

fn over_socket(planned: Planned<SocketProgress>, answer: &ApiAnswer, cx: &Context<'_>) -> Verdict {
    let Planned { before, mut on_success } = planned;
    match on_success.call.take() {
        None => Verdict::unreadable_progress(),
        Some(call) if call.kind == CallKind::Respond => {
            let verdict = responded(answer, Once::Pushed(before.clone()));
            before.back_to_socket(verdict)
        }
        Some(call) => framed(call, before, on_success, answer, cx),
    }
}

/// `response_url` works once, so after a lost response "spent" means "delivered".
fn responded(answer: &ApiAnswer, before: Once) -> Verdict {
    let code = match answer {
        ApiAnswer::NotSent => return retry("not sent"),
        ApiAnswer::Unknown => return perhaps_taken(before, "no answer"),
        // The platform may have failed after delivering; a failure before that, at a gateway, has no effect.
        ApiAnswer::Answered {
            status: status @ (500 | 504),
            ..
        } => return perhaps_taken(before, &status.to_string()),
        ApiAnswer::Answered { status: 429, .. } => code::RATE,
        ApiAnswer::Answered { status: 500.., .. } => code::BUSY,
        ApiAnswer::Answered { status: 200..=299, .. } => errcode(answer),
        ApiAnswer::Answered { status, .. } => {
            return Verdict::Refused {
                code: status.to_string(),
            };
        }
    };
    match code {
        code::OK => Verdict::Accepted(before.used()),
        code::CODE_SPENT if before.unsure() => Verdict::Accepted(before.used()),
        code::RATE | code::CONCURRENCY => slow_down(code, answer),
        code::BUSY | code::VERSION_CONFLICT => retry(&code.to_string()),
        _ => Verdict::Refused { code: code.to_string() },
    }
}

/// Stored at once, so that "spent" is interpreted correctly from now on, and nothing is sent in another way as well.
fn perhaps_taken(before: Once, code: &str) -> Verdict {
    if before.unsure() {
        return retry(code);
    }
    Verdict::FallBack {
        progress: before.tried(),
        code: code.to_owned(),
    }
}

/// Progress around the single call to `response_url`, in either mode.
enum Once {
    Polled(Rest),
    Pushed(SocketProgress),
}

impl Once {
    const fn unsure(&self) -> bool {
        match self {
            Self::Polled(rest) => rest.unsure,
            Self::Pushed(shown) => shown.unsure,
        }
    }

    fn tried(self) -> Progress {
        match self {
            Self::Polled(rest) => Progress::write(&Rest { unsure: true, ..rest }),
            Self::Pushed(shown) => Progress::write(&SocketProgress { unsure: true, ..shown }),
        }
    }

    fn used(self) -> Progress {
        match self {
            Self::Polled(rest) => Progress::write(&Rest { pushed: true, ..rest }),
            Self::Pushed(shown) => Progress::write(&shown.used_url()),
        }
    }
}

fn framed(
    call: SocketCallInFlight,
    before: SocketProgress,
    then: SocketProgress,
    answer: &ApiAnswer,
    cx: &Context<'_>,
) -> Verdict {
    match answer {
        ApiAnswer::NotSent => return without_socket(call, before, cx),
        ApiAnswer::Unknown => return unacknowledged(call.kind, before, then, cx),
        ApiAnswer::Answered { .. } => {}
    }
    let in_bubble = call.kind != CallKind::Message;
    let code = errcode(answer);
    match code {
        // The connection is back, so its next absence is a new one. Retried at once, because only that stores this fact.
        code::BUSY | code::VERSION_CONFLICT | code::RATE | code::CONCURRENCY | code::SEND_LIMIT
            if before.absent_since.is_some() =>
        {
            Verdict::FallBack {
                progress: Progress::write(&before.present()),
                code: code.to_string(),
            }
        }
        code::OK | code::ALREADY_ANSWERED => accepted(&then),
        code::BUSY | code::VERSION_CONFLICT | code::NOT_SUBSCRIBED => retry(&code.to_string()),
        code::SEND_LIMIT if call.is_proactive => Verdict::Refused { code: code.to_string() },
        code::RATE | code::CONCURRENCY | code::SEND_LIMIT => slow_down(code, answer),
        // The bubble got only its final frame; if the platform knows the bubble, it has that frame.
        code::STREAM_TOO_OLD if in_bubble && before.has_only_its_end() => accepted(&then),
        // A card's id is accepted once: if the first response was lost, the first call succeeded.
        code::TASK_ID_USED if call.kind == CallKind::Card && before.card == CardState::Unsure => accepted(&then),
        // A process that ended before it could record that it had opened the bubble: a bubble asks for feedback once.
        code::PARAMETER if matches!(call.kind, CallKind::Grow | CallKind::End) && before.asks_for_feedback() => {
            Verdict::FallBack {
                progress: Progress::write(&SocketProgress {
                    feedback_refused: true,
                    ..before
                }),
                code: code.to_string(),
            }
        }
        _ if call.kind == CallKind::Card => Verdict::FallBack {
            progress: Progress::write(&before.without_card()),
            code: code.to_string(),
        },
        // The text is shown already, so no other way is needed.
        _ if before.complete => accepted(&then),
        _ => elsewhere(code, in_bubble, before),
    }
}

fn accepted(then: &SocketProgress) -> Verdict {
    Verdict::Accepted(Progress::write(then))
}

/// Repeated frames of a bubble are idempotent, but after its end a bubble accepts nothing new: its final frame is repeated unchanged. A
/// separate message may be duplicated: better than never delivered. The number of attempts is limited.
fn unacknowledged(kind: CallKind, before: SocketProgress, then: SocketProgress, cx: &Context<'_>) -> Verdict {
    let perhaps = match kind {
        CallKind::Grow => match before.perhaps_opened(then) {
            Some(perhaps) => perhaps,
            None => return retry("no acknowledgement"),
        },
        CallKind::Respond => return retry("no acknowledgement"),
        CallKind::End | CallKind::Message | CallKind::Card => {
            let perhaps = match kind {
                CallKind::End => before.perhaps_closed(then.clone(), cx.now),
                CallKind::Card => SocketProgress {
                    card: CardState::Unsure,
                    ..before
                }
                .again_in_doubt(cx.now),
                _ => before.in_doubt(cx.now),
            };
            match perhaps {
                Some(perhaps) => perhaps,
                None => return accepted(&then),
            }
        }
    };
    Verdict::FallBack {
        progress: Progress::write(&perhaps),
        code: "no acknowledgement".to_owned(),
    }
}

/// There is no connection. Waiting is best if it comes back soon; the progress records how long a final text has waited.
fn without_socket(call: SocketCallInFlight, before: SocketProgress, cx: &Context<'_>) -> Verdict {
    if !call.is_final || before.complete || before.absent_since.is_some() {
        return retry("not sent");
    }
    Verdict::FallBack {
        progress: Progress::write(&SocketProgress {
            absent_since: Some(cx.now),
            ..before
        }),
        code: "not sent".to_owned(),
    }
}

/// Chooses another way after this one failed, if there is one.
fn elsewhere(code: i64, in_bubble: bool, before: SocketProgress) -> Verdict {
    let fresh_bubble = before.bubble.is_none();
    let after = before.without_bubble();
    let way = match (in_bubble, code) {
        // The bubble is too old, so another one may be opened. A new one can't be too old.
        (true, code::STREAM_TOO_OLD) if !fresh_bubble => Way::Stream,
        (true, _) => Way::Send,
        (false, code::CHAT_UNKNOWN) => {
            return Verdict::Refused { code: code.to_string() };
        }
        (false, _) => Way::Url,
    };
    Verdict::FallBack {
        progress: Progress::write(&SocketProgress {
            way,
            doubt: None,
            ..after.present()
        }),
        code: code.to_string(),
    }
}

/// The response's code. A response without one is a success.
fn errcode(answer: &ApiAnswer) -> i64 {
    let code = answer
        .json()
        .and_then(|body| body.get("errcode").and_then(Value::as_i64));
    code.unwrap_or(code::OK)
}

fn retry(code: &str) -> Verdict {
    Verdict::Retry { code: code.to_owned() }
}

fn slow_down(code: i64, answer: &ApiAnswer) -> Verdict {
    let asked = match answer {
        ApiAnswer::Answered { retry_after_s, .. } => retry_after_s.map(Duration::from_secs),
        ApiAnswer::NotSent | ApiAnswer::Unknown => None,
    };
    Verdict::SlowDown {
        retry_after: Some(asked.unwrap_or(RATE_PAUSE)),
        code: code.to_string(),
        // The send limit applies per conversation.
        scope: match code {
            code::SEND_LIMIT => LimitScope::Chat,
            _ => LimitScope::Bot,
        },
    }
}
