//! Fake agents on the loopback address that record what they are asked.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;

/// Prefix that makes a piece of an answer a piece of reasoning. Only in Chat Completions.
pub const REASONING: &str = "<reasoning>";

/// A request that an agent received.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Headers in lower case.
    pub headers: HashMap<String, String>,
    /// The body.
    pub body: Value,
}

/// Behaviour of a fake agent.
#[derive(Debug, Clone)]
pub struct Manner {
    /// Time before the first byte.
    pub before: Duration,
    /// Time between two pieces.
    pub between: Duration,
    /// Returns the pieces of the answer to a text.
    pub answer: fn(&str) -> Vec<String>,
    /// Which texts wait for [`FakeAgent::open_gate`] before the last piece of their answer, or the second of their events.
    pub holds: fn(&str) -> bool,
    /// Returns the events that it streams in place of the answer. Only in our webhook protocol.
    pub events: fn(&str) -> Option<Vec<Value>>,
    /// Selects the texts that it defers: it returns 202 and answers by callbacks. Only in our webhook protocol.
    pub defers: fn(&str) -> bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            before: Duration::ZERO,
            between: Duration::ZERO,
            answer: |text| vec![format!("echo: {text}")],
            holds: |_| false,
            events: |_| None,
            defers: |_| false,
        }
    }
}

/// An agent that implements Chat Completions and our webhook protocol.
#[derive(Clone)]
pub struct FakeAgent {
    /// Its address.
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    manner: Arc<Mutex<Manner>>,
    gate: Arc<watch::Sender<bool>>,
}

impl FakeAgent {
    /// Starts the server.
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
            gate: Arc::new(watch::Sender::new(false)),
        };
        let router = Router::new()
            .route("/v1/chat/completions", post(chat))
            .route("/webhook", post(webhook))
            .with_state(agent.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        agent
    }

    /// All received requests.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The newest text of each received request.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.seen().iter().map(|seen| newest_text(&seen.body)).collect()
    }

    /// Releases every answer that is held back, and holds back none from now on.
    pub fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    /// Settings of an agent that calls it by Chat Completions.
    #[must_use]
    pub fn as_chat(&self, name: &str) -> Value {
        let config = json!({ "baseUrl": format!("{}/v1", self.url), "apiKey": "k", "model": "m" });
        json!({ "name": name, "protocol": "openai_chat", "config": config })
    }

    /// Settings of an agent that calls it by our webhook protocol.
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
    let asked = newest_text(&body);
    let manner = agent.see(&headers, body);
    sleep(manner.before).await;
    let pieces = (manner.answer)(&asked);
    let held = (manner.holds)(&asked).then(|| pieces.len().saturating_sub(1));
    let pieces = pieces.into_iter().map(|piece| {
        let delta = match piece.strip_prefix(REASONING) {
            Some(reasoning) => json!({ "reasoning_content": reasoning }),
            None => json!({ "content": piece }),
        };
        let delta = json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] });
        format!("data: {delta}\n\n")
    });
    let end = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
    let events: Vec<String> = pieces
        .chain([format!("data: {end}\n\n"), "data: [DONE]\n\n".to_owned()])
        .collect();
    let gate = agent.gate.subscribe();
    sse(events, manner.between, held, gate)
}

fn newest_text(body: &Value) -> String {
    let in_chat = body["messages"].as_array().and_then(|it| it.last());
    match in_chat {
        Some(message) => text_of(&message["content"]),
        None => body["message"]["text"].as_str().unwrap_or_default().to_owned(),
    }
}

fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

async fn webhook(State(agent): State<FakeAgent>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let text = body["message"]["text"].as_str().unwrap_or_default().to_owned();
    let manner = agent.see(&headers, body);
    sleep(manner.before).await;
    if let Some(events) = (manner.events)(&text) {
        let events = events.into_iter().map(|event| format!("data: {event}\n\n")).collect();
        let held = (manner.holds)(&text).then_some(1);
        return sse(events, manner.between, held, agent.gate.subscribe());
    }
    if (manner.holds)(&text) {
        opened(&mut agent.gate.subscribe()).await;
    }
    if (manner.defers)(&text) {
        return StatusCode::ACCEPTED.into_response();
    }
    Json(json!({ "text": (manner.answer)(&text).concat() })).into_response()
}

/// Streams events. The one at `held` waits for the gate.
fn sse(events: Vec<String>, between: Duration, held: Option<usize>, gate: watch::Receiver<bool>) -> Response {
    let events = events.into_iter().enumerate();
    let events = stream::unfold((events, gate), move |(mut events, mut gate)| async move {
        let (at, event) = events.next()?;
        if at > 0 {
            sleep(between).await;
        }
        if held == Some(at) {
            opened(&mut gate).await;
        }
        Some((Ok::<_, Infallible>(Bytes::from(event)), (events, gate)))
    });
    let mut response = Response::new(Body::from_stream(events));
    let value = header::HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, value);
    response
}

async fn opened(gate: &mut watch::Receiver<bool>) {
    // If the agent is gone, no one can open the gate: nothing to wait for.
    let _ = gate.wait_for(|open| *open).await;
}
