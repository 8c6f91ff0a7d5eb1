//! Converts gateway messages to events.

use serde_json::json;
use tieline_core::connector::{Context, Remark, Unaddressed};
use tieline_core::event::{Chat, ChatKind, Event, Message, Part, PartKind, Quoted, Sender};
use tieline_core::ids::{ChatId, PlatformMessageId, SenderId};
use tieline_core::reply::{ReplyHandle, ReplyTarget};
use tieline_core::timestamp::Timestamp;

use super::mentions::{self, Identity};
use super::settings::{CDN_HOSTS, is_snowflake};
use super::{content, wire};

/// Message types written by people; all others are announcements of the platform or output of commands.
///
/// See [Discord Docs/Message Types](https://discord.com/developers/docs/resources/message#message-object-message-types).
const WRITTEN: [u8; 2] = [0, 19];
/// Channel type of a direct chat.
const DIRECT: u8 = 1;
/// Epoch of the platform's ids: start of 2015, in milliseconds since 1970.
const EPOCH_MS: i64 = 1_420_070_400_000;

/// Reads `MESSAGE_CREATE`.
pub(super) fn message(message: wire::Message, bot: Identity<'_>, cx: &Context<'_>) -> Result<Event, Remark> {
    if let Some(reason) = unwanted(&message, bot) {
        return Err(Remark::Ignored(reason));
    }
    if ![&message.id, &message.channel_id, &message.author.id]
        .iter()
        .all(|id| is_snowflake(id))
    {
        return Err(Remark::Unreadable("message whose ids are not numbers"));
    }
    let kind = chat_kind(message.channel_type, message.guild_id.as_deref());
    let addressed = kind == ChatKind::Direct || is_addressed(&message, bot);
    if !addressed && cx.unaddressed == Unaddressed::Ignored {
        return Err(Remark::Ignored("server message that doesn't mention the bot"));
    }
    if is_withheld(&message, kind, bot) {
        return Err(Remark::Ignored("server message whose content is withheld from the bot"));
    }
    let text = content::text(&message.body, bot);
    let parts = parts(message.body.attachments, cx);
    let quoted = quoted(message.referenced_message, message.message_snapshots, bot, cx);
    if text.is_empty() && parts.is_empty() && quoted.is_none() {
        return Err(Remark::Ignored("message without usable content"));
    }
    let nick = message.member.and_then(|member| member.nick);
    let said = Message {
        sent_at: sent_at(&message.id),
        sender: sender(&message.author, nick),
        text,
        parts,
        quoted,
        chat_name: None,
        refers_to: None,
        topic_root: None,
        album: None,
        target: ReplyTarget {
            integration: cx.account.integration.clone(),
            chat: chat(kind, message.channel_id),
            asker: SenderId::new(message.author.id),
            message: PlatformMessageId::new(message.id.clone()),
            handle: ReplyHandle::new(json!({})),
            expires_at: None,
        },
        id: PlatformMessageId::new(message.id),
    };
    Ok(cx.event(said, addressed))
}

/// Why a message isn't one from a person to the bot, if so.
fn unwanted(message: &wire::Message, bot: Identity<'_>) -> Option<&'static str> {
    let author = &message.author;
    if author.id == bot.user {
        Some("message of the bot itself")
    } else if message.webhook_id.is_some() {
        Some("message of a webhook")
    } else if author.bot || author.system {
        Some("message of another bot")
    } else if !WRITTEN.contains(&message.kind) {
        Some("message type that people don't write")
    } else {
        None
    }
}

/// Whether the bot is mentioned (by user or by its own role) or replied to.
fn is_addressed(message: &wire::Message, bot: Identity<'_>) -> bool {
    let replied_to = message.referenced_message.as_ref();
    bot.is_among(&message.body.mentions, &message.mention_roles)
        || replied_to.is_some_and(|message| message.author.id == bot.user)
}

/// Without the Message Content Intent, a reply whose ping is switched off comes without its content, but with the bot's own message that it
/// replies to. See [Discord Docs/Message Content Intent](https://discord.com/developers/docs/events/gateway#message-content-intent).
fn is_withheld(message: &wire::Message, kind: ChatKind, bot: Identity<'_>) -> bool {
    let body = &message.body;
    let has_nothing = body.content.is_empty()
        && body.attachments.is_empty()
        && body.poll.is_none()
        && message.message_snapshots.is_empty();
    kind == ChatKind::Group && has_nothing && !bot.is_among(&body.mentions, &message.mention_roles)
}

/// The platform doesn't always send the channel type; only direct chats are outside a server.
pub(super) fn chat_kind(channel_type: Option<u8>, guild: Option<&str>) -> ChatKind {
    match (channel_type, guild) {
        (Some(DIRECT), _) | (None, None) => ChatKind::Direct,
        _ => ChatKind::Group,
    }
}

/// A thread is a channel with an id of its own, so it is a chat of its own.
pub(super) fn chat(kind: ChatKind, channel: String) -> Chat {
    Chat {
        kind,
        id: ChatId::new(channel),
        thread: None,
    }
}

/// The sender, with the name that people see in that chat.
pub(super) fn sender(user: &wire::User, nick: Option<String>) -> Sender {
    let nick = nick.filter(|nick| !nick.is_empty());
    let name = nick.unwrap_or_else(|| mentions::name_of(user).to_owned());
    Sender {
        id: SenderId::new(user.id.clone()),
        name: (!name.is_empty()).then_some(name),
    }
}

/// Creation time of an id.
///
/// See [Discord Docs/Snowflakes](https://discord.com/developers/docs/reference#snowflakes).
pub(super) fn sent_at(id: &str) -> Option<Timestamp> {
    let id: u64 = id.parse().ok()?;
    Some(Timestamp::from_millis(i64::try_from(id >> 22).ok()? + EPOCH_MS))
}

/// Attachments at the platform's own hosts; others aren't from the platform and are dropped.
pub(super) fn parts(attachments: impl IntoIterator<Item = wire::Attachment>, cx: &Context<'_>) -> Vec<Part> {
    let ours = attachments
        .into_iter()
        .filter(|attachment| cx.account.may_call(&attachment.url, CDN_HOSTS));
    ours.map(part).collect()
}

fn part(attachment: wire::Attachment) -> Part {
    let kind = match attachment.content_type.as_deref() {
        Some(mime) if mime.starts_with("image/") => PartKind::Image,
        Some(mime) if mime.starts_with("audio/") => PartKind::Audio,
        Some(mime) if mime.starts_with("video/") => PartKind::Video,
        _ => PartKind::File,
    };
    Part {
        kind,
        name: (!attachment.filename.is_empty()).then_some(attachment.filename),
        mime: attachment.content_type,
        size: attachment.size,
        locator: json!({ "url": attachment.url }),
    }
}

/// The message that was replied to, or else forwarded.
fn quoted(
    replied_to: Option<Box<wire::Referenced>>,
    forwarded: Vec<wire::Snapshot>,
    bot: Identity<'_>,
    cx: &Context<'_>,
) -> Option<Quoted> {
    let replied_to = replied_to.map(|message| message.body);
    let bodies = replied_to
        .into_iter()
        .chain(forwarded.into_iter().map(|snapshot| snapshot.message));
    let (mut texts, mut all_parts) = (Vec::new(), Vec::new());
    for body in bodies {
        let text = content::quoted_text(&body, bot);
        texts.extend((!text.is_empty()).then_some(text));
        all_parts.extend(parts(body.attachments, cx));
    }
    let is_empty = texts.is_empty() && all_parts.is_empty();
    (!is_empty).then(|| Quoted {
        text: texts.join("\n\n"),
        parts: all_parts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_contain_their_creation_time() {
        // The example in the platform's documentation.
        let at = sent_at("175928847299117063").map(Timestamp::as_millis);
        assert_eq!(at, Some(1_462_015_105_796));
        assert_eq!(sent_at("mia"), None);
    }

    #[test]
    fn channels_outside_servers_are_direct() {
        assert_eq!(chat_kind(Some(1), None), ChatKind::Direct);
        assert_eq!(chat_kind(None, None), ChatKind::Direct);
        assert_eq!(chat_kind(Some(3), None), ChatKind::Group);
        assert_eq!(chat_kind(None, Some("1")), ChatKind::Group);
        assert_eq!(chat_kind(Some(11), Some("1")), ChatKind::Group);
    }
}
