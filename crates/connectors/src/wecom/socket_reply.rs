//! Replies over the long connection: growing bubbles, one after the other if necessary.
//!
//! Frames of a turn have the callback's `req_id`. A bubble is a stream id: every frame contains its whole text so far, the last one has
//! `finish`, and it is limited to 10 minutes and 20480 bytes; the rest gets another bubble. If a bubble is refused, the text is sent as
//! separate messages; if those are refused, by `response_url`.
//!
//! See [WeCom Docs/智能机器人长连接](https://developer.work.weixin.qq.com/document/path/101463).

use std::time::Duration;

use serde_json::{Value, json};
use tieline_core::connector::Context;
use tieline_core::event::ChatKind;
use tieline_core::http_types::{ApiCall, SocketCall};
use tieline_core::ids;
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, Stage, Step};
use tieline_core::timestamp::Timestamp;

use super::socket_progress::{Bubble, CallKind, CardState, SocketProgress, Way};
use super::wire::{Say, SayContent, SayFeedback, SayStream};
use super::{full_text, response_url};
use crate::markdown::{self, Piece};
use crate::template_card;

/// Age at which we end a bubble: half a minute before the platform refuses its frames.
pub(super) const LIFETIME: Duration = Duration::from_secs(9 * 60 + 30);
/// Wait after which an intermediate state is outdated.
const FRESH: Duration = Duration::from_secs(15);
/// Time after which the runner composes an unsent final text again.
const LAST_WORD: Duration = Duration::from_secs(60);

/// Time that a final text waits for a connection before it is sent by `response_url`, if there is one.
const ABSENT: Duration = Duration::from_secs(30);

/// Name of the call that updates a bubble.
const STREAM: &str = "stream";
/// Name of the call that sends a separate message.
const SEND: &str = "send";

/// The next step.
pub(super) fn deliver(
    desired: &DesiredReply<'_>,
    to: &ReplyTarget,
    done: &Progress,
    cx: &Context<'_>,
) -> Result<Step, ComposeError> {
    let shown: SocketProgress = done.read()?;
    let has_card = has_card(to, &shown);
    let language = cx.account.language;
    let text = template_card::with_other_buttons(desired.text, desired.buttons, has_card, language);
    // `response_url` allows one call, so no card can follow.
    let whole = template_card::with_other_buttons(desired.text, desired.buttons, false, language);
    let alone = &DesiredReply {
        text: &whole,
        ..*desired
    };
    let desired = &DesiredReply {
        text: &text,
        ..*desired
    };
    let expired = to.expires_at.is_some_and(|end| end <= cx.now);
    let absent = |since: Timestamp| cx.now.since(since) >= ABSENT && may_leave_socket(&shown, to, cx);
    if desired.stage == Stage::Final && !shown.complete && shown.absent_since.is_some_and(absent) {
        return respond(alone, to, shown, true, cx);
    }
    let req_id = to.handle.text("reqId").filter(|_| !desired.proactive && !expired);
    let step = match (shown.way, req_id) {
        (_, Some(req_id)) if shown.left_open => return Ok(close_left(desired, req_id, shown, cx)),
        _ if shown.complete => Step::Done,
        (Way::Stream, Some(req_id)) => grow(desired, req_id, shown.clone(), cx),
        _ if desired.stage != Stage::Final => return Ok(Step::Done),
        (Way::Stream | Way::Send, _) => send(desired, to, shown.clone(), cx),
        (Way::Url, _) => return respond(alone, to, shown, false, cx),
    };
    let is_shown = step == Step::Done && desired.stage == Stage::Final;
    match is_shown && has_card {
        true => Ok(card(desired, to, shown, cx)),
        false => Ok(step),
    }
}

/// Whether buttons are shown in a card. Cards are documented for direct chats, and `response_url` allows only one call.
///
/// See [WeCom Docs/智能机器人长连接](https://developer.work.weixin.qq.com/document/path/101463).
fn has_card(to: &ReplyTarget, shown: &SocketProgress) -> bool {
    to.chat.kind == ChatKind::Direct && shown.way != Way::Url && !shown.url_used && shown.card != CardState::Refused
}

/// Sends the card with the buttons, below the complete text.
fn card(desired: &DesiredReply<'_>, to: &ReplyTarget, shown: SocketProgress, cx: &Context<'_>) -> Step {
    let reply = desired.reply.as_str();
    // An id is accepted only once.
    let task = match shown.round {
        0 => cx.account.ids.other("tl_", reply),
        round => cx.account.ids.other("tl_", &format!("{reply}/{round}")),
    };
    let card = template_card::choices(desired.reply, desired.buttons, &task, cx);
    let Some(card) = card.filter(|_| shown.card != CardState::Sent) else {
        return Step::Done;
    };
    if let Some(wait) = wait(&shown, cx) {
        return wait;
    }
    let then = SocketProgress {
        card: CardState::Sent,
        doubt: None,
        ..shown
    };
    let body = json!({ "msgtype": "template_card", "template_card": card });
    own_message(body, to, then.after(CallKind::Card, desired), cx)
}

/// A proactive message.
fn own_message(mut body: Value, to: &ReplyTarget, on_success: Progress, cx: &Context<'_>) -> Step {
    let chat = &to.chat;
    body["chatid"] = chat.id.as_str().into();
    // Without it the platform would guess.
    body["chat_type"] = if chat.kind == ChatKind::Direct { 1 } else { 2 }.into();
    Step::Call {
        call: ApiCall::Socket(SocketCall {
            name: SEND.to_owned(),
            lane: format!("chat {}", chat.id),
            frame: envelope("aibot_send_msg", None, &body),
            replaceable: false,
            expires_at: cx.now.after(LAST_WORD),
        }),
        on_success,
    }
}

/// The wait before something unacknowledged is sent again.
fn wait(shown: &SocketProgress, cx: &Context<'_>) -> Option<Step> {
    let doubt = shown.doubt.filter(|doubt| doubt.until > cx.now)?;
    Some(Step::Wait { until: doubt.until })
}

/// Updates the open bubble, or a new one, to the latest state.
fn grow(desired: &DesiredReply<'_>, req_id: &str, shown: SocketProgress, cx: &Context<'_>) -> Step {
    if let Some(wait) = wait(&shown, cx) {
        return wait;
    }
    let language = cx.account.language;
    if desired.stage == Stage::Final {
        let text = &*markdown::with_files(desired.text, desired.files);
        if let Some(step) = close_again(desired, req_id, &shown, text, cx) {
            return step;
        }
        let from = shown.rest_of(text);
        let tail = full_text::sentence(desired.notice, desired.reference, language);
        if shown.bubble.is_none() && full_text::nothing_left(text, from, &tail) {
            return Step::Done;
        }
        let last = full_text::last(text, from, &tail, language);
        if last.end < text.len() {
            return turn_over(
                desired,
                req_id,
                &shown,
                text,
                &full_text::part(text, from, shown.kept_of(text), language),
                cx,
            );
        }
        let then = SocketProgress {
            complete: true,
            closing: None,
            doubt: None,
            ..shown.clone().up_to(text, last.end)
        };
        return frame(desired, req_id, &shown, &last.shown, true, then, cx);
    }
    let text = if cx.account.streaming { desired.text } else { "" };
    if let Some(step) = close_again(desired, req_id, &shown, text, cx) {
        return step;
    }
    let from = shown.rest_of(text);
    let part = full_text::part(text, from, shown.kept_of(text), language);
    if part.end < text.len() {
        return turn_over(desired, req_id, &shown, text, &part, cx);
    }
    if shown
        .bubble
        .as_ref()
        .is_some_and(|bubble| cx.now.since(bubble.began) >= LIFETIME)
    {
        return turn_over(desired, req_id, &shown, text, &part, cx);
    }
    show(desired, req_id, shown, text, from, cx)
}

/// Shows the latest state in the open bubble, if it differs from what the bubble shows.
fn show(
    desired: &DesiredReply<'_>,
    req_id: &str,
    shown: SocketProgress,
    text: &str,
    from: usize,
    cx: &Context<'_>,
) -> Step {
    let blank = full_text::is_blank(&text[from..]);
    // After a bubble that showed everything, another begins only when there is more text.
    if blank && shown.bubble.is_none() && from > 0 {
        return Step::Done;
    }
    // A late thinking state must not replace text.
    let back = blank && shown.bubble.as_ref().is_some_and(|bubble| bubble.end > from);
    let content = if blank && !desired.reasoning.is_empty() {
        full_text::thinking(desired.reasoning)
    } else {
        full_text::growing(text, from)
    };
    let digest = ids::digest(&[&content]);
    if back || shown.bubble.as_ref().is_some_and(|bubble| bubble.content == digest) {
        return Step::Done;
    }
    let end = if blank { from } else { text.len() };
    let then = SocketProgress {
        bubble: Some(Bubble {
            began: shown.bubble.as_ref().map_or(cx.now, |bubble| bubble.began),
            end,
            digest: ids::digest(&[&text[..end]]),
            content: digest,
        }),
        ..shown.clone().up_to(text, from)
    };
    frame(desired, req_id, &shown, &content, false, then, cx)
}

/// Repeats the unacknowledged final frame of a bubble unchanged. The end of the whole reply is composed again, since it is stable.
fn close_again(
    desired: &DesiredReply<'_>,
    req_id: &str,
    shown: &SocketProgress,
    text: &str,
    cx: &Context<'_>,
) -> Option<Step> {
    let closing = shown.closing.as_ref()?;
    if closing.complete {
        return (desired.stage != Stage::Final).then_some(Step::Done);
    }
    let part = shown.part_up_to(text, closing.end, &closing.digest, cx.account.language);
    Some(turn_over(desired, req_id, shown, text, &part, cx))
}

/// Sends the final frame of a bubble that was left open when everything was shown in another way, while the bubble still accepts one.
fn close_left(desired: &DesiredReply<'_>, req_id: &str, shown: SocketProgress, cx: &Context<'_>) -> Step {
    let young = |bubble: &&Bubble| cx.now.since(bubble.began) < LIFETIME;
    let Some(bubble) = shown.bubble.as_ref().filter(young) else {
        return Step::Done;
    };
    if let Some(wait) = wait(&shown, cx) {
        return wait;
    }
    let text = &*markdown::with_files(desired.text, desired.files);
    let part = shown.part_up_to(text, bubble.end, &bubble.digest, cx.account.language);
    let then = SocketProgress {
        bubble: None,
        left_open: false,
        doubt: None,
        ..shown.clone()
    };
    frame(desired, req_id, &shown, &part.shown, true, then, cx)
}

/// Ends the bubble with a part of the text; the rest goes into another bubble.
fn turn_over(
    desired: &DesiredReply<'_>,
    req_id: &str,
    shown: &SocketProgress,
    text: &str,
    part: &Piece,
    cx: &Context<'_>,
) -> Step {
    let then = SocketProgress {
        bubble: None,
        closing: None,
        doubt: None,
        bubbles: shown.bubbles + 1,
        ..shown.clone().up_to(text, part.end)
    };
    frame(desired, req_id, shown, &part.shown, true, then, cx)
}

/// A frame of the open bubble, or of a new one.
fn frame(
    desired: &DesiredReply<'_>,
    req_id: &str,
    shown: &SocketProgress,
    content: &str,
    finish: bool,
    then: SocketProgress,
    cx: &Context<'_>,
) -> Step {
    let reply = desired.reply.as_str();
    let id = match shown.bubbles {
        0 => reply.to_owned(),
        n => cx.account.ids.other("tl-", &format!("{reply}/{n}")),
    };
    let opens = shown.bubble.is_none();
    let body = Say::Stream {
        stream: SayStream {
            id: &id,
            finish,
            content,
            feedback: shown.asks_for_feedback().then_some(SayFeedback { id: reply }),
        },
    };
    Step::Call {
        call: ApiCall::Socket(SocketCall {
            name: STREAM.to_owned(),
            lane: req_id.to_owned(),
            frame: envelope("aibot_respond_msg", Some(req_id), &json!(body)),
            replaceable: !finish && !opens,
            expires_at: cx.now.after(if finish { LAST_WORD } else { FRESH }),
        }),
        on_success: then.after(if finish { CallKind::End } else { CallKind::Grow }, desired),
    }
}

/// A frame in the form that the session accepts. The session creates a missing `req_id`.
fn envelope(cmd: &str, req_id: Option<&str>, body: &Value) -> Value {
    json!({ "cmd": cmd, "reqId": req_id, "body": body })
}

/// Sends the next part of the final text as a separate message.
fn send(desired: &DesiredReply<'_>, to: &ReplyTarget, shown: SocketProgress, cx: &Context<'_>) -> Step {
    let language = cx.account.language;
    let text = &*markdown::with_files(desired.text, desired.files);
    let from = shown.rest_of(text);
    let tail = full_text::sentence(desired.notice, desired.reference, language);
    if full_text::nothing_left(text, from, &tail) {
        return Step::Done;
    }
    if let Some(wait) = wait(&shown, cx) {
        return wait;
    }
    let last = full_text::last(text, from, &tail, language);
    let complete = last.end == text.len();
    let part = if complete { last } else { full_text::message(text, from) };
    let then = SocketProgress {
        way: Way::Send,
        complete,
        doubt: None,
        ..shown.up_to(text, part.end)
    };
    let body = json!(Say::Markdown {
        markdown: SayContent { content: &part.shown },
    });
    own_message(body, to, then.after(CallKind::Message, desired), cx)
}

/// Whether the final text may be sent by `response_url` although the socket's ways are open. Not while a bubble may show it already.
fn may_leave_socket(shown: &SocketProgress, to: &ReplyTarget, cx: &Context<'_>) -> bool {
    shown.closing.is_none() && !shown.url_closed && may_respond(to, cx) && response_url::address(to, cx).is_ok()
}

/// Whether there is a valid `response_url`.
fn may_respond(to: &ReplyTarget, cx: &Context<'_>) -> bool {
    let until = to.handle.value().get("responseUrlUntil").and_then(Value::as_i64);
    until.is_some_and(|until| until > cx.now.as_millis())
}

/// Sends everything that isn't shown yet by `response_url`. `after_bubble`: without what the open bubble shows.
fn respond(
    desired: &DesiredReply<'_>,
    to: &ReplyTarget,
    shown: SocketProgress,
    after_bubble: bool,
    cx: &Context<'_>,
) -> Result<Step, ComposeError> {
    if !may_respond(to, cx) {
        return Err(ComposeError::Expired);
    }
    let text = markdown::with_files(desired.text, desired.files);
    let from = match after_bubble {
        true => shown.clone().without_bubble().rest_of(&text),
        false => shown.rest_of(&text),
    };
    match full_text::only(&text, from, desired, cx.account.language) {
        Some(content) => response_url::call(&content, to, cx).map(|call| Step::Call {
            call,
            on_success: shown.used_url().after_response(desired),
        }),
        None => Ok(Step::Done),
    }
}
