//! An agent whose path selects how it fails. It answers a probe, which asks for one token, where only messages fail.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::sleep;

/// Longer than an agent may take for its first text without being called slow.
const SLOW: Duration = Duration::from_secs(21);

/// Serves it. Returns its base address, to which the failure is appended: `status-401`, `html`, `empty`, `slow`, `breaks`, `flaky`, `fine`.
pub(crate) async fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/{way}/v1/chat/completions", post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn answer(Path(way): Path<String>, Json(body): Json<Value>) -> Response {
    let is_probe = body["max_tokens"] == 1;
    let asked = body["messages"].to_string();
    if let Some(status) = way.strip_prefix("status-") {
        return refusal(status.parse().unwrap());
    }
    match way.as_str() {
        "html" => Html("<html><body>It works!</body></html>").into_response(),
        "empty" => said(&[]),
        "slow" if !is_probe => {
            sleep(SLOW).await;
            said(&["at last"])
        }
        "breaks" if !is_probe => breaks_off(),
        "flaky" if !is_probe && asked.contains("fail") => refusal(500),
        _ => said(&["all is well"]),
    }
}

fn refusal(status: u16) -> Response {
    let error = json!({ "error": { "message": "quota of k-secret is used up", "code": "no_quota" } });
    (StatusCode::from_u16(status).unwrap(), Json(error)).into_response()
}

fn delta(text: &str) -> String {
    let delta = json!({ "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }] });
    format!("data: {delta}\n\n")
}

fn said(texts: &[&str]) -> Response {
    let end = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
    let texts: String = texts.iter().map(|text| delta(text)).collect();
    sse(Body::from(format!("{texts}data: {end}\n\ndata: [DONE]\n\n")))
}

/// An answer whose connection breaks in the middle.
fn breaks_off() -> Response {
    let begun = stream::iter([Ok::<_, std::io::Error>(Bytes::from(delta("half an answer")))]);
    let cut = stream::once(async { Err(std::io::Error::other("cut")) });
    sse(Body::from_stream(begun.chain(cut)))
}

fn sse(body: Body) -> Response {
    let response = Response::builder().header("content-type", "text/event-stream");
    let response: Result<_, Infallible> = Ok(response.body(body).unwrap());
    response.into_response()
}
