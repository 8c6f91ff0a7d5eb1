//! HTTP requests and responses between us and a platform, as values.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::secret::Secret;
use crate::timestamp::Timestamp;

/// An HTTP request of a platform to us, as received.
#[derive(Debug, Clone, Default)]
pub struct WebhookRequest {
    /// `GET` or `POST`.
    pub method: String,
    /// The raw query, not decoded, without the question mark.
    pub query: String,
    /// Header names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, at most 1 MiB.
    pub body: Vec<u8>,
}

impl WebhookRequest {
    /// The first header of that name (in lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The first query parameter of that name, percent-decoded **once**. A raw `+` stays a plus.
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .into_iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| percent_decode(value))
    }
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        out.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Our answer to a platform's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookAnswer {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`, if there is a body.
    pub content_type: Option<&'static str>,
    /// The body.
    pub body: Vec<u8>,
}

impl WebhookAnswer {
    /// A status with an empty body.
    #[must_use]
    pub const fn empty(status: u16) -> Self {
        Self {
            status,
            content_type: None,
            body: Vec::new(),
        }
    }

    /// 200 with plain text.
    #[must_use]
    pub fn text(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            content_type: Some("text/plain; charset=utf-8"),
            body: body.into(),
        }
    }

    /// An error for an operator: `application/problem+json` with a stable `code`. `detail` is one sentence for people.
    #[must_use]
    pub fn problem(status: u16, code: &str, detail: &str) -> Self {
        Self::of_problem(status, &problem(status, code, detail))
    }

    /// Like [`Self::problem`], about a field of the request.
    #[must_use]
    pub fn problem_on(status: u16, code: &str, field: &str, detail: &str) -> Self {
        let wrong = WrongField {
            field: field.to_owned(),
            code: code.to_owned(),
            detail: detail.to_owned(),
        };
        Self::problem_on_fields(status, &[wrong])
    }

    /// Like [`Self::problem_on`], about several fields: the first one's code and detail are those of the whole.
    #[must_use]
    pub fn problem_on_fields(status: u16, wrong: &[WrongField]) -> Self {
        let Some(first) = wrong.first() else {
            return Self::empty(status);
        };
        let mut problem = problem(status, &first.code, &first.detail);
        problem["field"] = first.field.as_str().into();
        problem["errors"] = serde_json::json!(wrong);
        Self::of_problem(status, &problem)
    }

    fn of_problem(status: u16, problem: &serde_json::Value) -> Self {
        Self {
            status,
            content_type: Some("application/problem+json"),
            body: problem.to_string().into_bytes(),
        }
    }

    /// 200 with JSON.
    ///
    /// # Panics
    /// If it can't be JSON, which only happens for maps whose keys aren't text.
    #[must_use]
    pub fn json(body: &impl Serialize) -> Self {
        Self::long_json(body, 0)
    }

    /// Like [`Self::json`], for texts that have `n_bytes` together: a long buffer is not copied each time its capacity doubles.
    ///
    /// # Panics
    /// As there.
    #[must_use]
    pub fn long_json(body: &impl Serialize, n_bytes: usize) -> Self {
        let mut json = Vec::with_capacity(n_bytes + n_bytes / 16 + 128);
        serde_json::to_writer(&mut json, body).expect("its keys are text");
        Self {
            status: 200,
            content_type: Some("application/json"),
            body: json,
        }
    }
}

/// What is wrong with a field of an operator's request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WrongField {
    /// The field.
    pub field: String,
    /// A stable code.
    pub code: String,
    /// One sentence for people.
    pub detail: String,
}

fn problem(status: u16, code: &str, detail: &str) -> serde_json::Value {
    let title = http::StatusCode::from_u16(status).ok();
    let title = title.and_then(|status| status.canonical_reason()).unwrap_or_default();
    serde_json::json!({ "type": "about:blank", "title": title, "status": status, "code": code, "detail": detail })
}

/// Where the access token is put in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenPlace {
    /// The call needs no token.
    None,
    /// `Authorization: Bearer TOKEN`.
    Bearer,
    /// A query parameter of that name.
    Query(&'static str),
    /// A header of that name.
    Header(&'static str),
}

/// The body of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// No body.
    Empty,
    /// `application/json`.
    Json(String),
    /// `multipart/form-data`: fields, then at most one file.
    Multipart {
        /// Plain fields by name.
        fields: Vec<(String, String)>,
        /// Field name, file name, type and bytes of the file.
        file: Option<(String, String, String, Vec<u8>)>,
    },
    /// The bytes of the file at this address, which is fetched first.
    ///
    /// If it can't be fetched, the call isn't made and is answered with [`FILE_NOT_FETCHED`]; if it has more than `max_bytes`, with
    /// [`FILE_TOO_LARGE`].
    FileAt {
        /// The file's address. It may come from an agent.
        url: String,
        /// Most bytes that are sent.
        max_bytes: usize,
        /// The form that has the file as its last part. `None`: the bytes alone, as `application/octet-stream`.
        form: Option<FilePart>,
    },
}

/// A form whose last part is a file: `multipart/form-data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePart {
    /// Plain fields by name, before the file.
    pub fields: Vec<(String, String)>,
    /// The file's field.
    pub field: &'static str,
    /// The file's name.
    pub name: String,
    /// Its MIME type.
    pub mime: String,
}

/// The status that answers a call whose file can't be fetched: 424, Failed Dependency.
pub const FILE_NOT_FETCHED: u16 = 424;
/// The status that answers a call whose file is too large: 413, Content Too Large.
pub const FILE_TOO_LARGE: u16 = 413;

/// One call of a platform's HTTP API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCall {
    /// Its name in logs and quotas: `send`, `update`, `token`. Unique within a connector.
    pub name: &'static str,
    /// `GET`, `POST`, `PUT`, `PATCH`, `DELETE`.
    pub method: &'static str,
    /// The whole address. May contain a secret, so it is never logged.
    pub url: String,
    /// Headers besides the token's and the content type.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Body,
    /// Where the access token is put.
    pub token: TokenPlace,
    /// Timeout for the whole answer.
    pub timeout: Duration,
}

/// One frame for a socket that the relay holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketCall {
    /// Its name in logs and quotas.
    pub name: String,
    /// Frames of the same lane are sent one after the other, each after the acknowledgement of the previous one.
    pub lane: String,
    /// The frame, without fields that only the connection knows.
    pub frame: serde_json::Value,
    /// Whether a newer frame of the lane may replace it before it is sent.
    pub replaceable: bool,
    /// After this time it is not sent any more.
    #[serde(with = "crate::timestamp::millis")]
    pub expires_at: Timestamp,
}

/// One call that shows something in a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiCall {
    /// Over HTTP.
    Http(HttpCall),
    /// Over the socket that the relay holds.
    Socket(SocketCall),
}

impl ApiCall {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Http(call) => call.name,
            Self::Socket(call) => &call.name,
        }
    }
}

/// Outcome of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiAnswer {
    /// The platform answered. For a socket the status is 200 and the body is the acknowledging frame.
    Answered {
        /// HTTP status.
        status: u16,
        /// `Retry-After`, in seconds, if given.
        retry_after_s: Option<u64>,
        /// The body, cut at 1 MiB.
        body: Vec<u8>,
    },
    /// It was never sent: blocked, unresolved, no socket. Safe to repeat.
    NotSent,
    /// It was sent, and no answer was received. The platform may or may not have acted on it.
    Unknown,
}

impl ApiAnswer {
    /// The body as JSON, if the platform answered with JSON.
    #[must_use]
    pub fn json(&self) -> Option<serde_json::Value> {
        match self {
            Self::Answered { body, .. } => serde_json::from_slice(body).ok(),
            Self::NotSent | Self::Unknown => None,
        }
    }
}

/// An access token of a platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessToken {
    /// The token.
    pub token: Secret,
    /// When it expires, with the platform's advised margin for early renewal already subtracted.
    #[serde(with = "crate::timestamp::millis")]
    pub expires_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_is_decoded_once_and_plus_stays() {
        let request = WebhookRequest {
            query: "a=1&echostr=x%2By%252B+z&b=".into(),
            ..WebhookRequest::default()
        };
        assert_eq!(request.query_value("echostr").as_deref(), Some("x+y%2B+z"));
        assert_eq!(request.query_value("b").as_deref(), Some(""));
        assert_eq!(request.query_value("c"), None);
    }

    #[test]
    fn broken_escapes_stay_as_they_are() {
        assert_eq!(percent_decode("100%"), "100%");
        assert_eq!(percent_decode("%zz%4"), "%zz%4");
    }
}
