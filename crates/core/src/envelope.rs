//! Messages on the queues. Versioned: the old shape outlives the deploy.

use serde::{Deserialize, Serialize};

use crate::event::{
    CardAction, Chat, ChatMoved, Event, Feedback, Message, Part, PartKind, Quoted, Rating, Recalled, Sender,
};
use crate::http_types::SocketCall;
use crate::ids::{
    ChatId, ConversationId, IntegrationId, MessageId, OrganizationId, PlatformMessageId, ReplyId, RunId, SenderId,
};
use crate::reply::{ReplyHandle, ReplyTarget};
use crate::timestamp::Timestamp;

/// An event for the dispatcher, on `inbound.fifo`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "v")]
pub enum Envelope {
    /// The first shape.
    #[serde(rename = "1")]
    V1(EnvelopeV1),
}

/// An event with its ids in the clear and its content sealed: handles and keys are secrets, and the text is personal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnvelopeV1 {
    /// The tenant.
    pub organization: OrganizationId,
    /// The bot.
    pub integration: IntegrationId,
    /// The ledger id; follows the message through every log line.
    pub message: MessageId,
    /// The reply id.
    pub reply: ReplyId,
    /// When we received it.
    #[serde(with = "crate::timestamp::millis")]
    pub received_at: Timestamp,
    /// Mark of the bot account that received it. `None`: unknown, or sent by an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// [`StoredEvent`] as JSON, sealed. Empty if it is in a file.
    pub event: String,
    /// The id of the file that holds the sealed event, if that is too long for the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_file: Option<String>,
}

/// A wake-up on `work`: look at this conversation. Carries no truth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "v")]
pub enum WakeUp {
    /// The first shape.
    #[serde(rename = "1")]
    V1(WakeUpV1),
}

/// The first shape of a wake-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeUpV1 {
    /// The tenant, for fairness.
    pub organization: OrganizationId,
    /// The conversation.
    pub conversation: ConversationId,
    /// A reply to deliver too, if it isn't: where the platform polls, whether it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<ReplyId>,
    /// How often that reply had been redriven when this was sent. `None`: unknown, or sent by an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redrive: Option<u32>,
    /// When the watchdog of this wake-up is first due, if it has one. The watch's name.
    #[serde(
        with = "crate::timestamp::millis::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub watch_at: Option<Timestamp>,
    /// Whether this is the watchdog: it is sent on for as long as there is a run, and takes over from a dead process.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub watch: bool,
    /// A bot on a long connection whose relay is to run it. `None`: any runner, from `work`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<IntegrationId>,
    /// The run that this watchdog last found waiting for its agent to call back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<ParkedV1>,
}

/// A run that waits for its agent to call back, as a watchdog found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedV1 {
    /// The run.
    pub run: RunId,
    /// Until when its agent may call back.
    #[serde(with = "crate::timestamp::millis")]
    pub until: Timestamp,
    /// How many looks have since asked only whether the agent has called back.
    pub n_short: u8,
}

impl WakeUpV1 {
    /// A wake-up for a conversation, without a watchdog.
    #[must_use]
    pub const fn new(organization: OrganizationId, conversation: ConversationId) -> Self {
        Self {
            organization,
            conversation,
            reply: None,
            redrive: None,
            watch_at: None,
            watch: false,
            relay: None,
            parked: None,
        }
    }

    /// A wake-up for a reply of a conversation, without a watchdog.
    #[must_use]
    pub fn of_reply(organization: OrganizationId, conversation: ConversationId, reply: ReplyId) -> Self {
        Self {
            reply: Some(reply),
            ..Self::new(organization, conversation)
        }
    }

    /// This wake-up, for its reply as it is after so many redrives.
    #[must_use]
    pub const fn after_redrives(mut self, redrives: u32) -> Self {
        self.redrive = Some(redrives);
        self
    }

    /// Whether its reply, which has been redriven this often, was redriven since this was sent. The redrive itself wakes a runner for it.
    #[must_use]
    pub fn is_outdated(&self, redrives: u32) -> bool {
        self.redrive.is_some_and(|known| known < redrives)
    }

    /// This wake-up and its watchdog, which is due at `watch_at`, on `work` in any case.
    #[must_use]
    pub fn watched(self, watch_at: Timestamp) -> (WakeUp, WakeUp) {
        let wake = Self {
            watch_at: Some(watch_at),
            ..self
        };
        let watchdog = Self {
            watch: true,
            relay: None,
            ..wake.clone()
        };
        (WakeUp::V1(wake), WakeUp::V1(watchdog))
    }
}

/// A message on the queue of a relay shard. Each kind has a version of its own; their required fields distinguish them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RelayMessage {
    /// A frame for a bot's socket.
    Call(RelayCall),
    /// A wake-up for the process that holds the socket.
    WakeUp(WakeUp),
}

/// A call for the process that holds a bot's socket, on the queue of the bot's relay shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "v")]
pub enum RelayCall {
    /// The first shape.
    #[serde(rename = "1")]
    V1(RelayCallV1),
}

/// The first shape of a relay call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelayCallV1 {
    /// The bot.
    pub integration: IntegrationId,
    /// Mark of the bot account that it was written for. `None`: unknown, or sent by an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The reply that it shows.
    pub reply: ReplyId,
    /// The id under which the answer is recorded.
    pub call_id: String,
    /// [`SocketCall`] as JSON, sealed.
    pub call: String,
}

/// A socket call as it is sealed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "v")]
pub enum StoredCall {
    /// The first shape.
    #[serde(rename = "1")]
    V1(SocketCall),
}

/// An event as it is sealed, in queues and in tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "v")]
pub enum StoredEvent {
    /// The first shape.
    #[serde(rename = "1")]
    V1(EventV1),
}

impl From<Event> for StoredEvent {
    fn from(event: Event) -> Self {
        Self::V1(match event {
            Event::Message(message) => EventV1::Message(message.into()),
            Event::Overheard(message) => EventV1::Overheard(message.into()),
            Event::CardAction(action) => EventV1::CardAction(action.into()),
            Event::Feedback(feedback) => EventV1::Feedback(feedback.into()),
            Event::Recalled(recalled) => EventV1::Recalled(recalled.into()),
            Event::ChatMoved(moved) => EventV1::ChatMoved(moved.into()),
        })
    }
}

impl From<StoredEvent> for Event {
    fn from(StoredEvent::V1(event): StoredEvent) -> Self {
        match event {
            EventV1::Message(message) => Self::Message(message.into()),
            EventV1::Overheard(message) => Self::Overheard(message.into()),
            EventV1::CardAction(action) => Self::CardAction(action.into()),
            EventV1::Feedback(feedback) => Self::Feedback(feedback.into()),
            EventV1::Recalled(recalled) => Self::Recalled(recalled.into()),
            EventV1::ChatMoved(moved) => Self::ChatMoved(moved.into()),
        }
    }
}

/// The first stored shape of an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventV1 {
    /// See [`Message`].
    Message(MessageV1),
    /// See [`Event::Overheard`].
    Overheard(MessageV1),
    /// See [`CardAction`].
    CardAction(CardActionV1),
    /// See [`Feedback`].
    Feedback(FeedbackV1),
    /// See [`Recalled`].
    Recalled(RecalledV1),
    /// See [`ChatMoved`].
    ChatMoved(ChatMovedV1),
}

/// The first stored shape of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MessageV1 {
    id: PlatformMessageId,
    sender: Sender,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chat_name: Option<String>,
    #[serde(with = "crate::timestamp::millis::option", default)]
    sent_at: Option<Timestamp>,
    text: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<PartV1>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quoted: Option<QuotedV1>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refers_to: Option<PlatformMessageId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topic_root: Option<PlatformMessageId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    album: Option<String>,
    target: TargetV1,
}

/// The first stored shape of a part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartV1 {
    kind: PartKind,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    mime: Option<String>,
    #[serde(default)]
    size: Option<u64>,
    locator: serde_json::Value,
}

/// The first stored shape of a quote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuotedV1 {
    text: String,
    #[serde(default)]
    parts: Vec<PartV1>,
}

/// The first stored shape of a reply target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetV1 {
    integration: IntegrationId,
    chat: Chat,
    asker: SenderId,
    message: PlatformMessageId,
    handle: ReplyHandle,
    #[serde(with = "crate::timestamp::millis::option", default)]
    expires_at: Option<Timestamp>,
}

/// The first stored shape of a click.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CardActionV1 {
    id: PlatformMessageId,
    sender: Sender,
    key: String,
    card: String,
    target: TargetV1,
}

/// The first stored shape of a rating.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeedbackV1 {
    id: PlatformMessageId,
    chat: Chat,
    sender: SenderId,
    subject: String,
    rating: Rating,
    comment: String,
}

/// The first stored shape of a recall.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecalledV1 {
    message: PlatformMessageId,
    chat: Chat,
    sender: SenderId,
}

/// The first stored shape of a group with another id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatMovedV1 {
    id: PlatformMessageId,
    from: ChatId,
    chat: Chat,
    sender: SenderId,
}

macro_rules! mirror {
    ($domain:ident, $stored:ident, [$($same:ident),*], [$($into:ident),*], [$($list:ident),*]) => {
        impl From<$domain> for $stored {
            fn from(value: $domain) -> Self {
                Self {
                    $($same: value.$same,)*
                    $($into: value.$into.into(),)*
                    $($list: value.$list.into_iter().map(Into::into).collect(),)*
                }
            }
        }

        impl From<$stored> for $domain {
            fn from(value: $stored) -> Self {
                Self {
                    $($same: value.$same,)*
                    $($into: value.$into.into(),)*
                    $($list: value.$list.into_iter().map(Into::into).collect(),)*
                }
            }
        }
    };
}

mirror!(Part, PartV1, [kind, name, mime, size, locator], [], []);
mirror!(Quoted, QuotedV1, [text], [], [parts]);
mirror!(
    ReplyTarget,
    TargetV1,
    [integration, chat, asker, message, handle, expires_at],
    [],
    []
);
mirror!(CardAction, CardActionV1, [id, sender, key, card], [target], []);
mirror!(
    Feedback,
    FeedbackV1,
    [id, chat, sender, subject, rating, comment],
    [],
    []
);

mirror!(Recalled, RecalledV1, [message, chat, sender], [], []);
mirror!(ChatMoved, ChatMovedV1, [id, from, chat, sender], [], []);

impl From<Message> for MessageV1 {
    fn from(value: Message) -> Self {
        Self {
            id: value.id,
            sender: value.sender,
            chat_name: value.chat_name,
            sent_at: value.sent_at,
            text: value.text,
            parts: value.parts.into_iter().map(Into::into).collect(),
            quoted: value.quoted.map(Into::into),
            refers_to: value.refers_to,
            topic_root: value.topic_root,
            album: value.album,
            target: value.target.into(),
        }
    }
}

impl From<MessageV1> for Message {
    fn from(value: MessageV1) -> Self {
        Self {
            id: value.id,
            sender: value.sender,
            chat_name: value.chat_name,
            sent_at: value.sent_at,
            text: value.text,
            parts: value.parts.into_iter().map(Into::into).collect(),
            quoted: value.quoted.map(Into::into),
            refers_to: value.refers_to,
            topic_root: value.topic_root,
            album: value.album,
            target: value.target.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ChatKind;
    use crate::ids::ChatId;

    fn message() -> Event {
        let part = Part {
            kind: PartKind::Image,
            name: None,
            mime: Some("image/png".into()),
            size: Some(3),
            locator: serde_json::json!({"url": "https://example.com"}),
        };
        Event::Message(Message {
            id: PlatformMessageId::new("CAIQ0aa"),
            sender: Sender {
                id: SenderId::new("lisi"),
                name: None,
            },
            chat_name: Some("Release".into()),
            sent_at: Some(Timestamp::from_millis(1_760_000_000_001)),
            text: "你好".into(),
            parts: vec![part.clone()],
            quoted: Some(Quoted {
                text: "q".into(),
                parts: vec![part],
            }),
            refers_to: Some(PlatformMessageId::new("CAIQ0ab")),
            topic_root: Some(PlatformMessageId::new("CAIQ0ac")),
            album: Some("13999".into()),
            target: ReplyTarget {
                integration: IntegrationId::new("int_1"),
                chat: Chat {
                    kind: ChatKind::Direct,
                    id: ChatId::new("lisi"),
                    thread: None,
                },
                asker: SenderId::new("lisi"),
                message: PlatformMessageId::new("CAIQ0aa"),
                handle: ReplyHandle::new(serde_json::json!({"responseUrl": "https://example.com"})),
                expires_at: None,
            },
        })
    }

    #[test]
    fn stored_event_round_trips() {
        let recalled = Event::Recalled(Recalled {
            message: PlatformMessageId::new("CAIQ0aa"),
            chat: message().chat().clone(),
            sender: SenderId::new(""),
        });
        let moved = Event::ChatMoved(ChatMoved {
            id: PlatformMessageId::new("900"),
            from: ChatId::new("-456"),
            chat: message().chat().clone(),
            sender: SenderId::new("lisi"),
        });
        for event in [message(), recalled, moved] {
            let text = serde_json::to_string(&StoredEvent::from(event.clone())).unwrap();
            assert_eq!(Event::from(serde_json::from_str::<StoredEvent>(&text).unwrap()), event);
        }
    }

    // Written by an earlier version, it must stay readable: this text is not made by the code under test.
    #[test]
    fn first_stored_shape_stays_readable() {
        let text = r#"{"v":"1","message":{"id":"m","sender":{"id":"lisi"},"text":"hi","target":{"integration":"int_1",
            "chat":{"kind":"direct","id":"lisi"},"asker":"lisi","message":"m","handle":null}}}"#;
        let stored: StoredEvent = serde_json::from_str(text).unwrap();
        assert_eq!(Event::from(stored).id().as_str(), "m");
    }
}
