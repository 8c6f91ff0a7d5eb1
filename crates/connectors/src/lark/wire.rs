//! The platform's JSON. Unknown fields are ignored; null counts as absent.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// An event or callback in the envelope of version 2.0.
///
/// See [Feishu Docs/接收事件](https://open.feishu.cn/document/ukTMukTMukTM/uYDNxYjL2QTM24iN0EjN/event-subscription-configure-/encrypt-key-encryption-configuration-case).
#[derive(Debug, Deserialize)]
pub(super) struct Envelope {
    #[serde(default, deserialize_with = "or_default")]
    pub header: EnvelopeHeader,
    #[serde(default)]
    pub event: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EnvelopeHeader {
    #[serde(deserialize_with = "or_default")]
    pub event_id: String,
    #[serde(deserialize_with = "or_default")]
    pub event_type: String,
    /// In microseconds for a callback.
    #[serde(deserialize_with = "time")]
    pub create_time: String,
}

/// The event of `im.message.receive_v1`.
///
/// See [Feishu Docs/接收消息](https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message/events/receive).
#[derive(Debug, Deserialize)]
pub(super) struct MessageEvent {
    pub sender: Sender,
    pub message: Message,
}

#[derive(Debug, Deserialize)]
pub(super) struct Sender {
    #[serde(default, deserialize_with = "or_default")]
    pub sender_id: UserId,
    #[serde(default, deserialize_with = "or_default")]
    pub sender_type: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct UserId {
    #[serde(deserialize_with = "or_default")]
    pub open_id: String,
    #[serde(deserialize_with = "or_default")]
    pub union_id: String,
    #[serde(deserialize_with = "or_default")]
    pub user_id: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Message {
    pub message_id: String,
    #[serde(default, deserialize_with = "or_default")]
    pub root_id: String,
    #[serde(default, deserialize_with = "or_default")]
    pub parent_id: String,
    #[serde(default, deserialize_with = "or_default")]
    pub thread_id: String,
    #[serde(default, deserialize_with = "time")]
    pub create_time: String,
    pub chat_id: String,
    #[serde(default, deserialize_with = "or_default")]
    pub chat_type: String,
    pub message_type: String,
    /// JSON again, in a string.
    #[serde(default, deserialize_with = "or_default")]
    pub content: String,
    #[serde(default, deserialize_with = "or_default")]
    pub mentions: Vec<Mention>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Mention {
    /// The placeholder in the text: `@_user_1`.
    #[serde(deserialize_with = "or_default")]
    pub key: String,
    #[serde(deserialize_with = "or_default")]
    pub id: UserId,
    #[serde(deserialize_with = "or_default")]
    pub mentioned_type: String,
    #[serde(deserialize_with = "or_default")]
    pub name: String,
}

/// The event of `card.action.trigger`.
///
/// See [Feishu Docs/卡片回传交互回调](https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/feishu-cards/card-callback-communication).
#[derive(Debug, Deserialize)]
pub(super) struct CardEvent {
    pub operator: UserId,
    pub action: Action,
    #[serde(default, deserialize_with = "or_default")]
    pub context: CardContext,
}

#[derive(Debug, Deserialize)]
pub(super) struct Action {
    /// The button's value: an object, or a string.
    #[serde(default)]
    pub value: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CardContext {
    #[serde(deserialize_with = "or_default")]
    pub open_message_id: String,
    #[serde(deserialize_with = "or_default")]
    pub open_chat_id: String,
}

/// The event of `im.chat.access_event.bot_p2p_chat_entered_v1`.
///
/// See [Feishu Docs/用户进入与机器人的会话](https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/chat-access_event/events/bot_p2p_chat_entered).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EnteredEvent {
    #[serde(deserialize_with = "or_default")]
    pub chat_id: String,
    #[serde(deserialize_with = "or_default")]
    pub operator_id: UserId,
}

/// The event of `im.message.recalled_v1`.
///
/// See [Feishu Docs/撤回消息](https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message/events/recalled).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RecalledEvent {
    #[serde(deserialize_with = "or_default")]
    pub message_id: String,
    #[serde(deserialize_with = "or_default")]
    pub chat_id: String,
}

/// A post, as it is received: no locale around it.
///
/// See [Feishu Docs/接收消息内容结构](https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/im-v1/message/events/message_content).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Post {
    #[serde(deserialize_with = "or_default")]
    pub title: String,
    /// Lines of nodes. A simplified card calls them `elements`.
    #[serde(alias = "elements", deserialize_with = "or_default")]
    pub content: Vec<Vec<Node>>,
}

/// A node of a post's line. The tag decides which fields are used.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    #[serde(deserialize_with = "or_default")]
    pub tag: String,
    #[serde(deserialize_with = "or_default")]
    pub text: String,
    #[serde(deserialize_with = "or_default")]
    pub href: String,
    #[serde(deserialize_with = "or_default")]
    pub user_id: String,
    #[serde(deserialize_with = "or_default")]
    pub user_name: String,
    #[serde(deserialize_with = "or_default")]
    pub image_key: String,
    #[serde(deserialize_with = "or_default")]
    pub file_key: String,
    #[serde(deserialize_with = "or_default")]
    pub emoji_type: String,
    #[serde(deserialize_with = "or_default")]
    pub language: String,
}

/// A message as the API returns it. For forwarded messages: the container, then its children.
///
/// See [Feishu Docs/获取指定消息的内容](https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message/get).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToldMessage {
    #[serde(deserialize_with = "or_default")]
    pub message_id: String,
    #[serde(deserialize_with = "or_default")]
    pub msg_type: String,
    #[serde(deserialize_with = "or_default")]
    pub deleted: bool,
    #[serde(deserialize_with = "or_default")]
    pub body: ToldBody,
    #[serde(deserialize_with = "or_default")]
    pub sender: ToldSender,
    #[serde(deserialize_with = "or_default")]
    pub mentions: Vec<ToldMention>,
    /// The container that it was forwarded in.
    #[serde(deserialize_with = "or_default")]
    pub upper_message_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToldBody {
    /// JSON again, in a string.
    #[serde(deserialize_with = "or_default")]
    pub content: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToldSender {
    #[serde(deserialize_with = "or_default")]
    pub id: String,
}

/// Here the id is a plain string; in events it is an object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToldMention {
    #[serde(deserialize_with = "or_default")]
    pub key: String,
    #[serde(deserialize_with = "or_default")]
    pub id: String,
    #[serde(deserialize_with = "or_default")]
    pub name: String,
}

/// Envelope of every response of the open API.
///
/// See [Feishu Docs/通用错误码](https://open.feishu.cn/document/ukTMukTMukTM/ugjM14COyUjL4ITN).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ApiBody {
    pub code: Option<i64>,
    #[serde(deserialize_with = "or_default")]
    pub msg: String,
    #[serde(deserialize_with = "or_default")]
    pub data: BTreeMap<String, Value>,
    /// Top-level in the response about the bot.
    #[serde(deserialize_with = "or_default")]
    pub bot: BTreeMap<String, Value>,
    /// Top-level in the response with a token.
    #[serde(deserialize_with = "or_default")]
    pub tenant_access_token: String,
    #[serde(deserialize_with = "or_default")]
    pub expire: u64,
    #[serde(deserialize_with = "or_default")]
    pub error: ApiFault,
}

/// Additional data of a refusal.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ApiFault {
    #[serde(deserialize_with = "or_default")]
    pub permission_violations: Vec<PermissionViolation>,
}

/// A permission that a refused call needs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PermissionViolation {
    #[serde(deserialize_with = "or_default")]
    pub subject: String,
}

impl ApiBody {
    /// The permissions that a refused call lacks, if the response names them. Older responses have them only inside the message's text.
    pub(super) fn missing_scopes(&self) -> Vec<String> {
        let listed = self.error.permission_violations.iter().map(|it| it.subject.as_str());
        let mut names: Vec<&str> = listed.filter(|name| !name.is_empty()).collect();
        if names.is_empty() {
            let words = self
                .msg
                .split(|c: char| !matches!(c, 'a'..='z' | '0'..='9' | '_' | '.' | ':'));
            names.extend(
                words
                    .map(|word| word.trim_end_matches(['.', ':']))
                    .filter(|word| is_scope(word)),
            );
        }
        let mut scopes: Vec<String> = Vec::new();
        for name in names {
            if !scopes.iter().any(|known| known == name) {
                scopes.push(name.to_owned());
            }
        }
        scopes
    }

    /// A text field of the response's data.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.data.get(field)?.as_str().filter(|text| !text.is_empty())
    }
}

/// Whether `word` looks like a scope, for example `im:message:send_as_bot`.
fn is_scope(word: &str) -> bool {
    word.contains(':')
        && word
            .split(':')
            .all(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
}

/// Parameters of the long connection, from the bootstrap response or a pong.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct ClientConfig {
    /// -1: unlimited.
    pub reconnect_count: i64,
    /// Seconds between attempts.
    pub reconnect_interval: i64,
    /// Seconds: upper bound of the first random delay.
    pub reconnect_nonce: i64,
    /// Seconds.
    pub ping_interval: i64,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            reconnect_count: -1,
            reconnect_interval: 120,
            reconnect_nonce: 30,
            ping_interval: 120,
        }
    }
}

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The digits of a time, which the platform usually sends as text.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_may_be_numbers() {
        for time in [json!(1_760_000_002_123_u64), json!("1760000002123")] {
            let envelope = json!({ "header": { "event_id": "e", "create_time": time } });
            let envelope = Envelope::deserialize(envelope).unwrap();
            assert_eq!(envelope.header.create_time, "1760000002123");
        }
    }
}
