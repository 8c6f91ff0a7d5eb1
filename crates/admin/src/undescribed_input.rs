//! Check for query parameters and body fields that the API description doesn't have for an operation: the handlers of operations without any would
//! ignore them.

use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::{FromRequestParts as _, MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::Value;

use crate::auth::Caller;
use crate::body::{self, Query};
use crate::openapi::DESCRIPTION;
use crate::problem::Problem;
use crate::state::AdminState;

/// The parameters, or the fields, of an operation that takes none.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// The operations of the API description, by path and method.
static PATHS: LazyLock<Value> = LazyLock::new(|| {
    let mut description: Value = serde_json::from_str(DESCRIPTION).expect("a test has generated it");
    description["paths"].take()
});

/// Path of the operations that need no token or session.
const OPEN: &str = "/api/v1/session";

/// Middleware of the operators' API: answers `unknown_field` to a request with a parameter or field that its operation doesn't have.
pub(crate) async fn refuse(State(state): State<AdminState>, request: Request, next: Next) -> Response {
    match check(&state, request).await {
        Ok(request) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

async fn check(state: &AdminState, request: Request) -> Result<Request, Problem> {
    let has_query = request.uri().query().is_some_and(|query| !query.is_empty());
    if !has_query && request.method() != Method::POST {
        return Ok(request);
    }
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let path = path.filter(|path| path.starts_with("/api/v1/"));
    let Some(operation) = path.and_then(|path| operation(path, request.method())) else {
        return Ok(request);
    };
    let is_open = path == Some(OPEN);
    let mut parameters = operation["parameters"].as_array().into_iter().flatten();
    let has_query = has_query && parameters.all(|it| it["in"] != "query");
    let is_bodiless = request.method() == Method::POST && operation["requestBody"].is_null();
    if !has_query && !is_bodiless {
        return Ok(request);
    }
    let (mut parts, content) = request.into_parts();
    // Before anything is said of the input: callers without a valid token get 401.
    if !is_open {
        Caller::from_request_parts(&mut parts, state).await?;
    }
    if has_query {
        Query::<Nothing>::from_request_parts(&mut parts, state).await?;
    }
    if !is_bodiless {
        return Ok(Request::from_parts(parts, content));
    }
    let bytes = body::collect(&parts.headers, content).await?;
    body::parse_optional::<Nothing>(&bytes)?;
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

fn operation(path: &str, method: &Method) -> Option<&'static Value> {
    // axum routes `HEAD` to the handler of `GET`.
    let method = if method == Method::HEAD { &Method::GET } else { method };
    PATHS.get(path)?.get(method.as_str().to_ascii_lowercase())
}
