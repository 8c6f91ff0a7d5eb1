//! Classification of responses to a reply's calls.

use std::time::Duration;

use serde::Deserialize as _;
use tieline_core::connector::{Context, LimitScope, Planned, SentCall, Verdict};
use tieline_core::http_types::ApiAnswer;
use tieline_core::reply::Progress;

use super::api_error::Outcome;
use super::plan::{CallKind, Typing, WeChatProgress};
use super::wire::BotConfig;

/// Wait after a refusal that may be transient. Earlier attempts make it worse.
const BEFORE_REPEAT: Duration = Duration::from_secs(5);
/// Cooldown after the platform reported an exceeded rate limit.
const SLOW_DOWN: Duration = Duration::from_secs(30);

/// Classifies a response.
pub(super) fn verdict(sent: &SentCall<'_>, answer: &ApiAnswer, cx: &Context<'_>) -> Verdict {
    let Planned {
        before,
        on_success: after,
    }: Planned<WeChatProgress> = match sent.read() {
        Ok(planned) => planned,
        Err(verdict) => return verdict,
    };
    let outcome = Outcome::of(answer);
    match after.call {
        CallKind::Message => message(outcome, before, sent, cx),
        // Decorations are never retried.
        CallKind::Ticket => Verdict::Accepted(Progress::write(&WeChatProgress {
            typing: ticket(outcome),
            ..after
        })),
        CallKind::Typing => match outcome {
            Outcome::Ok(_) => Verdict::Accepted(sent.on_success.clone()),
            _ => Verdict::Accepted(Progress::write(&WeChatProgress {
                typing: Typing::Unavailable,
                typing_since: None,
                ..after
            })),
        },
    }
}

fn ticket(outcome: Outcome) -> Typing {
    let Outcome::Ok(body) = outcome else {
        return Typing::Unavailable;
    };
    let config = BotConfig::deserialize(body).unwrap_or_default();
    match config.typing_ticket.is_empty() {
        true => Typing::Unavailable,
        false => Typing::Ticket(config.typing_ticket),
    }
}

fn message(outcome: Outcome, before: WeChatProgress, sent: &SentCall<'_>, cx: &Context<'_>) -> Verdict {
    match outcome {
        Outcome::Ok(_) => Verdict::Accepted(sent.on_success.clone()),
        // The poll learns it too, and says so in the status.
        Outcome::LoggedOut(_) => Verdict::Refused {
            code: LOGIN_EXPIRED.to_owned(),
        },
        Outcome::Refused(code) => Verdict::Refused { code },
        Outcome::WindowClosed => window_closed(before, cx),
        Outcome::RateLimited => Verdict::SlowDown {
            retry_after: Some(SLOW_DOWN),
            code: "rate_limited".to_owned(),
            scope: LimitScope::Bot,
        },
        Outcome::TimedOut => Verdict::Retry {
            code: "timeout".to_owned(),
        },
        Outcome::Transient(code) => Verdict::Retry { code },
    }
}

/// Code of an answer that can't be delivered until a person has logged in again. The next message proves that it can.
pub(super) const LOGIN_EXPIRED: &str = "login_expired";
/// Code of an answer that the platform refuses until the person writes again.
pub(super) const WINDOW_CLOSED: &str = "window_closed";

/// The platform responds the same for a closed window and for being busy, and punishes retries. So there is one retry.
fn window_closed(before: WeChatProgress, cx: &Context<'_>) -> Verdict {
    let code = WINDOW_CLOSED.to_owned();
    if before.repeats {
        return Verdict::Refused { code };
    }
    let progress = Progress::write(&WeChatProgress {
        repeats: true,
        not_before: Some(cx.now.after(BEFORE_REPEAT)),
        ..before
    });
    Verdict::FallBack { progress, code }
}
