//! JSON of the web channel.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};
use tieline_core::http_types::{WebhookAnswer, WrongField};
use tieline_core::ids::{MessageId, ReplyId};

/// Longest id that a caller may choose, in bytes.
const MAX_ID: usize = 256;

/// Most unknown fields that are reported.
const MAX_UNKNOWN: usize = 100;

const FIELDS: [&str; 4] = ["text", "chatId", "senderId", "messageId"];

/// A posted message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) chat_id: String,
    pub(super) sender_id: String,
    pub(super) message_id: Option<String>,
}

/// The errors of the caller, which are reported in detail, since the caller is authenticated.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mistakes {
    /// The body is not a JSON object.
    Body,
    /// Unknown fields, and invalid values.
    Fields(Vec<WrongField>),
}

impl Mistakes {
    pub(super) fn answer(&self) -> WebhookAnswer {
        match self {
            Self::Body => WebhookAnswer::problem(400, "invalid_body", "The body must be a JSON object."),
            Self::Fields(wrong) => WebhookAnswer::problem_on_fields(400, wrong),
        }
    }
}

/// Parses a posted message.
pub(super) fn read(body: &[u8]) -> Result<Said, Mistakes> {
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
        return Err(Mistakes::Body);
    };
    let mut reader = Reader {
        wrong: unknown(&fields),
        fields,
    };
    let said = Said {
        text: reader.required("text", |_| None),
        chat_id: reader.required("chatId", rule_of_id),
        sender_id: reader.required("senderId", rule_of_id),
        message_id: reader.optional("messageId", rule_of_id),
    };
    match reader.wrong {
        wrong if wrong.is_empty() => Ok(said),
        wrong => Err(Mistakes::Fields(wrong)),
    }
}

/// The unknown fields. Reported first: a misspelt field explains why a required one is missing.
fn unknown(fields: &Map<String, Value>) -> Vec<WrongField> {
    let names = fields.keys().filter(|name| !FIELDS.contains(&name.as_str()));
    let wrong = names.take(MAX_UNKNOWN).map(|name| WrongField {
        field: name.clone(),
        code: "unknown_field".to_owned(),
        detail: format!("There is no field `{name}`."),
    });
    wrong.collect()
}

/// The fields of a message, and what is wrong with them.
struct Reader {
    fields: Map<String, Value>,
    wrong: Vec<WrongField>,
}

/// The rule that a text breaks, if it breaks one.
type Rule = fn(&str) -> Option<&'static str>;

impl Reader {
    /// The text of a field; empty if it is wrong.
    fn required(&mut self, name: &'static str, rule: Rule) -> String {
        let n_before = self.wrong.len();
        let text = self.optional(name, rule);
        if text.is_none() && self.wrong.len() == n_before {
            self.refuse(name, "is required");
        }
        text.unwrap_or_default()
    }

    /// The text of a field; `None` if it is absent or wrong.
    fn optional(&mut self, name: &'static str, rule: Rule) -> Option<String> {
        let broken = match self.fields.remove(name) {
            None | Some(Value::Null) => return None,
            Some(Value::String(text)) if text.trim().is_empty() => "must not be empty",
            Some(Value::String(text)) => match rule(&text) {
                None => return Some(text),
                Some(broken) => broken,
            },
            Some(_) => "must be text",
        };
        self.refuse(name, broken);
        None
    }

    fn refuse(&mut self, name: &str, broken: &str) {
        self.wrong.push(WrongField {
            field: name.to_owned(),
            code: "invalid_field".to_owned(),
            detail: format!("`{name}` {broken}."),
        });
    }
}

fn rule_of_id(text: &str) -> Option<&'static str> {
    if text.len() > MAX_ID {
        return Some("must not be longer than 256 bytes");
    }
    text.contains(char::is_control)
        .then_some("must not contain control characters")
}

/// The response to a posted message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Accepted {
    pub(super) message_id: MessageId,
    pub(super) reply_id: ReplyId,
}

impl Accepted {
    pub(super) fn answer(&self) -> WebhookAnswer {
        WebhookAnswer::json(self)
    }
}

/// The latest state of a reply.
#[derive(Debug, Default, Serialize)]
pub(super) struct State<'a> {
    pub(super) text: Cow<'a, str>,
    /// The agent's reasoning, until the text begins.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) reasoning: &'a str,
    pub(super) done: bool,
    pub(super) version: u64,
}

impl State<'_> {
    pub(super) fn answer(&self) -> WebhookAnswer {
        WebhookAnswer::long_json(self, self.text.len() + self.reasoning.len())
    }
}
