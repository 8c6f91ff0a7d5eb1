//! Converts moves to calls, each with the progress that its success leads to.

use serde_json::{Value, json};
use tieline_core::connector::Context;
use tieline_core::http_types::{ApiCall, HttpCall};
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, Stage, Step};

use super::call;
use super::card_action;
use super::plan::{Aim, Move, Situation, Way, word};
use super::progress::{CallKind, DiscordProgress, MessageId};
use super::settings::{Settings, address, is_snowflake};
use crate::text_digest::{digest_before, short_digest};

/// Suppresses link previews: a preview would fetch URLs that an agent was tricked into writing.
const SUPPRESS_EMBEDS: u64 = 1 << 2;
/// Longest `nonce`.
///
/// See [Discord Docs/Create Message](https://discord.com/developers/docs/resources/message#create-message).
pub(super) const MAX_NONCE: usize = 25;

/// The next call that leads from `progress` to `desired`.
pub(super) fn deliver(
    desired: &DesiredReply<'_>,
    to: &ReplyTarget,
    progress: &Progress,
    cx: &Context<'_>,
) -> Result<Step, ComposeError> {
    let situation = Situation::new(desired, to, progress, cx)?;
    let Some(next) = situation.next() else {
        return Ok(Step::Done);
    };
    if !is_snowflake(situation.channel()) {
        return Err(ComposeError::Incomplete { field: "chat" });
    }
    let (call, mut on_success) = write(&situation, next);
    on_success.ending |= desired.stage == Stage::Final;
    Ok(Step::Call {
        call: ApiCall::Http(call),
        on_success: Progress::write(&on_success),
    })
}

fn write(situation: &Situation<'_>, next: Move) -> (HttpCall, DiscordProgress) {
    let mut after = situation.shown.clone();
    match next {
        Move::Type => {
            after.call = CallKind::Type;
            after.typed_at = Some(situation.cx.now);
            (typing(situation), after)
        }
        Move::OpenDirect => {
            after.call = CallKind::OpenDirect;
            (open_direct(situation), after)
        }
        Move::Create(aim, way) => {
            let call = create(situation, &aim, way, &mut after);
            shown(&mut after, situation, &aim);
            (call, after)
        }
        Move::Edit(aim, message) => {
            after.call = CallKind::Edit;
            let call = edit(situation, &aim, &message);
            shown(&mut after, situation, &aim);
            (call, after)
        }
    }
}

/// Records that the message shows `aim`.
fn shown(after: &mut DiscordProgress, situation: &Situation<'_>, aim: &Aim) {
    let bubble = &mut after.bubble;
    bubble.text = short_digest(&[&aim.page.text]);
    bubble.button = word(aim);
    bubble.end = aim.page.end;
    bubble.end_tail = digest_before(&situation.text, aim.page.end);
    bubble.continued = aim.continued;
    bubble.full = aim.page.more;
}

fn typing(situation: &Situation<'_>) -> HttpCall {
    let url = in_channel(situation, "/typing");
    call::with_token("type", "POST", url, None, situation.cx)
}

fn open_direct(situation: &Situation<'_>) -> HttpCall {
    let body = json!({ "recipient_id": situation.to.asker.as_str() });
    let url = address(situation.cx.account, "/users/@me/channels");
    call::with_token("open_direct", "POST", url, Some(body), situation.cx)
}

fn create(situation: &Situation<'_>, aim: &Aim, way: Way, after: &mut DiscordProgress) -> HttpCall {
    let mut body = content(situation, aim);
    match way {
        Way::Original => {
            after.call = CallKind::EditOriginal;
            after.token_young = situation.is_token_young();
            let url = by_token(situation, "/messages/@original");
            call::bare("edit_original", "PATCH", url, Some(body))
        }
        Way::FollowUp => {
            after.call = CallKind::FollowUp;
            after.token_young = situation.is_token_young();
            after.is_last = !aim.page.more && !situation.grows();
            call::bare("follow_up", "POST", by_token(situation, ""), Some(body))
        }
        Way::Channel => {
            after.call = CallKind::Send;
            body["nonce"] = nonce(situation).into();
            body["enforce_nonce"] = true.into();
            if let Some(message) = referred_to(situation) {
                body["message_reference"] = json!({ "message_id": message, "fail_if_not_exists": false });
            }
            let url = in_channel(situation, "/messages");
            call::with_token("send", "POST", url, Some(body), situation.cx)
        }
    }
}

fn edit(situation: &Situation<'_>, aim: &Aim, message: &MessageId) -> HttpCall {
    let body = Some(content(situation, aim));
    match message {
        MessageId::Original => call::bare("edit", "PATCH", by_token(situation, "/messages/@original"), body),
        MessageId::FollowUp(id) => {
            let url = by_token(situation, &format!("/messages/{}", segment(id)));
            call::bare("edit", "PATCH", url, body)
        }
        MessageId::Channel(id) => {
            let url = in_channel(situation, &format!("/messages/{}", segment(id)));
            call::with_token("edit", "PATCH", url, body, situation.cx)
        }
    }
}

/// Content of a message. Without `allowed_mentions` an agent could be tricked into pinging everyone; an edit without it parses mentions
/// again.
fn content(situation: &Situation<'_>, aim: &Aim) -> Value {
    let desired = situation.desired;
    // A proactive message has no asker, even if it is sent to one person.
    let asker = if desired.proactive {
        ""
    } else {
        situation.to.asker.as_str()
    };
    let card = if aim.has_card { desired.buttons } else { &[] };
    json!({
        "content": aim.page.text,
        "allowed_mentions": { "parse": [] },
        "flags": SUPPRESS_EMBEDS,
        "components": card_action::components(aim.button, card, asker, desired.reply, situation.cx.account.language),
    })
}

/// The message that the first message of an answer replies to.
fn referred_to<'a>(situation: &'a Situation<'_>) -> Option<&'a str> {
    let message = situation.to.message.as_str();
    let is_interaction = situation.to.handle.text("interaction").is_some();
    let refers = situation.shown.bubble.number == 0 && !situation.shown.without_reference && !is_interaction;
    (refers && !message.is_empty()).then_some(message)
}

/// The nonce: the same for every attempt at a message, different for every message.
fn nonce(situation: &Situation<'_>) -> String {
    let DiscordProgress { round, bubble, .. } = &situation.shown;
    let subject = format!("{} {} {round}", situation.desired.reply, bubble.number);
    let mut nonce = situation.cx.account.ids.other("t", &subject);
    nonce.truncate(MAX_NONCE);
    nonce
}

fn in_channel(situation: &Situation<'_>, path: &str) -> String {
    address(
        situation.cx.account,
        &format!("/channels/{}{path}", situation.channel()),
    )
}

fn by_token(situation: &Situation<'_>, path: &str) -> String {
    let token = situation.token().unwrap_or_default();
    let application = &Settings::of(situation.cx.account).application;
    address(
        situation.cx.account,
        &format!("/webhooks/{application}/{}{path}", segment(token)),
    )
}

/// Escapes an id or a token as a path segment.
pub(super) fn segment(id: &str) -> String {
    url::form_urlencoded::byte_serialize(id.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}
