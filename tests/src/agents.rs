//! Agents on the loopback address that count what they are asked.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use axum::routing::post;
use axum::{Json, Router};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::sleep;

/// What an agent saw of one request.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Headers in lower case.
    pub headers: HashMap<String, String>,
    /// The body.
    pub body: Value,
}

/// How an agent answers.
#[derive(Debug, Clone)]
pub struct Manner {
    /// Time before the first byte.
    pub before: Duration,
    /// Time between two pieces.
    pub between: Duration,
    /// What it answers to a text.
    pub answer: fn(&str) -> Vec<String>,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            before: Duration::ZERO,
            between: Duration::ZERO,
            answer: |text| vec![format!("echo: {text}")],
        }
    }
}

/// An agent that speaks Chat Completions and our own webhook contract.
#[derive(Clone)]
pub struct FakeAgent {
    /// Its address.
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    manner: Arc<Mutex<Manner>>,
}

impl FakeAgent {
    /// Starts it.
    ///
    /// # Panics
    /// If the loopback address has no port left.
    pub async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let agent = Self {
            url,
            seen: Arc::default(),
            manner: Arc::new(Mutex::new(manner)),
        };
        let router = Router::new()
            .route("/v1/chat/completions", post(chat))
            .route("/webhook", post(webhook))
            .with_state(agent.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        agent
    }

    /// Everything it was asked so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Settings of an agent that asks it in Chat Completions.
    #[must_use]
    pub fn as_chat(&self, name: &str) -> Value {
        let config = json!({ "baseUrl": format!("{}/v1", self.url), "apiKey": "k", "model": "m" });
        json!({ "name": name, "protocol": "openai_chat", "config": config })
    }

    /// Settings of an agent that asks it in our own contract.
    #[must_use]
    pub fn as_webhook(&self, name: &str) -> Value {
        let config = json!({ "url": format!("{}/webhook", self.url), "secret": "whsec_c2VjcmV0" });
        json!({ "name": name, "protocol": "webhook", "config": config })
    }

    fn see(&self, headers: &HeaderMap, body: Value) -> Manner {
        let headers = headers.iter();
        let headers = headers.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
        let seen = Seen {
            headers: headers.collect(),
            body,
        };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
        self.manner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn chat(State(agent): State<FakeAgent>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let asked = body["messages"]
        .as_array()
        .and_then(|it| it.last())
        .map(|it| text_of(&it["content"]));
    let manner = agent.see(&headers, body);
    sleep(manner.before).await;
    let pieces = (manner.answer)(&asked.unwrap_or_default()).into_iter().map(|piece| {
        let delta = json!({ "choices": [{ "index": 0, "delta": { "content": piece }, "finish_reason": null }] });
        format!("data: {delta}\n\n")
    });
    let end = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
    let events: Vec<String> = pieces
        .chain([format!("data: {end}\n\n"), "data: [DONE]\n\n".to_owned()])
        .collect();
    sse(events, manner.between)
}

fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

async fn webhook(State(agent): State<FakeAgent>, headers: HeaderMap, Json(body): Json<Value>) -> Json<Value> {
    let text = body["message"]["text"].as_str().unwrap_or_default().to_owned();
    let manner = agent.see(&headers, body);
    sleep(manner.before).await;
    Json(json!({ "text": (manner.answer)(&text).concat() }))
}

fn sse(events: Vec<String>, between: Duration) -> Response {
    let events = stream::unfold((events.into_iter(), true), move |(mut events, first)| async move {
        let event = events.next()?;
        if !first {
            sleep(between).await;
        }
        Some((Ok::<_, Infallible>(Bytes::from(event)), (events, false)))
    });
    let mut response = Response::new(Body::from_stream(events));
    let value = header::HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, value);
    response
}
