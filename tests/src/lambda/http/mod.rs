//! The HTTP API: requests become events, answers become responses.
//!
//! See [API Gateway Docs/Lambda proxy integrations for HTTP APIs](https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html).

mod answer;
mod event;
mod route;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::function::Function;
use super::ids::uuid;
use super::outcome::Outcome;

pub(super) use route::Routes;

/// The largest request body.
///
/// See [API Gateway Docs/HTTP API quotas](https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html).
const MAX_BODY_BYTES: usize = 10 * 1024 * 1024;
/// The most bytes that request line and headers may have together, from the same page.
const MAX_HEAD_BYTES: usize = 10_240;
const REQUEST_ID: HeaderName = HeaderName::from_static("apigw-requestid");

/// One HTTP API with its routes.
#[derive(Debug)]
pub(super) struct HttpApi {
    pub(super) routes: Routes<Arc<Function>>,
    pub(super) integration_timeout: Duration,
}

/// Serves `api` on `listener` until dropped.
pub(super) async fn serve(listener: TcpListener, api: Arc<HttpApi>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, peer)) = accepted else { continue };
                let api = Arc::clone(&api);
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&api), request, peer));
                    // A client may close its connection at any time.
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(
    api: Arc<HttpApi>,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let request_id = uuid();
    let (parts, body) = request.into_parts();
    let mut response = match api.respond(&parts, body, peer, &request_id).await {
        Ok(response) => response,
        Err(refusal) => refusal.response(),
    };
    let value = HeaderValue::from_str(&request_id).expect("a UUID is plain ASCII");
    response.headers_mut().insert(REQUEST_ID, value);
    Ok(response)
}

impl HttpApi {
    async fn respond(
        &self,
        parts: &Parts,
        body: Incoming,
        peer: SocketAddr,
        request_id: &str,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        if head_bytes(parts) > MAX_HEAD_BYTES {
            return Err(Refusal::HeadTooLarge);
        }
        let body = read(body).await?;
        let matched = self
            .routes
            .find(&parts.method, parts.uri.path())
            .ok_or(Refusal::NotFound)?;
        let event = event::event(parts, &body, peer, &matched, request_id);
        let function = Arc::clone(matched.target);
        // The invocation continues when the API stops waiting for it.
        let outcome = timeout(
            self.integration_timeout,
            function.invoke_bytes(Bytes::from(event.to_string())),
        )
        .await;
        match outcome.map_err(|_| Refusal::Unavailable)? {
            Outcome::Answered(payload) => answer::response(&payload).map_err(|malformed| {
                function.log(format!("{request_id} malformed answer to the HTTP API: {malformed}"));
                Refusal::InternalError
            }),
            Outcome::Failed { .. } | Outcome::TimedOut { .. } | Outcome::Crashed { .. } => Err(Refusal::InternalError),
            Outcome::Throttled => Err(Refusal::Unavailable),
            Outcome::TooLarge => Err(Refusal::BodyTooLarge),
        }
    }
}

/// A response that the API returns by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    BadRequest,
    NotFound,
    BodyTooLarge,
    HeadTooLarge,
    InternalError,
    Unavailable,
}

impl Refusal {
    fn response(self) -> Response<Full<Bytes>> {
        let (status, message) = match self {
            Self::BadRequest => (StatusCode::BAD_REQUEST, "Bad Request"),
            Self::NotFound => (StatusCode::NOT_FOUND, "Not Found"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large"),
            Self::HeadTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "Request Header Fields Too Large",
            ),
            Self::InternalError => (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
            // A slow and a throttled function look the same from outside.
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
        };
        let mut response = Response::new(Full::new(Bytes::from(format!(r#"{{"message":"{message}"}}"#))));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    // A body that is too large by its length is rejected without being read.
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Err(Refusal::BodyTooLarge);
    }
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::BodyTooLarge),
        Err(_) => Err(Refusal::BadRequest),
    }
}

fn head_bytes(parts: &Parts) -> usize {
    let line = parts.method.as_str().len() + parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
    line + parts
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum::<usize>()
}
