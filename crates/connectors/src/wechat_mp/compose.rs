//! Computes the next call towards the desired state: typing while the agent works, then customer-service messages.
//!
//! See [WeChat Docs/发送客服消息](https://developers.weixin.qq.com/doc/service/api/customer/message/api_sendcustommessage) and
//! [WeChat Docs/客服输入状态](https://developers.weixin.qq.com/doc/service/api/customer/message/api_typing).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tieline_core::connector::Context;
use tieline_core::http_types::{ApiCall, Body, HttpCall, TokenPlace};
use tieline_core::ids::digest;
use tieline_core::notice::{Language, Notice};
use tieline_core::reference::Reference;
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyFile, ReplyTarget, Stage, Step};
use tieline_core::split::{TextLimit, TextUnit};
use tieline_core::timestamp::{Timestamp, millis};

use super::settings::address;
use crate::markdown::{self, Cutter, LinkStyle, Piece, PlainStyle};

/// Longest text of one message: error 45002 beyond.
pub(super) const TEXT: TextLimit = TextLimit {
    max: 2048,
    unit: TextUnit::Bytes,
};
/// Number of messages that may be sent to a person after their message: error 45047 beyond.
const MESSAGES: u64 = 5;
/// Age at which the typing indicator is renewed; it is shown for 15 s.
const TYPING_LIFE: Duration = Duration::from_secs(12);
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
const STYLE: PlainStyle = PlainStyle {
    marks: false,
    links: LinkStyle::Anchor,
};

/// Progress of a reply.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct OfficialAccountProgress {
    /// Kind of the latest call.
    pub(super) call: CallKind,
    /// When the typing indicator was last sent.
    #[serde(with = "millis::option")]
    pub(super) typing_since: Option<Timestamp>,
    /// Whether the platform refuses the typing indicator here.
    pub(super) no_typing: bool,
    /// Number of bytes of the text that are sent.
    pub(super) sent: usize,
    /// Digest of these bytes: if the text was replaced since, all of it is sent.
    pub(super) head: String,
    /// Number of messages sent, over all attempts.
    pub(super) messages: u64,
    /// End of the window in which they were sent.
    #[serde(with = "millis::option")]
    pub(super) window_ends: Option<Timestamp>,
    /// Whether another message may be sent after the latest one.
    pub(super) has_room: bool,
    /// Code of a message that the platform may or may not have sent: a notice follows, and nothing else.
    pub(super) unconfirmed: Option<String>,
}

/// Kinds of calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CallKind {
    /// Sends text.
    #[default]
    Text,
    /// Shows the typing indicator.
    Typing,
}

/// The next step.
pub(super) fn deliver(
    desired: &DesiredReply<'_>,
    to: &ReplyTarget,
    progress: &Progress,
    cx: &Context<'_>,
) -> Result<Step, ComposeError> {
    let shown: OfficialAccountProgress = progress.read()?;
    if to.expires_at.is_some_and(|end| end <= cx.now) {
        return Err(ComposeError::Expired);
    }
    if desired.stage != Stage::Final {
        return Ok(typing(to, shown, cx));
    }
    if shown.unconfirmed.is_some() {
        return Ok(loss_notice(desired, to, shown, cx));
    }
    let text = full_text(
        desired.text,
        desired.files,
        (desired.notice, desired.reference),
        cx.account.language,
    );
    let most = most_messages(to);
    let shown = shown.in_window_of(to, most, cx.now);
    // Each picture after the text is a message too.
    let most_of_text = most.saturating_sub(u64::try_from(desired.n_native_files).unwrap_or(most));
    Ok(
        match next_piece(&text, &shown, most_of_text, desired.link, cx.account.language) {
            Some(piece) => send(&piece, &text, to, (shown, most), cx),
            None => Step::Done,
        },
    )
}

/// Number of messages that the message which is answered allows.
pub(super) fn most_messages(to: &ReplyTarget) -> u64 {
    to.handle.value()["messages"].as_u64().unwrap_or(MESSAGES)
}

fn typing(to: &ReplyTarget, shown: OfficialAccountProgress, cx: &Context<'_>) -> Step {
    let is_shown = shown
        .typing_since
        .is_some_and(|since| cx.now.since(since) < TYPING_LIFE);
    if is_shown || shown.no_typing {
        return Step::Done;
    }
    let body = json!({ "touser": to.chat.id, "command": "Typing" });
    let on_success = OfficialAccountProgress {
        call: CallKind::Typing,
        typing_since: Some(cx.now),
        ..shown
    };
    call("typing", "/cgi-bin/message/custom/typing", &body, &on_success, cx)
}

/// The whole text: the answer, its files as links, the notice.
pub(super) fn full_text(
    text: &str,
    files: &[ReplyFile],
    (notice, reference): (Option<Notice>, Option<Reference>),
    language: Language,
) -> String {
    let answer = markdown::answer(text);
    let mut full_text = markdown::with_files(answer.trim_end(), files).into_owned();
    let sentence = match notice {
        Some(notice) => notice.referring(reference, language),
        None if full_text.trim().is_empty() => Notice::EmptyAnswer.text(language).into(),
        None => return full_text,
    };
    if !full_text.is_empty() {
        full_text = markdown::piece(&full_text, 0, usize::MAX, str::to_owned).shown + "\n\n";
    }
    full_text.push_str(&sentence);
    full_text
}

/// The next message. `None` if all has been sent.
fn next_piece(
    full_text: &str,
    shown: &OfficialAccountProgress,
    most: u64,
    link: Option<&str>,
    language: Language,
) -> Option<Piece> {
    let cutter = Cutter::new(full_text);
    let mut from = shown.start(full_text);
    while from < full_text.len() {
        from = cutter.past_quote_marks(from, TEXT.max);
        let piece = plain_piece(&cutter, from, TEXT.max);
        if piece.shown.trim().is_empty() {
            from = piece.end;
            continue;
        }
        return Some(match shown.messages + 1 < most || piece.end == full_text.len() {
            true => piece,
            false => Piece {
                shown: last_piece_of(&cutter, from, link, language),
                end: full_text.len(),
            },
        });
    }
    None
}

/// The piece from `from` on that must be the last one, with a link to the rest.
pub(super) fn last_piece(full_text: &str, from: usize, link: Option<&str>, language: Language) -> String {
    last_piece_of(&Cutter::new(full_text), from, link, language)
}

fn last_piece_of(cutter: &Cutter<'_>, from: usize, link: Option<&str>, language: Language) -> String {
    let full_text = cutter.text();
    let mut from = from;
    let mut piece = plain_piece(cutter, from, TEXT.max);
    while piece.shown.trim().is_empty() && piece.end < full_text.len() {
        from = piece.end;
        piece = plain_piece(cutter, from, TEXT.max);
    }
    if piece.end == full_text.len() {
        return piece.shown;
    }
    let tail = match link {
        Some(link) => format!("{}{link}", Notice::RestBehindLink.text(language)),
        None => Notice::Incomplete.text(language).to_owned(),
    };
    let piece = plain_piece(cutter, from, TEXT.max.saturating_sub(tail.len() + 2));
    format!("{}\n\n{tail}", piece.shown)
}

fn plain_piece(cutter: &Cutter<'_>, from: usize, max_bytes: usize) -> Piece {
    cutter.piece(from, max_bytes, |part| markdown::plain(part, STYLE))
}

impl OfficialAccountProgress {
    /// Progress of a reply that is sent again. The platform still counts the messages of the first attempt, so fewer are left, or the one
    /// last message that it may refuse: where this process doesn't know whether the person has written again since, only the platform does.
    pub(super) fn restarted(&self) -> Self {
        Self {
            no_typing: self.no_typing,
            messages: self.messages,
            window_ends: self.window_ends,
            ..Self::default()
        }
    }

    /// Progress with the messages that count in the target's window. The person may have written again, which allows more messages, but those
    /// are also for the answer to what they wrote: the count begins again only if the earlier window is over or has none left.
    fn in_window_of(self, to: &ReplyTarget, most: u64, now: Timestamp) -> Self {
        let is_renewed = self.window_ends.is_some_and(|end| Some(end) != to.expires_at);
        let is_over = self.messages >= most || self.window_ends.is_some_and(|end| end <= now);
        Self {
            messages: if is_renewed && is_over { 0 } else { self.messages },
            ..self
        }
    }

    /// Start of the text that isn't sent yet.
    fn start(&self, full_text: &str) -> usize {
        let is_same = full_text
            .get(..self.sent)
            .is_some_and(|head| digest(&[head]) == self.head);
        if is_same { self.sent } else { 0 }
    }
}

fn send(
    piece: &Piece,
    full_text: &str,
    to: &ReplyTarget,
    (shown, most): (OfficialAccountProgress, u64),
    cx: &Context<'_>,
) -> Step {
    let on_success = OfficialAccountProgress {
        call: CallKind::Text,
        sent: piece.end,
        head: digest(&[&full_text[..piece.end]]),
        messages: shown.messages + 1,
        window_ends: to.expires_at,
        has_room: shown.messages + 1 < most,
        ..shown
    };
    message(&piece.shown, to, &on_success, cx)
}

/// The notice that the answer may be missing, with the number by which operators find it and the link to the whole answer if there is one.
fn loss_notice(desired: &DesiredReply<'_>, to: &ReplyTarget, shown: OfficialAccountProgress, cx: &Context<'_>) -> Step {
    let language = cx.account.language;
    let reference = desired.reference.unwrap_or_else(|| Reference::of(desired.reply));
    let mut text = Notice::Incomplete.referring(Some(reference), language).into_owned();
    if let Some(link) = desired.link {
        text.push_str(&format!("\n\n{}{link}", Notice::RestBehindLink.text(language)));
    }
    let on_success = OfficialAccountProgress {
        call: CallKind::Text,
        messages: shown.messages + 1,
        window_ends: to.expires_at,
        ..shown
    };
    message(&text, to, &on_success, cx)
}

fn message(text: &str, to: &ReplyTarget, on_success: &OfficialAccountProgress, cx: &Context<'_>) -> Step {
    let body = json!({ "touser": to.chat.id, "msgtype": "text", "text": { "content": text } });
    call("send", "/cgi-bin/message/custom/send", &body, on_success, cx)
}

fn call(name: &'static str, path: &str, body: &Value, on_success: &OfficialAccountProgress, cx: &Context<'_>) -> Step {
    Step::Call {
        call: ApiCall::Http(post(name, path, body, cx)),
        on_success: Progress::write(on_success),
    }
}

/// A call with a JSON body.
pub(super) fn post(name: &'static str, path: &str, body: &Value, cx: &Context<'_>) -> HttpCall {
    HttpCall {
        name,
        method: "POST",
        url: address(cx.account, path),
        headers: Vec::new(),
        body: Body::Json(body.to_string()),
        token: TokenPlace::Query("access_token"),
        timeout: TIMEOUT,
    }
}
