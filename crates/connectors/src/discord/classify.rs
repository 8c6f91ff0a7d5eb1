//! Classification of responses to delivery calls: what is shown now, and which ways are closed.

use tieline_core::connector::{Planned, SentCall, Verdict};
use tieline_core::http_types::ApiAnswer;
use tieline_core::reply::Progress;

use super::api_error::{self, Meaning, Outcome};
use super::progress::{CallKind, DiscordProgress, MessageId};
use super::wire::ApiBody;
use crate::text_digest::short_digest;

/// Code of a success response that doesn't name the message.
const ANSWER_WITHOUT_ID: &str = "answer_without_id";

/// Classifies the response to a call of `compose`.
pub(super) fn verdict(sent: &SentCall<'_>, answer: &ApiAnswer) -> Verdict {
    let Planned { before, on_success } = match sent.read::<DiscordProgress>() {
        Ok(planned) => planned,
        Err(verdict) => return verdict,
    };
    let outcome = api_error::outcome(answer);
    if on_success.call == CallKind::Type {
        return typed(&on_success, outcome);
    }
    if let Some(code) = on_success.unconfirmed.clone() {
        return loss_notified(outcome, code);
    }
    match outcome {
        Outcome::Done(body) => succeeded(on_success, body),
        Outcome::Later(Verdict::Retry { code })
            if on_success.call == CallKind::FollowUp && *answer != ApiAnswer::NotSent =>
        {
            unclear(on_success, code)
        }
        Outcome::Later(verdict) => verdict,
        Outcome::Refused { meaning, code } => refused(before, &on_success, meaning, code),
    }
}

fn accepted(shown: &DiscordProgress) -> Verdict {
    Verdict::Accepted(Progress::write(shown))
}

/// The typing indicator is optional: it is never retried. But a rate limit, a ban or a refused token applies to the bot's other calls too.
fn typed(shown: &DiscordProgress, outcome: Outcome) -> Verdict {
    match outcome {
        Outcome::Later(verdict @ Verdict::SlowDown { .. }) => verdict,
        Outcome::Refused {
            meaning: Meaning::BadToken,
            code,
        } => Verdict::CredentialsRefused { code },
        Outcome::Done(_) | Outcome::Later(_) | Outcome::Refused { .. } => accepted(shown),
    }
}

fn succeeded(mut shown: DiscordProgress, body: ApiBody) -> Verdict {
    let missing = || Verdict::Retry {
        code: ANSWER_WITHOUT_ID.to_owned(),
    };
    match shown.call {
        CallKind::OpenDirect => {
            let Some(channel) = body.id else { return missing() };
            shown.direct = Some(channel);
        }
        CallKind::Send => {
            let Some(id) = body.id else { return missing() };
            shown.bubble.message = Some(MessageId::Channel(id));
            // An earlier attempt with the same nonce may have succeeded with less text; then the platform returned that message.
            if body
                .content
                .is_some_and(|content| short_digest(&[content.trim_end()]) != shown.bubble.text)
            {
                shown.bubble.text.clear();
            }
        }
        CallKind::FollowUp => {
            let Some(id) = body.id else {
                return unclear(shown, ANSWER_WITHOUT_ID.to_owned());
            };
            shown.bubble.message = Some(MessageId::FollowUp(id));
        }
        CallKind::EditOriginal => shown.bubble.message = Some(MessageId::Original),
        CallKind::Edit | CallKind::Type | CallKind::None => {}
    }
    shown.call = CallKind::None;
    shown.token_young = false;
    shown.is_last = false;
    accepted(&shown)
}

/// The notice was sent, or can't be: either way the answer itself stays unconfirmed.
fn loss_notified(outcome: Outcome, code: String) -> Verdict {
    match outcome {
        Outcome::Later(verdict) => verdict,
        Outcome::Done(_) | Outcome::Refused { .. } => Verdict::Refused { code },
    }
}

/// A follow-up message that may have been sent. It has no nonce and no known id, so it can be neither repeated nor edited, and the answer goes
/// into the channel, where messages have a nonce. There it continues at the beginning of that message: a repeated sentence is better than a
/// missing one. The end of an answer is not repeated: a notice says that it may be missing, and the delivery ends with an unknown outcome.
fn unclear(mut shown: DiscordProgress, code: String) -> Verdict {
    shown.bubble = shown.bubble.again();
    // Another follow-up could fail likewise.
    shown.token_closed = true;
    shown.call = CallKind::None;
    shown.token_young = false;
    if shown.is_last {
        shown.is_last = false;
        shown.unconfirmed = Some(code.clone());
    }
    Verdict::FallBack {
        progress: Progress::write(&shown),
        code,
    }
}

/// Another way, if the refusal leaves one. Each way is tried once, so this terminates.
fn refused(mut shown: DiscordProgress, on_success: &DiscordProgress, meaning: Meaning, code: String) -> Verdict {
    let bubble = &mut shown.bubble;
    match meaning {
        Meaning::TokenGone if on_success.token_young => return Verdict::Retry { code },
        Meaning::TokenGone if !shown.token_closed => shown.token_closed = true,
        Meaning::MessageGone if matches!(on_success.call, CallKind::Edit | CallKind::EditOriginal) => {
            *bubble = bubble.again();
            // A deferred response is filled in once, so only edits can fail again and again.
            shown.only_final |= on_success.call == CallKind::Edit;
        }
        Meaning::TooOldToEdit if !bubble.frozen => bubble.frozen = true,
        Meaning::NoHistory if !shown.without_reference => shown.without_reference = true,
        Meaning::Blocked if !shown.withheld => {
            // Earlier messages stay unchanged.
            if bubble.message.is_some() && on_success.call != CallKind::Edit {
                *bubble = bubble.again();
            }
            shown.withheld = true;
        }
        // Calls below `/webhooks` don't use the bot's token: their 401 is about the interaction's token.
        Meaning::BadToken if !matches!(on_success.call, CallKind::FollowUp | CallKind::EditOriginal) => {
            return Verdict::CredentialsRefused { code };
        }
        Meaning::BadToken if !shown.token_closed => shown.token_closed = true,
        _ => return Verdict::Refused { code },
    }
    Verdict::FallBack {
        progress: Progress::write(&shown),
        code,
    }
}
