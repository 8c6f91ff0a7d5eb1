//! JSON of the web channel.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};
use tieline_core::http_types::WebhookAnswer;
use tieline_core::ids::{MessageId, ReplyId};

/// Longest id that a caller may choose, in bytes.
const MAX_ID: usize = 256;

const FIELDS: [&str; 4] = ["text", "chatId", "senderId", "messageId"];

/// A posted message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) chat_id: String,
    pub(super) sender_id: String,
    pub(super) message_id: Option<String>,
}

/// An error of the caller, which is reported in detail, since the caller is authenticated.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mistake {
    /// The body is not a JSON object.
    Body,
    /// Unknown field.
    Unknown(String),
    /// Invalid value of a field.
    Invalid(&'static str, &'static str),
}

impl Mistake {
    pub(super) fn answer(&self) -> WebhookAnswer {
        match self {
            Self::Body => WebhookAnswer::problem(400, "invalid_field", "The body must be a JSON object."),
            Self::Unknown(field) => {
                WebhookAnswer::problem_on(400, "unknown_field", field, &format!("There is no field `{field}`."))
            }
            Self::Invalid(field, rule) => {
                WebhookAnswer::problem_on(400, "invalid_field", field, &format!("`{field}` {rule}."))
            }
        }
    }
}

/// Parses a posted message.
pub(super) fn read(body: &[u8]) -> Result<Said, Mistake> {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else {
        return Err(Mistake::Body);
    };
    // Checked first: a misspelt field explains why a required one is missing.
    if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return Err(Mistake::Unknown(unknown.clone()));
    }
    Ok(Said {
        text: required(&mut fields, "text")?,
        chat_id: id(required(&mut fields, "chatId")?, "chatId")?,
        sender_id: id(required(&mut fields, "senderId")?, "senderId")?,
        message_id: match optional(&mut fields, "messageId")? {
            Some(given) => Some(id(given, "messageId")?),
            None => None,
        },
    })
}

fn required(fields: &mut Map<String, Value>, name: &'static str) -> Result<String, Mistake> {
    optional(fields, name)?.ok_or(Mistake::Invalid(name, "is required"))
}

fn optional(fields: &mut Map<String, Value>, name: &'static str) -> Result<Option<String>, Mistake> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Err(Mistake::Invalid(name, "must not be empty")),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Mistake::Invalid(name, "must be text")),
    }
}

fn id(text: String, name: &'static str) -> Result<String, Mistake> {
    if text.len() > MAX_ID {
        return Err(Mistake::Invalid(name, "must not be longer than 256 bytes"));
    }
    if text.contains(char::is_control) {
        return Err(Mistake::Invalid(name, "must not contain control characters"));
    }
    Ok(text)
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
