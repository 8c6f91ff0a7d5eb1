//! A chat server that records everything that is said in it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A platform server that accepts every message, unless it is told to be busy.
#[derive(Clone)]
pub(crate) struct ChatServer {
    pub(crate) url: String,
    /// Whether it holds back its answers to card calls.
    pub(crate) holds_cards: Arc<watch::Sender<bool>>,
    /// While busy, the `Retry-After` of its refusals in seconds.
    pub(crate) busy_s: Arc<Mutex<Option<u64>>>,
    /// Whether it refuses every message for good.
    pub(crate) refuses: Arc<AtomicBool>,
    /// Number of calls that it refused because it was busy.
    pub(crate) n_refused: Arc<AtomicUsize>,
    /// Number of fetched files.
    pub(crate) n_fetched: Arc<AtomicUsize>,
    said: Arc<Mutex<Vec<String>>>,
    cards: Arc<Mutex<Vec<String>>>,
}

impl ChatServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            holds_cards: Arc::new(watch::Sender::new(false)),
            busy_s: Arc::default(),
            refuses: Arc::default(),
            said: Arc::default(),
            n_refused: Arc::default(),
            n_fetched: Arc::default(),
            cards: Arc::default(),
        };
        let router = Router::new()
            .route("/session", post(receive))
            .route("/v1.0/oauth2/accessToken", post(token))
            .route("/v1.0/robot/messageFiles/download", post(locate))
            .route("/file", get(fetch))
            .route("/v1.0/card/instances/createAndDeliver", post(card))
            .route("/v1.0/card/instances", put(card))
            .route("/v1.0/card/streaming", put(card))
            .with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    /// All messages that the bot sent, in order.
    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }
}

async fn receive(State(server): State<ChatServer>, Json(body): Json<Value>) -> Response {
    if let Some(seconds) = *server.busy_s.lock().unwrap() {
        server.n_refused.fetch_add(1, Ordering::SeqCst);
        return (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, seconds.to_string())]).into_response();
    }
    if server.refuses.load(Ordering::SeqCst) {
        return StatusCode::BAD_REQUEST.into_response();
    }
    server.said.lock().unwrap().push(body.to_string());
    Json(json!({ "errcode": 0, "errmsg": "ok" })).into_response()
}

async fn token() -> Json<Value> {
    Json(json!({ "accessToken": "t", "expireIn": 7200 }))
}

async fn locate(State(server): State<ChatServer>) -> Json<Value> {
    Json(json!({ "downloadUrl": format!("{}/file", server.url) }))
}

async fn fetch(State(server): State<ChatServer>) -> &'static str {
    server.n_fetched.fetch_add(1, Ordering::SeqCst);
    "a picture"
}

async fn card(State(server): State<ChatServer>, Json(body): Json<Value>) -> Json<Value> {
    // An error means that the sender is gone: the test is over.
    let _ = server.holds_cards.subscribe().wait_for(|holds| !holds).await;
    server.cards.lock().unwrap().push(body.to_string());
    Json(json!({ "success": true, "result": { "deliverResults": [{ "success": true }] } }))
}
