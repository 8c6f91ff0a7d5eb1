//! Events that agents send in a streamed answer and in callbacks.
//!
//! | `type` | fields |
//! |---|---|
//! | `run.started` | `runRef`, `conversationRef?` |
//! | `text.delta`, `text.snapshot`, `reasoning.delta` | `text` |
//! | `progress` | `label`, `state?` |
//! | `file` | `url` or `bytes` (base64), `name?`, `mime?` |
//! | `card` | `card`: see [`Card`] |
//! | `input.required` | `prompt`, `choices?`, `resumeRef?` |
//! | `cursor` | `value` |
//! | `completed` | `finalText?` |
//! | `failed` | `code?`, `message?`, `retryable?` |
//! | `cancelled` | |
//!
//! `runRef`, `conversationRef`, `resumeRef` and a cursor's `value` have at most 2048 bytes. Other types and other fields are ignored, so
//! that agents may send more than we know.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use tieline_core::agent::{AgentEvent, AgentFailure};
use tieline_core::card::{Card, CardError};
use tieline_core::reply::ReplyFile;

use crate::failure;
use crate::json;
use crate::run::MAX_REF_BYTES;
use crate::sse::MAX_EVENT_BYTES;

/// Longest body of a callback, in bytes.
pub const MAX_CALLBACK_BYTES: usize = MAX_EVENT_BYTES;

/// One event of a callback.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbered {
    /// Sequence number in the run, from 1.
    pub seq: u64,
    /// The event; `None` if its type is unknown: its number counts all the same.
    pub event: Option<AgentEvent>,
    /// The event as JSON that [`read`] accepts.
    pub json: String,
}

/// Why a callback or an event can't be read. Quotes nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvents {
    /// The body is not JSON.
    #[error("not JSON: line {line}, column {column}")]
    NotJson {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// An unknown field.
    #[error("{0} is not a field of a callback")]
    UnknownField(String),
    /// A field of the callback is missing or has an invalid value.
    #[error("{field} {reason}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// What is wrong with it, to follow the name in a sentence.
        reason: &'static str,
    },
    /// A card that can't be shown.
    #[error("event.{0}")]
    Card(#[from] CardError),
    /// An event of a known type lacks a field, or has a reference that is too long.
    #[error(
        "event of type {kind} does not have the documented fields, or has a reference of over {MAX_REF_BYTES} bytes"
    )]
    Event {
        /// The type.
        kind: String,
    },
}

impl InvalidEvents {
    /// The field that the error is about, if any, and whether that field is unknown.
    #[must_use]
    pub fn field(&self) -> Option<(&str, bool)> {
        match self {
            Self::UnknownField(field) => Some((field, true)),
            Self::Field { field, .. } => Some((field, false)),
            Self::Event { .. } | Self::Card(_) => Some(("event", false)),
            Self::NotJson { .. } => None,
        }
    }
}

/// Parses the body of a callback: `{"seq":n,"event":{…}}` or a list of them, in the given order.
///
/// # Errors
/// [`InvalidEvents`] if any of them is invalid. Then none counts.
pub fn parse(body: &[u8]) -> Result<Vec<Numbered>, InvalidEvents> {
    match value(body)? {
        Value::Array(list) => list.into_iter().map(numbered).collect(),
        one => Ok(vec![numbered(one)?]),
    }
}

/// Parses one event. `None` if its type is unknown.
///
/// # Errors
/// [`InvalidEvents`] if it is invalid.
pub fn read(data: &str) -> Result<Option<AgentEvent>, InvalidEvents> {
    if data.trim().is_empty() {
        Ok(None)
    } else {
        event(value(data.as_bytes())?)
    }
}

fn value(bytes: &[u8]) -> Result<Value, InvalidEvents> {
    json::read(bytes).map_err(|error| InvalidEvents::NotJson {
        line: error.line(),
        column: error.column(),
    })
}

fn numbered(value: Value) -> Result<Numbered, InvalidEvents> {
    let wrong = |field, reason| InvalidEvents::Field { field, reason };
    let Value::Object(mut fields) = value else {
        return Err(wrong("body", "must be an object or a list of objects"));
    };
    let seq = fields.remove("seq").and_then(|seq| seq.as_u64()).filter(|seq| *seq > 0);
    let told = fields.remove("event");
    if let Some((unknown, _)) = fields.into_iter().next() {
        return Err(InvalidEvents::UnknownField(unknown));
    }
    let seq = seq.ok_or_else(|| wrong("seq", "must be a whole number from 1"))?;
    let told = told.ok_or_else(|| wrong("event", "is required"))?;
    Ok(Numbered {
        seq,
        json: told.to_string(),
        event: event(told)?,
    })
}

fn event(value: Value) -> Result<Option<AgentEvent>, InvalidEvents> {
    let Some(kind) = value.get("type").and_then(Value::as_str).map(str::to_owned) else {
        return Err(InvalidEvents::Field {
            field: "event",
            reason: "must be an object with a type",
        });
    };
    let told: Result<Told, _> = serde_json::from_value(value);
    if let Ok(Told::Card { card }) = &told {
        return Ok(Some(AgentEvent::Card(self::card(card)?)));
    }
    // Only an event of a known type can lack a field, so its type is safe to quote.
    told.ok()
        .and_then(Told::into_event)
        .ok_or(InvalidEvents::Event { kind })
}

/// Parses a card. Whether a button may open an unencrypted URL is decided where the card is shown.
pub(super) fn card(card: &Value) -> Result<Card, InvalidEvents> {
    Ok(Card::read(card, true)?)
}

/// An event as agents send it.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
enum Told {
    #[serde(rename = "run.started")]
    Started {
        run_ref: String,
        conversation_ref: Option<String>,
    },
    #[serde(rename = "text.delta")]
    TextDelta { text: String },
    #[serde(rename = "text.snapshot")]
    TextSnapshot { text: String },
    #[serde(rename = "reasoning.delta")]
    ReasoningDelta { text: String },
    #[serde(rename = "progress")]
    Progress {
        label: String,
        #[serde(default, deserialize_with = "json::or_default")]
        state: String,
    },
    #[serde(rename = "file")]
    File {
        url: Option<String>,
        bytes: Option<String>,
        name: Option<String>,
        mime: Option<String>,
    },
    #[serde(rename = "card")]
    Card { card: Value },
    #[serde(rename = "input.required")]
    InputRequired {
        prompt: String,
        #[serde(default, deserialize_with = "json::or_default")]
        choices: Vec<String>,
        resume_ref: Option<String>,
    },
    #[serde(rename = "cursor")]
    Cursor { value: String },
    #[serde(rename = "completed")]
    Completed { final_text: Option<String> },
    #[serde(rename = "failed")]
    Failed {
        code: Option<String>,
        #[serde(default, deserialize_with = "json::or_default")]
        message: String,
        #[serde(default, deserialize_with = "json::or_default")]
        retryable: bool,
    },
    #[serde(rename = "cancelled")]
    Cancelled,
    #[serde(other)]
    Unknown,
}

impl Told {
    /// Converts it: `Some(None)` if its type is unknown, `None` if it lacks a field or exceeds a limit.
    fn into_event(self) -> Option<Option<AgentEvent>> {
        let event = match self {
            Self::Started {
                run_ref,
                conversation_ref,
            } => AgentEvent::Started {
                run_ref: kept(run_ref)?,
                conversation_ref: kept_if_any(conversation_ref)?,
            },
            Self::TextDelta { text } => AgentEvent::TextDelta(text),
            Self::TextSnapshot { text } => AgentEvent::TextSnapshot(text),
            Self::ReasoningDelta { text } => AgentEvent::ReasoningDelta(text),
            Self::Progress { label, state } => AgentEvent::Progress { label, state },
            Self::File { url, bytes, name, mime } => file(url, bytes, name, mime)?,
            Self::InputRequired {
                prompt,
                choices,
                resume_ref,
            } => AgentEvent::InputRequired {
                prompt,
                choices,
                resume_ref: kept_if_any(resume_ref)?,
            },
            Self::Cursor { value } => AgentEvent::Cursor(kept(value)?),
            Self::Completed { final_text } => AgentEvent::Completed { final_text },
            Self::Failed {
                code,
                message,
                retryable,
            } => AgentEvent::Failed(failed(code, &message, retryable)),
            Self::Cancelled => AgentEvent::Cancelled,
            // Parsed before, since cards have errors of their own.
            Self::Card { .. } | Self::Unknown => return Some(None),
        };
        Some(Some(event))
    }
}

/// Returns a reference unless it is too long to be stored.
fn kept(reference: String) -> Option<String> {
    (reference.len() <= MAX_REF_BYTES).then_some(reference)
}

fn kept_if_any(reference: Option<String>) -> Option<Option<String>> {
    match reference {
        Some(reference) => kept(reference).map(Some),
        None => Some(None),
    }
}

fn file(url: Option<String>, bytes: Option<String>, name: Option<String>, mime: Option<String>) -> Option<AgentEvent> {
    let name = name.unwrap_or_else(|| "file".to_owned());
    let mime = mime.unwrap_or_else(|| "application/octet-stream".to_owned());
    match (url, bytes) {
        (Some(url), None) => Some(AgentEvent::File(ReplyFile { url, name, mime })),
        (None, Some(bytes)) => Some(AgentEvent::FileBytes {
            bytes: STANDARD.decode(bytes).ok()?,
            name,
            mime,
        }),
        _ => None,
    }
}

fn failed(code: Option<String>, message: &str, retryable: bool) -> AgentFailure {
    let message: String = message.chars().take(failure::MAX_MESSAGE_CHARS).collect();
    failure::new(failure::agents_code(code.as_deref()), message, retryable)
}

#[cfg(test)]
mod tests;
