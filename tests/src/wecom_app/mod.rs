//! WeCom's side of a self-built application, as strict as the platform: what we send is checked field by field.
//!
//! An independent implementation of the protocol: nothing here uses the connector.

mod api;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use axum::Router;
use reqwest::Client;
use serde_json::{Value, json};
use tieline_core::http_types::WebhookRequest;
use tokio::net::TcpListener;

use crate::outbound::{Bubble, Complaints, ShownButton, Speaker};
use crate::platform::{Features, PlatformSimulator, SaidMessages, Upload, deliver};
use crate::sealed_xml;
use crate::test_bridge::uuid;
use crate::uploads::{SentFile, Uploads};
use crate::wecom::Cipher;

/// The application's number.
pub const AGENT: u32 = 1_000_002;

/// A company with one application.
#[derive(Clone)]
pub struct Platform {
    address: SocketAddr,
    /// The company's id.
    pub corp: String,
    secret: String,
    cipher: Cipher,
    callback_url: Arc<OnceLock<String>>,
    said: SaidMessages,
    book: Arc<Mutex<Book>>,
    http: Client,
}

/// The response to a call in place of the right one.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// This code; the call has no effect.
    Code(i64),
    /// The call takes effect, but its response is lost.
    Lost,
}

#[derive(Default)]
struct Book {
    /// The responses to callbacks.
    answers: Vec<String>,
    tokens: HashSet<String>,
    n_tokens: usize,
    /// Whether the caller's address is not trusted.
    distrusts_caller: bool,
    /// Members outside the application's visible range.
    invisible: HashSet<String>,
    /// The responses to the next calls of these names.
    faults: VecDeque<(&'static str, Answer)>,
    bubbles: Vec<Bubble>,
    /// Contents by member, with the time of arrival.
    contents: Vec<(String, String, Instant)>,
    sent_at: HashMap<String, VecDeque<Instant>>,
    /// Cards by task id: the bubble, and labels and keys of the buttons.
    cards: HashMap<String, (usize, Vec<(String, String)>)>,
    /// Codes that can change a card once.
    response_codes: HashMap<String, usize>,
    media: HashMap<String, Vec<u8>>,
    /// Files that the application uploaded and sent.
    uploads: Uploads,
    n_uploads: usize,
    calls: Vec<&'static str>,
    complaints: Complaints,
}

impl Platform {
    /// Starts the server.
    ///
    /// # Panics
    /// If the loopback address has no port left.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(5)).build();
        let platform = Self {
            address: listener.local_addr().expect("it is bound"),
            corp: format!("ww{}", uuid()),
            secret: uuid(),
            cipher: Cipher::fresh(),
            callback_url: Arc::default(),
            said: SaidMessages::default(),
            book: Arc::default(),
            http: http.expect("a client can be made"),
        };
        let router = Router::new().fallback(api::serve).with_state(platform.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        platform
    }

    /// A member's message. The document can be delivered several times.
    #[must_use]
    pub fn text(&self, from: &Speaker, text: &str) -> String {
        self.message(from, "text", &[("Content", text)])
    }

    /// A member sends a picture.
    #[must_use]
    pub fn picture(&self, from: &Speaker, bytes: &[u8]) -> String {
        let media = format!("media-{}", uuid());
        self.book().media.insert(media.clone(), bytes.to_vec());
        self.message(
            from,
            "image",
            &[("PicUrl", "https://wework.qpic.cn/x"), ("MediaId", &media)],
        )
    }

    fn message(&self, from: &Speaker, kind: &str, fields: &[(&str, &str)]) -> String {
        let id = u64::from_str_radix(&uuid()[..15], 16).unwrap_or_default().to_string();
        self.document(from, kind, &[fields, &[("MsgId", &id)]].concat())
    }

    /// An event of a member.
    #[must_use]
    pub fn event(&self, from: &Speaker, name: &str, fields: &[(&str, &str)]) -> String {
        self.document(from, "event", &[&[("Event", name)], fields].concat())
    }

    fn document(&self, from: &Speaker, kind: &str, fields: &[(&str, &str)]) -> String {
        let now = crate::wecom::cipher::now().to_string();
        let agent = AGENT.to_string();
        let common = [
            ("ToUserName", self.corp.as_str()),
            ("FromUserName", &from.user),
            ("CreateTime", &now),
            ("MsgType", kind),
            ("AgentID", &agent),
        ];
        sealed_xml::document(&[&common, fields].concat())
    }

    /// A member clicks the button of their newest card. `None` if there is none.
    #[must_use]
    pub fn press(&self, by: &Speaker) -> Option<String> {
        self.press_one(by, |_| true)
    }

    /// A member clicks the newest button that satisfies `is_it`. `None` if there is none.
    #[must_use]
    pub fn press_one(&self, by: &Speaker, is_it: impl Fn(&str) -> bool) -> Option<String> {
        let (task, key, code) = {
            let mut book = self.book();
            let book = &mut *book;
            let theirs = book
                .cards
                .iter()
                .filter(|(_, (at, _))| book.bubbles[*at].chat == by.user);
            let found = theirs.filter_map(|(task, (at, keys))| {
                let (_, key) = keys.iter().find(|(label, _)| is_it(label))?;
                Some((task, at, key))
            });
            let (task, at, key) = found.max_by_key(|(_, at, _)| **at)?;
            let code = format!("RC{}", uuid());
            book.response_codes.insert(code.clone(), *at);
            (task.clone(), key.clone(), code)
        };
        let fields = [
            ("EventKey", key.as_str()),
            ("TaskId", &task),
            ("CardType", "button_interaction"),
            ("ResponseCode", &code),
        ];
        Some(self.event(by, "template_card_event", &fields))
    }

    /// The request that delivers a document.
    #[must_use]
    pub fn request(&self, document: &str) -> WebhookRequest {
        sealed_xml::request(&self.cipher, &self.corp, document).0
    }

    /// The request by which the console verifies the address.
    #[must_use]
    pub fn check(&self, echo: &str) -> WebhookRequest {
        sealed_xml::check(&self.cipher, &self.corp, echo)
    }

    /// Parses the response to a callback: nothing, or an encrypted message.
    ///
    /// # Errors
    /// If the platform would not accept it.
    pub fn read_answer(&self, status: u16, body: &str) -> anyhow::Result<Option<String>> {
        ensure!(status == 200, "the callback got {status}: {body}");
        if body.is_empty() {
            return Ok(None);
        }
        let message = sealed_xml::open_answer(&self.cipher, &self.corp, body)?;
        let from = sealed_xml::field(&message, "FromUserName");
        ensure!(from.as_ref() == Some(&self.corp), "the answer is from {from:?}");
        Ok(Some(message))
    }

    /// Delivers a document to the callback URL.
    ///
    /// # Errors
    /// If there is no valid response within five seconds.
    pub async fn post(&self, document: &str) -> anyhow::Result<Option<String>> {
        let request = self.request(document);
        let url = format!(
            "{}?{}",
            self.callback_url.get().map_or("", String::as_str),
            request.query
        );
        let response = self.http.post(url).body(request.body).send().await?;
        let status = response.status().as_u16();
        self.read_answer(status, &response.text().await?)
    }

    /// Sets the response to the next call of that name in place of the right one.
    pub fn fail_next(&self, call: &'static str, answer: Answer) {
        self.book().faults.push_back((call, answer));
    }

    /// Expires all access tokens.
    pub fn expire_tokens(&self) {
        self.book().tokens.clear();
    }

    /// Sets whether the caller's address is trusted.
    pub fn trust_caller(&self, trusts: bool) {
        self.book().distrusts_caller = !trusts;
    }

    /// The member leaves the application's visible range.
    pub fn hide(&self, member: &str) {
        self.book().invisible.insert(member.to_owned());
    }

    /// All messages of the application, the oldest first.
    #[must_use]
    pub fn bubbles(&self) -> Vec<Bubble> {
        self.book().bubbles.clone()
    }

    /// The names of the calls so far.
    #[must_use]
    pub fn calls(&self) -> Vec<&'static str> {
        self.book().calls.clone()
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
            streams: false,
            shows_reasoning: false,
            link_buttons: false,
            ..Features::ALL
        }
    }

    fn integration(&self) -> Value {
        json!({ "name": "WeCom application", "platform": "wecom_app", "connectionMode": "webhook",
            "credentials": { "corpId": self.corp, "agentId": AGENT.to_string(), "secret": self.secret,
                "token": self.cipher.token, "encodingAesKey": self.cipher.encoding_aes_key },
            "endpoints": { "apiBase": format!("http://{}", self.address) } })
    }

    fn wrong_integration(&self) -> Value {
        let mut integration = self.integration();
        integration["credentials"]["secret"] = json!("wrong");
        integration
    }

    fn created(&self, callback_url: &str) {
        let _ = self.callback_url.set(callback_url.to_owned());
    }

    fn is_connected(&self) -> bool {
        self.callback_url.get().is_some()
    }

    fn say(&self, from: &Speaker, text: &str, _mention: bool) -> String {
        let id = self.said.keep(&json!(self.text(from, text)));
        self.redeliver(&id);
        id
    }

    /// Files are not delivered to applications.
    fn upload(&self, from: &Speaker, upload: Upload) -> Option<String> {
        let said = upload.is_picture.then(|| self.picture(from, upload.bytes))?;
        let id = self.said.keep(&json!(said));
        self.redeliver(&id);
        Some(id)
    }

    fn files(&self, chat: &Speaker) -> Vec<SentFile> {
        self.book().uploads.of_chat(chat.chat())
    }

    fn redeliver(&self, id: &str) {
        let (platform, document) = (self.clone(), self.said.get(id));
        deliver(move || {
            let (platform, document) = (platform.clone(), document.clone());
            async move {
                let answer = platform.post(document.as_str().unwrap_or_default()).await?;
                platform.book().answers.extend(answer);
                Ok(())
            }
        });
    }

    fn shown(&self, chat: &Speaker) -> Vec<Bubble> {
        let mut all = self.bubbles();
        all.retain(|bubble| bubble.chat == chat.chat());
        all
    }

    fn buttons(&self, chat: &Speaker) -> Vec<ShownButton> {
        let book = self.book();
        let theirs = book
            .cards
            .values()
            .filter(|(at, _)| book.bubbles[*at].chat == chat.user);
        let mut theirs: Vec<_> = theirs.collect();
        theirs.sort();
        let buttons = theirs.into_iter().flat_map(|(_, buttons)| buttons);
        buttons.map(|(label, _)| ShownButton::new(label, "")).collect()
    }

    fn click(&self, by: &Speaker, label: &str) {
        let pressed = self.press_one(by, |it| it == label).expect("the button is there");
        self.redeliver(&self.said.keep(&json!(pressed)));
    }

    /// The response to the callback changes the button.
    fn click_marks(&self, _chat: &Speaker) -> Option<String> {
        Some(self.book().answers.join("\n"))
    }

    fn open_chat(&self, by: &Speaker) -> bool {
        let entered = self.event(by, "enter_agent", &[("EventKey", "")]);
        self.redeliver(&self.said.keep(&json!(entered)));
        true
    }

    fn rate_limit_once(&self) {
        self.fail_next("send", Answer::Code(45009));
    }

    fn complaints(&self) -> Vec<String> {
        self.book().complaints.all()
    }
}
