//! An agent that streams, and records who asked what and where.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::Response;
use axum::routing::post;
use axum::{Json, Router};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::sleep;

/// A question that the agent received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) text: String,
    /// The platform's id of the sender.
    pub(crate) user: String,
    /// The platform's id of the chat.
    pub(crate) chat: String,
    /// `direct` or `group`.
    pub(crate) kind: String,
    pub(crate) session: String,
}

/// Returns the pieces of an answer, and the time between two.
type Script = dyn Fn(&Asked) -> (Vec<String>, Duration) + Send + Sync;

/// A streaming agent.
#[derive(Clone)]
pub(crate) struct Agent {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    script: Arc<Script>,
}

impl Agent {
    /// Starts an agent that answers by `script`.
    pub(crate) async fn start(script: impl Fn(&Asked) -> (Vec<String>, Duration) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let agent = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            asked: Arc::default(),
            script: Arc::new(script),
        };
        let router = Router::new().route("/", post(answer)).with_state(agent.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        agent
    }

    /// An agent that repeats each question, with sender and chat, in a few pieces.
    pub(crate) async fn echo(between: Duration) -> Self {
        Self::start(move |asked| {
            let answer = format!("<{}> {} heard {}.", asked.user, asked.chat, asked.text);
            (pieces(&answer, 4), between)
        })
        .await
    }

    /// Every received question, the oldest first.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Request body that creates the agent in the bridge.
    pub(crate) fn settings(&self, name: &str) -> Value {
        json!({ "name": name, "protocol": "webhook", "config": { "url": self.url, "secret": "whsec_c2VjcmV0" } })
    }
}

/// Cuts a text into `n` pieces.
pub(crate) fn pieces(text: &str, n: usize) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    let size = letters.len().div_ceil(n).max(1);
    letters.chunks(size).map(|piece| piece.iter().collect()).collect()
}

async fn answer(State(agent): State<Agent>, Json(body): Json<Value>) -> Response {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let asked = Asked {
        text: text(&body["message"]["text"]),
        user: text(&body["user"]["externalId"]),
        chat: text(&body["chat"]["id"]),
        kind: text(&body["chat"]["type"]),
        session: text(&body["session"]["id"]),
    };
    if body["type"] != "message.created" {
        return Response::new(Body::empty());
    }
    agent
        .asked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(asked.clone());
    let (pieces, between) = (agent.script)(&asked);
    let deltas = pieces
        .into_iter()
        .map(|piece| json!({ "type": "text.delta", "text": piece }));
    let events: Vec<Value> = deltas.chain([json!({ "type": "completed" })]).collect();
    let events = stream::unfold((events.into_iter(), true), move |(mut events, first)| async move {
        let event = events.next()?;
        if !first {
            sleep(between).await;
        }
        Some((
            Ok::<_, Infallible>(Bytes::from(format!("data: {event}\n\n"))),
            (events, false),
        ))
    });
    let mut response = Response::new(Body::from_stream(events));
    let kind = header::HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
