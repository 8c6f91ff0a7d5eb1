//! A chat that counts what is said in it.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A platform that takes messages over an address of their own, and says yes to all of them.
#[derive(Clone)]
pub(crate) struct ChatServer {
    pub(crate) url: String,
    said: Arc<Mutex<Vec<String>>>,
}

impl ChatServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            said: Arc::default(),
        };
        let router = Router::new().route("/session", post(hear)).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    /// Everything that was said, in order.
    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }
}

async fn hear(State(server): State<ChatServer>, Json(body): Json<Value>) -> Json<Value> {
    server.said.lock().unwrap().push(body.to_string());
    Json(json!({ "errcode": 0, "errmsg": "ok" }))
}
