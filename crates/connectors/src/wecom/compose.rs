//! Computes the next call towards the desired state.

use tieline_core::account::ConnectionMode;
use tieline_core::connector::Context;
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, Stage, Step};

use super::decode::POLLED;
use super::{full_text, poll_reply, response_url, socket_reply};
use crate::markdown;

/// The next step.
pub(super) fn deliver(
    desired: &DesiredReply<'_>,
    to: &ReplyTarget,
    done: &Progress,
    cx: &Context<'_>,
) -> Result<Step, ComposeError> {
    match cx.account.mode {
        ConnectionMode::Webhook => after_polls(desired, to, done, cx),
        ConnectionMode::LongConnection => socket_reply::deliver(desired, to, done, cx),
    }
}

/// Progress of a polled reply: whether the rest was pushed.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Rest {
    /// The platform accepted it.
    #[serde(default)]
    pub(super) pushed: bool,
    /// The platform may have accepted it: the response was lost.
    #[serde(default)]
    pub(super) unsure: bool,
}

/// Sends the rest that the stream didn't show by `response_url`, once.
fn after_polls(
    desired: &DesiredReply<'_>,
    to: &ReplyTarget,
    done: &Progress,
    cx: &Context<'_>,
) -> Result<Step, ComposeError> {
    if desired.proactive {
        return Err(ComposeError::Expired);
    }
    let Some(pulled) = desired.pulled.filter(|_| desired.stage == Stage::Final) else {
        return Ok(Step::Done);
    };
    let Some(closed) = pulled.closed else {
        return Ok(Step::Wait {
            until: pulled.received_at.after(POLLED),
        });
    };
    let text = markdown::with_files(desired.text, desired.files);
    let rest: Rest = done.read()?;
    let Some(from) = poll_reply::rest_from(&text, closed)?.filter(|_| !rest.pushed) else {
        return Ok(Step::Done);
    };
    match full_text::only(&text, from, desired, cx.account.language) {
        Some(content) => response_url::call(&content, to, cx).map(|call| Step::Call {
            call,
            on_success: Progress::write(&Rest { pushed: true, ..rest }),
        }),
        None => Ok(Step::Done),
    }
}
