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
mod tests {
    use super::*;

    #[track_caller]
    fn check(data: &str, expected: AgentEvent) {
        assert_eq!(read(data).unwrap(), Some(expected), "{data}");
    }

    #[test]
    fn every_type_is_read() {
        let some = |text: &str| Some(text.to_owned());
        check(
            r#"{"type":"run.started","runRef":"r","conversationRef":"c"}"#,
            AgentEvent::Started {
                run_ref: "r".into(),
                conversation_ref: some("c"),
            },
        );
        check(r#"{"type":"text.delta","text":"a"}"#, AgentEvent::TextDelta("a".into()));
        check(
            r#"{"type":"text.snapshot","text":"a","extra":1}"#,
            AgentEvent::TextSnapshot("a".into()),
        );
        check(
            r#"{"text":"a","type":"reasoning.delta"}"#,
            AgentEvent::ReasoningDelta("a".into()),
        );
        check(
            r#"{"type":"progress","label":"l","state":"s"}"#,
            AgentEvent::Progress {
                label: "l".into(),
                state: "s".into(),
            },
        );
        let card = r#"{"text":"t","buttons":[{"text":"Go","value":"v"}]}"#;
        check(
            &format!(r#"{{"type":"card","card":{card}}}"#),
            AgentEvent::Card(serde_json::from_str(card).unwrap()),
        );
        let input = AgentEvent::InputRequired {
            prompt: "p".into(),
            choices: vec!["y".into()],
            resume_ref: some("f"),
        };
        check(
            r#"{"type":"input.required","prompt":"p","choices":["y"],"resumeRef":"f"}"#,
            input,
        );
        check(r#"{"type":"cursor","value":"7"}"#, AgentEvent::Cursor("7".into()));
        check(r#"{"type":"completed"}"#, AgentEvent::Completed { final_text: None });
        check(
            r#"{"type":"completed","finalText":"a"}"#,
            AgentEvent::Completed { final_text: some("a") },
        );
        check(r#"{"type":"cancelled"}"#, AgentEvent::Cancelled);
    }

    #[test]
    fn references_are_bounded() {
        let (fits, long) = ("r".repeat(MAX_REF_BYTES), "r".repeat(MAX_REF_BYTES + 1));
        let events = |text: &str| {
            [
                format!(r#"{{"type":"run.started","runRef":"{text}"}}"#),
                format!(r#"{{"type":"run.started","runRef":"r","conversationRef":"{text}"}}"#),
                format!(r#"{{"type":"input.required","prompt":"p","resumeRef":"{text}"}}"#),
                format!(r#"{{"type":"cursor","value":"{text}"}}"#),
            ]
        };
        for (fits, long) in events(&fits).iter().zip(&events(&long)) {
            assert!(read(fits).is_ok_and(|event| event.is_some()));
            assert!(matches!(read(long), Err(InvalidEvents::Event { .. })));
        }
    }

    #[test]
    fn file_is_a_url_or_bytes() {
        let (name, mime) = ("n".to_owned(), "text/plain".to_owned());
        let url = "https://x.example/n".to_owned();
        let by_address = AgentEvent::File(ReplyFile {
            url,
            name: name.clone(),
            mime: mime.clone(),
        });
        check(
            r#"{"type":"file","url":"https://x.example/n","name":"n","mime":"text/plain"}"#,
            by_address,
        );
        let by_content = AgentEvent::FileBytes {
            bytes: vec![0, 255],
            name,
            mime,
        };
        check(
            r#"{"type":"file","bytes":"AP8=","name":"n","mime":"text/plain"}"#,
            by_content,
        );
        for wrong in [
            r#"{"type":"file"}"#,
            r#"{"type":"file","bytes":"*"}"#,
            r#"{"type":"file","url":"u","bytes":"AA=="}"#,
        ] {
            assert_eq!(
                read(wrong),
                Err(InvalidEvents::Event { kind: "file".into() }),
                "{wrong}"
            );
        }
    }

    #[test]
    fn failure_keeps_a_plain_code_only() {
        check(
            r#"{"type":"failed","code":"quota","message":"m","retryable":true}"#,
            AgentEvent::Failed(failure::new("quota", "m", true)),
        );
        check(
            r#"{"type":"failed","code":"you said so"}"#,
            AgentEvent::Failed(failure::new(failure::AGENT_ERROR, "", false)),
        );
    }

    /// Languages with typed objects write absent fields as null.
    #[test]
    fn optional_field_may_be_null() {
        check(
            r#"{"type":"progress","label":"l","state":null}"#,
            AgentEvent::Progress {
                label: "l".into(),
                state: String::new(),
            },
        );
        assert!(read(r#"{"type":"input.required","prompt":"p","choices":null,"resumeRef":null}"#).is_ok());
        check(
            r#"{"type":"failed","code":null,"message":null,"retryable":null}"#,
            AgentEvent::Failed(failure::new(failure::AGENT_ERROR, "", false)),
        );
        assert!(read(r#"{"type":"progress","label":null}"#).is_err());
    }

    #[test]
    fn unknown_types_are_ignored_and_broken_ones_are_not() {
        assert_eq!(read(r#"{"type":"usage","tokens":{"in":5}}"#), Ok(None));
        assert_eq!(read(" "), Ok(None));
        assert_eq!(
            read(r#"{"type":"text.delta"}"#),
            Err(InvalidEvents::Event {
                kind: "text.delta".into()
            })
        );
        assert_eq!(read("{\n]"), Err(InvalidEvents::NotJson { line: 2, column: 1 }));
        assert!(read("5").is_err() && read(r#"{"type":5}"#).is_err());
    }

    #[test]
    fn callback_is_one_or_a_list() {
        let text = |seq, text: &str| Numbered {
            seq,
            event: Some(AgentEvent::TextDelta(text.into())),
            json: format!(r#"{{"text":"{text}","type":"text.delta"}}"#),
        };
        let unknown = |seq| Numbered {
            seq,
            event: None,
            json: r#"{"type":"new.thing"}"#.to_owned(),
        };
        let one = br#"{"seq":1,"event":{"type":"text.delta","text":"a"}}"#;
        assert_eq!(parse(one), Ok(vec![text(1, "a")]));
        let list = br#"[{"seq":3,"event":{"type":"new.thing"}},{"seq":2,"event":{"type":"text.delta","text":"b"}}]"#;
        assert_eq!(parse(list), Ok(vec![unknown(3), text(2, "b")]));
        assert_eq!(parse(b"[]"), Ok(vec![]));
    }

    #[test]
    fn half_an_emoji_is_replaced_and_the_stored_event_is_readable() {
        let half = r#"{"type":"text.delta","text":"a\ud83d"}"#;
        check(half, AgentEvent::TextDelta("a\u{fffd}".into()));
        let taken = parse(format!(r#"[{{"seq":1,"event":{half}}}]"#).as_bytes()).unwrap();
        assert_eq!(read(&taken[0].json), Ok(taken[0].event.clone()));
    }

    #[track_caller]
    fn check_error(body: &str, expected: &str) {
        assert_eq!(parse(body.as_bytes()).unwrap_err().to_string(), expected);
    }

    #[test]
    fn errors_of_a_callback_name_the_invalid_field() {
        check_error(
            r#"{"seq":0,"event":{"type":"cancelled"}}"#,
            "seq must be a whole number from 1",
        );
        check_error(r#"{"event":{"type":"cancelled"}}"#, "seq must be a whole number from 1");
        check_error(r#"{"seq":1}"#, "event is required");
        check_error(r#"{"seq":1,"event":{}}"#, "event must be an object with a type");
        check_error(
            r#"{"seq":1,"events":[],"event":{}}"#,
            "events is not a field of a callback",
        );
        check_error(
            r#"[{"seq":1,"event":{"type":"progress"}}]"#,
            "event of type progress does not have the documented fields, or has a reference of over 2048 bytes",
        );
        check_error("7", "body must be an object or a list of objects");
        check_error("", "not JSON: line 1, column 0");
    }

    proptest::proptest! {
        #[test]
        fn any_body_is_read_without_a_panic(body: Vec<u8>) {
            let _ = parse(&body);
        }
    }
}
