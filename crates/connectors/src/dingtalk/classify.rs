//! Converts platform responses to verdicts: those to calls about the card, and those to messages.

mod card_call;
mod message;

use tieline_core::connector::{Context, Planned, SentCall, Verdict};
use tieline_core::http_types::ApiAnswer;
use tieline_core::reply::Progress;

use super::api_error::Outcome;
use super::progress::{Call, DingTalkProgress};

pub(super) use message::WEBHOOK;

/// Classifies the response to a call that [`super::compose::deliver`] made.
pub(super) fn classify(sent: &SentCall<'_>, answer: &ApiAnswer, cx: &Context<'_>) -> Verdict {
    let Planned {
        before,
        on_success: mut after,
    }: Planned<DingTalkProgress> = match sent.read() {
        Ok(planned) => planned,
        Err(verdict) => return verdict,
    };
    match after.call.take() {
        None => Verdict::unreadable_progress(),
        Some(Call::LossNotice) => message::loss_notified(Outcome::of_api(answer), before),
        Some(Call::Message {
            over_webhook,
            has_link,
            has_api,
        }) => {
            let sending = message::Sending {
                before,
                after,
                has_link,
                has_api,
                now: cx.now,
            };
            match over_webhook {
                true => message::webhook(answer, &sending),
                false => message::sent_by_api(Outcome::of_api(answer), &sending),
            }
        }
        Some(call) => card_call::classify(call, answer, before, after, cx),
    }
}

fn accepted(shown: &DingTalkProgress) -> Verdict {
    Verdict::Accepted(Progress::write(shown))
}

fn fall_back(shown: &DingTalkProgress, code: impl Into<String>) -> Verdict {
    Verdict::FallBack {
        progress: Progress::write(shown),
        code: code.into(),
    }
}
