//! Computes the next call towards the desired state.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tieline_core::connector::Context;
use tieline_core::http_types::{ApiCall, Body, HttpCall, TokenPlace};
use tieline_core::ids::digest;
use tieline_core::notice::Notice;
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, Stage, Step, UnreadableProgress};
use tieline_core::split::{TextLimit, TextUnit};
use tieline_core::timestamp::{Timestamp, millis};

use super::card_action;
use super::settings::{Settings, address};
use crate::markdown::{self, Cutter, LinkStyle, PlainStyle};
use crate::template_card;

/// Longest text of one message. The platform truncates longer ones.
///
/// See [WeCom Docs/发送应用消息](https://developer.work.weixin.qq.com/document/path/90236).
pub(super) const TEXT: TextLimit = TextLimit {
    max: 2048,
    unit: TextUnit::Bytes,
};
/// Largest number of messages in one answer; the last one links to the rest. A member gets at most 30 a minute; further ones are silently
/// dropped.
const MAX_MESSAGES: u32 = 30;
/// Timeout of a call.
pub(super) const TIMEOUT: Duration = Duration::from_secs(15);
/// Added to the time since a lost call, so that the platform's duplicate check certainly covers it.
const CHECK_MARGIN: Duration = Duration::from_secs(60);
/// Longest interval of the duplicate check.
const MAX_CHECK: Duration = Duration::from_secs(4 * 60 * 60);

/// The names of the calls.
pub(super) const SEND: &str = "send";
pub(super) const SEND_FILE: &str = "send_file";
const SEND_CARD: &str = "send_card";
const UPDATE_CARD: &str = "update_card";
/// Calls that send a message to the chat.
pub(super) const MESSAGES: [&str; 3] = [SEND, SEND_CARD, SEND_FILE];

/// Progress of a reply.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AppProgress {
    /// How often an operator restarted the reply.
    pub(super) round: u32,
    /// Kind of the latest call.
    pub(super) call: CallKind,
    /// Whether cards don't work here: the notice is sent as text.
    pub(super) no_cards: bool,
    /// Whether a card shows everything.
    pub(super) done: bool,
    /// Number of bytes of the text that are sent.
    pub(super) sent: usize,
    /// Digest of these bytes: if the text was replaced since, all of it is sent.
    pub(super) head: String,
    /// Number of messages sent.
    pub(super) messages: u32,
    /// Since when the outcome of the pending call is unknown, because its response was lost.
    #[serde(with = "millis::option")]
    pub(super) unsure_since: Option<Timestamp>,
}

/// Kinds of calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CallKind {
    /// Sends text.
    #[default]
    Text,
    /// Sends a card.
    Card,
    /// Updates the clicked card.
    Update,
}

/// The next step. Until the answer is complete nothing is shown, because sent messages can't be edited.
pub(super) fn deliver(
    desired: &DesiredReply<'_>,
    to: &ReplyTarget,
    progress: &Progress,
    cx: &Context<'_>,
) -> Result<Step, ComposeError> {
    let shown: AppProgress = progress.read()?;
    if desired.stage != Stage::Final || shown.done {
        return Ok(Step::Done);
    }
    let member = member(to)?;
    if let Some(step) = card(desired, to, member, &shown, cx) {
        return Ok(step);
    }
    let has_card = !shown.no_cards;
    let words = template_card::with_other_buttons(desired.text, desired.buttons, has_card, cx.account.language);
    let text = full_text(
        &DesiredReply {
            text: &words,
            ..*desired
        },
        cx,
    );
    if let Some((content, end)) = next_piece(&text, &shown, desired.link, cx) {
        return Ok(send_text(&content, &text[..end], member, shown, cx));
    }
    let task = card_action::task_id(desired.reply, shown.round, cx);
    let card = template_card::choices(desired.reply, desired.buttons, &task, cx).filter(|_| has_card);
    Ok(card.map_or(Step::Done, |card| send_card(&card, member, &shown, cx)))
}

/// Progress of a reply that is sent again.
pub(super) fn restart(before: &Progress) -> Result<Progress, UnreadableProgress> {
    let before: AppProgress = before.read()?;
    Ok(Progress::write(&AppProgress {
        round: before.round + 1,
        ..AppProgress::default()
    }))
}

/// The only member of the chat. `|` separates several receivers, and `@all` is everyone: neither is a chat.
pub(super) fn member(to: &ReplyTarget) -> Result<&str, ComposeError> {
    let member = to.chat.id.as_str();
    let is_one = !member.is_empty() && !member.contains('|') && !member.starts_with('@');
    is_one
        .then_some(member)
        .ok_or(ComposeError::Incomplete { field: "userid" })
}

/// Confirms a new session: in the clicked card, otherwise in a separate card.
fn card(
    desired: &DesiredReply<'_>,
    to: &ReplyTarget,
    member: &str,
    shown: &AppProgress,
    cx: &Context<'_>,
) -> Option<Step> {
    let is_confirmation = desired.notice == Some(Notice::NewSession) && desired.text.is_empty();
    if !is_confirmation || shown.no_cards || desired.proactive {
        return None;
    }
    let code = to.handle.text("responseCode").filter(|code| !code.is_empty());
    let Some(code) = code else {
        let card = card_action::new_session(desired.reply, shown.round, Notice::NewSession, cx);
        return Some(send_card(&card, member, shown, cx));
    };
    let (agent, button) = (
        Settings::of(cx.account).agent_id,
        card_action::clicked(Notice::NewSession, cx),
    );
    let body = json!({ "userids": [member], "agentid": agent, "response_code": code, "button": button });
    let path = "/cgi-bin/message/update_template_card";
    Some(call(UPDATE_CARD, path, &body, &shown.done_by(CallKind::Update), cx))
}

fn send_card(card: &Value, member: &str, shown: &AppProgress, cx: &Context<'_>) -> Step {
    let agent = Settings::of(cx.account).agent_id;
    let body = json!({ "touser": member, "msgtype": "template_card", "agentid": agent, "template_card": card });
    call(
        SEND_CARD,
        "/cgi-bin/message/send",
        &body,
        &shown.done_by(CallKind::Card),
        cx,
    )
}

/// The whole text: the answer, its files as links, the notice.
fn full_text(desired: &DesiredReply<'_>, cx: &Context<'_>) -> String {
    let answer = markdown::answer(desired.text);
    let mut full_text = markdown::with_files(answer.trim_end(), desired.files).into_owned();
    let sentence = desired
        .notice
        .map(|notice| notice.referring(desired.reference, cx.account.language));
    let sentence = sentence.or_else(|| {
        let is_empty = full_text.trim().is_empty();
        is_empty.then(|| Notice::EmptyAnswer.text(cx.account.language).into())
    });
    if let Some(sentence) = sentence {
        if !full_text.is_empty() {
            full_text = markdown::piece(&full_text, 0, usize::MAX, str::to_owned).shown + "\n\n";
        }
        full_text.push_str(&sentence);
    }
    full_text
}

/// The next message, and its end in `full_text`. `None` if all has been sent.
fn next_piece(full_text: &str, shown: &AppProgress, link: Option<&str>, cx: &Context<'_>) -> Option<(String, usize)> {
    let style = style(cx);
    let render = |part: &str| markdown::plain(part, style);
    let cutter = Cutter::new(full_text);
    let mut from = shown.start(full_text);
    while from < full_text.len() {
        from = cutter.past_quote_marks(from, TEXT.max);
        let piece = cutter.piece(from, TEXT.max, render);
        if piece.shown.trim().is_empty() {
            from = piece.end;
            continue;
        }
        if shown.messages + 1 < MAX_MESSAGES || piece.end == full_text.len() {
            return Some((piece.shown, piece.end));
        }
        let language = cx.account.language;
        let tail = match link {
            Some(link) => format!("{}{link}", Notice::RestBehindLink.text(language)),
            None => Notice::Incomplete.text(language).to_owned(),
        };
        let room = TEXT.max.saturating_sub(tail.len() + 2);
        let piece = cutter.piece(from, room, render);
        return Some((format!("{}\n\n{tail}", piece.shown), full_text.len()));
    }
    None
}

/// Plain text is shown in all clients, including WeChat, with working links. Markdown is shown in WeCom clients only.
fn style(cx: &Context<'_>) -> PlainStyle {
    match Settings::of(cx.account).sends_markdown {
        true => PlainStyle {
            marks: true,
            links: LinkStyle::Markdown,
        },
        false => PlainStyle {
            marks: false,
            links: LinkStyle::Anchor,
        },
    }
}

impl AppProgress {
    /// Progress after a call that showed everything that was left.
    fn done_by(&self, kind: CallKind) -> Self {
        Self {
            call: kind,
            done: true,
            unsure_since: None,
            ..self.clone()
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

fn send_text(content: &str, covered: &str, member: &str, shown: AppProgress, cx: &Context<'_>) -> Step {
    let settings = Settings::of(cx.account);
    let kind = if settings.sends_markdown { "markdown" } else { "text" };
    let mut body = json!({
        "touser": member,
        "msgtype": kind,
        "agentid": settings.agent_id,
    });
    body[kind] = json!({ "content": content });
    // Only for repeating a call whose response was lost: otherwise an answer that equals an earlier one would be dropped.
    if let Some(since) = shown.unsure_since {
        let reach = (cx.now.since(since) + CHECK_MARGIN).min(MAX_CHECK);
        body["enable_duplicate_check"] = json!(1);
        body["duplicate_check_interval"] = json!(reach.as_secs());
    }
    let on_success = AppProgress {
        call: CallKind::Text,
        sent: covered.len(),
        head: digest(&[covered]),
        messages: shown.messages + 1,
        unsure_since: None,
        ..shown
    };
    call(SEND, "/cgi-bin/message/send", &body, &on_success, cx)
}

fn call(name: &'static str, path: &str, body: &Value, on_success: &AppProgress, cx: &Context<'_>) -> Step {
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
