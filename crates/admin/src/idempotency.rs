//! `Idempotency-Key`: a repeated POST is not executed twice.
//!
//! A request claims its key before it is processed, and its response is kept for 24 hours. All ids that processing generates are derived
//! from the claim's seed: if the process dies, the repeated request finds what was already created.

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tieline_bridge::error_chain::chain;
use tieline_bridge::operator::{Identity, Operator};
use tieline_bridge::world::random;
use tieline_store::idempotency::{self, Answer, Claim, Claimed};
use tracing::warn;

use crate::auth::Caller;
use crate::body;
use crate::fresh::Fresh;
use crate::problem::Problem;
use crate::state::AdminState;

/// The request header.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Response header that marks a replayed response.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Longest key, in characters.
const MAX_KEY_CHARS: usize = 255;
/// Maximum size of a stored response. A request with a larger one is processed again if repeated, with the same ids.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Response headers that are stored.
const KEPT: [HeaderName; 2] = [CONTENT_TYPE, ETAG];

/// Middleware that processes a request once per key.
pub(crate) async fn once(State(state): State<AdminState>, request: Request, next: Next) -> Response {
    let Some(key) = request.headers().get(IDEMPOTENCY_KEY) else {
        return next.run(request).await;
    };
    let path = request.uri().path();
    let applies = request.method() == Method::POST && path.starts_with("/api/v1/") && path != "/api/v1/session";
    if !applies {
        return next.run(request).await;
    }
    let key = key.clone();
    match process(&state, &key, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn process(state: &AdminState, key: &HeaderValue, request: Request, next: Next) -> Result<Response, Problem> {
    let key = readable(key)?;
    let (mut parts, content) = request.into_parts();
    let Caller(identity) = Caller::from_request_parts(&mut parts, state).await?;
    let bytes = body::collect(&parts.headers, content).await?;
    let address = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let asked = [parts.method.as_str(), &address, &text];
    let owner = owner(&identity);
    let claim = idempotency::claim(&state.world.store, (&owner, key), &asked, random(), state.now()).await?;
    match claim {
        Claim::Mine(claimed) => answer(state, &claimed, parts, bytes, next).await,
        Claim::Answered(answer) => Ok(replayed(answer)),
        Claim::Running => Err(Problem::conflict(
            "idempotency_key_in_use",
            "a request with this `Idempotency-Key` is being processed; retry in a few seconds",
        )),
        Claim::Reused => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "another request had this `Idempotency-Key` in the last 24 hours; a new request needs a new key",
        )),
    }
}

fn readable(key: &HeaderValue) -> Result<&str, Problem> {
    let text = key.to_str().ok().map(str::trim).filter(|text| !text.is_empty());
    text.filter(|text| text.len() <= MAX_KEY_CHARS)
        .ok_or_else(|| Problem::invalid("Idempotency-Key", "must have 1 to 255 visible ASCII characters"))
}

/// The scope of the keys: one token.
fn owner(identity: &Identity) -> String {
    match (&identity.operator, &identity.token) {
        (Operator::Member { organization, .. }, Some(token)) => format!("{organization}/{}", token.id),
        _ => "/root".to_owned(),
    }
}

async fn answer(
    state: &AdminState,
    claimed: &Claimed,
    mut parts: Parts,
    bytes: Vec<u8>,
    next: Next,
) -> Result<Response, Problem> {
    parts.extensions.insert(Fresh::of(claimed));
    let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
    let (head, content) = response.into_parts();
    // The response is in memory already, in full.
    let content = to_bytes(content, usize::MAX).await;
    let stored = match &content {
        Ok(content) if is_final(head.status) && content.len() <= MAX_ANSWER_BYTES => {
            let value = |name: &HeaderName| head.headers.get(name)?.to_str().ok().map(str::to_owned);
            let headers = KEPT.iter().filter_map(|name| Some((name.to_string(), value(name)?)));
            let answer = Answer {
                status: head.status.as_u16(),
                headers: headers.collect(),
                body: String::from_utf8_lossy(content).into_owned(),
            };
            idempotency::answer(&state.world.store, claimed, &answer).await
        }
        _ => idempotency::release(&state.world.store, claimed).await,
    };
    if let Err(failure) = stored {
        // If repeated, the request is processed again with the same ids.
        warn!(error = %chain(&failure), "response to a request with an idempotency key can't be stored");
    }
    let content = content.map_err(|_| Problem::unavailable("the response broke off; repeat the request"))?;
    Ok(Response::from_parts(head, Body::from(content)))
}

/// Whether a repeated request gets the same response. Not if the response depends on the state of the bridge, as a conflict does, which is
/// often temporary, or on the rights of the caller, which can be given after it.
fn is_final(status: StatusCode) -> bool {
    let depends = [
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::CONFLICT,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    !status.is_server_error() && !depends.contains(&status)
}

fn replayed(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
        .headers_mut()
        .insert(REPLAYED, HeaderValue::from_static("true"));
    response
}
