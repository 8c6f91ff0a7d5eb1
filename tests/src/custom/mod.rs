//! A program that connects its chats by the documented interface of custom platforms, as strict as that document.
//!
//! An independent implementation of `docs/platforms/custom.md`: nothing here uses the connector.

mod replies;
mod sign;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::outbound::{Bubble, ShownButton, Speaker};
use crate::platform::{Features, PlatformSimulator, SaidMessages, Upload, deliver};

use replies::Book;
pub use replies::Fault;
use sign::{now_s, sign};

/// The secret of both sides.
pub const SECRET: &str = "whsec_c2ltdWxhdGVkIHNlY3JldCBvZiAyNCBieXRlcw==";

/// The simulated program.
#[derive(Clone)]
pub struct Platform {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    said: SaidMessages,
    callback_url: Arc<OnceLock<String>>,
    http: Client,
    /// Whether it polls replies; otherwise they are posted to it.
    polls: bool,
}

impl Platform {
    /// Starts it. With `polls` it polls replies; otherwise they are posted to it.
    ///
    /// # Panics
    /// If the loopback address has no port left.
    pub async fn start(polls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build();
        let platform = Self {
            address: listener.local_addr().expect("it is bound"),
            book: Arc::default(),
            said: SaidMessages::default(),
            callback_url: Arc::default(),
            http: http.expect("a client can be made"),
            polls,
        };
        let router = Router::new()
            .route("/replies", post(reply))
            .route("/files/{file}", get(file))
            .with_state(platform.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        platform
    }

    /// Request body that creates the integration.
    #[must_use]
    pub fn as_integration(&self, name: &str) -> Value {
        let mut integration = json!({ "name": name, "platform": "custom", "connectionMode": "webhook",
                                      "credentials": { "secret": SECRET, "name": "Helper" } });
        if !self.polls {
            integration["endpoints"] = json!({ "sendUrl": format!("http://{}/replies", self.address) });
        }
        integration
    }

    /// A message in the program's format.
    #[must_use]
    pub fn text(&self, from: &Speaker, text: &str, mentioned: bool) -> Value {
        let n = self.book().said.len();
        let kind = if from.group.is_some() { "group" } else { "direct" };
        json!({ "version": 1, "type": "message", "id": format!("m{n}-{}", crate::test_bridge::uuid()), "text": text,
                "chat": { "id": from.chat(), "kind": kind, "thread": null }, "sender": { "id": from.user, "name": "Ann" },
                "mentioned": mentioned, "replyHandle": { "ticket": n } })
    }

    /// A message with a picture, by an address of the program, or with a file, inline.
    #[must_use]
    pub fn upload(&self, from: &Speaker, upload: Upload) -> Value {
        let mut message = self.text(from, "", false);
        let mut part = json!({ "kind": "file", "name": upload.name, "mime": upload.mime, "size": upload.bytes.len() });
        if upload.is_picture {
            let path = format!("/files/{}", crate::test_bridge::uuid());
            part["kind"] = json!("image");
            part["url"] = json!(format!("http://{}{path}", self.address));
            self.book().files.insert(path, upload.bytes.to_vec());
        } else {
            part["data"] = json!(STANDARD.encode(upload.bytes));
        }
        message["parts"] = json!([part]);
        message
    }

    /// Posts a signed message and returns the response. Polls the reply in the background if it is configured to.
    ///
    /// # Errors
    /// If the response isn't 200.
    pub async fn post(&self, message: &Value) -> anyhow::Result<Value> {
        let id = message["id"].as_str().unwrap_or_default().to_owned();
        self.book().said.insert(id, message.clone());
        let answered = answer(self.signed(&message.to_string())?).await?;
        if let (true, Some(reply)) = (self.polls, answered["replyId"].as_str()) {
            let at = self.book().reply(reply, &message["chat"]["id"], &message["id"]);
            tokio::spawn(self.clone().follow(reply.to_owned(), at));
        }
        Ok(answered)
    }

    /// A signed POST request.
    ///
    /// # Errors
    /// If the integration was not created yet.
    pub fn signed(&self, body: &str) -> anyhow::Result<RequestBuilder> {
        let url = self.callback_url.get().context("no callback URL")?;
        let request = self.http.post(url).header("content-type", "application/json");
        Ok(with_signature(request, SECRET, body.as_bytes()).body(body.to_owned()))
    }

    /// Polls a reply once.
    ///
    /// # Errors
    /// If the response isn't 200.
    pub async fn poll(&self, reply: &str, after: u64) -> anyhow::Result<Value> {
        // Both forms of the query are valid.
        if after.is_multiple_of(2) {
            return answer(self.signed(&json!({ "type": "poll", "replyId": reply, "after": after }).to_string())?)
                .await;
        }
        let query = format!("replyId={reply}&after={after}");
        let url = format!("{}?{query}", self.callback_url.get().context("no callback URL")?);
        answer(with_signature(self.http.get(url), SECRET, query.as_bytes())).await
    }

    async fn follow(self, reply: String, at: usize) {
        let mut after = 0;
        loop {
            let Ok(state) = self.poll(&reply, after).await else {
                sleep(Duration::from_millis(200)).await;
                continue;
            };
            let version = state["version"].as_u64().unwrap_or_default();
            let mut book = self.book();
            if version < after {
                book.complaints.add("a version goes back");
            }
            after = version;
            book.show(at, &state);
            if state["done"] == true {
                return;
            }
        }
    }

    /// The next posts get these responses.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.book().faults.extend(faults);
    }

    /// Every post that was accepted.
    #[must_use]
    pub fn posts(&self) -> Vec<Value> {
        self.book().posts.clone()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds the three headers of a signature.
pub fn with_signature(request: RequestBuilder, secret: &str, signed: &[u8]) -> RequestBuilder {
    let (id, now) = (format!("msg_{}", crate::test_bridge::uuid()), now_s().to_string());
    let signature = sign(secret, &id, &now, signed);
    request
        .header("webhook-id", id)
        .header("webhook-timestamp", now)
        .header("webhook-signature", signature)
}

async fn answer(request: RequestBuilder) -> anyhow::Result<Value> {
    let response = request.send().await?;
    let status = response.status();
    ensure!(status == StatusCode::OK.as_u16(), "answered with {status}");
    Ok(response.json().await?)
}

/// A file. The address alone gives access to it.
async fn file(State(platform): State<Platform>, uri: Uri) -> Result<Vec<u8>, StatusCode> {
    let found = platform.book().files.get(uri.path()).cloned();
    found.ok_or(StatusCode::NOT_FOUND)
}

/// Handles a post of the bridge.
async fn reply(State(platform): State<Platform>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let mut book = platform.book();
    if !header("content-type").starts_with("application/json") {
        book.complaints.add("a post has another content type");
    }
    let genuine = header("webhook-signature")
        .split(' ')
        .any(|one| one == sign(SECRET, id, timestamp, &body));
    let is_fresh = timestamp.parse().is_ok_and(|at: i64| (now_s() - at).abs() <= 300);
    if !genuine || !is_fresh {
        book.complaints.add("a post is not proved");
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let (status, retry_after) = match book.faults.pop_front() {
        Some(fault) => fault,
        None => (book.take(id, &body), None),
    };
    let mut response = StatusCode::from_u16(status)
        .unwrap_or(StatusCode::BAD_GATEWAY)
        .into_response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}

impl PlatformSimulator for Platform {
    fn features(&self) -> Features {
        Features {
            checks_credentials: false,
            rate_limits: !self.polls,
            shows_reasoning: false,
            sends_pictures: false,
            sends_files: false,
            ..Features::ALL
        }
    }

    fn integration(&self) -> Value {
        self.as_integration("Custom")
    }

    fn wrong_integration(&self) -> Value {
        let mut integration = self.integration();
        integration["credentials"]["secret"] = json!("whsec_d3Jvbmc=");
        integration
    }

    fn created(&self, callback_url: &str) {
        // It is created once.
        let _ = self.callback_url.set(callback_url.to_owned());
    }

    fn is_connected(&self) -> bool {
        self.callback_url.get().is_some()
    }

    fn say(&self, from: &Speaker, text: &str, mention: bool) -> String {
        let id = self.said.keep(&self.text(from, text, mention));
        self.redeliver(&id);
        id
    }

    fn upload(&self, from: &Speaker, upload: Upload) -> Option<String> {
        let id = self.said.keep(&Self::upload(self, from, upload));
        self.redeliver(&id);
        Some(id)
    }

    fn redeliver(&self, id: &str) {
        let (platform, message) = (self.clone(), self.said.get(id));
        deliver(move || {
            let (platform, message) = (platform.clone(), message.clone());
            async move { platform.post(&message).await.map(|_| ()) }
        });
    }

    fn shown(&self, chat: &Speaker) -> Vec<Bubble> {
        let mut all = self.book().bubbles();
        all.retain(|bubble| bubble.chat == chat.chat());
        all
    }

    fn buttons(&self, chat: &Speaker) -> Vec<ShownButton> {
        let book = self.book();
        let here = book.buttons.iter().filter(|(at, _)| at == chat.chat());
        let text = |button: &Value, name: &str| button[name].as_str().unwrap_or_default().to_owned();
        here.map(|(_, button)| ShownButton::new(&text(button, "text"), &text(button, "url")))
            .collect()
    }

    fn click(&self, by: &Speaker, label: &str) {
        let found = {
            let book = self.book();
            let here = book.posts.iter().rev().filter(|post| post["chat"]["id"] == by.chat());
            let mut buttons = here.filter_map(|post| {
                let mut buttons = post["buttons"].as_array()?.iter();
                let at = buttons.position(|button| button["text"] == label && button["value"].is_string())?;
                Some((post["replyId"].clone(), at))
            });
            buttons.next()
        };
        let (reply, at) = found.expect("the button is there");
        let mut click = self.text(by, "", true);
        if let Some(fields) = click.as_object_mut() {
            fields.retain(|name, _| !["text", "mentioned"].contains(&name.as_str()));
        }
        (click["type"], click["replyId"], click["button"]) = (json!("click"), reply, json!(at));
        self.redeliver(&self.said.keep(&click));
    }

    fn rate_limit_once(&self) {
        self.fail([(429, Some(1))]);
    }

    fn complaints(&self) -> Vec<String> {
        self.book().complaints.all()
    }
}
