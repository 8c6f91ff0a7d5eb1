//! WeCom's side of an AI bot on the long connection, as strict as the platform: what we send is checked field by field.
//!
//! An independent implementation of the protocol: nothing here uses the connector.

mod book;
mod connection;
mod refusal;
mod row;
mod rules;
#[cfg(test)]
mod tests;
mod uploads;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::outbound::{Bubble, Speaker, until};
use crate::socket;
use crate::wecom::ResponseServer;

pub use book::Faults;
use book::{Book, Callback, Kind};
use connection::LinkState;
pub use row::OneBot;

/// The platform.
#[derive(Clone)]
pub struct Platform {
    address: SocketAddr,
    /// The server of `response_url`.
    pub responses: ResponseServer,
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
            responses: ResponseServer::start().await,
            book: Arc::default(),
        };
        let router = Router::new().route("/", get(connect)).with_state(platform.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        platform
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Creates a bot, or changes its secret.
    pub fn add_bot(&self, bot: &str, secret: &str) {
        self.book().bot(bot).secret = secret.to_owned();
    }

    /// Request body that creates the integration of a bot.
    #[must_use]
    pub fn as_integration(&self, bot: &str, name: &str) -> Value {
        let secret = self.book().bot(bot).secret.clone();
        json!({ "name": name, "platform": "wecom", "connectionMode": "long_connection",
                "credentials": { "botId": bot, "secret": secret, "botName": "Helper" },
                "endpoints": { "wsUrl": self.url(), "apiBase": self.responses.url } })
    }

    /// A person's message to a bot. Returns the callback's `req_id`, to which answers refer.
    ///
    /// # Errors
    /// If no client is connected for the bot.
    pub fn say(&self, bot: &str, from: &Speaker, id: &str, text: &str) -> anyhow::Result<String> {
        let content = json!({ "msgtype": "text", "text": { "content": text } });
        self.say_content(bot, from, id, &content)
    }

    /// A person's message with this content: its type, and the field of that name. Returns the callback's `req_id`.
    ///
    /// # Errors
    /// If no client is connected for the bot.
    pub fn say_content(&self, bot: &str, from: &Speaker, id: &str, content: &Value) -> anyhow::Result<String> {
        let mut body = envelope(bot, from, id);
        if let (Some(body), Value::Object(content)) = (body.as_object_mut(), content.clone()) {
            body.extend(content);
        }
        body["response_url"] = json!(self.responses.url_for(&format!("code-{id}")));
        self.call_back(bot, from, "aibot_msg_callback", body)
    }

    /// Any other callback: its own fields are added to those that every callback has.
    ///
    /// # Errors
    /// If no client is connected for the bot.
    pub fn event(&self, bot: &str, from: &Speaker, id: &str, event: &Value) -> anyhow::Result<String> {
        let mut body = envelope(bot, from, id);
        body["create_time"] = json!(1_760_000_500);
        body["msgtype"] = json!("event");
        body["event"] = event.clone();
        self.call_back(bot, from, "aibot_event_callback", body)
    }

    /// A person clicks the newest button with this label.
    ///
    /// # Errors
    /// If there is none, or no client is connected for the bot.
    pub fn click(&self, bot: &str, from: &Speaker, id: &str, label: &str) -> anyhow::Result<String> {
        let (task, key) = {
            let mut book = self.book();
            let cards = book.bot(bot).cards.iter().rev();
            let mut found = cards.filter_map(|card| {
                let mut buttons = card["button_list"].as_array()?.iter();
                let button = buttons.find(|button| button["text"] == label)?;
                Some((card["task_id"].clone(), button["key"].clone()))
            });
            found.next().context("there is no such button")?
        };
        let mut body = envelope(bot, from, id);
        body["create_time"] = json!(crate::wecom::cipher::now());
        body["msgtype"] = json!("event");
        body["event"] = json!({ "eventtype": "template_card_event",
            "template_card_event": { "card_type": "button_interaction", "event_key": key, "task_id": task } });
        self.call_back(bot, from, "aibot_event_callback", body)
    }

    /// Labels of all buttons that the bot shows, the oldest first.
    #[must_use]
    pub fn button_labels(&self, bot: &str) -> Vec<String> {
        let mut book = self.book();
        let cards = book.bot(bot).cards.iter();
        let buttons = cards.filter_map(|card| card["button_list"].as_array()).flatten();
        buttons
            .filter_map(|button| button["text"].as_str().map(str::to_owned))
            .collect()
    }

    /// Delivers a message again, as after a reconnect: another `req_id`, the same `msgid`.
    ///
    /// # Errors
    /// If there was no such message, or no client is connected.
    pub fn redeliver(&self, bot: &str, req_id: &str) -> anyhow::Result<String> {
        let callback = self.book().bot(bot).callbacks.get(req_id).cloned();
        let callback = callback.context("there was no such callback")?;
        self.call_back(bot, &callback.from, "aibot_msg_callback", callback.body)
    }

    fn call_back(&self, bot: &str, from: &Speaker, cmd: &str, body: Value) -> anyhow::Result<String> {
        let mut book = self.book();
        let req_id = book.fresh("cb");
        let callback = Callback::new(from, Kind::of(&body), body.clone());
        let bot = book.bot(bot);
        let connection = bot.connection.as_ref().context("no client is connected")?;
        connection.send(json!({ "cmd": cmd, "headers": { "req_id": req_id }, "body": body }));
        bot.acquaintances.insert((from.chat().to_owned(), from.group.is_some()));
        bot.callbacks.insert(req_id.clone(), callback);
        Ok(req_id)
    }

    /// Changes the injected faults.
    pub fn misbehave(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.book().faults);
    }

    /// The bot's connection stays open, but the platform neither reads nor answers any more.
    pub fn go_half_open(&self, bot: &str) {
        if let Some(connection) = &self.book().bot(bot).connection {
            connection.end(LinkState::HalfOpen);
        }
    }

    /// Cuts the bot's connection without a close frame.
    pub fn cut(&self, bot: &str) {
        if let Some(connection) = self.book().bot(bot).connection.take() {
            connection.end(LinkState::Cut);
        }
    }

    /// Another client subscribes for the bot: the bridge's connection is told so, then closed.
    pub fn kick(&self, bot: &str) {
        let mut book = self.book();
        let req_id = book.fresh("kick");
        book.kick(bot, &req_id);
    }

    /// Whether a client is subscribed for the bot.
    #[must_use]
    pub fn is_connected(&self, bot: &str) -> bool {
        let mut book = self.book();
        book.bot(bot).connection.as_ref().is_some_and(|it| it.is_open())
    }

    /// How often a client asked to subscribe for the bot, and how often it succeeded.
    #[must_use]
    pub fn subscriptions(&self, bot: &str) -> (usize, usize) {
        let mut book = self.book();
        let bot = book.bot(bot);
        (bot.asked, bot.subscribed)
    }

    /// Waits until a client is subscribed for the bot.
    ///
    /// # Errors
    /// If none is within `limit`.
    pub async fn connected(&self, bot: &str, limit: Duration) -> anyhow::Result<()> {
        until("a subscription", limit, || self.is_connected(bot).then_some(())).await
    }

    /// All messages of bots, the oldest first.
    #[must_use]
    pub fn bubbles(&self) -> Vec<Bubble> {
        self.book().bubbles.clone()
    }

    /// Every frame that clients sent, with the bot they were subscribed for.
    #[must_use]
    pub fn frames(&self) -> Vec<(String, Value)> {
        self.book().frames.clone()
    }

    /// Protocol violations of clients, each kind once with its count.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut all = self.book().complaints.all();
        all.extend(self.responses.refused());
        all
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fields that every callback has.
fn envelope(bot: &str, from: &Speaker, id: &str) -> Value {
    let mut body = json!({ "msgid": id, "aibotid": bot, "chattype": "single", "from": { "userid": from.user } });
    if let Some(group) = &from.group {
        body["chattype"] = json!("group");
        body["chatid"] = json!(group);
    }
    body
}

async fn connect(State(platform): State<Platform>, request: Request) -> Response {
    let refusal = platform.book().faults.refuse_handshake;
    if let Some(status) = refusal {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        return socket::refused(status, &[]);
    }
    let book = platform.book.clone();
    socket::upgrade(request, move |socket| connection::serve(socket, book))
}
