//! The value of our buttons: the platform returns it with the click, unchanged.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tieline_core::event::{ChatKind, NEW_SESSION_KEY};
use tieline_core::reply::ReplyTarget;

/// Key of the button that starts a new session. Constant: cards that were sent long ago have it.
const NEW_SESSION: &str = "new_session";

/// A click reports neither the kind of chat nor the topic, so the button carries both.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Button {
    /// What it does.
    #[serde(rename = "tieline")]
    pub key: String,
    /// The reply that the card belongs to.
    #[serde(default)]
    pub card: String,
    #[serde(default = "group")]
    pub chat: ChatKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
}

const fn group() -> ChatKind {
    ChatKind::Group
}

impl Button {
    /// What the platform hands back: the object, or the object as text.
    pub(super) fn read(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => serde_json::from_str(text).ok(),
            value => Self::deserialize(value).ok(),
        }
    }

    /// The button's action, as the key of a core event.
    pub(super) fn action(&self) -> &str {
        match self.key.as_str() {
            NEW_SESSION => NEW_SESSION_KEY,
            other => other,
        }
    }

    /// The button that starts a new session, as a card element.
    ///
    /// See [Feishu Docs/按钮](https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/feishu-cards/card-json-v2-components/interactive-components/button).
    pub(super) fn new_session(card: &str, label: &str, to: &ReplyTarget) -> Value {
        let button = Self {
            key: NEW_SESSION.to_owned(),
            card: card.to_owned(),
            chat: to.chat.kind,
            thread: to.chat.thread.as_ref().map(ToString::to_string),
        };
        json!({
            "tag": "button",
            "element_id": "btn_new",
            "type": "default",
            "size": "small",
            "text": { "tag": "plain_text", "content": label },
            "behaviors": [{ "type": "callback", "value": button }],
        })
    }
}
