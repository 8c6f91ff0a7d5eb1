//! What the body of an HTTP error or an `error` event says.

use serde_json::Value;

use crate::failure::is_word;
use crate::json;

/// What an agent says of an error.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ErrorBody {
    /// Its code.
    pub(crate) code: Option<String>,
    /// Its type.
    pub(crate) kind: Option<String>,
    /// Its sentence. May quote the person, so that it is of use only where the words asked were ours.
    pub(crate) message: Option<String>,
}

impl ErrorBody {
    /// Reads a body: `{"error":{"code","type","message"}}`, `{"error":"…"}`, or the same fields at the top. Anything else says nothing.
    pub(crate) fn read(body: &[u8]) -> Self {
        json::read(body).map(|body| Self::of(&body)).unwrap_or_default()
    }

    /// The same for a body that is read already.
    pub(crate) fn of(body: &Value) -> Self {
        let error = body.get("error").filter(|error| !error.is_null()).unwrap_or(body);
        let text = |field: &str| match error.get(field) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        Self {
            code: text("code").filter(|code| is_word(code)),
            kind: text("type").filter(|kind| is_word(kind)),
            message: text("message").or_else(|| error.as_str().map(str::to_owned)),
        }
    }

    /// Its code, else its type, as the code of a failure.
    pub(crate) fn word(&self) -> Option<&str> {
        self.code.as_deref().or(self.kind.as_deref())
    }

    /// All of it that can't be somebody's words, as the end of a sentence; the message too if `quote`.
    pub(crate) fn describe(&self, quote: bool) -> String {
        let parts = [("code", &self.code), ("type", &self.kind), ("message", &self.message)];
        let told = parts.into_iter().filter(|(name, _)| quote || *name != "message");
        told.filter_map(|(name, value)| Some(format!(", {name} {}", value.as_ref()?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, quote: bool, expected: &str) {
        assert_eq!(ErrorBody::read(body.as_bytes()).describe(quote), expected);
    }

    #[test]
    fn known_shapes_are_read() {
        let openai = r#"{"error":{"message":"no such model","type":"invalid_request_error","code":"model_not_found"}}"#;
        check(openai, false, ", code model_not_found, type invalid_request_error");
        check(
            openai,
            true,
            ", code model_not_found, type invalid_request_error, message no such model",
        );
        check(
            r#"{"object":"error","type":"NotFoundError","code":404,"message":"x"}"#,
            false,
            ", code 404, type NotFoundError",
        );
        check(r#"{"error":"overloaded"}"#, true, ", message overloaded");
        check(r#"{"error":null,"code":"x"}"#, false, ", code x");
    }

    #[test]
    fn words_that_could_be_the_persons_are_left_out() {
        check(
            r#"{"error":{"code":"you said: hello","type":["x"],"message":"you said: hello"}}"#,
            false,
            "",
        );
        check("<html>", true, "");
        check("[1]", true, "");
    }
}
