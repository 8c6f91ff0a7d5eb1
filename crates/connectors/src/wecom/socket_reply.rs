//! Replies over the long connection: bubbles that grow, one after the other if need be.
//!
//! A turn's frames carry the callback's `req_id`. A bubble is a stream id: it takes the whole text so far in every frame, ends with `finish`,
//! and lives at most 10 minutes and 20480 bytes; what goes on after that gets a bubble of its own. Where a bubble is refused, the text goes
//! as messages of its own; where those are refused, by `response_url`.
//!
//! See [WeCom Docs/智能机器人长连接](https://developer.work.weixin.qq.com/document/path/101463).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tieline_core::connector::{Context, Verdict};
use tieline_core::event::ChatKind;
use tieline_core::http_types::{ApiCall, SocketCall};
use tieline_core::ids;
use tieline_core::notice::Language;
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, Stage, Step};
use tieline_core::timestamp::Timestamp;

use super::wire::{Say, SayContent, SayFeedback, SayStream};
use super::{full_text, response_url};
use crate::markdown::{self, Piece};
use crate::template_card;

/// When we end a bubble ourselves: half a minute before the platform refuses its frames.
pub(super) const LIFETIME: Duration = Duration::from_secs(9 * 60 + 30);
/// An intermediate state that waited this long is old news.
const FRESH: Duration = Duration::from_secs(15);
/// A last word that can't be sent for this long is asked for again by the runner.
const LAST_WORD: Duration = Duration::from_secs(60);

/// A last word that has waited so long for a connection goes by `response_url`, if there is one.
const ABSENT: Duration = Duration::from_secs(30);

/// How long after an unacknowledged message no other is sent, longer each time: a dead connection is noticed and replaced meanwhile.
const DOUBT: Duration = Duration::from_secs(15);
/// Attempts to send a message that is never acknowledged.
const MAX_SENDS: u32 = 4;

/// The name of a call that shows a bubble.
const STREAM: &str = "stream";
/// The name of a call that sends a message of its own.
const SEND: &str = "send";

/// How far a reply is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SocketProgress {
    /// The way that is open.
    pub(super) way: Way,
    /// Bytes of the text that finished bubbles and messages show.
    pub(super) from: usize,
    /// A digest of those bytes: if the agent takes them back, its text is shown again.
    pub(super) digest: String,
    /// How many bubbles were finished or given up.
    pub(super) bubbles: u32,
    /// The bubble that is open.
    pub(super) bubble: Option<Bubble>,
    /// Everything is shown.
    pub(super) complete: bool,
    /// `response_url` may have been used: the answer got lost.
    pub(super) unsure: bool,
    /// `response_url` was used in place of the socket.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) url_used: bool,
    /// `response_url` was refused: what waits for a connection goes on waiting.
    pub(super) url_closed: bool,
    /// Since when the last word has waited for a connection.
    #[serde(with = "tieline_core::timestamp::millis::option")]
    pub(super) absent_since: Option<Timestamp>,
    /// A message of its own that was not acknowledged.
    pub(super) doubt: Option<Doubt>,
    /// The end of a bubble that was not acknowledged.
    pub(super) closing: Option<Closing>,
    /// Everything is shown, but not in the bubble, which still waits for it.
    pub(super) left_open: bool,
    /// How the card with the buttons is.
    #[serde(skip_serializing_if = "is_due")]
    pub(super) card: CardState,
    /// The call that leads to this progress. `None` once its answer is classified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) call: Option<SocketCallInFlight>,
}

/// How far the card is that follows the text, if there are buttons.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CardState {
    /// Not sent.
    #[default]
    Due,
    /// Sent, and perhaps not arrived.
    Unsure,
    /// Sent.
    Sent,
    /// Refused: its buttons are lines of the text.
    Refused,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference to the field")]
fn is_due(state: &CardState) -> bool {
    *state == CardState::Due
}

/// A call, as far as the classification of its answer depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SocketCallInFlight {
    pub(super) kind: CallKind,
    /// Whether the text is final.
    pub(super) is_final: bool,
    /// Whether the message answers no other.
    pub(super) is_proactive: bool,
}

impl SocketCallInFlight {
    fn new(kind: CallKind, desired: &DesiredReply<'_>) -> Self {
        Self {
            kind,
            is_final: desired.stage == Stage::Final,
            is_proactive: desired.proactive,
        }
    }
}

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CallKind {
    /// Shows text in a bubble that may go on growing.
    Grow,
    /// Ends a bubble.
    End,
    /// Sends a message of its own.
    Message,
    /// Sends the card with the buttons.
    Card,
    /// Sends the rest by `response_url`.
    Respond,
}

/// The end of a bubble that may or may not have arrived. If it has, nothing more is shown there, so it is repeated as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Closing {
    /// Up to where the bubble then shows the text.
    end: usize,
    /// A digest of the text up to there.
    digest: String,
    /// Whether it is the last word.
    complete: bool,
}

/// A message that may or may not have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Doubt {
    /// How often it was sent.
    times: u32,
    /// When it may be sent again.
    #[serde(with = "tieline_core::timestamp::millis")]
    until: Timestamp,
}

/// A bubble that still grows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bubble {
    #[serde(with = "tieline_core::timestamp::millis")]
    began: Timestamp,
    /// Up to where it shows the text.
    end: usize,
    /// A digest of the text up to there.
    digest: String,
    /// A digest of what it shows.
    content: String,
}

/// The ways to the chat, the best first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Way {
    /// A bubble that grows.
    #[default]
    Stream,
    /// Messages of their own, once the text is whole.
    Send,
    /// `response_url`, once.
    Url,
}

impl SocketProgress {
    /// The open bubble is lost: what it shows stays, the rest goes elsewhere.
    pub(super) fn without_bubble(mut self) -> Self {
        self.closing = None;
        if let Some(bubble) = self.bubble.take() {
            self.from = bubble.end;
            self.digest = bubble.digest;
            self.bubbles += 1;
        }
        self
    }

    /// The bubble that a lost frame may have opened: it is open from now on, and whatever it shows is sent again. `None` if the frame
    /// was not a bubble's first, or its last as well.
    ///
    /// Only a bubble's very first frame may carry `feedback`, so the next one must not, or it might be refused for good.
    pub(super) fn perhaps_opened(&self, mut then: Self) -> Option<Self> {
        let bubble = then.bubble.as_mut().filter(|_| self.bubble.is_none())?;
        bubble.content.clear();
        Some(then)
    }

    /// The reply after a lost frame that ends the bubble: until it is known to have arrived, it is all that is sent. `None` if that is
    /// remembered already.
    pub(super) fn perhaps_closed(&self, then: Self) -> Option<Self> {
        let closing = Closing {
            end: then.from,
            digest: then.digest,
            complete: then.complete,
        };
        let is_news = !self.complete && self.closing.as_ref() != Some(&closing);
        (is_news || self.absent_since.is_some()).then(|| Self {
            closing: Some(closing).filter(|_| !self.complete),
            ..self.clone().present()
        })
    }

    /// Whether a lost frame has shown the last word, for all that is known: the platform has a bubble by now of which it got no other.
    pub(super) fn has_only_its_end(&self) -> bool {
        self.bubble.is_none() && self.closing.is_some()
    }

    /// The card was refused: its buttons are to be said in a message.
    pub(super) fn without_card(self) -> Self {
        Self {
            card: CardState::Refused,
            complete: false,
            way: Way::Send,
            ..self.present()
        }
    }

    /// Everything was shown another way. A bubble that is open stays so until it gets its end.
    pub(super) fn used_url(self) -> Self {
        Self {
            complete: true,
            url_used: true,
            left_open: self.bubble.is_some(),
            ..self
        }
    }

    /// A message of its own was sent and not acknowledged. `None` if that has happened so often that one of them must have arrived:
    /// the chat shows each that did.
    pub(super) fn in_doubt(self, now: Timestamp) -> Option<Self> {
        let times = self.doubt.map_or(1, |doubt| doubt.times + 1);
        let until = now.after(DOUBT * times);
        (times < MAX_SENDS).then_some(Self {
            doubt: Some(Doubt { times, until }),
            ..self.present()
        })
    }

    /// There is a connection.
    pub(super) fn present(self) -> Self {
        Self {
            absent_since: None,
            ..self
        }
    }

    /// Whether the last word may go by `response_url`, though the ways over the socket are open. Not while a bubble may show it already.
    fn may_leave_socket(&self, to: &ReplyTarget, cx: &Context<'_>) -> bool {
        self.closing.is_none() && !self.url_closed && may_respond(to, cx) && response_url::address(to, cx).is_ok()
    }

    /// The outcome of `response_url`, used in place of a missing connection: the socket's ways are still open, so unless
    /// the words may have been shown, they wait for a connection again.
    pub(super) fn back_to_socket(self, verdict: Verdict) -> Verdict {
        let (url_closed, code) = match verdict {
            verdict if self.way == Way::Url => return verdict,
            Verdict::Refused { code } => (true, code),
            Verdict::Retry { code } | Verdict::SlowDown { code, .. } if !self.unsure => (self.url_closed, code),
            verdict => return verdict,
        };
        Verdict::FallBack {
            progress: Progress::write(&Self { url_closed, ..self }.present()),
            code,
        }
    }

    /// This, as what the success of a call leads to. A call that is answered had a connection.
    fn after(self, kind: CallKind, desired: &DesiredReply<'_>) -> Progress {
        Progress::write(&Self {
            call: Some(SocketCallInFlight::new(kind, desired)),
            ..self.present()
        })
    }

    /// The same for a call to `response_url`, which needs no connection.
    fn after_response(self, desired: &DesiredReply<'_>) -> Progress {
        let call = SocketCallInFlight::new(CallKind::Respond, desired);
        Progress::write(&Self {
            call: Some(call),
            ..self
        })
    }

    fn up_to(mut self, text: &str, end: usize) -> Self {
        self.from = end;
        self.digest = ids::digest(&[&text[..end]]);
        self
    }

    /// Where the part of `text` begins that isn't shown yet.
    fn rest_of(&self, text: &str) -> usize {
        let same = |part: &&str| self.from == 0 || ids::digest(&[part]) == self.digest;
        text.get(..self.from).filter(same).map_or(0, str::len)
    }

    /// What isn't shown yet as far as `end`, as the end of a bubble that goes on elsewhere; nothing of it, if the agent took it back.
    fn part_up_to(&self, text: &str, end: usize, digest: &str, language: Language) -> Piece {
        let from = self.rest_of(text);
        let same = |part: &&str| part.len() >= from && ids::digest(&[part]) == digest;
        full_text::part(text.get(..end).filter(same).unwrap_or(&text[..from]), from, language)
    }
}

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
    // The one call to `response_url` has no card behind it.
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
    let absent = |since: Timestamp| cx.now.since(since) >= ABSENT && shown.may_leave_socket(to, cx);
    if desired.stage == Stage::Final && !shown.complete && shown.absent_since.is_some_and(absent) {
        return respond(alone, to, shown, true, cx);
    }
    let req_id = to.handle.text("reqId").filter(|_| !desired.proactive && !expired);
    match (shown.way, req_id) {
        (_, Some(req_id)) if shown.left_open => Ok(close_left(desired, req_id, shown, cx)),
        _ if shown.complete && has_card => Ok(card(desired, to, shown, cx)),
        _ if shown.complete => Ok(Step::Done),
        (Way::Stream, Some(req_id)) => Ok(grow(desired, req_id, shown, cx)),
        _ if desired.stage != Stage::Final => Ok(Step::Done),
        (Way::Stream | Way::Send, _) => Ok(send(desired, to, shown, cx)),
        (Way::Url, _) => respond(alone, to, shown, false, cx),
    }
}

/// Whether buttons are shown in a card. Cards are documented for direct chats, and `response_url` is for one call only.
///
/// See [WeCom Docs/智能机器人长连接](https://developer.work.weixin.qq.com/document/path/101463).
fn has_card(to: &ReplyTarget, shown: &SocketProgress) -> bool {
    to.chat.kind == ChatKind::Direct && shown.way != Way::Url && !shown.url_used && shown.card != CardState::Refused
}

/// The card with the buttons, below the text that is complete.
fn card(desired: &DesiredReply<'_>, to: &ReplyTarget, shown: SocketProgress, cx: &Context<'_>) -> Step {
    let task = cx.account.ids.other("tl_", desired.reply.as_str());
    let card = template_card::choices(desired.reply, desired.buttons, &task, cx);
    let Some(card) = card.filter(|_| shown.card != CardState::Sent) else {
        return Step::Done;
    };
    let then = SocketProgress {
        card: CardState::Sent,
        ..shown
    };
    let body = json!({ "msgtype": "template_card", "template_card": card });
    own_message(body, to, then.after(CallKind::Card, desired), cx)
}

/// A message that answers none.
fn own_message(mut body: Value, to: &ReplyTarget, on_success: Progress, cx: &Context<'_>) -> Step {
    let chat = &to.chat;
    body["chatid"] = chat.id.as_str().into();
    // Absent, the platform would guess.
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

/// Brings the open bubble, or a new one, to the newest state.
fn grow(desired: &DesiredReply<'_>, req_id: &str, shown: SocketProgress, cx: &Context<'_>) -> Step {
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
                &full_text::part(text, from, language),
                cx,
            );
        }
        let then = SocketProgress {
            complete: true,
            closing: None,
            ..shown.clone().up_to(text, last.end)
        };
        return frame(desired, req_id, &shown, &last.shown, true, then, cx);
    }
    let text = if cx.account.streaming { desired.text } else { "" };
    if let Some(step) = close_again(desired, req_id, &shown, text, cx) {
        return step;
    }
    let from = shown.rest_of(text);
    let part = full_text::part(text, from, language);
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

/// The open bubble's newest state, if it is another than the one that it shows.
fn show(
    desired: &DesiredReply<'_>,
    req_id: &str,
    shown: SocketProgress,
    text: &str,
    from: usize,
    cx: &Context<'_>,
) -> Step {
    let blank = full_text::is_blank(&text[from..]);
    // After a bubble that showed all there was, another begins only with more.
    if blank && shown.bubble.is_none() && from > 0 {
        return Step::Done;
    }
    // A late "thinking" doesn't take back what is there.
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

/// The end of the bubble that was not acknowledged, as it was. The last word is composed again: it doesn't change any more.
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

/// The end of a bubble that was left open when everything was shown another way, while it still takes one.
fn close_left(desired: &DesiredReply<'_>, req_id: &str, shown: SocketProgress, cx: &Context<'_>) -> Step {
    let young = |bubble: &&Bubble| cx.now.since(bubble.began) < LIFETIME;
    let Some(bubble) = shown.bubble.as_ref().filter(young) else {
        return Step::Done;
    };
    let text = &*markdown::with_files(desired.text, desired.files);
    let part = shown.part_up_to(text, bubble.end, &bubble.digest, cx.account.language);
    let then = SocketProgress {
        bubble: None,
        left_open: false,
        ..shown.clone()
    };
    frame(desired, req_id, &shown, &part.shown, true, then, cx)
}

/// Ends the bubble with a part of the text; the rest gets a bubble of its own.
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
            feedback: (opens && shown.bubbles == 0).then_some(SayFeedback { id: reply }),
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

/// A frame as the session accepts it. The session makes a missing `req_id`.
fn envelope(cmd: &str, req_id: Option<&str>, body: &Value) -> Value {
    json!({ "cmd": cmd, "reqId": req_id, "body": body })
}

/// The next part of the final text as a message of its own.
fn send(desired: &DesiredReply<'_>, to: &ReplyTarget, shown: SocketProgress, cx: &Context<'_>) -> Step {
    let language = cx.account.language;
    let text = &*markdown::with_files(desired.text, desired.files);
    let from = shown.rest_of(text);
    let tail = full_text::sentence(desired.notice, desired.reference, language);
    if full_text::nothing_left(text, from, &tail) {
        return Step::Done;
    }
    if let Some(doubt) = shown.doubt.filter(|doubt| doubt.until > cx.now) {
        return Step::Wait { until: doubt.until };
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

/// Whether there is a `response_url` that is still good.
fn may_respond(to: &ReplyTarget, cx: &Context<'_>) -> bool {
    let until = to.handle.value().get("responseUrlUntil").and_then(Value::as_i64);
    until.is_some_and(|until| until > cx.now.as_millis())
}

/// Everything that isn't shown yet by `response_url`. `after_bubble`: what the open bubble shows is left out.
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
