//! The platform's JSON. Field names are the vendor's.
//!
//! See [WeCom Docs/接收消息](https://developer.work.weixin.qq.com/document/path/100719),
//! [WeCom Docs/接收事件](https://developer.work.weixin.qq.com/document/path/101027) and
//! [WeCom Docs/被动回复消息](https://developer.work.weixin.qq.com/document/path/101031).

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A text field. Absent, null and empty are equivalent; a number counts as its digits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `None` if empty.
    pub(super) fn some(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(&*self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(number.to_string())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(number.to_string())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Text::default())
    }
}

/// The outer body of a callback: only `encrypt` is used.
#[derive(Deserialize)]
pub(super) struct Sealed<'a> {
    #[serde(borrow, default)]
    pub(super) encrypt: Text<'a>,
}

/// The outer body of a response. The field is `msgsignature` here, but `msg_signature` in the query.
#[derive(Serialize)]
pub(super) struct SealedAnswer<'a> {
    pub(super) encrypt: &'a str,
    pub(super) msgsignature: &'a str,
    pub(super) timestamp: i64,
    pub(super) nonce: &'a str,
}

/// A callback: message, poll or event. The same over HTTP, once decrypted, and over the long connection.
#[derive(Debug, Deserialize)]
pub(super) struct Callback<'a> {
    #[serde(borrow, default)]
    pub(super) msgid: Text<'a>,
    /// Seconds. Only events have it.
    pub(super) create_time: Option<i64>,
    #[serde(borrow, default)]
    pub(super) aibotid: Text<'a>,
    /// Only in groups.
    #[serde(borrow, default)]
    pub(super) chatid: Text<'a>,
    /// `single` or `group`.
    #[serde(borrow, default)]
    pub(super) chattype: Text<'a>,
    #[serde(borrow)]
    pub(super) from: Option<From<'a>>,
    #[serde(borrow, default)]
    pub(super) response_url: Text<'a>,
    /// `text`, `image`, `mixed`, `voice`, `file`, `video`, `stream` or `event`.
    #[serde(borrow, default)]
    pub(super) msgtype: Text<'a>,
    #[serde(borrow)]
    text: Option<Spoken<'a>>,
    #[serde(borrow)]
    image: Option<Link<'a>>,
    #[serde(borrow)]
    mixed: Option<Mixed<'a>>,
    #[serde(borrow)]
    voice: Option<Spoken<'a>>,
    #[serde(borrow)]
    file: Option<Link<'a>>,
    #[serde(borrow)]
    video: Option<Link<'a>>,
    /// Without id and author of the quoted message.
    #[serde(borrow)]
    pub(super) quote: Option<Content<'a>>,
    #[serde(borrow)]
    pub(super) stream: Option<Stream<'a>>,
    #[serde(borrow)]
    pub(super) event: Option<EventBody<'a>>,
}

impl<'a> Callback<'a> {
    /// Takes the content of the message, without sender, chat and time.
    pub(super) fn take_content(&mut self) -> Content<'a> {
        Content {
            msgtype: self.msgtype.clone(),
            text: self.text.take(),
            image: self.image.take(),
            mixed: self.mixed.take(),
            voice: self.voice.take(),
            file: self.file.take(),
            video: self.video.take(),
        }
    }
}

/// Content of a message, of a quote, or of an item in a mixed message.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Content<'a> {
    #[serde(borrow, default)]
    pub(super) msgtype: Text<'a>,
    #[serde(borrow)]
    pub(super) text: Option<Spoken<'a>>,
    #[serde(borrow)]
    pub(super) image: Option<Link<'a>>,
    #[serde(borrow)]
    pub(super) mixed: Option<Mixed<'a>>,
    /// The transcript: the recording is never delivered.
    #[serde(borrow)]
    pub(super) voice: Option<Spoken<'a>>,
    #[serde(borrow)]
    pub(super) file: Option<Link<'a>>,
    #[serde(borrow)]
    pub(super) video: Option<Link<'a>>,
}

/// The person who acted. The id is opaque and may contain `+ / =`.
#[derive(Debug, Deserialize)]
pub(super) struct From<'a> {
    #[serde(borrow, default)]
    pub(super) userid: Text<'a>,
}

/// Text, typed or transcribed.
#[derive(Debug, Deserialize)]
pub(super) struct Spoken<'a> {
    #[serde(borrow, default)]
    pub(super) content: Text<'a>,
}

/// A file to download, valid 5 minutes.
#[derive(Debug, Deserialize)]
pub(super) struct Link<'a> {
    #[serde(borrow, default)]
    pub(super) url: Text<'a>,
    /// Only over the long connection.
    #[serde(borrow, default)]
    pub(super) aeskey: Text<'a>,
}

/// Text and pictures in the sender's order.
#[derive(Debug, Deserialize)]
pub(super) struct Mixed<'a> {
    #[serde(borrow, default)]
    pub(super) msg_item: Vec<Content<'a>>,
}

/// A poll, with the stream id that we chose.
#[derive(Debug, Deserialize)]
pub(super) struct Stream<'a> {
    #[serde(borrow, default)]
    pub(super) id: Text<'a>,
}

/// An event. In the samples the payload is nested under the event's type, in the vendor's own types it is flat: both occur.
#[derive(Debug, Deserialize)]
pub(super) struct EventBody<'a> {
    #[serde(borrow, default)]
    pub(super) eventtype: Text<'a>,
    #[serde(borrow)]
    template_card_event: Option<CardClick<'a>>,
    #[serde(borrow)]
    feedback_event: Option<Rated<'a>>,
    #[serde(borrow, default, alias = "eventkey")]
    event_key: Text<'a>,
    #[serde(borrow, default, alias = "taskid")]
    task_id: Text<'a>,
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    content: Text<'a>,
}

impl<'a> EventBody<'a> {
    /// The click in a `template_card_event`.
    pub(super) fn into_card_click(self) -> CardClick<'a> {
        self.template_card_event.unwrap_or(CardClick {
            event_key: self.event_key,
            task_id: self.task_id,
        })
    }

    /// The rating in a `feedback_event`.
    pub(super) fn into_rated(self) -> Rated<'a> {
        self.feedback_event.unwrap_or(Rated {
            id: self.id,
            kind: self.kind,
            content: self.content,
        })
    }
}

/// A click on a card.
#[derive(Debug, Deserialize)]
pub(super) struct CardClick<'a> {
    #[serde(borrow, default, alias = "eventkey")]
    pub(super) event_key: Text<'a>,
    #[serde(borrow, default, alias = "taskid")]
    pub(super) task_id: Text<'a>,
}

/// Thumbs up or down.
#[derive(Debug, Deserialize)]
pub(super) struct Rated<'a> {
    /// The `feedback.id` that we sent.
    #[serde(borrow, default)]
    pub(super) id: Text<'a>,
    /// 1 accurate, 2 inaccurate, 3 withdrawn.
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow, default)]
    pub(super) content: Text<'a>,
}

/// A frame of the long connection: a callback, or the response to a frame of ours, which has no `cmd`.
///
/// See [WeCom Docs/智能机器人长连接](https://developer.work.weixin.qq.com/document/path/101463).
#[derive(Debug, Deserialize)]
pub(super) struct SocketFrame<'a> {
    #[serde(borrow, default)]
    pub(super) cmd: Text<'a>,
    /// Absent in refusals of a malformed frame.
    #[serde(borrow)]
    headers: Option<SocketHeaders<'a>>,
    #[serde(borrow)]
    pub(super) body: Option<&'a RawValue>,
    /// Only in responses.
    pub(super) errcode: Option<i64>,
}

impl SocketFrame<'_> {
    pub(super) fn req_id(&self) -> Option<&str> {
        self.headers.as_ref()?.req_id.some()
    }
}

#[derive(Debug, Deserialize)]
struct SocketHeaders<'a> {
    #[serde(borrow, default)]
    req_id: Text<'a>,
}

/// Outgoing content: response to a callback, body of a frame, body of a call to `response_url`.
#[derive(Debug, Serialize)]
#[serde(tag = "msgtype", rename_all = "snake_case")]
pub(super) enum Say<'a> {
    /// Only in response to `enter_chat`.
    Text {
        /// The text.
        text: SayContent<'a>,
    },
    /// A growing answer.
    Stream {
        /// The stream's state.
        stream: SayStream<'a>,
    },
    /// A separate message.
    Markdown {
        /// The text.
        markdown: SayContent<'a>,
    },
}

/// Outgoing text.
#[derive(Debug, Serialize)]
pub(super) struct SayContent<'a> {
    pub(super) content: &'a str,
}

/// The state of a stream.
#[derive(Debug, Serialize)]
pub(super) struct SayStream<'a> {
    /// Chosen by us, the same for all frames of one bubble.
    pub(super) id: &'a str,
    pub(super) finish: bool,
    /// The whole text so far.
    pub(super) content: &'a str,
    /// Only in the first answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) feedback: Option<SayFeedback<'a>>,
}

/// Requests rating buttons.
#[derive(Debug, Serialize)]
pub(super) struct SayFeedback<'a> {
    /// Returned in `feedback_event`. At most 256 bytes.
    pub(super) id: &'a str,
}

/// Update of a clicked card: response to a `template_card_event`.
#[derive(Debug, Serialize)]
pub(super) struct UpdateCard<'a> {
    /// `update_template_card`.
    pub(super) response_type: &'static str,
    pub(super) template_card: NoticeCard<'a>,
}

/// A card with a sentence.
///
/// See [WeCom Docs/模板卡片类型](https://developer.work.weixin.qq.com/document/path/101032).
#[derive(Debug, Serialize)]
pub(super) struct NoticeCard<'a> {
    /// `text_notice`.
    pub(super) card_type: &'static str,
    pub(super) main_title: CardTitle<'a>,
    pub(super) card_action: CardLink,
    /// Task id of the clicked card.
    pub(super) task_id: &'a str,
}

/// A card's title.
#[derive(Debug, Serialize)]
pub(super) struct CardTitle<'a> {
    pub(super) title: Cow<'a, str>,
}

/// Link of a card. Required.
#[derive(Debug, Serialize)]
pub(super) struct CardLink {
    /// 1: a URL.
    #[serde(rename = "type")]
    pub(super) kind: u8,
    pub(super) url: &'static str,
}
