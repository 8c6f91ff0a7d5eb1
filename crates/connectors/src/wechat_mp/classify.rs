//! Classification of the response to a call.

use tieline_core::connector::{LimitScope, Planned, SentCall, Verdict};
use tieline_core::http_types::ApiAnswer;
use tieline_core::reply::Progress;

use super::api_error::{Outcome, named, outcome};
use super::compose::{CallKind, OfficialAccountProgress};

/// Classifies the response to a call of [`super::compose::deliver`].
pub(super) fn classify(sent: &SentCall<'_>, answer: &ApiAnswer) -> Verdict {
    let Planned {
        before,
        on_success: after,
    }: Planned<OfficialAccountProgress> = match sent.read() {
        Ok(planned) => planned,
        Err(verdict) => return verdict,
    };
    let outcome = outcome(answer);
    if after.call == CallKind::Typing {
        return typed(outcome, before, &after);
    }
    match (before.unconfirmed.clone(), outcome) {
        // The notice was sent, or can't be: either way the answer itself stays unconfirmed.
        (Some(code), Outcome::Ok(_) | Outcome::Lost(_) | Outcome::Refused { .. }) => Verdict::Refused { code },
        (None, Outcome::Lost(code)) if after.has_room => unconfirmed(before, &after, code),
        (_, outcome) => message(outcome, sent.on_success),
    }
}

/// The message may have been sent, so it isn't repeated and counts as one: a notice says that the answer may be missing.
fn unconfirmed(before: OfficialAccountProgress, after: &OfficialAccountProgress, code: String) -> Verdict {
    Verdict::FallBack {
        progress: Progress::write(&OfficialAccountProgress {
            messages: after.messages,
            window_ends: after.window_ends,
            unconfirmed: Some(code.clone()),
            ..before
        }),
        code,
    }
}

/// Classifies the response to a call that sends a message.
pub(super) fn message(outcome: Outcome, on_success: &Progress) -> Verdict {
    match outcome {
        Outcome::Ok(_) => Verdict::Accepted(on_success.clone()),
        Outcome::TokenExpired => Verdict::TokenExpired,
        Outcome::SlowDown { after, code } => Verdict::SlowDown {
            retry_after: Some(after),
            code,
            scope: LimitScope::Bot,
        },
        Outcome::Passing(code) => Verdict::Retry { code },
        // Messages aren't idempotent and each one counts, so one is not repeated if it may have been sent.
        Outcome::Lost(code) => Verdict::Refused { code },
        Outcome::Refused { code } => Verdict::Refused { code: named(code) },
    }
}

/// The typing indicator never delays an answer: after any refusal this reply has none.
fn typed(outcome: Outcome, before: OfficialAccountProgress, after: &OfficialAccountProgress) -> Verdict {
    let code = match outcome {
        Outcome::Ok(_) | Outcome::Lost(_) => return Verdict::Accepted(Progress::write(after)),
        Outcome::TokenExpired => return Verdict::TokenExpired,
        Outcome::SlowDown { code, .. } | Outcome::Passing(code) => code,
        Outcome::Refused { code } => named(code),
    };
    Verdict::FallBack {
        progress: Progress::write(&OfficialAccountProgress {
            no_typing: true,
            ..before
        }),
        code,
    }
}
