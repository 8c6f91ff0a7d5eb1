//! Optimistic concurrency: versions of resources as `ETag` in responses and `If-Match` in requests.
//!
//! See [RFC 9110/8.8.3](https://www.rfc-editor.org/rfc/rfc9110#section-8.8.3) and
//! [RFC 9110/13.1.1](https://www.rfc-editor.org/rfc/rfc9110#section-13.1.1).

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::problem::Problem;

/// The entity tag of a stored version number.
pub(crate) fn of_version(version: u64) -> String {
    format!("\"v{version}\"")
}

/// A resource with an entity tag.
pub(crate) trait Versioned: Serialize {
    /// The entity tag.
    fn etag(&self) -> &str;
}

/// A resource as a response, with its `ETag` header.
pub(crate) struct Tagged<T>(pub(crate) StatusCode, pub(crate) T);

impl<T> Tagged<T> {
    pub(crate) const fn ok(view: T) -> Self {
        Self(StatusCode::OK, view)
    }

    pub(crate) const fn created(view: T) -> Self {
        Self(StatusCode::CREATED, view)
    }
}

impl<T: Versioned> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let Self(status, view) = self;
        let etag = HeaderValue::from_str(view.etag());
        let mut response = (status, Json(view)).into_response();
        if let Ok(etag) = etag {
            response.headers_mut().insert(ETAG, etag);
        }
        response
    }
}

/// The precondition of a request: the version of the resource it applies to.
pub(crate) struct IfMatch(Option<String>);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let all: Vec<_> = parts.headers.get_all(IF_MATCH).iter().collect();
        let texts: Result<Vec<_>, _> = all.iter().map(|value| value.to_str()).collect();
        let texts = texts.map_err(|_| Problem::invalid("If-Match", "must be a list of entity tags"))?;
        Ok(Self((!texts.is_empty()).then(|| texts.join(","))))
    }
}

impl IfMatch {
    /// Refuses the request if the resource has another version. The write that follows must be conditional on this version.
    pub(crate) fn check(&self, current: &str) -> Result<(), Problem> {
        let Some(listed) = &self.0 else { return Ok(()) };
        let mut tags = listed.split(',').map(str::trim);
        if tags.any(|tag| tag == "*" || tag == current) {
            return Ok(());
        }
        let detail = "the resource has changed since the version that `If-Match` names; read it again";
        Err(Problem::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", detail).with("etag", current))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_version_matches() {
        let check = |header: &str| IfMatch(Some(header.to_owned())).check("\"v3\"").is_ok();
        assert!(IfMatch(None).check("\"v3\"").is_ok());
        assert!(check("*") && check("\"v3\"") && check("\"v1\", \"v3\""));
        assert!(!check("\"v2\"") && !check("v3") && !check("W/\"v3\"") && !check(""));
    }
}
