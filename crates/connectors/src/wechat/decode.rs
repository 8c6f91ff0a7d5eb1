//! Converts messages of `getupdates` to events.

use std::time::Duration;

use serde::Deserialize as _;
use serde_json::{Value, json};
use tieline_core::connector::{Context, Remark};
use tieline_core::event::{Chat, ChatKind, Message, Part, PartKind, Quoted, Sender};
use tieline_core::ids::{ChatId, PlatformMessageId, SenderId, digest};
use tieline_core::reply::{ReplyHandle, ReplyTarget};
use tieline_core::timestamp::Timestamp;

use super::media::Locator;
use super::settings::Login;
use super::wire::{CdnMedia, FROM_BOT, FROM_USER, Item, RefMessage, WeixinMessage, item_type};

/// How long after a person's message the bot may answer it.
///
/// See the platform's rules in [微信 ClawBot 功能使用条款](https://mp.weixin.qq.com/s/eze9tUMh94B7cURgtqgSOQ).
const REPLY_WINDOW: Duration = Duration::from_hours(24);
/// Field of the reply handle: the token by which the platform assigns an answer to its conversation.
pub(super) const CONTEXT_TOKEN: &str = "contextToken";

/// The reply handle with this token.
pub(super) fn reply_handle(context_token: Option<&str>) -> ReplyHandle {
    ReplyHandle::new(json!({ CONTEXT_TOKEN: context_token }))
}

/// The token of a reply handle, if it has one.
pub(super) fn context_token(target: &ReplyTarget) -> Option<&str> {
    target.handle.text(CONTEXT_TOKEN).filter(|token| !token.is_empty())
}

/// A message, with fingerprints for detecting its copies.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) message: Message,
    /// Digests that a copy with another `message_id` shares.
    pub(super) fingerprints: Vec<String>,
}

/// Decodes one element of `msgs`.
pub(super) fn read(raw: Value, cx: &Context<'_>) -> Result<Decoded, Remark> {
    let wire = WeixinMessage::deserialize(raw)
        .map_err(|_| Remark::Unreadable("message does not have the documented shape"))?;
    match wire.message_type {
        None | Some(FROM_USER) => {}
        Some(FROM_BOT) => return Err(Remark::Ignored("own message")),
        Some(_) => return Err(Remark::Ignored("message of an unknown type")),
    }
    if wire.group_id.as_deref().is_some_and(|group| !group.is_empty()) {
        return Err(Remark::Ignored("group message: the platform has no groups for bots"));
    }
    let Some(sender) = wire.from_user_id.as_deref().filter(|id| !id.is_empty()) else {
        return Err(Remark::Ignored("message without a sender"));
    };
    if Login::of(cx.account).is_none_or(|login| login.user_id != sender) {
        return Err(Remark::Ignored("sender is not the person who logged in"));
    }
    if wire.delete_time_ms.is_some_and(|at| at > 0) {
        return Err(Remark::Ignored("recalled message"));
    }
    let said = said(&wire.item_list);
    if said.text.is_empty() && said.parts.is_empty() {
        return Err(Remark::Ignored("message without anything that can be used"));
    }
    let fingerprints = fingerprints(&wire, sender, &said);
    let sender = SenderId::new(sender);
    let id = PlatformMessageId::new(match wire.message_id {
        Some(id) => id.into_text(),
        None => fingerprints.join("-"),
    });
    let sent_at = wire.create_time_ms.filter(|at| *at > 0).map(Timestamp::from_millis);
    let target = ReplyTarget {
        integration: cx.account.integration.clone(),
        chat: Chat {
            kind: ChatKind::Direct,
            id: ChatId::new(sender.as_str()),
            thread: None,
        },
        asker: sender.clone(),
        message: id.clone(),
        handle: reply_handle(wire.context_token.as_deref()),
        expires_at: Some(sent_at.unwrap_or(cx.now).after(REPLY_WINDOW)),
    };
    let message = Message {
        id,
        sender: Sender { id: sender, name: None },
        sent_at,
        text: said.text,
        parts: said.parts,
        quoted: said.quoted,
        chat_name: None,
        refers_to: None,
        topic_root: None,
        album: None,
        target,
    };
    Ok(Decoded { message, fingerprints })
}

/// Content of a message.
#[derive(Default)]
struct Said {
    text: String,
    parts: Vec<Part>,
    quoted: Option<Quoted>,
}

/// Reads the items. Unknown or malformed items are skipped.
fn said(items: &[Value]) -> Said {
    let items: Vec<Item> = items.iter().filter_map(|item| Item::deserialize(item).ok()).collect();
    let text = items
        .iter()
        .find_map(text_of)
        .or_else(|| items.iter().find_map(transcript_of));
    Said {
        text: text.unwrap_or_default().trim().to_owned(),
        quoted: items.iter().find_map(|item| item.ref_msg.as_ref()).and_then(quoted),
        parts: items.into_iter().filter_map(part).collect(),
    }
}

fn text_of(item: &Item) -> Option<&str> {
    let text = item.text_item.as_ref().filter(|_| item.kind == item_type::TEXT)?;
    Some(text.text.as_str())
}

fn transcript_of(item: &Item) -> Option<&str> {
    let voice = item.voice_item.as_ref().filter(|_| item.kind == item_type::VOICE)?;
    voice.text.as_deref().filter(|text| !text.is_empty())
}

/// An image, recording, video or file.
fn part(item: Item) -> Option<Part> {
    let blank = |kind, media: Option<CdnMedia>, key: Option<String>| {
        Some(Part {
            kind,
            name: None,
            mime: None,
            size: None,
            locator: Locator::new(media?, key)?.into_value(),
        })
    };
    match item.kind {
        item_type::IMAGE => {
            let image = item.image_item?;
            blank(PartKind::Image, image.media, image.aeskey)
        }
        item_type::VOICE => {
            let voice = item.voice_item?;
            let mime = voice.encode_type.and_then(voice_mime).map(str::to_owned);
            Some(Part {
                mime,
                ..blank(PartKind::Audio, voice.media, None)?
            })
        }
        item_type::FILE => {
            let file = item.file_item?;
            Some(Part {
                name: file.file_name.filter(|name| !name.is_empty()),
                size: file.len.and_then(|len| len.into_text().parse().ok()),
                ..blank(PartKind::File, file.media, None)?
            })
        }
        item_type::VIDEO => blank(PartKind::Video, item.video_item?.media, None),
        _ => None,
    }
}

const fn voice_mime(encode_type: i64) -> Option<&'static str> {
    match encode_type {
        5 => Some("audio/amr"),
        6 => Some("audio/silk"),
        7 => Some("audio/mpeg"),
        _ => None,
    }
}

/// Text for the agent in place of a quote that has only an id, since the platform has no call for fetching it, or that can't be read.
const UNAVAILABLE: &str = "(The quoted message is not available.)";

fn quoted(reference: &Value) -> Option<Quoted> {
    let unavailable = || Quoted {
        text: UNAVAILABLE.to_owned(),
        parts: Vec::new(),
    };
    let Ok(reference) = RefMessage::deserialize(reference) else {
        return Some(unavailable());
    };
    let item = reference.message_item.and_then(|item| Item::deserialize(item).ok());
    let text = item
        .as_ref()
        .and_then(|item| text_of(item).or_else(|| transcript_of(item)));
    let title = reference.title.as_deref().filter(|title| !title.is_empty());
    let text = text.or(title).unwrap_or_default().to_owned();
    let parts: Vec<_> = item.and_then(part).into_iter().collect();
    match text.is_empty() && parts.is_empty() {
        true => reference.svr_id.map(|_| unavailable()),
        false => Some(Quoted { text, parts }),
    }
}

/// Copies have another `message_id`, but the sender's own id, or the time and text, of the first.
fn fingerprints(wire: &WeixinMessage, sender: &str, said: &Said) -> Vec<String> {
    let client = wire.client_id.as_deref().filter(|id| !id.is_empty());
    let client = client.map(|id| short(&["client", sender, id]));
    let content = wire.create_time_ms.map(|at| {
        let parts: Vec<String> = said.parts.iter().map(|part| part.locator.to_string()).collect();
        short(&["content", sender, &at.to_string(), &said.text, &parts.concat()])
    });
    client.into_iter().chain(content).collect()
}

/// A digest long enough to distinguish the latest messages of one person.
fn short(fields: &[&str]) -> String {
    digest(fields).chars().take(12).collect()
}
