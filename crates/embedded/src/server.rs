//! Both services over HTTP on one port, for other programs.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::post;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::Answer;
use crate::engines::Engines;

/// Largest request of the two services, that of `BatchWriteItem`.
///
/// See [DynamoDB API/BatchWriteItem](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html).
const MAX_REQUEST_BYTES: usize = 16 * 1024 * 1024;

#[derive(Clone)]
struct Server {
    engines: Arc<Engines>,
    is_ending: watch::Receiver<bool>,
}

pub(crate) async fn serve(
    engines: Arc<Engines>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (ending, is_ending) = watch::channel(false);
    let router = Router::new()
        .route("/", post(answer).get(|| async { "ok" }))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(Server { engines, is_ending });
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            shutdown.await;
            ending.send_replace(true);
        })
        .await
}

async fn answer(State(server): State<Server>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let target = header("x-amz-target").unwrap_or_default();
    let origin = format!("http://{}", header(HOST.as_str()).unwrap_or("localhost"));
    let mut is_ending = server.is_ending.clone();
    let answer = tokio::select! {
        biased;
        answer = server.engines.call(target, &body, &origin) => answer,
        // Only a receive waits; messages that it didn't get stay in their queue.
        _ = is_ending.wait_for(|is| *is), if target == "AmazonSQS.ReceiveMessage" => Ok(Answer::of(200, "{}")),
    };
    respond(answer.unwrap_or_else(|_| Answer::internal_error()))
}

fn respond(answer: Answer) -> Response<Body> {
    let mut response = Response::builder()
        .status(answer.status)
        .header(CONTENT_TYPE, Answer::CONTENT_TYPE);
    if let Some(error) = answer.query_error {
        response = response.header("x-amzn-query-error", error);
    }
    let unsendable = |_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    };
    response.body(Body::from(answer.body)).unwrap_or_else(unsendable)
}
