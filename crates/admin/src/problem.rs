//! Error responses: `application/problem+json` with a stable `code`.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use tieline_bridge::error_chain::chain;
use tieline_bridge::operator::Denied;
use tieline_store::StoreError;
use tracing::error;
use utoipa::ToSchema;

/// Why a request failed (RFC 9457). `code` is stable; `title` and `detail` are for people and may change.
///
/// Some codes have more members: `field` is the invalid field, `allowed` lists its allowed values; `boundTo` and `impact` say who else is
/// affected.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// The problem type; always `about:blank`, the `code` identifies it.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The name of the HTTP status.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// A stable code for programs.
    code: &'static str,
    /// One sentence for people.
    #[schema(value_type = String)]
    detail: Box<str>,
    /// The invalid field of the request, as a path (`credentials.token`, `access.users[1]`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    field: Option<Box<str>>,
    /// The invalid fields of the request, at most 100; `field` and `code` are the first one's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    #[serde(flatten)]
    #[schema(ignore)]
    // Boxed to keep `Result`s small: a problem is the error type of nearly every one.
    more: Box<Map<String, Value>>,
}

/// The problem with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field, as a path.
    #[schema(value_type = String)]
    field: Box<str>,
    /// A stable code for programs.
    code: &'static str,
    /// One sentence for people.
    #[schema(value_type = String)]
    detail: Box<str>,
}

/// Maximum number of fields whose problems one response reports.
const MAX_ERRORS: usize = 100;

/// Collects the problems of several fields of a request: the first [`MAX_ERRORS`].
#[derive(Debug, Default)]
pub(crate) struct FieldErrors {
    first: Option<Problem>,
}

impl FieldErrors {
    /// Adds a problem of a field.
    pub(crate) fn add(&mut self, problem: Problem) {
        match &mut self.first {
            Some(first) => {
                let room = MAX_ERRORS.saturating_sub(first.errors.len());
                first.errors.extend(problem.errors.into_iter().take(room));
            }
            None => self.first = Some(problem),
        }
    }

    /// The value of a field, or `None` with its problem collected.
    pub(crate) fn keep<T>(&mut self, checked: Result<T, Problem>) -> Option<T> {
        checked.map_err(|problem| self.add(problem)).ok()
    }

    /// Whether a problem of this field was collected.
    pub(crate) fn names(&self, field: &str) -> bool {
        let errors = self.first.iter().flat_map(|first| &first.errors);
        errors.into_iter().any(|error| &*error.field == field)
    }

    /// Returns the collected problems as one error, if there are any.
    pub(crate) fn end(self) -> Result<(), Problem> {
        self.first.map_or(Ok(()), Err)
    }
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
            detail: detail.into().into(),
            field: None,
            errors: Vec::new(),
            more: Box::default(),
        }
    }

    /// A value that can't be used. `reason` follows the field's name in a sentence and never holds the value.
    #[must_use]
    pub fn invalid(field: impl Into<String>, reason: &str) -> Self {
        let field = field.into();
        Self::new(StatusCode::BAD_REQUEST, "invalid_field", format!("{field} {reason}")).on(field)
    }

    /// An unknown field.
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

    /// A resource that doesn't exist, or that the caller may not know of: both look the same.
    #[must_use]
    pub fn not_found(code: &'static str, what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, format!("no such {what}"))
    }

    /// No such agent in the organization.
    #[must_use]
    pub fn agent_not_found() -> Self {
        Self::not_found("agent_not_found", "agent")
    }

    /// No such integration in the organization.
    #[must_use]
    pub fn integration_not_found() -> Self {
        Self::not_found("integration_not_found", "integration")
    }

    /// A conflict with the current state.
    #[must_use]
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// No token, or an unknown one.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "a valid bearer token or session is needed",
        )
    }

    /// A token without the needed permission.
    #[must_use]
    pub fn forbidden(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// A request that is refused for some time; the header `Retry-After` has the time too.
    #[must_use]
    pub fn too_many(code: &'static str, detail: impl Into<String>, retry_after_seconds: u64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail).with(RETRY_AFTER_SECONDS, retry_after_seconds)
    }

    /// A dependency that can't be reached at the moment.
    #[must_use]
    pub fn unavailable(detail: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
    }

    /// The same problem, attributed to a field.
    #[must_use]
    pub fn on(self, field: impl Into<String>) -> Self {
        let field: Box<str> = field.into().into();
        let error = FieldError {
            field: field.clone(),
            code: self.code,
            detail: self.detail.clone(),
        };
        Self {
            field: Some(field),
            errors: vec![error],
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

    /// The same problem with the allowed values, for people and for programs.
    #[must_use]
    pub fn allowing(self, allowed: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let allowed: Vec<String> = allowed.into_iter().map(Into::into).collect();
        if allowed.is_empty() {
            return self;
        }
        let detail = format!("{}; allowed: {}", self.detail, allowed.join(", "));
        self.saying(detail).with("allowed", allowed)
    }

    /// The same problem with another `detail`.
    #[must_use]
    pub fn saying(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into().into();
        if let [only] = self.errors.as_mut_slice() {
            only.detail.clone_from(&self.detail);
        }
        self
    }

    /// The problem in one sentence.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The invalid field.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// An additional member.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.more.get(name)
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }
}

/// The member with the seconds until a retry.
const RETRY_AFTER_SECONDS: &str = "retryAfterSeconds";

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unproved | Denied::WrongToken => Self::unauthorized(),
            Denied::TooManyGuesses { retry_after_seconds } => {
                Self::too_many("too_many_wrong_tokens", denied.to_string(), retry_after_seconds)
            }
            Denied::Unguarded => Self::new(StatusCode::FORBIDDEN, "request_header_missing", denied.to_string()),
            Denied::Store(failure) => failure.into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(failure: StoreError) -> Self {
        match failure {
            StoreError::Conflict => Self::conflict(
                "conflict",
                "another request changed this at the same time; read it again and repeat",
            ),
            StoreError::TooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "this is too large to be kept",
            ),
            StoreError::Unavailable { .. } | StoreError::UnknownKey => {
                error!(error = %chain(&failure), "store can't be reached");
                Self::unavailable("the store can't be reached; try again")
            }
            StoreError::Unreadable { what: "cursor" } => Self::invalid("cursor", "is not a cursor of this list"),
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

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).expect("problems serialize as JSON");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.more.get(RETRY_AFTER_SECONDS).and_then(Value::as_u64) {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
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
    fn number_of_reported_fields_is_bounded() {
        let mut errors = FieldErrors::default();
        for n in 0..100_000 {
            let field = format!("credentials.key{n}");
            if !errors.names(&field) {
                errors.add(Problem::unknown(field));
            }
        }
        assert_eq!(errors.end().unwrap_err().errors.len(), MAX_ERRORS);
    }

    #[test]
    fn problem_serializes_as_one_flat_object() {
        let problem = Problem::conflict("account_in_use", "taken").with("impact", serde_json::json!({"openRuns": 1}));
        assert_eq!(
            serde_json::to_value(&problem).unwrap(),
            serde_json::json!({"type": "about:blank", "title": "Conflict", "status": 409, "code": "account_in_use",
                "detail": "taken", "impact": {"openRuns": 1}})
        );
    }
}
