//! The platform's `response_url`: one message each, valid for an hour.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::outbound::Bubble;

/// A message that was sent through a `response_url`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The code, which belongs to one message.
    pub code: String,
    /// The Markdown.
    pub content: String,
}

/// The server behind `response_url`.
#[derive(Clone)]
pub struct ResponseServer {
    /// Its address.
    pub url: String,
    said: Arc<Mutex<Vec<Said>>>,
    refused: Arc<Mutex<Vec<String>>>,
    files: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl ResponseServer {
    /// Starts the server.
    ///
    /// # Panics
    /// If the loopback address has no port left.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let server = Self {
            url,
            said: Arc::default(),
            refused: Arc::default(),
            files: Arc::default(),
        };
        let router = Router::new()
            .route("/cgi-bin/aibot/response", post(respond))
            .route("/files/{file}", get(file))
            .with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    /// The `response_url` of a message.
    #[must_use]
    pub fn url_for(&self, code: &str) -> String {
        format!("{}/cgi-bin/aibot/response?response_code={code}", self.url)
    }

    /// Serves an encrypted file at an address that needs no authentication. Returns the address.
    #[must_use]
    pub fn keep_file(&self, bytes: Vec<u8>) -> String {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.push(bytes);
        format!("{}/files/{}?sign=a%2Bb%3D", self.url, files.len() - 1)
    }

    /// The messages so far.
    #[must_use]
    pub fn said(&self) -> Vec<Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The messages that were sent here, in the chats of the bubbles that answered the same messages. A code is the id of a message,
    /// perhaps with the prefix `code-`.
    #[must_use]
    pub fn shown_after(&self, bubbles: &[Bubble]) -> Vec<Bubble> {
        let said = self.said().into_iter();
        said.filter_map(|said| {
            let answers = said.code.trim_start_matches("code-");
            let first = bubbles.iter().find(|it| it.answers.as_deref() == Some(answers))?;
            Some(Bubble {
                way: "response_url",
                states: vec![said.content],
                done: true,
                ..first.clone()
            })
        })
        .collect()
    }

    /// The refused messages so far, with the reasons.
    #[must_use]
    pub fn refused(&self) -> Vec<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn take(&self, code: &str, body: &Value) -> Result<(), (i64, String)> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if code.is_empty() || said.iter().any(|it| it.code == code) {
            return Err((60140, format!("invalid or used response_code {code}")));
        }
        let content = body["markdown"]["content"].as_str().unwrap_or_default();
        let fits = !content.is_empty() && content.len() <= 20_480;
        if body["msgtype"] != "markdown" || !fits {
            return Err((
                40008,
                format!("not a Markdown message that fits: {} bytes", content.len()),
            ));
        }
        said.push(Said {
            code: code.to_owned(),
            content: content.to_owned(),
        });
        Ok(())
    }
}

async fn file(State(server): State<ResponseServer>, Path(n): Path<usize>) -> Result<Vec<u8>, StatusCode> {
    let files = server.files.lock().unwrap_or_else(PoisonError::into_inner);
    files.get(n).cloned().ok_or(StatusCode::NOT_FOUND)
}

async fn respond(
    State(server): State<ResponseServer>,
    Query(query): Query<HashMap<String, String>>,
    Json(body): Json<Value>,
) -> Json<Value> {
    let code = query.get("response_code").map_or("", String::as_str);
    match server.take(code, &body) {
        Ok(()) => Json(json!({ "errcode": 0, "errmsg": "ok" })),
        Err((errcode, errmsg)) => {
            server
                .refused
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(errmsg.clone());
            Json(json!({ "errcode": errcode, "errmsg": errmsg }))
        }
    }
}
