//! What the chat should show, as the next call.

use std::time::Duration;

use tieline_core::connector::Context;
use tieline_core::http_types::{ApiCall, HttpCall};
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, Step};

use super::call;
use super::card::{self, CardId};
use super::handle::{Handle, Way};
use super::plan::{self, Due, Outgoing};
use super::progress::DingTalkProgress;

/// Between two messages of one answer: more than 20 a minute get the robot blocked for ten.
///
/// See [DingTalk Docs/自定义机器人发送群消息](https://open.dingtalk.com/document/development/custom-robots-send-group-messages).
const BETWEEN_MESSAGES: Duration = Duration::from_secs(3);

/// The next call on the way from `done` to `desired`.
pub(super) fn deliver(
    desired: &DesiredReply<'_>,
    to: &ReplyTarget,
    done: &Progress,
    cx: &Context<'_>,
) -> Result<Step, ComposeError> {
    let shown: DingTalkProgress = done.read();
    if let Some(until) = shown.hold_until.filter(|until| cx.now < *until) {
        return Ok(Step::Wait { until });
    }
    let card = CardId::write(desired.reply, to.chat.kind, shown.round);
    let call = match plan::due(desired, &shown, cx) {
        Due::Nothing => return Ok(Step::Done),
        Due::Create => match card::create(&card, to, !shown.no_clicks, cx) {
            Some(call) => call,
            // No card can be put up here, so only the last text is shown.
            None => return Ok(Step::Done),
        },
        Due::Begin => card::begin(&card, cx),
        Due::Frame(frame) => card::stream(&card, &frame, !shown.no_failed_state, cx),
        Due::Settle(frame) => card::settle(&card, &frame, shown.state_alone, cx),
        Due::Mark => card::mark(&card, shown.given_up.is_none(), !shown.no_failed_state, cx),
        Due::Message(outgoing) => return message(&outgoing, to, &shown, cx),
    };
    Ok(step(call))
}

fn message(
    outgoing: &Outgoing,
    to: &ReplyTarget,
    shown: &DingTalkProgress,
    cx: &Context<'_>,
) -> Result<Step, ComposeError> {
    let next_at = shown.last_message_at.map(|last| last.after(BETWEEN_MESSAGES));
    if let Some(until) = next_at.filter(|next| cx.now < *next) {
        return Ok(Step::Wait { until });
    }
    let handle = Handle::of(to);
    let rests_until = shown.webhook_rests_until.filter(|until| cx.now < *until);
    let way = match (handle.way(to, shown.webhook_closed, cx)?, rests_until) {
        (Way::Webhook(_), Some(until)) => match handle.way_by_api(to) {
            Some(way) => way,
            None => return Ok(Step::Wait { until }),
        },
        (way, _) => way,
    };
    Ok(step(call::message(&way, outgoing, to, cx)))
}

fn step(call: HttpCall) -> Step {
    Step::Call {
        call: ApiCall::Http(call),
        on_success: Progress::default(),
    }
}
