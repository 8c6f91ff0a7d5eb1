//! What came of a call.
//!
//! See [WeCom Docs/全局错误码](https://developer.work.weixin.qq.com/document/path/90313) and
//! [WeCom Docs/智能机器人长连接](https://developer.work.weixin.qq.com/document/path/101463).

use std::time::Duration;

use serde_json::Value;
use tieline_core::account::ConnectionMode;
use tieline_core::connector::{Context, LimitScope, Verdict};
use tieline_core::http_types::{ApiAnswer, ApiCall, SocketCall};
use tieline_core::reply::{DesiredReply, Progress, Stage};

use super::compose::Rest;
use super::socket_reply::{SEND, STREAM, SocketProgress, Way};

/// A wait that lets a limit of 30 a minute recover.
const RATE_PAUSE: Duration = Duration::from_secs(10);

/// The platform's codes that we act on.
mod code {
    pub(super) const OK: i64 = 0;
    pub(super) const BUSY: i64 = -1;
    pub(super) const VERSION_CONFLICT: i64 = 6000;
    pub(super) const RATE: i64 = 45009;
    pub(super) const CONCURRENCY: i64 = 45033;
    /// `response_url` is unknown, used or too old.
    pub(super) const CODE_SPENT: i64 = 60140;
    pub(super) const CHAT_UNKNOWN: i64 = 93006;
    pub(super) const ALREADY_ANSWERED: i64 = 846_606;
    /// Too many messages; or no message was ever sent to the bot there.
    pub(super) const SEND_LIMIT: i64 = 846_607;
    /// Older than 10 minutes.
    pub(super) const STREAM_TOO_OLD: i64 = 846_608;
    pub(super) const NOT_SUBSCRIBED: i64 = 846_609;
}

/// Reads what came of `call`.
pub(super) fn classify(
    call: &ApiCall,
    answer: &ApiAnswer,
    desired: &DesiredReply<'_>,
    done: &Progress,
    cx: &Context<'_>,
) -> Verdict {
    match call {
        ApiCall::Http(_) => match Once::read(done, cx) {
            Once::Polled(_) => responded(answer, done, cx),
            Once::Pushed(shown) => shown.back_to_socket(responded(answer, done, cx)),
        },
        ApiCall::Socket(call) => framed(call, answer, desired, done, cx),
    }
}

/// `response_url` works once, so a lost answer makes "spent" mean "delivered".
fn responded(answer: &ApiAnswer, done: &Progress, cx: &Context<'_>) -> Verdict {
    let before = Once::read(done, cx);
    let code = match answer {
        ApiAnswer::NotSent => return retry("not sent"),
        ApiAnswer::Unknown => return perhaps_taken(before, "no answer"),
        // It may have failed after the work; what fails before it, at a gateway, wasn't begun.
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

/// Remembered at once, so that "spent" is understood from now on and nothing is said another way as well.
fn perhaps_taken(before: Once, code: &str) -> Verdict {
    if before.unsure() {
        return retry(code);
    }
    Verdict::FallBack {
        progress: before.tried(),
        code: code.to_owned(),
    }
}

/// Progress around the one call that may be made to `response_url`, in either mode.
enum Once {
    Polled(Rest),
    Pushed(SocketProgress),
}

impl Once {
    fn read(done: &Progress, cx: &Context<'_>) -> Self {
        match cx.account.mode {
            ConnectionMode::Webhook => Self::Polled(done.read()),
            ConnectionMode::LongConnection => Self::Pushed(done.read()),
        }
    }

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
    call: &SocketCall,
    answer: &ApiAnswer,
    desired: &DesiredReply<'_>,
    done: &Progress,
    cx: &Context<'_>,
) -> Verdict {
    match answer {
        ApiAnswer::NotSent => return without_socket(desired, done, cx),
        ApiAnswer::Unknown => return unacknowledged(call, done, cx),
        ApiAnswer::Answered { .. } => {}
    }
    let code = errcode(answer);
    let before: SocketProgress = done.read();
    match code {
        // There is a connection again, so the next absence is another one. Said once more at once, for only this way is it remembered.
        code::BUSY | code::VERSION_CONFLICT | code::RATE | code::CONCURRENCY | code::SEND_LIMIT
            if before.absent_since.is_some() =>
        {
            Verdict::FallBack {
                progress: Progress::write(&before.present()),
                code: code.to_string(),
            }
        }
        code::OK | code::ALREADY_ANSWERED => match call.frame.get("then") {
            Some(then) => Verdict::Accepted(Progress::write(then)),
            None => Verdict::Refused {
                code: "foreign call".to_owned(),
            },
        },
        code::BUSY | code::VERSION_CONFLICT | code::NOT_SUBSCRIBED => retry(&code.to_string()),
        code::SEND_LIMIT if desired.proactive => Verdict::Refused { code: code.to_string() },
        code::RATE | code::CONCURRENCY | code::SEND_LIMIT => slow_down(code, answer),
        // The bubble got no other frame than its end, so it has it if it is known.
        code::STREAM_TOO_OLD if call.name == STREAM && before.has_only_its_end() => {
            Verdict::Accepted(Progress::write(&call.frame["then"]))
        }
        // What is shown already can't be shown otherwise.
        _ if before.complete => Verdict::Accepted(Progress::write(&call.frame["then"])),
        _ => elsewhere(code, call, before),
    }
}

/// A bubble shows the same frame once, however often it comes, and nothing after its end: what ends it comes again as it was. A message of
/// its own may come twice: better than never, but not without end.
fn unacknowledged(call: &SocketCall, done: &Progress, cx: &Context<'_>) -> Verdict {
    let before: SocketProgress = done.read();
    let then = &call.frame["then"];
    let perhaps = match call.name.as_str() {
        STREAM if call.frame["body"]["stream"]["finish"] == true => before.perhaps_closed(then),
        STREAM => before.perhaps_opened(then),
        SEND => match before.in_doubt(cx.now) {
            None => return Verdict::Accepted(Progress::write(then)),
            doubted => doubted,
        },
        _ => None,
    };
    match perhaps {
        Some(perhaps) => Verdict::FallBack {
            progress: Progress::write(&perhaps),
            code: "no acknowledgement".to_owned(),
        },
        None => retry("no acknowledgement"),
    }
}

/// There is no connection. One that comes back soon is the best way; how long a last word has waited for it is remembered.
fn without_socket(desired: &DesiredReply<'_>, done: &Progress, cx: &Context<'_>) -> Verdict {
    let before: SocketProgress = done.read();
    if desired.stage != Stage::Final || before.complete || before.absent_since.is_some() {
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

/// What can't be said this way is said another, while there is one.
fn elsewhere(code: i64, call: &SocketCall, before: SocketProgress) -> Verdict {
    let fresh_bubble = before.bubble.is_none();
    let after = before.without_bubble();
    let way = match call.name.as_str() {
        // The bubble is too old, so another one may be opened. A new one can't be too old.
        STREAM if code == code::STREAM_TOO_OLD && !fresh_bubble => Way::Stream,
        STREAM => Way::Send,
        _ if code == code::CHAT_UNKNOWN => {
            return Verdict::Refused { code: code.to_string() };
        }
        _ => Way::Url,
    };
    Verdict::FallBack {
        progress: Progress::write(&SocketProgress { way, ..after.present() }),
        code: code.to_string(),
    }
}

/// The answer's code. One without it is a success.
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
        // The send limit is counted per conversation.
        scope: match code {
            code::SEND_LIMIT => LimitScope::Chat,
            _ => LimitScope::Bot,
        },
    }
}
