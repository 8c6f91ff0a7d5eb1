//! DingTalk's JSON.
//!
//! Ids and numbers are text in one document and numbers in the next, and optional fields may be null: a value that can't be read as its
//! type counts as absent, so that one odd field doesn't cost the message.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A person's message to the robot.
///
/// See [DingTalk Docs/接收消息](https://open.dingtalk.com/document/development/receive-message).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RobotMessage {
    #[serde(deserialize_with = "word")]
    pub(super) msgtype: Option<String>,
    #[serde(deserialize_with = "word")]
    pub(super) msg_id: Option<String>,
    /// Milliseconds.
    #[serde(deserialize_with = "number")]
    pub(super) create_at: Option<i64>,
    /// Same value, in the spelling of one vendor sample.
    #[serde(rename = "createA", deserialize_with = "number")]
    pub(super) create_a: Option<i64>,
    /// `1`: direct, `2`: group.
    #[serde(deserialize_with = "word")]
    pub(super) conversation_type: Option<String>,
    /// Case-sensitive.
    #[serde(deserialize_with = "word")]
    pub(super) conversation_id: Option<String>,
    /// The group's name.
    #[serde(deserialize_with = "word")]
    pub(super) conversation_title: Option<String>,
    /// Encrypted: can't be used in calls.
    #[serde(deserialize_with = "word")]
    pub(super) sender_id: Option<String>,
    #[serde(deserialize_with = "word")]
    pub(super) sender_nick: Option<String>,
    /// `userId` for calls. Absent for people outside the organization.
    #[serde(deserialize_with = "word")]
    pub(super) sender_staff_id: Option<String>,
    #[serde(deserialize_with = "word")]
    pub(super) chatbot_user_id: Option<String>,
    #[serde(deserialize_with = "word")]
    pub(super) robot_code: Option<String>,
    #[serde(deserialize_with = "loose")]
    pub(super) is_in_at_list: Option<bool>,
    #[serde(deserialize_with = "loose")]
    pub(super) at_users: Option<Vec<AtUser>>,
    /// A secret: anyone who knows it can write to the chat.
    #[serde(deserialize_with = "word")]
    pub(super) session_webhook: Option<String>,
    /// Milliseconds.
    #[serde(deserialize_with = "number")]
    pub(super) session_webhook_expired_time: Option<i64>,
    #[serde(deserialize_with = "loose")]
    pub(super) text: Option<Text>,
    /// Content of every type except text. One vendor sample has the text of a text message here, as a string.
    #[serde(deserialize_with = "loose")]
    pub(super) content: Option<Value>,
    /// Set when the organization's monthly pushes are used up; text and content are missing then.
    #[serde(deserialize_with = "number")]
    pub(super) error_code: Option<i64>,
    /// Same value, in the spelling of the Stream documentation.
    #[serde(deserialize_with = "number")]
    pub(super) err_code: Option<i64>,
}

/// A person or bot mentioned in a message.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AtUser {
    #[serde(deserialize_with = "word")]
    pub(super) dingtalk_id: Option<String>,
}

/// The content of a `text` message.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Text {
    #[serde(deserialize_with = "word")]
    pub(super) content: Option<String>,
    /// Observed, not documented.
    #[serde(deserialize_with = "loose")]
    pub(super) replied_msg: Option<RepliedMsg>,
}

/// A quoted message. Observed, not documented.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RepliedMsg {
    #[serde(deserialize_with = "word")]
    pub(super) msg_type: Option<String>,
    #[serde(deserialize_with = "word")]
    pub(super) sender_id: Option<String>,
    #[serde(deserialize_with = "loose")]
    pub(super) content: Option<Value>,
}

/// Content of a message that isn't text, and of a quoted message: the fields of all types together.
///
/// See [DingTalk Docs/消息发送与接收类型](https://open.dingtalk.com/document/development/robot-message-type).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Content {
    #[serde(deserialize_with = "word")]
    pub(super) text: Option<String>,
    #[serde(deserialize_with = "word")]
    pub(super) content: Option<String>,
    #[serde(deserialize_with = "loose")]
    pub(super) rich_text: Option<Vec<RichItem>>,
    #[serde(deserialize_with = "word")]
    pub(super) download_code: Option<String>,
    #[serde(deserialize_with = "word")]
    pub(super) picture_download_code: Option<String>,
    /// The vendor's transcript of a recording.
    #[serde(deserialize_with = "word")]
    pub(super) recognition: Option<String>,
    #[serde(deserialize_with = "word")]
    pub(super) video_type: Option<String>,
    #[serde(deserialize_with = "word")]
    pub(super) file_name: Option<String>,
    /// As in [`Text`].
    #[serde(deserialize_with = "loose")]
    pub(super) replied_msg: Option<RepliedMsg>,
}

/// One piece of rich text, in order.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RichItem {
    /// Absent or `text`, `picture`; in quotes also `at`, `emoji`.
    #[serde(rename = "type", deserialize_with = "word")]
    pub(super) kind: Option<String>,
    /// Same value, in a quote.
    #[serde(deserialize_with = "word")]
    pub(super) msg_type: Option<String>,
    #[serde(deserialize_with = "word")]
    pub(super) text: Option<String>,
    /// Text of an item in a quote.
    #[serde(deserialize_with = "word")]
    pub(super) content: Option<String>,
    #[serde(deserialize_with = "word")]
    pub(super) at_name: Option<String>,
    #[serde(deserialize_with = "word")]
    pub(super) download_code: Option<String>,
    #[serde(deserialize_with = "word")]
    pub(super) picture_download_code: Option<String>,
}

/// A click on a card.
///
/// See [DingTalk Docs/事件回调](https://open.dingtalk.com/document/development/event-callback-card).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CardCallback {
    #[serde(deserialize_with = "word")]
    pub(super) out_track_id: Option<String>,
    #[serde(deserialize_with = "word")]
    pub(super) user_id: Option<String>,
    /// 1: `userId`, 2: `unionId`.
    #[serde(deserialize_with = "number")]
    pub(super) user_id_type: Option<i64>,
    #[serde(deserialize_with = "word")]
    pub(super) space_id: Option<String>,
    #[serde(deserialize_with = "word")]
    pub(super) space_type: Option<String>,
    /// JSON in a string: [`CardContent`].
    #[serde(deserialize_with = "loose")]
    pub(super) content: Option<Value>,
}

/// Data of a click.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CardContent {
    #[serde(deserialize_with = "loose")]
    pub(super) card_private_data: Option<CardPrivateData>,
}

/// The clicked button and the typed input.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CardPrivateData {
    #[serde(deserialize_with = "loose")]
    pub(super) action_ids: Option<Vec<String>>,
    #[serde(deserialize_with = "loose")]
    pub(super) params: Option<serde_json::Map<String, Value>>,
}

/// The envelope of an event callback. Of its content only the type is used.
#[derive(Debug, Deserialize)]
pub(super) struct EventEnvelope {
    pub(super) encrypt: String,
}

/// An event callback, decrypted.
///
/// See [DingTalk Docs/开发事件推送服务](https://open.dingtalk.com/document/development/develop-stream-mode-push-server).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CallbackEvent {
    #[serde(deserialize_with = "word")]
    pub(super) event_type: Option<String>,
    /// Value that the check of a third-party suite expects back.
    #[serde(deserialize_with = "word")]
    pub(super) random: Option<String>,
}

/// One message of the long connection.
///
/// See [Developerpedia/Stream 协议](https://opensource.dingtalk.com/developerpedia/docs/learn/stream/protocol).
#[derive(Debug, Deserialize)]
pub(super) struct StreamFrame {
    #[serde(rename = "type", default, deserialize_with = "word")]
    pub(super) kind: Option<String>,
    pub(super) headers: StreamHeaders,
    /// JSON in a string; an object is tolerated.
    #[serde(default)]
    pub(super) data: Value,
}

/// The headers of a [`StreamFrame`] that we use.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StreamHeaders {
    #[serde(default, deserialize_with = "word")]
    pub(super) topic: Option<String>,
    /// Id of this push: different when the same content is pushed again.
    #[serde(default, deserialize_with = "word")]
    pub(super) message_id: Option<String>,
    /// Time of the first push, in milliseconds.
    #[serde(default, deserialize_with = "word")]
    pub(super) time: Option<String>,
}

/// The response to the call that opens a connection.
#[derive(Debug, Deserialize)]
pub(super) struct Connection {
    pub(super) endpoint: String,
    pub(super) ticket: String,
}

/// A value of the expected type, or `None`.
fn loose<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Option<T>, D::Error> {
    Ok(T::deserialize(Value::deserialize(from)?).ok())
}

/// Text that isn't empty; a number counts as its digits.
fn word<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::String(text) if !text.is_empty() => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// A whole number, also as text.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    })
}
