//! Parses the body of an HTTP error or an `error` event.

use serde_json::Value;
use tieline_core::agent::AgentFailure;

use crate::failure::{self, is_word};
use crate::json;

/// An agent's description of an error.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ErrorBody {
    /// Its code.
    pub(crate) code: Option<String>,
    /// Its type.
    pub(crate) kind: Option<String>,
    /// Its message, in the agent's own words. For the operator only: it may quote the person's text.
    pub(crate) message: Option<String>,
}

/// Longest non-JSON body that is quoted.
const MAX_PLAIN_CHARS: usize = 200;

impl ErrorBody {
    /// Parses a body: `{"error":{"code","type","message"}}`, `{"error":"…"}`, the same fields at the top level (`msg` and `detail` are
    /// messages too), or a line of plain text. Anything else, HTML pages above all, gives an empty description.
    pub(crate) fn read(body: &[u8]) -> Self {
        match json::read(body) {
            Ok(body) => Self::of(&body),
            Err(_) => Self {
                message: plain_text(body),
                ..Self::default()
            },
        }
    }

    /// Like [`Self::read`], for a body that is parsed already.
    pub(crate) fn of(body: &Value) -> Self {
        let error = body.get("error").filter(|error| !error.is_null()).unwrap_or(body);
        let text = |field: &str| match error.get(field) {
            Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let message = || ["message", "msg", "detail"].into_iter().find_map(text);
        Self {
            code: text("code").filter(|code| is_word(code)),
            kind: text("type").filter(|kind| is_word(kind)),
            message: message().or_else(|| error.as_str().map(str::to_owned)),
        }
    }

    /// The error that a document describes. `None` for any other document: a type alone describes none.
    ///
    /// For documents that came in place of an answer: some servers report errors with a success status.
    pub(crate) fn in_document(body: &[u8]) -> Option<Self> {
        Some(Self::read(body)).filter(|error| error.code.is_some() || error.message.is_some())
    }

    /// The failure for a document that came in place of an answer: the error that it describes, else `unexpected`.
    pub(crate) fn failure_in(body: &[u8], unexpected: AgentFailure) -> AgentFailure {
        Self::in_document(body).map_or(unexpected, |error| {
            let code = failure::agents_code(error.word());
            failure::new(code, format!("the agent sent an error{}", error.describe()), false)
        })
    }

    /// Its code, else its type, for the code of a failure.
    pub(crate) fn word(&self) -> Option<&str> {
        self.code.as_deref().or(self.kind.as_deref())
    }

    /// All of it, to end a sentence.
    pub(crate) fn describe(&self) -> String {
        let parts = [("code", &self.code), ("type", &self.kind), ("message", &self.message)];
        let known = parts
            .into_iter()
            .filter_map(|(name, value)| Some(format!(", {name} {}", value.as_ref()?)));
        known.collect()
    }
}

fn plain_text(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim();
    let readable = !text.is_empty() && !text.starts_with(['<', '{', '[']) && !text.chars().any(char::is_control);
    (readable && text.chars().count() <= MAX_PLAIN_CHARS).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: &str) {
        assert_eq!(ErrorBody::read(body.as_bytes()).describe(), expected);
    }

    #[test]
    fn known_shapes_are_read() {
        check(
            r#"{"error":{"message":"no such model","type":"invalid_request_error","code":"model_not_found"}}"#,
            ", code model_not_found, type invalid_request_error, message no such model",
        );
        check(
            r#"{"object":"error","type":"NotFoundError","code":404,"message":"x"}"#,
            ", code 404, type NotFoundError, message x",
        );
        check(r#"{"error":"overloaded"}"#, ", message overloaded");
        check(r#"{"error":null,"code":"x"}"#, ", code x");
        check(
            r#"{"code":4100,"msg":"wrong token"}"#,
            ", code 4100, message wrong token",
        );
        check(r#"{"detail":"Team not found"}"#, ", message Team not found");
        check("upstream connect error", ", message upstream connect error");
    }

    #[test]
    fn only_a_code_or_a_message_makes_a_document_an_error() {
        let is_error = |body: &str| ErrorBody::in_document(body.as_bytes()).is_some();
        assert!(is_error(r#"{"error":{"code":"x"}}"#) && is_error(r#"{"message":"x","status":400}"#));
        assert!(!is_error(r#"{"type":"message","text":"hello"}"#) && !is_error("[1]"));
    }

    #[test]
    fn only_plain_words_are_codes_and_html_gives_no_error() {
        check(r#"{"error":{"code":"you said: hello","type":["x"],"message":""}}"#, "");
        check("<html>", "");
        check("[1]", "");
        check("{\"error\": cut", "");
        check(&"x".repeat(201), "");
    }
}
