//! Lark's side of a self-built app, by webhook and by long connection, as strict as the platform: what we send is checked field by field.
//!
//! An independent implementation of the protocol: nothing here uses the connector.

mod api;
mod book;
mod cards;
mod cipher;
mod frame;
mod gateway;
mod kit;
mod messages;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use axum::Router;
use reqwest::Client;
use serde_json::{Value, json};
use tieline_core::http_types::WebhookRequest;
use tokio::net::TcpListener;

use crate::outbound::{Bubble, ShownButton, Speaker, until};
use crate::platform::Upload;
use crate::uploads::SentFile;

use book::Book;
pub use book::{Ack, Answer, Call, Fault, Faults};
use gateway::LinkState;

/// The platform.
#[derive(Clone)]
pub struct Platform {
    pub(self) address: SocketAddr,
    book: Arc<Mutex<Book>>,
    http: Client,
}

impl Platform {
    /// Starts the server.
    ///
    /// # Panics
    /// If the loopback address has no port left.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(3)).build();
        let platform = Self {
            address: listener.local_addr().expect("it is bound"),
            book: Arc::default(),
            http: http.expect("a client can be made"),
        };
        let router = Router::new().fallback(api::serve).with_state(platform.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        platform
    }

    /// Address of its open API.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Creates an app with a bot, or changes its secret.
    pub fn add_app(&self, app: &str, secret: &str) {
        let mut book = self.book();
        let app_ = book.app(app);
        app_.secret = secret.to_owned();
        app_.bot = format!("ou_bot_{app}");
        app_.verification_token = format!("vToken{app}");
        app_.encrypt_key = format!("key of {app}");
    }

    /// Request body that creates the integration of an app.
    #[must_use]
    pub fn as_integration(&self, app: &str, name: &str, mode: &str) -> Value {
        let mut book = self.book();
        let found = book.app(app);
        let mut credentials = json!({ "appId": app, "appSecret": found.secret });
        if mode == "webhook" {
            credentials["verificationToken"] = json!(found.verification_token);
            credentials["encryptKey"] = json!(found.encrypt_key);
        }
        json!({ "name": name, "platform": "lark", "connectionMode": mode, "credentials": credentials,
                "endpoints": { "apiBase": self.url() } })
    }

    /// The platform's id of a chat; a direct chat has one too.
    #[must_use]
    pub fn chat_id(app: &str, from: &Speaker) -> String {
        match &from.group {
            Some(group) => group.clone(),
            None => format!("oc_{app}_{}", from.user),
        }
    }

    /// A person's message to the bot; in a group it mentions it. Returns the event, which can be delivered several times.
    #[must_use]
    pub fn text(&self, app: &str, from: &Speaker, text: &str) -> Value {
        let mut book = self.book();
        let mut words = text.to_owned();
        if from.group.is_some() {
            words.insert_str(0, "@_user_1 ");
        }
        let content = json!({ "text": words }).to_string();
        let id = book.say(app, from, "text", content, Vec::new());
        said(app, from, &id, &mut book)
    }

    /// A person's message in a group that is not for the bot. Only an app with `im:message.group_msg` receives it.
    #[must_use]
    pub fn talk(&self, app: &str, from: &Speaker, text: &str) -> Value {
        let mut book = self.book();
        let id = book.say(app, from, "text", json!({ "text": text }).to_string(), Vec::new());
        let mut event = said(app, from, &id, &mut book);
        if let Some(message) = event["event"]["message"].as_object_mut() {
            message.remove("mentions");
        }
        event
    }

    /// A person's reply to an earlier message, with a text for the bot.
    #[must_use]
    pub fn quoting(&self, app: &str, from: &Speaker, text: &str, earlier: &str) -> Value {
        let mut event = self.text(app, from, text);
        event["event"]["message"]["parent_id"] = json!(earlier);
        event["event"]["message"]["root_id"] = json!(earlier);
        event
    }

    /// A person writes to the bot in the topic below an earlier message of the chat.
    #[must_use]
    pub fn in_topic(&self, app: &str, from: &Speaker, text: &str, root: &str) -> Value {
        let mut event = self.quoting(app, from, text, root);
        event["event"]["message"]["thread_id"] = json!(format!("omt_{root}"));
        event
    }

    /// A person forwards messages to the bot, as one message.
    #[must_use]
    pub fn forward(&self, app: &str, from: &Speaker, texts: &[&str]) -> Value {
        let mut book = self.book();
        let mut say = |text: &&str| book.say(app, from, "text", json!({ "text": text }).to_string(), Vec::new());
        let forwarded = texts.iter().map(&mut say).collect();
        let content = json!({ "content": "Merged and Forwarded Message" }).to_string();
        let id = book.say(app, from, "merge_forward", content, forwarded);
        said(app, from, &id, &mut book)
    }

    /// A person sends a file to the bot.
    #[must_use]
    pub fn file(&self, app: &str, from: &Speaker, name: &str) -> Value {
        let mut book = self.book();
        let key = book.fresh("file_v3_");
        let content = json!({ "file_key": key, "file_name": name }).to_string();
        let id = book.say(app, from, "file", content, Vec::new());
        said(app, from, &id, &mut book)
    }

    /// A person sends a picture to the chat. In a group no bot receives it.
    #[must_use]
    pub fn picture(&self, app: &str, from: &Speaker) -> Value {
        let mut book = self.book();
        let key = book.fresh("img_v3_");
        let id = book.say(app, from, "image", json!({ "image_key": key }).to_string(), Vec::new());
        said(app, from, &id, &mut book)
    }

    /// A person sends a picture or a file in the direct chat.
    #[must_use]
    pub fn upload(&self, app: &str, from: &Speaker, upload: Upload) -> Value {
        let event = match upload.is_picture {
            true => self.picture(app, from),
            false => self.file(app, from, upload.name),
        };
        let content = event.pointer("/event/message/content").and_then(Value::as_str);
        let content: Value = serde_json::from_str(content.unwrap_or_default()).unwrap_or_default();
        let key = content["image_key"].as_str().or(content["file_key"].as_str());
        let key = key.unwrap_or_default().to_owned();
        self.book().files.insert(key, upload.bytes.to_vec());
        event
    }

    /// A person opens their chat with the bot.
    #[must_use]
    pub fn enter(&self, app: &str, by: &Speaker) -> Value {
        let mut book = self.book();
        // The chat exists even if no message was sent in it.
        book.say(app, by, "system", "{}".to_owned(), Vec::new());
        let event_id = book.fresh("ev");
        let header = header(
            app,
            &event_id,
            "im.chat.access_event.bot_p2p_chat_entered_v1",
            &now_ms(),
        );
        json!({ "schema": "2.0", "header": header, "event": { "chat_id": Self::chat_id(app, by),
            "operator_id": { "union_id": "on_u", "user_id": "", "open_id": by.user },
            "last_message_id": "", "last_message_create_time": "" } })
    }

    /// A person clicks on a button of a message.
    #[must_use]
    pub fn click(&self, app: &str, message: &str, value: &Value, by: &str) -> Value {
        let mut book = self.book();
        let event_id = book.fresh("ev");
        let chat = book.app(app).messages.get(message).map(|said| said.chat_id.clone());
        let header = header(app, &event_id, "card.action.trigger", &format!("{}000", now_ms()));
        json!({ "schema": "2.0", "header": header, "event": {
            "operator": { "tenant_key": "t", "user_id": "", "union_id": "on_u", "open_id": by }, "token": "c-1",
            "action": { "tag": "button", "value": value, "timezone": "Asia/Shanghai" }, "host": "im_message",
            "context": { "open_message_id": message, "open_chat_id": chat, "url": "", "preview_token": "" } } })
    }

    /// A person clicks the bot's newest button in their chat. `None` if there is none.
    #[must_use]
    pub fn press(&self, app: &str, by: &Speaker) -> Option<Value> {
        self.press_one(app, by, |_| true)
    }

    /// A person clicks the newest button whose label satisfies `is_it`, of those whose clicks are reported. `None` if there is none.
    #[must_use]
    pub fn press_one(&self, app: &str, by: &Speaker, is_it: impl Fn(&str) -> bool) -> Option<Value> {
        let is_it = |button: &Value| button["text"]["content"].as_str().is_some_and(&is_it);
        let buttons = self.buttons_in(app, by).into_iter().rev();
        let mut reported = buttons.filter_map(|(message, button)| {
            let value = cards::callback_of(&button).filter(|_| is_it(&button))?;
            Some((message, value))
        });
        let (message, value) = reported.next()?;
        Some(self.click(app, &message, &value, &by.user))
    }

    /// The buttons of a bot's cards in a chat, the oldest first.
    #[must_use]
    pub fn buttons(&self, app: &str, chat: &Speaker) -> Vec<ShownButton> {
        let shown = |button: &Value| {
            let url = button.pointer("/behaviors/0/default_url").and_then(Value::as_str);
            ShownButton::new(
                button["text"]["content"].as_str().unwrap_or_default(),
                url.unwrap_or_default(),
            )
        };
        self.buttons_in(app, chat)
            .iter()
            .map(|(_, button)| shown(button))
            .collect()
    }

    /// The buttons in a chat with the messages that show them.
    fn buttons_in(&self, app: &str, chat: &Speaker) -> Vec<(String, Value)> {
        let chat = Self::chat_id(app, chat);
        let mut book = self.book();
        let app = book.app(app);
        let mut here: Vec<_> = app.messages.iter().filter(|(_, said)| said.chat_id == chat).collect();
        here.sort_by_key(|(_, said)| said.at);
        let buttons = here.into_iter().flat_map(|(id, said)| {
            let entity = said.card.as_ref().and_then(|card| app.cards.get(card));
            let buttons = entity.map_or_else(|| said.buttons.clone(), |card| cards::buttons(&card.json));
            buttons.into_iter().map(|button| (id.clone(), button))
        });
        buttons.collect()
    }

    /// Delivers an event over the long connection, and repeats it until it is acknowledged. Returns the delivery's id.
    ///
    /// # Errors
    /// If no client is connected.
    pub fn push(&self, app: &str, event: &Value) -> anyhow::Result<String> {
        let mut event = event.clone();
        // The token is empty on long connections.
        event["header"]["token"] = json!("");
        let is_callback = event["header"]["event_type"] == "card.action.trigger";
        gateway::deliver(app, &event, is_callback, self)
    }

    /// Delivers an event to a webhook, encrypted and signed. Returns the response.
    ///
    /// # Errors
    /// If it isn't a 200 within three seconds.
    pub async fn post(&self, app: &str, callback_url: &str, event: &Value) -> anyhow::Result<Value> {
        let sealed = self.request(app, event);
        let mut request = self.http.post(callback_url);
        for (name, value) in &sealed.headers {
            request = request.header(name, value);
        }
        let response = request.body(sealed.body).send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        ensure!(status == 200, "the webhook answered {status}: {text}");
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// The request that delivers an event to a webhook, encrypted and signed.
    ///
    /// # Panics
    /// If the system has no random bytes.
    #[must_use]
    pub fn request(&self, app: &str, event: &Value) -> WebhookRequest {
        let (key, token) = {
            let mut book = self.book();
            let app = book.app(app);
            (app.encrypt_key.clone(), app.verification_token.clone())
        };
        let mut event = event.clone();
        if event["header"].is_object() {
            event["header"]["token"] = json!(token);
        } else {
            event["token"] = json!(token);
        }
        let mut iv = [0; 16];
        getrandom::fill(&mut iv).expect("the system has random bytes");
        let body = json!({ "encrypt": cipher::encrypt(&key, iv, &event.to_string()) }).to_string();
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let timestamp = now.as_secs().to_string();
        let nonce = hex::encode(&iv[..8]);
        let signature = cipher::sign(&timestamp, &nonce, &key, &body);
        let headers = [
            ("content-type", "application/json;charset=utf-8"),
            ("x-lark-request-timestamp", &timestamp),
            ("x-lark-request-nonce", &nonce),
            ("x-lark-signature", &signature),
        ];
        WebhookRequest {
            method: "POST".to_owned(),
            query: String::new(),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            body: body.into_bytes(),
        }
    }

    /// Sends bytes on every connection of an app, which may be an invalid frame.
    pub fn push_bytes(&self, app: &str, bytes: &[u8]) {
        for connection in &self.book().app(app).connections {
            connection.send_bytes(bytes);
        }
    }

    /// Changes the injected faults.
    pub fn misbehave(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.book().faults);
    }

    /// Expires all access tokens of an app.
    pub fn expire_tokens(&self, app: &str) {
        self.book().app(app).tokens.clear();
    }

    /// A message is recalled.
    pub fn recall(&self, app: &str, message: &str) {
        if let Some(said) = self.book().app(app).messages.get_mut(message) {
            said.gone = true;
        }
    }

    /// A message is recalled by its sender. Returns the event that reports it.
    #[must_use]
    pub fn recall_reported(&self, app: &str, message: &str) -> Value {
        self.recall(app, message);
        let mut book = self.book();
        let event_id = book.fresh("ev");
        let chat_id = book.app(app).messages[message].chat_id.clone();
        let header = header(app, &event_id, "im.message.recalled_v1", &now_ms());
        json!({ "schema": "2.0", "header": header, "event": { "message_id": message, "chat_id": chat_id, "recall_time": now_ms(),
            "recall_type": "message_owner" } })
    }

    /// The app's connections stay open, but the platform neither reads nor answers any more.
    pub fn go_half_open(&self, app: &str) {
        for connection in &self.book().app(app).connections {
            connection.end(LinkState::HalfOpen);
        }
    }

    /// Cuts the app's connections without a close frame.
    pub fn cut(&self, app: &str) {
        for connection in &self.book().app(app).connections {
            connection.end(LinkState::Cut);
        }
    }

    /// Number of an app's live connections, and of its bootstrap calls.
    #[must_use]
    pub fn connections(&self, app: &str) -> (usize, usize) {
        let mut book = self.book();
        let app = book.app(app);
        let live = app.connections.iter().filter(|it| !it.is_deaf()).count();
        (live, app.bootstraps)
    }

    /// How often an app's connections have pinged.
    #[must_use]
    pub fn pings(&self, app: &str) -> usize {
        self.book().app(app).pings
    }

    /// Waits until a client is connected.
    ///
    /// # Errors
    /// If none is within `limit`.
    pub async fn connected(&self, app: &str, limit: Duration) -> anyhow::Result<()> {
        until("a connection", limit, || (self.connections(app).0 > 0).then_some(())).await
    }

    /// The files that bots have sent into a chat.
    #[must_use]
    pub fn files(&self, chat: &Speaker) -> Vec<SentFile> {
        self.book().uploads.of_chat(chat.chat())
    }

    /// All messages of bots, the oldest first.
    #[must_use]
    pub fn bubbles(&self) -> Vec<Bubble> {
        self.book().bubbles.clone()
    }

    /// Number of reactions on an app's messages now.
    #[must_use]
    pub fn reactions(&self, app: &str) -> usize {
        self.book().app(app).reactions.len()
    }

    /// How often an app has reacted to messages of a chat.
    #[must_use]
    pub fn reactions_shown(&self, app: &str, chat: &Speaker) -> usize {
        let chat = Self::chat_id(app, chat);
        let mut book = self.book();
        let reacted: Vec<String> = book
            .calls
            .iter()
            .filter(|call| call.app == app && call.name == "react")
            .map(|call| call.path.clone())
            .collect();
        let messages = &book.app(app).messages;
        let is_here = |path: &&String| {
            let message = path
                .trim_end_matches("/reactions")
                .rsplit('/')
                .next()
                .unwrap_or_default();
            messages.get(message).is_some_and(|said| said.chat_id == chat)
        };
        reacted.iter().filter(is_here).count()
    }

    /// Every authenticated call of the API, the oldest first.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.book().calls.clone()
    }

    /// Every acknowledgement, the oldest first.
    #[must_use]
    pub fn acks(&self) -> Vec<Ack> {
        self.book().acks.clone()
    }

    /// Protocol violations of clients, each kind once with its count.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.book().complaints.all()
    }

    pub(self) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The event that delivers a message to the bot.
fn said(app: &str, from: &Speaker, id: &str, book: &mut Book) -> Value {
    let event_id = book.fresh("ev");
    let found = book.app(app);
    let said = &found.messages[id];
    let mut message = json!({ "message_id": id, "create_time": now_ms(), "update_time": now_ms(), "chat_id": said.chat_id,
        "chat_type": "p2p", "message_type": said.kind, "content": said.content });
    if from.group.is_some() {
        let bot = json!({ "union_id": "on_bot", "user_id": "", "open_id": found.bot });
        message["chat_type"] = json!("group");
        message["mentions"] =
            json!([{ "key": "@_user_1", "id": bot, "mentioned_type": "bot", "name": "Tieline", "tenant_key": "t" }]);
    }
    let sender = json!({ "sender_id": { "union_id": "on_u", "user_id": "", "open_id": from.user }, "sender_type": "user", "tenant_key": "t" });
    let header = header(app, &event_id, "im.message.receive_v1", &now_ms());
    json!({ "schema": "2.0", "header": header, "event": { "sender": sender, "message": message } })
}

fn header(app: &str, event_id: &str, event_type: &str, create_time: &str) -> Value {
    json!({ "event_id": event_id, "event_type": event_type, "create_time": create_time, "token": "", "app_id": app, "tenant_key": "t" })
}

fn now_ms() -> String {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    now.as_millis().to_string()
}
