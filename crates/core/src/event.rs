//! Events of platforms, in a common form.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::ids::{ChatId, PlatformMessageId, SenderId, digest};
use crate::reply::ReplyTarget;
use crate::timestamp::Timestamp;

pub use crate::chat::{Chat, ChatKind};

/// Clicks that are older, by the platform's clock, are ignored: what they refer to is long over.
pub const STALE_CLICK: Duration = Duration::from_hours(24);

/// The key of our own buttons that start a new session, whatever a platform's card calls them: see [`CardAction::key`].
pub const NEW_SESSION_KEY: &str = "tl:new_session";

/// The key of the event that a person has opened a chat: see [`CardAction::key`].
pub const WELCOME_KEY: &str = "tl:welcome";

/// An event on a platform that is processed.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A person sent a message to the bot.
    Message(Message),
    /// A person said something in a group, and not to the bot. Only created if the trigger wants it
    /// ([`crate::connector::Unaddressed::Kept`]), and for parts of an album: another part may mention the bot.
    Overheard(Message),
    /// A person clicked something, or opened the chat.
    CardAction(CardAction),
    /// A person rated an answer.
    Feedback(Feedback),
    /// A message was recalled: it is not to be answered any more.
    Recalled(Recalled),
    /// The platform has given a group another id.
    ChatMoved(ChatMoved),
}

impl Event {
    /// The platform's id of the event, by which it is found in the ledger. A recall has none of its own: it is about its message.
    #[must_use]
    pub fn id(&self) -> &PlatformMessageId {
        match self {
            Self::Message(message) | Self::Overheard(message) => &message.id,
            Self::CardAction(action) => &action.id,
            Self::Feedback(feedback) => &feedback.id,
            Self::Recalled(recalled) => &recalled.message,
            Self::ChatMoved(moved) => &moved.id,
        }
    }

    /// The chat.
    #[must_use]
    pub fn chat(&self) -> &Chat {
        match self {
            Self::Message(message) | Self::Overheard(message) => &message.target.chat,
            Self::CardAction(action) => &action.target.chat,
            Self::Feedback(feedback) => &feedback.chat,
            Self::Recalled(recalled) => &recalled.chat,
            Self::ChatMoved(moved) => &moved.chat,
        }
    }

    /// The person. Empty if the platform doesn't tell.
    #[must_use]
    pub fn sender(&self) -> &SenderId {
        match self {
            Self::Message(message) | Self::Overheard(message) => &message.sender.id,
            Self::CardAction(action) => &action.sender.id,
            Self::Feedback(feedback) => &feedback.sender,
            Self::Recalled(recalled) => &recalled.sender,
            Self::ChatMoved(moved) => &moved.sender,
        }
    }
}

/// The field of a locator that is reserved for this crate: the bytes of [`Part::inline`], or `true` once they are stored.
const INLINE: &str = "inline";

/// The sender of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// The platform's own id.
    pub id: SenderId,
    /// The display name, if the platform sends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// One message of a person.
///
/// The mention of the bot is already removed from the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The platform's id.
    pub id: PlatformMessageId,
    /// The sender.
    pub sender: Sender,
    /// The name of the chat, if the platform sends it.
    pub chat_name: Option<String>,
    /// When it was sent, by the platform's own clock, if known.
    pub sent_at: Option<Timestamp>,
    /// The text, trimmed of the mention of the bot. May be empty if there are parts.
    pub text: String,
    /// Images, recordings, files.
    pub parts: Vec<Part>,
    /// What the person quoted: context only, never a command.
    pub quoted: Option<Quoted>,
    /// The message that it quotes or forwards, where the platform reveals its content only on request: see
    /// [`crate::connector::MediaSource::quote`].
    pub refers_to: Option<PlatformMessageId>,
    /// The first message of its topic, which everything in the topic is about, where the platform reveals its content only on request.
    pub topic_root: Option<PlatformMessageId>,
    /// The platform's id of the album that it is a part of, where each picture or file of an album is a message of its own.
    pub album: Option<String>,
    /// Where the answer goes. Made once, here.
    pub target: ReplyTarget,
}

impl Message {
    /// Equal for two deliveries of one message under different ids, in the same chat. `None` if that can't be told: without a text or a time,
    /// or with attachments, of which a person may send several at once.
    #[must_use]
    pub fn fingerprint(&self) -> Option<String> {
        let sent_at = self
            .sent_at
            .filter(|_| self.parts.is_empty() && !self.text.is_empty())?;
        let sent_at = sent_at.as_millis().to_string();
        Some(digest(&[self.sender.id.as_str(), &sent_at, &self.text]))
    }
}

/// Kind of an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// A picture.
    Image,
    /// A recording, voice included.
    Audio,
    /// A video.
    Video,
    /// Any other file.
    File,
}

impl PartKind {
    /// Its name in texts for agents and people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::File => "file",
        }
    }
}

/// An attachment of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// File name, if the platform sends it.
    pub name: Option<String>,
    /// MIME type, if the platform sends it.
    pub mime: Option<String>,
    /// Size in bytes, if the platform sends it.
    pub size: Option<u64>,
    /// How to get the bytes, in a form of its connector (address, key, file id). Secret; sealed with the event.
    pub locator: serde_json::Value,
}

impl Part {
    /// A part whose bytes were received inside the message itself. The bridge stores them before it queues the event, so that an event stays
    /// small however large its files are.
    #[must_use]
    pub fn inline(kind: PartKind, name: Option<String>, mime: Option<String>, bytes: &[u8]) -> Self {
        Self {
            kind,
            name,
            mime,
            size: Some(bytes.len() as u64),
            locator: json!({ INLINE: STANDARD.encode(bytes) }),
        }
    }

    /// Whether the bytes were received inside the message: they are stored with it, and not fetched from a platform.
    #[must_use]
    pub fn is_inline(&self) -> bool {
        self.locator.get(INLINE).is_some()
    }

    /// Removes the bytes from the locator of [`Part::inline`]. `None` for other parts, and the second time.
    pub fn take_inline(&mut self) -> Option<Vec<u8>> {
        let bytes = STANDARD.decode(self.locator.get(INLINE)?.as_str()?).ok()?;
        self.locator = json!({ INLINE: true });
        Some(bytes)
    }

    /// The mark that represents it in texts.
    #[must_use]
    pub fn mark(&self) -> String {
        let kind = self.kind.word();
        match self.name.as_deref() {
            Some(name) if !name.is_empty() => format!("[{kind}: {name}]"),
            _ => format!("[{kind}]"),
        }
    }
}

/// What a message quotes.
#[derive(Debug, Clone, PartialEq)]
pub struct Quoted {
    /// The quoted text.
    pub text: String,
    /// The quoted things.
    pub parts: Vec<Part>,
}

/// An action without text: a click on one of our cards, or the opening of a chat whose platform expects no answer to that.
#[derive(Debug, Clone, PartialEq)]
pub struct CardAction {
    /// The platform's id of the click.
    pub id: PlatformMessageId,
    /// The person who clicked.
    pub sender: Sender,
    /// The action: [`NEW_SESSION_KEY`], [`WELCOME_KEY`], or the key that another program's card gave the clicked element.
    pub key: String,
    /// The card: the id that we gave it. Empty if there was none.
    pub card: String,
    /// Where an answer goes.
    pub target: ReplyTarget,
}

/// A rating of one of our answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Feedback {
    /// The platform's id of the rating.
    pub id: PlatformMessageId,
    /// The chat.
    pub chat: Chat,
    /// The person.
    pub sender: SenderId,
    /// The id that we gave the answer.
    pub subject: String,
    /// The rating.
    pub rating: Rating,
    /// The person's comment.
    pub comment: String,
}

/// The recall of a message, by its sender or by an administrator of its group.
#[derive(Debug, Clone, PartialEq)]
pub struct Recalled {
    /// The message that is recalled.
    pub message: PlatformMessageId,
    /// The chat, without the thread if the platform doesn't tell.
    pub chat: Chat,
    /// The person who recalled it. Empty if the platform doesn't tell.
    pub sender: SenderId,
}

/// A group that has another id now. What was known of it under the old one stays valid.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatMoved {
    /// The platform's id of the event.
    pub id: PlatformMessageId,
    /// The old id.
    pub from: ChatId,
    /// The group under its new id.
    pub chat: Chat,
    /// The person who caused it. Empty if the platform doesn't tell.
    pub sender: SenderId,
}

/// How an answer was rated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rating {
    /// Good.
    Up,
    /// Bad.
    Down,
    /// Withdrawn.
    Cleared,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_bytes_are_removed_once() {
        let mut part = Part::inline(PartKind::Image, Some("a.png".into()), None, b"\x89PNG");
        assert_eq!((part.is_inline(), part.size), (true, Some(4)));
        assert_eq!(part.take_inline().as_deref(), Some(&b"\x89PNG"[..]));
        assert_eq!((part.is_inline(), part.take_inline()), (true, None));
        assert!(part.locator.to_string().len() < 20);
        let mut other = Part {
            locator: json!({ "url": "https://example.com/a.png" }),
            ..part
        };
        assert_eq!((other.is_inline(), other.take_inline()), (false, None));
    }
}
