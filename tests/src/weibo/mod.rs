//! Weibo's side of direct messages, as strict as the vendor's own simulator and clients: what we send is checked field by field.
//!
//! An independent implementation of the protocol: nothing here uses the connector.

mod api;
mod book;
mod gateway;
mod rules;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::outbound::{Bubble, Speaker, until};
use crate::platform::{Features, PlatformSimulator, SaidMessages, Upload, deliver};

use book::{Book, Order};
pub use book::{Faults, SentFile};

/// The app of [`PlatformSimulator`], and its secret.
const APP: &str = "100200300400";
const SECRET: &str = "s3cr3t-9f21";

/// The platform.
#[derive(Clone)]
pub struct Platform {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    said: SaidMessages,
}

impl Platform {
    /// Starts it, with one app whose owner is the user `1001`.
    ///
    /// # Panics
    /// If the loopback address has no port left.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let platform = Self {
            address: listener.local_addr().expect("it is bound"),
            book: Arc::default(),
            said: SaidMessages::default(),
        };
        platform.set_secret(SECRET);
        let router = Router::new()
            .route("/open/auth/ws_token", post(api::token))
            .route("/open/dm/send_file", post(api::send_file))
            .route("/ws/stream", get(gateway::connect))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(platform.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        platform
    }

    /// Changes the app's secret: tokens of the old one are invalid, its connections stay.
    pub fn set_secret(&self, secret: &str) {
        let mut book = self.book();
        let app = book.apps.entry(APP.to_owned()).or_default();
        secret.clone_into(&mut app.secret);
        "1001".clone_into(&mut app.owner);
        app.tokens.clear();
    }

    /// Address of the socket.
    #[must_use]
    pub fn ws_url(&self) -> String {
        format!("ws://{}/ws/stream", self.address)
    }

    /// Address of the token endpoint.
    #[must_use]
    pub fn token_url(&self) -> String {
        format!("http://{}/open/auth/ws_token", self.address)
    }

    /// Request body that creates the integration.
    #[must_use]
    pub fn as_integration(&self, name: &str) -> Value {
        json!({ "name": name, "platform": "weibo", "connectionMode": "long_connection",
                "credentials": { "appId": APP, "appSecret": SECRET },
                "endpoints": { "wsUrl": self.ws_url(), "tokenUrl": self.token_url() } })
    }

    /// A message in the platform's format.
    #[must_use]
    pub fn text(&self, from: &Speaker, text: &str) -> Value {
        let id = format!("52013140000{:05}", self.book().number());
        let payload = json!({ "messageId": id, "fromUserId": from.user, "text": text, "timestamp": now_ms(),
            "input": [{ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": text }] }] });
        json!({ "type": "message", "payload": payload })
    }

    /// A message with a picture or a file, inline.
    #[must_use]
    pub fn upload(&self, from: &Speaker, upload: Upload) -> Value {
        let mut message = self.text(from, "");
        let kind = if upload.is_picture { "input_image" } else { "input_file" };
        let source = json!({ "type": "base64", "media_type": upload.mime, "data": STANDARD.encode(upload.bytes) });
        message["payload"]["input"][0]["content"] =
            json!([{ "type": kind, "filename": upload.name, "source": source }]);
        message
    }

    /// Sends a text frame to every connection of the app.
    ///
    /// # Errors
    /// If there is none.
    pub fn push(&self, frame: &str) -> anyhow::Result<()> {
        self.order(&Order::Say(frame.to_owned()))
    }

    /// Sends a binary frame to every connection of the app.
    ///
    /// # Errors
    /// If there is no connection.
    pub fn push_bytes(&self, bytes: &[u8]) -> anyhow::Result<()> {
        self.order(&Order::SayBytes(bytes.to_vec()))
    }

    /// Closes every connection with a code.
    ///
    /// # Errors
    /// If there is none.
    pub fn close(&self, code: u16, reason: &str) -> anyhow::Result<()> {
        self.order(&Order::Close(code, reason.to_owned()))
    }

    /// Cuts every connection without a close frame.
    ///
    /// # Errors
    /// If there is none.
    pub fn cut(&self) -> anyhow::Result<()> {
        self.order(&Order::Cut)
    }

    /// Leaves every socket open, but neither reads nor answers.
    ///
    /// # Errors
    /// If there is no connection.
    pub fn go_half_open(&self) -> anyhow::Result<()> {
        self.order(&Order::HalfOpen)
    }

    fn order(&self, order: &Order) -> anyhow::Result<()> {
        let book = self.book();
        let app = book.apps.get(APP).filter(|app| !app.connections.is_empty());
        for connection in app.context("no client is connected")?.connections.values() {
            // A connection may be ending just now, as on a real network.
            let _ = connection.send(order.clone());
        }
        Ok(())
    }

    /// Invalidates every token.
    pub fn expire_tokens(&self) {
        for app in self.book().apps.values_mut() {
            app.tokens.clear();
        }
    }

    /// Changes the injected faults.
    pub fn misbehave(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.book().faults);
    }

    /// Number of open connections, of token requests, and of handshakes.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let book = self.book();
        let app = &book.apps[APP];
        (app.connections.len(), app.n_token_requests, app.n_handshakes)
    }

    /// Waits until a client is connected.
    ///
    /// # Errors
    /// If none is within `limit`.
    pub async fn connected(&self, limit: Duration) -> anyhow::Result<()> {
        until("a connection", limit, || (self.counts().0 > 0).then_some(())).await
    }

    /// All messages of bots, the oldest first.
    #[must_use]
    pub fn bubbles(&self) -> Vec<Bubble> {
        self.book().messages.bubbles()
    }

    /// Files that were sent to the owner.
    #[must_use]
    pub fn files(&self) -> Vec<SentFile> {
        self.book().apps[APP].files.clone()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PlatformSimulator for Platform {
    fn features(&self) -> Features {
        Features {
            groups: false,
            hears_groups: false,
            // The platform reports nothing about frames on its socket, rate limits included.
            rate_limits: false,
            tasks_from_outside: true,
            shows_reasoning: false,
            sends_pictures: false,
            sends_files: false,
            ..Features::ALL
        }
    }

    fn integration(&self) -> Value {
        self.as_integration("Weibo")
    }

    fn wrong_integration(&self) -> Value {
        let mut integration = self.integration();
        integration["credentials"]["appSecret"] = json!("wrong");
        integration
    }

    fn created(&self, _callback_url: &str) {}

    fn is_connected(&self) -> bool {
        self.counts().0 > 0
    }

    fn say(&self, from: &Speaker, text: &str, _mention: bool) -> String {
        let id = self.said.keep(&self.text(from, text));
        self.redeliver(&id);
        id
    }

    fn upload(&self, from: &Speaker, upload: Upload) -> Option<String> {
        let id = self.said.keep(&Self::upload(self, from, upload));
        self.redeliver(&id);
        Some(id)
    }

    fn redeliver(&self, id: &str) {
        let (platform, frame) = (self.clone(), self.said.get(id).to_string());
        deliver(move || {
            let pushed = platform.push(&frame);
            async move { pushed }
        });
    }

    fn shown(&self, chat: &Speaker) -> Vec<Bubble> {
        let mut all = self.bubbles();
        all.retain(|bubble| bubble.chat == chat.chat());
        all
    }

    /// The credentials are reset.
    fn sign_out(&self) -> Option<(&'static str, &'static str)> {
        self.set_secret("another");
        self.cut().expect("a client is connected");
        Some(("disconnected", "config_invalid"))
    }

    fn rate_limit_once(&self) {}

    fn complaints(&self) -> Vec<String> {
        self.book().complaints.all()
    }
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
