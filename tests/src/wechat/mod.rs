//! WeChat's side of personal bots (iLink), as strict as the platform: login by QR code, long polling, messages, typing indicator, files.
//!
//! An independent implementation of the protocol: nothing here uses the connector.

mod api;
mod book;
mod login;
mod messages;
mod row;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt as _, KeyInit as _};
use axum::Router;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::outbound::{Bubble, Speaker, until};

use book::Book;
pub use book::Faults;
pub use row::Row;

/// The platform.
#[derive(Clone)]
pub struct Platform {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
}

impl Platform {
    /// Starts the server.
    ///
    /// # Panics
    /// If the loopback address has no port left.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let platform = Self {
            address: listener.local_addr().expect("it is bound"),
            book: Arc::default(),
        };
        let router = Router::new().fallback(api::serve).with_state(platform.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        platform
    }

    /// Address of its API.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Request body that creates the integration: it has no credentials.
    #[must_use]
    pub fn as_integration(&self, name: &str) -> Value {
        json!({ "name": name, "platform": "wechat", "connectionMode": "long_connection",
                "endpoints": { "apiBase": self.url(), "cdnBase": format!("{}/c2c", self.url()) } })
    }

    /// Every code that is shown from now on is scanned and confirmed at once.
    pub fn confirm_codes_of(&self, person: &str) {
        self.book().confirms = Some(person.to_owned());
    }

    /// A person scans a code, given the text of its image. With `digits` the app asks for them.
    pub fn scan(&self, qr_url: &str, person: &str, digits: Option<&str>) {
        self.book().scan(qr_url, person, digits);
    }

    /// The person confirms. `base_url` is the API address that the platform assigns to the bot.
    pub fn confirm(&self, qr_url: &str, base_url: &str) {
        self.book().confirm(qr_url, base_url);
    }

    /// A code has expired.
    pub fn expire(&self, qr_url: &str) {
        self.book().expire(qr_url);
    }

    /// The person logs in elsewhere: the tokens of all their bots expire.
    pub fn log_in_elsewhere(&self, person: &str) {
        self.book().end_tokens(person);
    }

    /// A bot that was logged in before, by the person who owns it.
    pub fn add_bot(&self, token: &str, bot: &str, person: &str) {
        self.book().add_bot(token, bot, person);
    }

    /// Delivers this as a message to a person's bot, even if it is invalid.
    pub fn push(&self, person: &str, message: Value) {
        self.book().push(person, message);
    }

    /// A person writes to their bot. Returns the message's id.
    pub fn say(&self, from: &Speaker, text: &str) -> u64 {
        let item = json!({ "type": 1, "text_item": { "text": text } });
        self.book().say(&from.user, item)
    }

    /// A person sends a picture to their bot, encrypted on the CDN. Returns the message's id.
    pub fn send_picture(&self, from: &Speaker, bytes: &[u8]) -> u64 {
        let key = [0x42; 16];
        let mut book = self.book();
        let param = format!("EQP {}/x", book.files.len());
        book.files.insert(param.clone(), encrypt(key, bytes));
        let item = json!({ "type": 2, "image_item": {
            "media": { "encrypt_query_param": param, "aes_key": "ignored: the other one is preferred", "encrypt_type": 1 },
            "aeskey": hex::encode(key) } });
        book.say(&from.user, item)
    }

    /// A person sends a file to their bot, encrypted on the CDN with a key that is encoded as text. Returns the message's id.
    pub fn send_file(&self, from: &Speaker, name: &str, bytes: &[u8]) -> u64 {
        let key = [0x24; 16];
        let mut book = self.book();
        let param = format!("EQP {}/y", book.files.len());
        book.files.insert(param.clone(), encrypt(key, bytes));
        let item = json!({ "type": 4, "file_item": {
            "media": { "encrypt_query_param": param, "aes_key": STANDARD.encode(hex::encode(key)), "encrypt_type": 1 },
            "file_name": name, "len": bytes.len().to_string() } });
        book.say(&from.user, item)
    }

    /// Delivers a message again, with the same or another id.
    pub fn deliver_again(&self, id: u64, other_id: bool) {
        self.book().deliver_again(id, other_id);
    }

    /// Changes the injected faults.
    pub fn misbehave(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.book().faults);
    }

    /// Whether a person's bot is polled.
    #[must_use]
    pub fn is_polled(&self, person: &str) -> bool {
        self.book().bot_of(person).is_some_and(|bot| bot.polls > 0)
    }

    /// How often a person's bot was polled, including polls for missed messages.
    #[must_use]
    pub fn n_polls(&self, person: &str) -> usize {
        self.book().bot_of(person).map_or(0, |bot| bot.n_polls)
    }

    /// Waits until a person's bot is polled.
    ///
    /// # Errors
    /// If it isn't within `limit`.
    pub async fn polled(&self, person: &str, limit: Duration) -> anyhow::Result<()> {
        until("a poll", limit, || self.is_polled(person).then_some(())).await
    }

    /// Whether the typing indicator is shown in the chat with a person, and how often it was.
    #[must_use]
    pub fn typing(&self, person: &str) -> (bool, usize) {
        self.book().bot_of(person).map_or((false, 0), |bot| bot.typing)
    }

    /// How often a sent message was refused because the reply window was closed.
    #[must_use]
    pub fn n_refused(&self) -> usize {
        self.book().n_refused
    }

    /// All messages of bots, the oldest first.
    #[must_use]
    pub fn bubbles(&self) -> Vec<Bubble> {
        self.book().bubbles.clone()
    }

    /// Protocol violations of clients, each kind once with its count.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.book().complaints.all()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// AES-128-ECB with PKCS#7.
fn encrypt(key: [u8; 16], plain: &[u8]) -> Vec<u8> {
    let padding = 16 - plain.len() % 16;
    let mut bytes = plain.to_vec();
    bytes.resize(plain.len() + padding, u8::try_from(padding).expect("at most 16"));
    let cipher = Aes128::new(&Array::from(key));
    for block in bytes.chunks_exact_mut(16) {
        let block: &mut [u8; 16] = block.try_into().expect("chunks have this length");
        cipher.encrypt_block(block.into());
    }
    bytes
}
