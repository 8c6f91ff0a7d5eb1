//! Converts messages and clicks to events.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tieline_core::card::choice_key;
use tieline_core::connector::{Context, Unaddressed};
use tieline_core::event::{CardAction, Chat, ChatKind, Event, Message, Part, Quoted, STALE_CLICK, Sender};
use tieline_core::ids::{ChatId, PlatformMessageId, ReplyId, SenderId, ThreadId};
use tieline_core::reply::{ReplyHandle, ReplyTarget};

use super::fields::Mistake;
use super::wire::{Attachment, AttachmentContent, ChatId as WireChat, Click, Said};
use crate::file_name;
use crate::mentions::ends_name;

/// The event of a message. `None` if it was sent in a group without addressing the bot, and the trigger ignores such messages.
pub(super) fn event(said: Said, bot_name: Option<&str>, cx: &Context<'_>) -> Result<Option<Event>, Mistake> {
    let unmentioned = bot_name.and_then(|name| without_mention(&said.text, name));
    let is_addressed = said.chat.kind == ChatKind::Direct || said.mentioned || unmentioned.is_some();
    if !is_addressed && cx.unaddressed == Unaddressed::Ignored {
        return Ok(None);
    }
    let quoted = match said.quoted {
        Some((text, parts)) => Some(Quoted {
            text,
            parts: all_parts("quoted.parts", parts)?,
        }),
        None => None,
    };
    let (id, sender) = (PlatformMessageId::new(said.id), SenderId::new(said.sender_id));
    let said = Message {
        id: id.clone(),
        sender: Sender {
            id: sender.clone(),
            name: said.sender_name.filter(|name| !name.is_empty()),
        },
        sent_at: said.sent_at,
        text: unmentioned.unwrap_or(said.text),
        parts: all_parts("parts", said.parts)?,
        quoted,
        chat_name: said.chat.name.clone(),
        refers_to: None,
        topic_root: None,
        album: None,
        target: target(said.chat, sender, id, said.reply_handle, cx),
    };
    Ok(Some(cx.event(said, is_addressed)))
}

/// The event of a click. `None` if it is too old to be acted on.
pub(super) fn click(clicked: Click, cx: &Context<'_>) -> Option<Event> {
    if clicked.sent_at.is_some_and(|at| cx.now.since(at) > STALE_CLICK) {
        return None;
    }
    let (id, sender) = (PlatformMessageId::new(clicked.id), SenderId::new(clicked.sender_id));
    Some(Event::CardAction(CardAction {
        id: id.clone(),
        sender: Sender {
            id: sender.clone(),
            name: clicked.sender_name.filter(|name| !name.is_empty()),
        },
        key: choice_key(&ReplyId::new(&*clicked.reply), clicked.button),
        card: clicked.reply,
        target: target(clicked.chat, sender, id, clicked.reply_handle, cx),
    }))
}

fn target(
    chat: WireChat,
    asker: SenderId,
    message: PlatformMessageId,
    handle: Option<Value>,
    cx: &Context<'_>,
) -> ReplyTarget {
    ReplyTarget {
        integration: cx.account.integration.clone(),
        chat: Chat {
            kind: chat.kind,
            id: ChatId::new(chat.id),
            thread: chat.thread.map(ThreadId::new),
        },
        asker,
        message,
        handle: handle.map(ReplyHandle::new).unwrap_or_default(),
        expires_at: None,
    }
}

/// The text without the bot's mention, if there is one.
fn without_mention(text: &str, name: &str) -> Option<String> {
    let mention = format!("@{name}");
    let is_whole = |at: &usize| text[at + mention.len()..].chars().next().is_none_or(ends_name);
    let at = text.match_indices(&mention).map(|(at, _)| at).find(is_whole)?;
    let (before, after) = (&text[..at], &text[at + mention.len()..]);
    Some(format!("{before}{}", after.trim_start()).trim().to_owned())
}

fn all_parts(path: &str, parts: Vec<Attachment>) -> Result<Vec<Part>, Mistake> {
    let part = |(at, attachment)| {
        part(attachment).ok_or_else(|| Mistake {
            field: format!("{path}[{at}].data"),
            rule: "must be base64 and not empty",
        })
    };
    parts.into_iter().enumerate().map(part).collect()
}

fn part(attachment: Attachment) -> Option<Part> {
    let Attachment {
        kind,
        name,
        mime,
        size,
        content,
    } = attachment;
    let name = name.as_deref().and_then(file_name::clean);
    match content {
        AttachmentContent::Url(url) => Some(Part {
            kind,
            name,
            mime,
            size,
            locator: json!({ "url": url }),
        }),
        AttachmentContent::Data(data) => {
            let bytes = STANDARD.decode(data).ok().filter(|bytes| !bytes.is_empty())?;
            Some(Part::inline(kind, name, mime, &bytes))
        }
    }
}
