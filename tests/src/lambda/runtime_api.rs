//! The Runtime API of one instance: HTTP calls of the function become [`Call`]s.
//!
//! Each instance has a listener of its own, so calls need no authentication, and everything that belongs to
//! an instance goes away with its listener.
//!
//! See [Lambda Docs/Using the Lambda runtime API](https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html).

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

const RUNTIME: &str = "/2018-06-01/runtime/";
const EXTENSION: &str = "/2020-01-01/extension/";

/// One event for a function.
#[derive(Debug)]
pub(super) struct Invocation {
    pub(super) request_id: String,
    pub(super) deadline_ms: u128,
    pub(super) function_arn: String,
    pub(super) trace_id: String,
    pub(super) payload: Bytes,
}

/// What a function reported as its error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reported {
    pub(super) error_type: String,
    pub(super) message: String,
}

/// One call of a function to its Runtime API.
#[derive(Debug)]
pub(super) enum Call {
    /// It requests an event. Answered when there is one.
    Next(oneshot::Sender<Invocation>),
    /// It answers the event with this request id.
    Answer {
        request_id: String,
        body: Bytes,
        reply: oneshot::Sender<Reception>,
    },
    /// It failed at the event with this request id.
    Error {
        request_id: String,
        error: Reported,
        reply: oneshot::Sender<Reception>,
    },
    /// It can't start.
    InitError(Reported),
    /// It registered an extension, and therefore gets a SIGTERM before it is killed.
    ExtensionRegistered,
}

/// Lambda's verdict on an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reception {
    Accepted,
    UnknownRequest,
    TooLarge,
}

/// Serves the Runtime API on `listener` until dropped, for the function called `function`.
pub(super) async fn serve(listener: TcpListener, function: String, calls: mpsc::Sender<Call>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let (calls, function) = (calls.clone(), function.clone());
                connections.spawn(async move {
                    let service = service_fn(move |request| route(request, function.clone(), calls.clone()));
                    // A function that is killed breaks its connections; the instance notices the death itself.
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn route(
    request: Request<Incoming>,
    function: String,
    calls: mpsc::Sender<Call>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let answer = if let Some(path) = path.strip_prefix(RUNTIME) {
        match (&parts.method, path.split('/').collect::<Vec<_>>().as_slice()) {
            (&Method::GET, ["invocation", "next"]) => next(&calls).await,
            (&Method::POST, ["invocation", id, "response"]) => match read(body).await {
                Ok(body) => {
                    finish(&calls, |reply| Call::Answer {
                        request_id: (*id).to_owned(),
                        body,
                        reply,
                    })
                    .await
                }
                Err(refusal) => refusal,
            },
            (&Method::POST, ["invocation", id, "error"]) => match read(body).await {
                Ok(body) => {
                    let error = reported(&parts.headers, &body);
                    finish(&calls, |reply| Call::Error {
                        request_id: (*id).to_owned(),
                        error,
                        reply,
                    })
                    .await
                }
                Err(refusal) => refusal,
            },
            (&Method::POST, ["init", "error"]) => match read(body).await {
                Ok(body) => {
                    let _ = calls.send(Call::InitError(reported(&parts.headers, &body))).await;
                    status_ok()
                }
                Err(refusal) => refusal,
            },
            _ => not_found(),
        }
    } else {
        match (&parts.method, path.strip_prefix(EXTENSION)) {
            (&Method::POST, Some("register")) => match read(body).await {
                Ok(body) => register(&function, &body, &calls).await,
                Err(refusal) => refusal,
            },
            // Only extensions without events can register, and they wait here for as long as they live.
            (&Method::GET, Some("event/next")) => std::future::pending().await,
            _ => not_found(),
        }
    };
    Ok(answer)
}

async fn next(calls: &mpsc::Sender<Call>) -> Response<Full<Bytes>> {
    let (sender, receiver) = oneshot::channel();
    let sent = calls.send(Call::Next(sender)).await.is_ok();
    let Some(invocation) = (if sent { receiver.await.ok() } else { None }) else {
        return error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Runtime.Gone",
            "the instance is being shut down",
        );
    };
    let mut response = Response::new(Full::new(invocation.payload));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let values = [
        ("lambda-runtime-aws-request-id", invocation.request_id),
        ("lambda-runtime-deadline-ms", invocation.deadline_ms.to_string()),
        ("lambda-runtime-invoked-function-arn", invocation.function_arn),
        ("lambda-runtime-trace-id", invocation.trace_id),
    ];
    for (name, value) in values {
        headers.insert(
            name,
            HeaderValue::from_str(&value).expect("ids and numbers are plain ASCII"),
        );
    }
    response
}

async fn finish(
    calls: &mpsc::Sender<Call>,
    call: impl FnOnce(oneshot::Sender<Reception>) -> Call,
) -> Response<Full<Bytes>> {
    let (reply, reception) = oneshot::channel();
    // An instance that no longer receives calls has no invocation that could be answered.
    let _ = calls.send(call(reply)).await;
    match reception.await.unwrap_or(Reception::UnknownRequest) {
        Reception::Accepted => status_ok(),
        Reception::UnknownRequest => error(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID"),
        Reception::TooLarge => error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            "Exceeded maximum allowed payload size",
        ),
    }
}

async fn register(function: &str, body: &[u8], calls: &mpsc::Sender<Call>) -> Response<Full<Bytes>> {
    let events = serde_json::from_slice::<Value>(body).unwrap_or_default()["events"]
        .as_array()
        .cloned();
    if events.is_some_and(|events| !events.is_empty()) {
        return error(
            StatusCode::BAD_REQUEST,
            "Extension.Unsupported",
            "extensions that subscribe to events are not emulated",
        );
    }
    let _ = calls.send(Call::ExtensionRegistered).await;
    let about = json!({ "functionName": function, "functionVersion": "$LATEST", "handler": "bootstrap" });
    let mut response = json_response(StatusCode::OK, &about);
    response.headers_mut().insert(
        "lambda-extension-identifier",
        HeaderValue::from_static("tieline-test-extension"),
    );
    response
}

async fn read(body: Incoming) -> Result<Bytes, Response<Full<Bytes>>> {
    match body.collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(_) => Err(error(
            StatusCode::BAD_REQUEST,
            "InvalidRequest",
            "the request body broke off",
        )),
    }
}

fn reported(headers: &HeaderMap, body: &[u8]) -> Reported {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let header = headers
        .get("lambda-runtime-function-error-type")
        .and_then(|value| value.to_str().ok());
    Reported {
        error_type: body["errorType"]
            .as_str()
            .or(header)
            .unwrap_or("Runtime.Unknown")
            .to_owned(),
        message: body["errorMessage"].as_str().unwrap_or_default().to_owned(),
    }
}

fn status_ok() -> Response<Full<Bytes>> {
    json_response(StatusCode::ACCEPTED, &json!({ "status": "OK" }))
}

fn not_found() -> Response<Full<Bytes>> {
    error(StatusCode::NOT_FOUND, "NotFound", "no such call in the Runtime API")
}

fn error(status: StatusCode, error_type: &str, message: &str) -> Response<Full<Bytes>> {
    json_response(status, &json!({ "errorType": error_type, "errorMessage": message }))
}

fn json_response(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
