//! Finds the text in the agent's own JSON: AgentCore passes on whatever the agent writes.

use serde_json::Value;
use tieline_core::agent::{AgentEvent, AgentFailure};

use crate::error_body::ErrorBody;
use crate::{failure, json};

/// Pointers to the text in events of common frameworks, the most reliable first.
const EVENT_POINTERS: &[&str] = &[
    "/event/contentBlockDelta/delta/text",
    "/data",
    "/text",
    "/delta/text",
    "/delta",
    "/chunk",
    "/content",
    "/message",
];
/// Pointers to the text in an unstreamed answer of common frameworks, the most reliable first.
const ANSWER_POINTERS: &[&str] = &[
    "/result",
    "/response",
    "/output",
    "/text",
    "/message",
    "/content",
    "/answer",
    "/result/content/0/text",
    "/message/content/0/text",
    "/output/message/content/0/text",
];

/// State of reading one answer.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Pointer to the text. Set by the first event that has text, because frameworks write the same text in several places.
    pointer: Option<String>,
    /// Whether the agent writes its text as bare strings or as plain text.
    is_bare: bool,
}

/// The last event of streams that follow OpenAI's.
const END_MARK: &str = "[DONE]";

impl Reading {
    /// Reads the text at `pointer`, or searches for it if that is empty.
    pub(crate) fn new(pointer: &str) -> Self {
        Self {
            pointer: (!pointer.is_empty()).then(|| pointer.to_owned()),
            is_bare: false,
        }
    }

    /// Reads one event of a stream.
    pub(crate) fn event(&mut self, data: &str) -> Result<Option<AgentEvent>, AgentFailure> {
        if data.trim() == END_MARK {
            return Ok(None);
        }
        let text = match json::read::<Value>(data.as_bytes()) {
            // A piece of plain text that looks like one.
            Ok(Value::Number(_) | Value::Bool(_)) if self.pointer.is_none() => Some(data.to_owned()),
            Ok(Value::String(text)) if self.is_dump(&text) => None,
            Ok(value) => match error_in(&value) {
                Some(failure) => return Err(failure),
                None => {
                    self.is_bare |= value.is_string();
                    self.text(&value, EVENT_POINTERS)
                }
            },
            // Some agents write plain text instead of JSON.
            Err(_) => {
                self.is_bare = true;
                Some(data.to_owned())
            }
        };
        Ok(text.filter(|text| !text.is_empty()).map(AgentEvent::TextDelta))
    }

    /// Whether a string is an event that AWS's SDK could not write as JSON and wrote as Python shows it. Agents that stream Strands' events send them
    /// beside those with the text. See
    /// [bedrock-agentcore-sdk-python/app.py](https://github.com/aws/bedrock-agentcore-sdk-python/blob/main/src/bedrock_agentcore/runtime/app.py),
    /// `_safe_serialize_to_json_string`.
    fn is_dump(&self, text: &str) -> bool {
        !self.is_bare && (self.pointer.is_some() || text.starts_with("{'") && text.ends_with('}'))
    }

    /// Reads an unstreamed answer.
    pub(crate) fn whole(&mut self, body: &[u8]) -> Result<String, AgentFailure> {
        let value: Value = crate::api::parse(body)?;
        if let Some(failure) = error_in(&value) {
            return Err(failure);
        }
        self.text(&value, ANSWER_POINTERS).ok_or_else(|| {
            failure::bad_answer("no text found in the agent's answer; set textPointer to its JSON pointer")
        })
    }

    fn text(&mut self, value: &Value, known: &[&str]) -> Option<String> {
        if let Some(text) = value.as_str() {
            return Some(text.to_owned());
        }
        if let Some(pointer) = &self.pointer {
            return value.pointer(pointer)?.as_str().map(str::to_owned);
        }
        let (pointer, text) = known
            .iter()
            .find_map(|pointer| Some((pointer, value.pointer(pointer)?.as_str()?)))?;
        self.pointer = Some((*pointer).to_owned());
        Some(text.to_owned())
    }
}

/// Whether a field is there in name only: typed languages write every field, also that of an error that didn't occur.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// An error that the agent's server reports in a response with a success status.
fn error_in(value: &Value) -> Option<AgentFailure> {
    let is_error = value.get("error").is_some_and(|error| !is_nothing(error));
    is_error.then(|| {
        let kind = value.get("error_type").and_then(Value::as_str);
        let error = ErrorBody::of(value);
        let code = failure::agents_code(error.word().or(kind));
        failure::new(code, format!("the agent sent an error{}", error.describe()), true)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pointer: &str, events: &[&str]) -> Vec<String> {
        let mut reading = Reading::new(pointer);
        let events = events.iter().filter_map(|data| reading.event(data).unwrap());
        events
            .map(|event| match event {
                AgentEvent::TextDelta(text) => text,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn text_is_found_where_frameworks_write_it() {
        assert_eq!(texts("", &["\"a\"", "\"b\""]), ["a", "b"]);
        assert_eq!(texts("", &["plain words", " more"]), ["plain words", " more"]);
        assert_eq!(
            texts("", &[r#"{"init":true}"#, r#"{"text":"a"}"#, r#"{"text":"b"}"#]),
            ["a", "b"]
        );
        assert_eq!(
            texts("/x/0", &[r#"{"x":["a"],"text":"no"}"#, r#"{"text":"no"}"#]),
            ["a"]
        );
    }

    #[test]
    fn numbers_in_plain_text_stay_and_end_marks_do_not() {
        assert_eq!(texts("", &["in", " 2024", "true", "[DONE]"]), ["in", " 2024", "true"]);
        assert_eq!(texts("", &[r#"{"text":"a"}"#, "7", " [DONE]"]), ["a"]);
    }

    #[test]
    fn text_sent_in_two_formats_is_emitted_once() {
        let raw = r#"{"event":{"contentBlockDelta":{"delta":{"text":"a"}}}}"#;
        assert_eq!(texts("", &[raw, r#"{"data":"a"}"#, raw]), ["a", "a"]);
    }

    #[test]
    fn events_that_are_no_json_are_not_shown() {
        let raw = r#"{"event":{"contentBlockDelta":{"delta":{"text":"a"}}}}"#;
        let (before, after) = (
            r#""{'init': True, 'agent': <Agent object at 0x7f>}""#,
            r#""Result(stop='end_turn')""#,
        );
        assert_eq!(texts("", &[before, raw, before, raw, after]), ["a", "a"]);
        // An agent that writes bare strings may quote such a thing.
        assert_eq!(texts("", &["\"a\"", "\"{'b': 1}\""]), ["a", "{'b': 1}"]);
    }

    #[test]
    fn errors_end_the_answer() {
        let mut reading = Reading::new("");
        let error = r#"{"error":"An error occurred","error_type":"ValueError"}"#;
        assert_eq!(reading.event(error).unwrap_err().code, "ValueError");
        assert_eq!(reading.whole(error.as_bytes()).unwrap_err().code, "ValueError");
        for nothing in ["null", "false", "\"\"", "{}", "[]"] {
            let answer = format!(r#"{{"error":{nothing},"result":"hi"}}"#);
            assert_eq!(Reading::new("").whole(answer.as_bytes()).unwrap(), "hi", "{nothing}");
        }
        assert_eq!(
            Reading::new("").whole(b"{\"x\":1}").unwrap_err().code,
            failure::BAD_ANSWER
        );
    }
}
