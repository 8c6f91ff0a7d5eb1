//! Discord's side of a bot application, over gateway and REST and by interactions over HTTP, as strict as the platform: what the bridge
//! sends is checked field by field.
//!
//! An independent implementation of the protocol: nothing here uses the connector.

mod api;
mod application;
mod gateway;
mod interactions;
mod messages;
mod row;
mod rules;
mod state;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::outbound::{Bubble, ShownButton, Speaker, until};
use crate::platform::Upload;
use crate::uploads::SentFile;

pub use self::row::OneBot;
use self::state::State;
pub use self::state::{Call, Faults};

/// The platform.
#[derive(Clone)]
pub struct Platform {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
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
            state: Arc::default(),
            http: http.expect("a client can be built"),
        };
        let router = Router::new().fallback(api::serve).with_state(platform.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        platform
    }

    /// Creates an application with a bot, or changes its token. The Message Content Intent is switched on.
    pub fn add_app(&self, app: &str, token: &str) {
        self.state().add_app(app, token);
    }

    /// Switches an application's Message Content Intent on or off.
    pub fn allow_content(&self, app: &str, allowed: bool) {
        self.state().app(app).has_content_intent = allowed;
    }

    /// Request body that creates the integration of an application.
    #[must_use]
    pub fn as_integration(&self, app: &str, name: &str, mode: &str) -> Value {
        let mut state = self.state();
        let found = state.app(app);
        json!({ "name": name, "platform": "discord", "connectionMode": mode,
            "credentials": { "botToken": found.token, "applicationId": app, "publicKey": found.public_key() },
            "endpoints": { "apiBase": format!("http://{}/api/v10", self.address) } })
    }

    /// A person's message to the bot; in a guild with or without a mention. Returns the message.
    #[must_use]
    pub fn message(&self, app: &str, from: &Speaker, text: &str, mention: bool) -> Value {
        messages::said(&mut self.state(), app, from, text, mention)
    }

    /// A message that replies to one of the bot's messages, without a mention.
    #[must_use]
    pub fn reply(&self, app: &str, from: &Speaker, text: &str, earlier: &str) -> Value {
        let mut state = self.state();
        let mut message = messages::said(&mut state, app, from, text, false);
        message["type"] = json!(19);
        message["message_reference"] = json!({ "type": 0, "message_id": earlier, "channel_id": message["channel_id"] });
        message["referenced_message"] = messages::shown_as(&state, app, earlier);
        message
    }

    /// Adds a file to a message.
    #[must_use]
    pub fn with_file(&self, mut message: Value, upload: Upload) -> Value {
        message["attachments"] = json!([self.file(upload)]);
        message
    }

    /// Delivers a message through the gateway: to every session, connected or not.
    ///
    /// # Errors
    /// If the bot has no session.
    pub fn push_message(&self, app: &str, message: &Value) -> anyhow::Result<()> {
        gateway::dispatch(&mut self.state(), app, "MESSAGE_CREATE", message)
    }

    /// Sends a text on an application's connections, which may be an invalid frame.
    pub fn push_text(&self, app: &str, text: &str) {
        gateway::send_text(&mut self.state(), app, text);
    }

    /// Delivers any event through the gateway.
    ///
    /// # Errors
    /// If the bot has no session.
    pub fn push_event(&self, app: &str, name: &str, payload: &Value) -> anyhow::Result<()> {
        gateway::dispatch(&mut self.state(), app, name, payload)
    }

    /// The user and the role that an application's bot has.
    #[must_use]
    pub fn identity(&self, app: &str) -> (String, String) {
        let mut state = self.state();
        let app = state.app(app);
        (app.bot(), app.role())
    }

    /// A person uses a slash command, which the bridge must have registered. Returns the interaction.
    ///
    /// # Errors
    /// If the command isn't registered, or is used in a way that its definition forbids.
    pub fn command(&self, app: &str, from: &Speaker, name: &str, prompt: Option<&str>) -> anyhow::Result<Value> {
        interactions::command(&mut self.state(), app, from, name, prompt)
    }

    /// Like [`Self::command`], with a file.
    ///
    /// # Errors
    /// If the command isn't registered, or takes no file.
    pub fn command_with_file(&self, app: &str, from: &Speaker, name: &str, file: &Value) -> anyhow::Result<Value> {
        interactions::command_with_file(&mut self.state(), app, from, name, file)
    }

    /// A file that a person is about to send, as the platform describes it.
    #[must_use]
    pub fn file(&self, upload: Upload) -> Value {
        messages::attachment(&mut self.state(), self.address, upload)
    }

    /// A person clicks the newest button with that label in a chat. Returns the interaction.
    ///
    /// # Errors
    /// If there is no such button.
    pub fn press(&self, app: &str, from: &Speaker, label: &str) -> anyhow::Result<Value> {
        interactions::press(&mut self.state(), app, from, label)
    }

    /// Delivers an interaction: to the registered endpoint, else through the gateway.
    ///
    /// # Errors
    /// If the endpoint doesn't return an initial response in time, or the bot has no session.
    pub async fn deliver(&self, app: &str, interaction: &Value) -> anyhow::Result<()> {
        let endpoint = self.state().app(app).endpoint.clone();
        match endpoint {
            Some(url) => interactions::post(self, app, &url, interaction).await,
            None => gateway::dispatch(&mut self.state(), app, "INTERACTION_CREATE", interaction),
        }
    }

    /// An operator enters the interactions endpoint in the developer portal.
    pub fn set_endpoint(&self, app: &str, url: &str) {
        self.state().app(app).endpoint = Some(url.to_owned());
    }

    /// The registered interactions endpoint.
    #[must_use]
    pub fn endpoint(&self, app: &str) -> Option<String> {
        self.state().app(app).endpoint.clone()
    }

    /// Names of the registered commands.
    #[must_use]
    pub fn commands(&self, app: &str) -> Vec<String> {
        let mut state = self.state();
        let commands = state.app(app).commands.iter();
        commands
            .filter_map(|it| it["name"].as_str().map(str::to_owned))
            .collect()
    }

    /// Changes the injected faults.
    pub fn misbehave(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.state().faults);
    }

    /// Cuts an application's connections without a close frame.
    pub fn cut(&self, app: &str) {
        gateway::end(&mut self.state(), app, &gateway::End::Cut);
    }

    /// Closes an application's connections with a code.
    pub fn close(&self, app: &str, code: u16) {
        gateway::end(&mut self.state(), app, &gateway::End::Close(code));
    }

    /// Sends a control frame on an application's connections: opcode and payload.
    pub fn control(&self, app: &str, op: u8, payload: &Value) {
        gateway::control(&mut self.state(), app, op, payload);
    }

    /// Deletes an application's sessions: the next resumption is refused.
    pub fn forget_sessions(&self, app: &str) {
        for session in self.state().app(app).sessions.values_mut() {
            session.is_forgotten = true;
        }
    }

    /// Number of open connections, of begun sessions, and of resumed sessions.
    #[must_use]
    pub fn connections(&self, app: &str) -> (usize, usize, usize) {
        let mut state = self.state();
        let app = state.app(app);
        let open = app.sessions.values().filter(|session| session.connection.is_some());
        (open.count(), app.n_identified, app.n_resumed)
    }

    /// Waits until the bot is connected.
    ///
    /// # Errors
    /// If it isn't within `limit`.
    pub async fn connected(&self, app: &str, limit: Duration) -> anyhow::Result<()> {
        until("a connection", limit, || (self.connections(app).0 > 0).then_some(())).await
    }

    /// The intents of the newest session.
    #[must_use]
    pub fn intents(&self, app: &str) -> u64 {
        self.state().app(app).intents
    }

    /// The files that bots have sent into a chat.
    #[must_use]
    pub fn files(&self, chat: &Speaker) -> Vec<SentFile> {
        self.state().uploads.of_chat(chat.chat())
    }

    /// All messages of bots, the oldest first.
    #[must_use]
    pub fn bubbles(&self) -> Vec<Bubble> {
        self.state().bubbles.clone()
    }

    /// Ids of the bot's messages in a chat, the oldest first.
    #[must_use]
    pub fn message_ids(&self, app: &str, chat: &Speaker) -> Vec<String> {
        let mut state = self.state();
        let messages = state
            .app(app)
            .messages
            .iter()
            .filter(|(_, sent)| sent.chat == chat.chat());
        messages.map(|(id, _)| id.clone()).collect()
    }

    /// Labels of the buttons that a chat shows now.
    #[must_use]
    pub fn buttons(&self, app: &str, chat: &Speaker) -> Vec<String> {
        interactions::buttons(&mut self.state(), app, chat)
    }

    /// The buttons in a chat, with the addresses that they open.
    #[must_use]
    pub fn shown_buttons(&self, app: &str, chat: &Speaker) -> Vec<ShownButton> {
        interactions::shown_buttons(&mut self.state(), app, chat)
    }

    /// Initial responses to interactions, the oldest first.
    #[must_use]
    pub fn responses(&self) -> Vec<Value> {
        self.state().responses.clone()
    }

    /// Every call of the REST API, the oldest first.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Protocol violations of clients, each kind once with its count.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.state().complaints.all()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
