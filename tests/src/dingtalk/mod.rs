//! DingTalk's side of a robot, over HTTP and in Stream mode, as strict as the platform: what we send is checked field by field.
//!
//! An independent implementation of the protocol: nothing here uses the connector.

mod api;
mod book;
mod cards;
mod gateway;
mod messages;
mod sign;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use axum::Router;
use reqwest::Client;
use serde_json::{Value, json};
use tieline_core::http_types::WebhookRequest;
use tokio::net::TcpListener;

use crate::outbound::{Bubble, ShownButton, Speaker, until};
use crate::platform::Upload;
use crate::uploads::SentFile;

pub use book::{Ack, Answer, Call, Fault, Faults};
use book::{Book, Webhook};
use gateway::LinkState;

/// The platform.
#[derive(Clone)]
pub struct Platform {
    address: SocketAddr,
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
        // The platform's timeout of callbacks over HTTP.
        let http = Client::builder()
            .no_proxy()
            .timeout(Duration::from_millis(2500))
            .build();
        let platform = Self {
            address: listener.local_addr().expect("it is bound"),
            book: Arc::default(),
            http: http.expect("a client can be made"),
        };
        let router = Router::new().fallback(api::serve).with_state(platform.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        platform
    }

    /// Address of both its APIs.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Creates an app with a robot, or changes its secret.
    pub fn add_app(&self, app: &str, secret: &str) {
        self.book().app(app).secret = secret.to_owned();
    }

    /// Request body that creates the integration of an app.
    #[must_use]
    pub fn as_integration(&self, app: &str, name: &str, mode: &str) -> Value {
        let secret = self.book().app(app).secret.clone();
        json!({ "name": name, "platform": "dingtalk", "connectionMode": mode,
                "credentials": { "clientId": app, "clientSecret": secret },
                "endpoints": { "apiBase": self.url(), "oapiBase": self.url() } })
    }

    /// The platform's id of a chat; a direct chat has one too.
    #[must_use]
    pub fn chat_id(app: &str, from: &Speaker) -> String {
        match &from.group {
            Some(group) => group.clone(),
            None => format!("cid{app}{}==", from.user),
        }
    }

    /// A person's message to the robot; in a group it mentions it. Returns the message, which can be pushed several times.
    #[must_use]
    pub fn text(&self, app: &str, from: &Speaker, text: &str) -> Value {
        let mut book = self.book();
        let (id, session) = (book.fresh("msg"), book.fresh("0f1e"));
        let chat = Self::chat_id(app, from);
        let life = book.faults.webhook_life;
        let webhook = Webhook {
            app: app.to_owned(),
            to: from.clone(),
            answers: id.clone(),
            until: Instant::now() + life,
        };
        book.webhooks.insert(session.clone(), webhook);
        book.app(app).chats.insert(chat.clone(), from.clone());
        let now = sign::now_ms();
        let until = now + u64::try_from(life.as_millis()).unwrap_or(u64::MAX / 2);
        let mut message = json!({ "conversationId": chat, "conversationType": "1", "msgId": id, "createAt": now,
            "chatbotCorpId": "ding0a1b", "chatbotUserId": "$:LWCP_v1:$bot", "robotCode": app,
            "senderId": format!("$:LWCP_v1:${}", from.user), "senderNick": "陈小明", "senderStaffId": from.user, "senderCorpId": "ding0a1b",
            "isAdmin": false, "senderPlatform": "Mac", "sessionWebhook": format!("{}/robot/sendBySession?session={session}", self.url()),
            "sessionWebhookExpiredTime": until, "msgtype": "text", "text": { "content": text } });
        if from.group.is_some() {
            message["conversationType"] = json!("2");
            message["conversationTitle"] = json!("运维值班群");
            message["isInAtList"] = json!(true);
            message["atUsers"] = json!([{ "dingtalkId": "$:LWCP_v1:$bot", "staffId": "", "unionId": "un1" }]);
            // The mention itself is removed, but a blank remains.
            message["text"] = json!({ "content": format!(" {text}") });
        }
        message
    }

    /// A person sends a picture or a file in the direct chat.
    #[must_use]
    pub fn upload(&self, app: &str, from: &Speaker, upload: Upload) -> Value {
        let mut message = self.text(app, from, "");
        let mut book = self.book();
        let code = book.fresh("dc+/");
        book.files.insert(code.clone(), (app.to_owned(), upload.bytes.to_vec()));
        let (kind, content) = match upload.is_picture {
            true => ("picture", json!({ "downloadCode": code, "pictureDownloadCode": "old" })),
            false => (
                "file",
                json!({ "downloadCode": code, "fileName": upload.name, "fileId": "1", "spaceId": "2" }),
            ),
        };
        message["msgtype"] = json!(kind);
        message["content"] = content;
        if let Some(message) = message.as_object_mut() {
            message.remove("text");
        }
        message
    }

    /// Sends a text on every connection of an app, which may be an invalid frame.
    pub fn push_text(&self, app: &str, text: &str) {
        for connection in &self.book().app(app).connections {
            connection.send_text(text);
        }
    }

    /// Pushes a message in Stream mode, and repeats it until it is acknowledged. Returns the push's id.
    ///
    /// # Errors
    /// If no client is connected.
    pub fn push(&self, app: &str, message: &Value) -> anyhow::Result<String> {
        gateway::push(app, "/v1.0/im/bot/messages/get", message, self)
    }

    /// A person clicks on a button of a card.
    ///
    /// # Errors
    /// If no client is connected.
    pub fn click(&self, app: &str, card: &str, action: &str, by: &str) -> anyhow::Result<String> {
        let content = json!({ "cardPrivateData": { "actionIds": [action], "params": {} } });
        let data = json!({ "type": "actionCallback", "outTrackId": card, "corpId": "ding0a1b", "userId": by, "userIdType": 1,
                           "spaceType": "IM", "extension": "{}", "content": content.to_string() });
        gateway::push(app, "/v1.0/card/instances/callback", &data, self)
    }

    /// Posts a signed message to a robot in HTTP mode. Returns the response.
    ///
    /// # Errors
    /// If it isn't a 200 in time.
    pub async fn post(&self, app: &str, callback_url: &str, message: &Value) -> anyhow::Result<Value> {
        let signed = self.request(app, message);
        let mut request = self.http.post(callback_url);
        for (name, value) in &signed.headers {
            request = request.header(name, value);
        }
        let response = request.body(signed.body).send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        ensure!(status == 200, "the robot returned {status}: {text}");
        let answer: Value = serde_json::from_str(&text).context("the answer is not JSON")?;
        ensure!(
            answer == json!({ "msgtype": "empty" }),
            "the response must not contain a message: {answer}"
        );
        Ok(answer)
    }

    /// The signed request that posts a message to a robot in HTTP mode.
    #[must_use]
    pub fn request(&self, app: &str, message: &Value) -> WebhookRequest {
        let secret = self.book().app(app).secret.clone();
        let timestamp = sign::now_ms().to_string();
        let sign = sign::robot(&timestamp, &secret);
        let json = "application/json".to_owned();
        let headers = [("content-type", json), ("sign", sign), ("timestamp", timestamp)];
        WebhookRequest {
            method: "POST".to_owned(),
            query: String::new(),
            headers: headers.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            body: message.to_string().into_bytes(),
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

    /// The platform announces that the app's connections will end, sends nothing on them, and closes them ten seconds later.
    pub fn disconnect(&self, app: &str) {
        let mut book = self.book();
        let id = book.fresh("");
        for connection in &book.app(app).connections {
            gateway::disconnect(connection, &id);
        }
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

    /// Number of connections of an app that accept messages, and of the tickets that it got.
    #[must_use]
    pub fn connections(&self, app: &str) -> (usize, usize) {
        let mut book = self.book();
        let app = book.app(app);
        let live = app
            .connections
            .iter()
            .filter(|it| it.link_state() == LinkState::Open)
            .count();
        (live, app.opened)
    }

    /// Waits until a client is connected.
    ///
    /// # Errors
    /// If none is within `limit`.
    pub async fn connected(&self, app: &str, limit: Duration) -> anyhow::Result<()> {
        until("a connection", limit, || (self.connections(app).0 > 0).then_some(())).await
    }

    /// The files that robots have sent into a chat.
    #[must_use]
    pub fn files(&self, chat: &Speaker) -> Vec<SentFile> {
        self.book().uploads.of_chat(chat.chat())
    }

    /// All messages of robots, the oldest first.
    #[must_use]
    pub fn bubbles(&self) -> Vec<Bubble> {
        self.book().bubbles.clone()
    }

    /// The buttons of action cards in a chat.
    #[must_use]
    pub fn buttons(&self, chat: &Speaker) -> Vec<ShownButton> {
        let book = self.book();
        let here = book.buttons.iter().filter(|(at, _)| at == chat.chat());
        here.map(|(_, button)| button.clone()).collect()
    }

    /// The id of the newest card in a chat.
    #[must_use]
    pub fn newest_card(&self, app: &str, chat: &Speaker) -> Option<String> {
        let mut book = self.book();
        let bubbles: Vec<String> = book.bubbles.iter().map(|bubble| bubble.chat.clone()).collect();
        let cards = book.app(app).cards.iter();
        let here = cards.filter(|(_, card)| bubbles[card.bubble] == chat.chat());
        here.max_by_key(|(_, card)| card.bubble).map(|(id, _)| id.clone())
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

    /// How often a client exceeded a rate limit.
    #[must_use]
    pub fn throttled(&self) -> usize {
        self.book().throttled
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
