//! Value of our buttons: the platform returns it unchanged with a click.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tieline_core::card;
use tieline_core::event::{ChatKind, NEW_SESSION_KEY};
use tieline_core::ids::ReplyId;
use tieline_core::reply::ReplyTarget;

/// Key of the button that starts a new session. Must not change: old cards contain it.
const NEW_SESSION: &str = "new_session";

/// A click reports neither the kind of chat nor the topic, so the button carries both.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Button {
    /// Its action.
    #[serde(rename = "tieline")]
    pub key: String,
    /// The reply that the card belongs to.
    #[serde(default)]
    pub card: String,
    #[serde(default = "group")]
    pub chat: ChatKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    /// Who may press it in a group. Empty: everyone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub asker: String,
    /// Its label, for the toast that confirms a click on a card's button.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
}

const fn group() -> ChatKind {
    ChatKind::Group
}

impl Button {
    /// Parses the value in a click: an object, or an object encoded as text.
    pub(super) fn read(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => serde_json::from_str(text).ok(),
            value => Self::deserialize(value).ok(),
        }
    }

    /// The button's action, as the key in an event.
    pub(super) fn action(&self) -> &str {
        match self.key.as_str() {
            NEW_SESSION => NEW_SESSION_KEY,
            other => other,
        }
    }

    /// Whether `person` may press it.
    pub(super) fn is_for(&self, person: &str) -> bool {
        self.chat == ChatKind::Direct || self.asker.is_empty() || self.asker == person
    }

    fn new(key: String, card: &str, to: &ReplyTarget) -> Self {
        Self {
            key,
            card: card.to_owned(),
            chat: to.chat.kind,
            thread: to.chat.thread.as_ref().map(ToString::to_string),
            asker: String::new(),
            label: String::new(),
        }
    }

    /// The button that starts a new session, as a card element.
    pub(super) fn new_session(card: &str, label: &str, to: &ReplyTarget) -> Value {
        let value = json!(Self::new(NEW_SESSION.to_owned(), card, to));
        element(
            "btn_new",
            "default",
            "small",
            label,
            &json!({ "type": "callback", "value": value }),
        )
    }

    /// A button of a card, as a card element.
    pub(super) fn of_card(button: &card::Button, number: usize, reply: &ReplyId, to: &ReplyTarget) -> Value {
        let behavior = match &button.action {
            card::Action::Url(url) => json!({ "type": "open_url", "default_url": url }),
            card::Action::Value(_) => {
                let value = Self {
                    asker: to.asker.to_string(),
                    label: button.text.clone(),
                    ..Self::new(card::choice_key(reply, number), reply.as_str(), to)
                };
                json!({ "type": "callback", "value": value })
            }
        };
        element(&format!("btn_{number}"), "primary", "medium", &button.text, &behavior)
    }
}

/// See [Feishu Docs/按钮](https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/feishu-cards/card-json-v2-components/interactive-components/button).
fn element(id: &str, kind: &str, size: &str, label: &str, behavior: &Value) -> Value {
    json!({
        "tag": "button",
        "element_id": id,
        "type": kind,
        "size": size,
        "text": { "tag": "plain_text", "content": label },
        "behaviors": [behavior],
    })
}
