//! What a request that fails is answered: `application/problem+json` with a stable `code`.

use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use tieline_store::StoreError;
use tracing::error;
use utoipa::ToSchema;

/// Why a request failed (RFC 9457). `code` is stable; `title` and `detail` are for people and may change.
///
/// Some codes bring more: `field` names the offending field, `allowed` what may stand there; `boundTo` and `impact` tell who else is concerned.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// The kind of problem; always `about:blank`, the `code` tells.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The meaning of the status.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// A stable word for programs.
    code: &'static str,
    /// One sentence for people.
    detail: String,
    /// The offending field of the request, as a path (`credentials.token`, `access.users[1]`).
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(flatten)]
    #[schema(ignore)]
    // In a box, for problems are the unhappy half of nearly every result.
    more: Box<Map<String, Value>>,
}

impl Problem {
    /// A problem with a code of its own.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail: detail.into(),
            field: None,
            more: Box::default(),
        }
    }

    /// A value that can't be used. `reason` follows the field's name in a sentence and never holds the value.
    #[must_use]
    pub fn invalid(field: impl Into<String>, reason: &str) -> Self {
        let field = field.into();
        Self::new(StatusCode::BAD_REQUEST, "invalid_field", format!("{field} {reason}")).on(field)
    }

    /// A field that nothing here knows.
    #[must_use]
    pub fn unknown(field: impl Into<String>) -> Self {
        let field = field.into();
        Self::new(
            StatusCode::BAD_REQUEST,
            "unknown_field",
            format!("{field} is not a known field"),
        )
        .on(field)
    }

    /// Something that isn't there, or that the caller may not know of: both look the same.
    #[must_use]
    pub fn not_found(code: &'static str, what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, format!("no such {what}"))
    }

    /// Something that stands against another thing.
    #[must_use]
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// No token, or one that nobody knows.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "a valid bearer token is needed",
        )
    }

    /// A token that may not do this.
    #[must_use]
    pub fn forbidden(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// Something that we need can't be reached for the moment.
    #[must_use]
    pub fn unavailable(detail: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
    }

    /// The same problem, blamed on a field.
    #[must_use]
    pub fn on(self, field: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()),
            ..self
        }
    }

    /// The same problem with one more member.
    ///
    /// # Panics
    /// If the value doesn't serialize as JSON, which is a mistake in its type.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).expect("members of problems serialize as JSON");
        self.more.insert(name.to_owned(), value);
        self
    }

    /// The same problem with what may stand there instead, for people and for programs.
    #[must_use]
    pub fn allowing(self, allowed: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let allowed: Vec<String> = allowed.into_iter().map(Into::into).collect();
        if allowed.is_empty() {
            return self;
        }
        let detail = format!("{}; allowed: {}", self.detail, allowed.join(", "));
        self.saying(detail).with("allowed", allowed)
    }

    /// The same problem in other words.
    #[must_use]
    pub fn saying(self, detail: impl Into<String>) -> Self {
        Self {
            detail: detail.into(),
            ..self
        }
    }

    /// What is wrong, in one sentence.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The offending field.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// A member beside those that every problem has.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.more.get(name)
    }

    /// The stable word.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }
}

impl From<StoreError> for Problem {
    fn from(failure: StoreError) -> Self {
        match failure {
            StoreError::Conflict => {
                Self::conflict("conflict", "somebody else changed this at the same time; read it again")
            }
            StoreError::TooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "this is too large to be kept",
            ),
            StoreError::Unavailable { .. } => {
                error!(error = %chain(&failure), "store can't be reached");
                Self::unavailable("the store can't be reached; try again")
            }
            StoreError::Unreadable { what: "cursor" } => Self::invalid("cursor", "is not one of this list"),
            StoreError::Unreadable { .. } | StoreError::Unsealable => {
                error!(error = %chain(&failure), "stored item can't be read");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal",
                    "something stored can't be read; see the log",
                )
            }
        }
    }
}

/// An error with its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).expect("problems serialize as JSON");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_reads_as_one_flat_object() {
        let problem = Problem::conflict("account_in_use", "taken").with("impact", serde_json::json!({"openRuns": 1}));
        assert_eq!(
            serde_json::to_value(&problem).unwrap(),
            serde_json::json!({"type": "about:blank", "title": "Conflict", "status": 409, "code": "account_in_use",
                "detail": "taken", "impact": {"openRuns": 1}})
        );
    }
}
