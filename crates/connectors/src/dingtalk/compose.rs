//! Computes the next call that brings the chat to the desired state.

use std::time::Duration;

use tieline_core::connector::Context;
use tieline_core::http_types::{ApiCall, HttpCall};
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, Stage, Step};

use super::call;
use super::card::{self, CardId};
use super::handle::{Handle, Way};
use super::plan::{self, Due, Frame, Outgoing};
use super::progress::{Call, CardState, DingTalkProgress};
use super::settings::{self, TemplateKind};
use crate::text_digest::short_digest;

/// Pause between two messages of one answer: a robot that sends more than 20 a minute is blocked for ten minutes.
///
/// See [DingTalk Docs/自定义机器人发送群消息](https://open.dingtalk.com/document/development/custom-robots-send-group-messages).
const BETWEEN_MESSAGES: Duration = Duration::from_secs(3);

/// The next call that leads from `done` to `desired`.
pub(super) fn deliver(
    desired: &DesiredReply<'_>,
    to: &ReplyTarget,
    done: &Progress,
    cx: &Context<'_>,
) -> Result<Step, ComposeError> {
    let shown: DingTalkProgress = done.read()?;
    if let Some(until) = shown.hold_until.filter(|until| cx.now < *until) {
        return Ok(Step::Wait { until });
    }
    let card = CardId::write(desired.reply, to.chat.kind, shown.round);
    let (call, after) = match plan::due(desired, &shown, cx) {
        Due::Nothing => return Ok(Step::Done),
        Due::Create => match card::create(&card, to, !shown.no_clicks, cx) {
            Some(call) => (call, shown.with_card(CardState::Thinking).with_call(Call::Create)),
            // There can be no card here, so only the final text is shown.
            None => return Ok(Step::Done),
        },
        Due::Begin => {
            let is_final = desired.stage == Stage::Final;
            let begun = DingTalkProgress {
                reasons: !is_final && desired.text.trim().is_empty(),
                ..shown
            };
            let after = begun.with_card(CardState::Writing).with_call(Call::Begin { is_final });
            (card::begin(&card, cx), after)
        }
        Due::Frame(frame) => {
            let call = card::stream(&card, &frame, !shown.no_failed_state, cx);
            (call, framed(&frame, desired, shown, cx))
        }
        Due::Settle(frame) => {
            let call = card::settle(&card, &frame, shown.state_alone, cx);
            (call, shown.with_card(CardState::Settled).with_call(Call::Settle))
        }
        Due::Mark => {
            let call = card::mark(&card, shown.given_up.is_none(), !shown.no_failed_state, cx);
            (call, shown.with_card(CardState::Marked).with_call(Call::Mark))
        }
        Due::LossNotice(outgoing) => {
            // The message's own way has just failed.
            let way = Handle::of(to).way_by_api(to).ok_or(ComposeError::Expired)?;
            let call = call::message(&way, &outgoing, to, cx);
            (call, shown.with_call(Call::LossNotice))
        }
        Due::Message(outgoing) => return message(&outgoing, desired, to, shown, cx),
    };
    Ok(step(call, &after))
}

/// Progress once the card shows `frame`.
fn framed(frame: &Frame, desired: &DesiredReply<'_>, shown: DingTalkProgress, cx: &Context<'_>) -> DingTalkProgress {
    let call = Call::Frame {
        is_last: frame.last,
        shows_failure: frame.failed,
    };
    let shown = DingTalkProgress {
        frame: short_digest(&[&frame.content]),
        reasons: !frame.last && frame.covers == 0,
        ..shown
    };
    let text = plan::body(desired, &shown, cx);
    if !frame.last {
        let shown = shown.with_card(CardState::Writing).with_frame(&text, frame.covers);
        return shown.with_call(call);
    }
    let done = match settings::of(cx).template.kind {
        TemplateKind::Own => CardState::Settled,
        TemplateKind::Public => CardState::Ended,
    };
    let shown = shown.with_card(done).with_sent(&text, frame.covers);
    shown.with_call(call)
}

fn message(
    outgoing: &Outgoing,
    desired: &DesiredReply<'_>,
    to: &ReplyTarget,
    shown: DingTalkProgress,
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
    let call = Call::Message {
        over_webhook: matches!(way, Way::Webhook(_)),
        has_link: desired.link.is_some(),
        has_api: handle.way_by_api(to).is_some(),
    };
    let text = plan::full_text(desired, &shown, cx);
    let after = DingTalkProgress {
        messages: shown.messages + 1,
        last_message_at: Some(cx.now),
        tries: 0,
        hold_until: None,
        messages_plan: outgoing.plan.clone(),
        ..shown
    };
    let after = after.with_sent(&text, outgoing.end).with_call(call);
    Ok(step(call::message(&way, outgoing, to, cx), &after))
}

fn step(call: HttpCall, on_success: &DingTalkProgress) -> Step {
    Step::Call {
        call: ApiCall::Http(call),
        on_success: Progress::write(on_success),
    }
}
