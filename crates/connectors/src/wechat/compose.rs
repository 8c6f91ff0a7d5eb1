//! Converts the next change to calls.

use std::time::Duration;

use serde_json::json;
use tieline_core::connector::Context;
use tieline_core::http_types::{ApiCall, HttpCall};
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, Stage, Step};

use super::decode::{CONTEXT_TOKEN, context_token};
use super::plan::{self, Due, WeChatProgress};
use super::wire::{FINISHED, FROM_BOT, item_type};
use super::{call, stream};

/// Timeout for sending a message.
const SEND: Duration = Duration::from_secs(15);
const TYPING: Duration = Duration::from_secs(10);
/// `status` of the typing indicator.
const TYPING_ON: u8 = 1;
const TYPING_OFF: u8 = 2;

/// The next step of a reply.
pub(super) fn step(
    desired: &DesiredReply<'_>,
    to: &ReplyTarget,
    progress: &Progress,
    cx: &Context<'_>,
) -> Result<Step, ComposeError> {
    let shown: WeChatProgress = progress.read()?;
    // Without the token the platform accepts a message but does not show it.
    let Some(token) = context_token(to) else {
        return Err(ComposeError::Incomplete { field: CONTEXT_TOKEN });
    };
    let due = plan::due(desired, &shown, cx);
    let expired = to.expires_at.is_some_and(|at| at <= cx.now);
    let call = match &due {
        Due::Nothing => return Ok(Step::Done),
        Due::Message { .. } if expired => return Err(ComposeError::Expired),
        _ if expired && desired.stage != Stage::Final => return Ok(Step::Done),
        Due::Wait(until) => return Ok(Step::Wait { until: *until }),
        Due::Ticket => stream::config("get_config", to.asker.as_str(), Some(token), cx),
        Due::Typing { ticket, on } => typing(ticket, *on, to, cx),
        Due::Message { text, .. } => message(text, token, desired, shown.messages, to, cx),
    };
    Ok(Step::Call {
        call: ApiCall::Http(call),
        on_success: Progress::write(&plan::after(&due, &shown, cx.now)),
    })
}

fn typing(ticket: &str, on: bool, to: &ReplyTarget, cx: &Context<'_>) -> HttpCall {
    let body = json!({
        "ilink_user_id": to.asker.as_str(),
        "typing_ticket": ticket,
        "status": if on { TYPING_ON } else { TYPING_OFF },
    });
    call::post("send_typing", "/ilink/bot/sendtyping", body, TYPING, cx)
}

fn message(
    text: &str,
    token: &str,
    desired: &DesiredReply<'_>,
    number: u32,
    to: &ReplyTarget,
    cx: &Context<'_>,
) -> HttpCall {
    let subject = format!("{} {number}", desired.reply.as_str());
    let body = json!({ "msg": {
        "from_user_id": "",
        "to_user_id": to.asker.as_str(),
        // The same on repetition, so that the platform can deduplicate it.
        "client_id": cx.account.ids.other("tieline-", &subject),
        "message_type": FROM_BOT,
        "message_state": FINISHED,
        "item_list": [{ "type": item_type::TEXT, "text_item": { "text": text } }],
        "context_token": token,
    }});
    call::post("send_message", "/ilink/bot/sendmessage", body, SEND, cx)
}
