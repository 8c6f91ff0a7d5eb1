//! Messages as events.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tieline_core::connector::{Context, Unaddressed};
use tieline_core::event::{Chat, ChatKind, Event, Message, Part, Quoted, Sender};
use tieline_core::ids::{ChatId, PlatformMessageId, SenderId, ThreadId};
use tieline_core::reply::{ReplyHandle, ReplyTarget};

use super::fields::Mistake;
use super::wire::{Attachment, AttachmentContent, Said};
use crate::file_name;
use crate::mentions::ends_name;

/// The event of a message. `None` if it was said in a group and not to the bot, and the trigger ignores that.
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
        chat_name: said.chat.name,
        refers_to: None,
        album: None,
        target: ReplyTarget {
            integration: cx.account.integration.clone(),
            chat: Chat {
                kind: said.chat.kind,
                id: ChatId::new(said.chat.id),
                thread: said.chat.thread.map(ThreadId::new),
            },
            asker: sender,
            message: id,
            handle: said.reply_handle.map(ReplyHandle::new).unwrap_or_default(),
            expires_at: None,
        },
    };
    Ok(Some(cx.event(said, is_addressed)))
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
