//! WeChat's side of an Official Account in safe mode, as strict as the platform: what we send is checked field by field.
//!
//! An independent implementation of the protocol: nothing here uses the connector.

mod api;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use axum::Router;
use reqwest::Client;
use serde_json::{Value, json};
use tieline_core::http_types::WebhookRequest;
use tokio::net::TcpListener;

use crate::outbound::{Bubble, Complaints, Speaker};
use crate::platform::{Features, PlatformSimulator, SaidMessages, Upload, deliver};
use crate::sealed_xml;
use crate::test_bridge::uuid;
use crate::uploads::{SentFile, Uploads};
use crate::wecom::Cipher;
use crate::wecom::cipher::now;

/// The platform's timeout of a callback.
const PATIENCE: Duration = Duration::from_secs(5);
/// The account's own name.
const ACCOUNT: &str = "gh_tests";
/// Number of messages that may be sent to a person who wrote.
const MESSAGES: usize = 5;

/// An Official Account.
#[derive(Clone)]
pub struct Platform {
    address: SocketAddr,
    app: String,
    secret: String,
    cipher: Cipher,
    /// Whether the account may send customer-service messages.
    has_customer_service: bool,
    callback_url: Arc<OnceLock<String>>,
    said: SaidMessages,
    book: Arc<Mutex<Book>>,
    http: Client,
}

#[derive(Default)]
struct Book {
    tokens: HashSet<String>,
    n_tokens: usize,
    /// Whether the caller's address is missing on the allow list.
    distrusts_caller: bool,
    /// Codes for the next calls of these names.
    faults: VecDeque<(&'static str, i64)>,
    /// Number of messages that each person may still be sent.
    quotas: HashMap<String, usize>,
    /// Messages that were answered in the response to their callback.
    answered: HashSet<String>,
    bubbles: Vec<Bubble>,
    /// Files that people sent, by id.
    media: HashMap<String, Vec<u8>>,
    /// Files that the account uploaded and sent.
    uploads: Uploads,
    n_uploads: usize,
    n_typing: usize,
    calls: Vec<&'static str>,
    complaints: Complaints,
}

impl Platform {
    /// Starts an account with the customer-service API, or one without.
    ///
    /// # Panics
    /// If the loopback address has no port left.
    pub async fn start(has_customer_service: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let http = Client::builder().no_proxy().timeout(PATIENCE).build();
        let platform = Self {
            address: listener.local_addr().expect("it is bound"),
            app: format!("wx{}", uuid()),
            secret: uuid(),
            cipher: Cipher::fresh(),
            has_customer_service,
            callback_url: Arc::default(),
            said: SaidMessages::default(),
            book: Arc::default(),
            http: http.expect("a client can be made"),
        };
        let router = Router::new().fallback(api::serve).with_state(platform.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        platform
    }

    /// A person's message. The document can be delivered several times.
    #[must_use]
    pub fn text(&self, from: &Speaker, text: &str) -> String {
        let id = number();
        self.book().quotas.insert(from.user.clone(), MESSAGES);
        self.document(from, "text", &[("Content", text), ("MsgId", &id)])
    }

    /// A person sends a picture.
    #[must_use]
    pub fn picture(&self, from: &Speaker, bytes: &[u8]) -> String {
        let (id, media) = (number(), format!("media-{}", uuid()));
        let mut book = self.book();
        book.quotas.insert(from.user.clone(), MESSAGES);
        book.media.insert(media.clone(), bytes.to_vec());
        let picture = "http://mmbiz.qpic.cn/mmbiz_jpg/x/0";
        let fields = [("PicUrl", picture), ("MediaId", &media), ("MsgId", &id)];
        self.document(from, "image", &fields)
    }

    /// A person follows the account.
    #[must_use]
    pub fn follow(&self, by: &Speaker) -> String {
        self.document(by, "event", &[("Event", "subscribe"), ("EventKey", "")])
    }

    fn document(&self, from: &Speaker, kind: &str, fields: &[(&str, &str)]) -> String {
        let now = now().to_string();
        let common = [
            ("ToUserName", ACCOUNT),
            ("FromUserName", from.user.as_str()),
            ("CreateTime", now.as_str()),
            ("MsgType", kind),
        ];
        sealed_xml::document(&[&common, fields].concat())
    }

    /// The request that delivers a document.
    #[must_use]
    pub fn request(&self, document: &str) -> WebhookRequest {
        let (mut request, _) = sealed_xml::request(&self.cipher, &self.app, document);
        request.query.push_str("&encrypt_type=aes");
        request
    }

    /// Shows the response to a callback, once: nothing, or an encrypted message to the person who wrote.
    ///
    /// # Errors
    /// If people would see that the account is out of service.
    pub fn read_answer(&self, document: &str, status: u16, body: &str) -> anyhow::Result<()> {
        ensure!(status == 200, "the callback got {status}: {body}");
        if body.is_empty() || body == "success" {
            return Ok(());
        }
        let message = sealed_xml::open_answer(&self.cipher, &self.app, body)?;
        let field = |name: &str| sealed_xml::field(&message, name).unwrap_or_default();
        let person = sealed_xml::field(document, "FromUserName").unwrap_or_default();
        ensure!(
            field("FromUserName") == ACCOUNT,
            "the answer is not from the account: {message}"
        );
        ensure!(
            field("ToUserName") == person,
            "the answer is for another person: {message}"
        );
        ensure!(field("MsgType") == "text", "not a text: {message}");
        let content = field("Content");
        ensure!(
            !content.trim().is_empty() && content.len() <= 2048,
            "content of {} bytes",
            content.len()
        );
        let mut book = self.book();
        if book.answered.insert(document.to_owned()) {
            book.show(&person, "passive", content);
        }
        Ok(())
    }

    /// Delivers a document to the callback URL, as often as the platform does: up to three times, until it is answered.
    ///
    /// # Errors
    /// If no delivery is answered within five seconds.
    pub async fn post(&self, document: &str) -> anyhow::Result<()> {
        let mut last = anyhow::anyhow!("not delivered");
        for _ in 0..3 {
            match self.post_once(document).await {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn post_once(&self, document: &str) -> anyhow::Result<()> {
        let request = self.request(document);
        let url = format!(
            "{}?{}",
            self.callback_url.get().map_or("", String::as_str),
            request.query
        );
        let response = self.http.post(url).body(request.body).send().await?;
        let status = response.status().as_u16();
        self.read_answer(document, status, &response.text().await?)
    }

    /// The code for the next call of that name.
    pub fn fail_next(&self, call: &'static str, code: i64) {
        self.book().faults.push_back((call, code));
    }

    /// Expires all access tokens.
    pub fn expire_tokens(&self) {
        self.book().tokens.clear();
    }

    /// Sets whether the caller's address is on the allow list.
    pub fn trust_caller(&self, trusts: bool) {
        self.book().distrusts_caller = !trusts;
    }

    /// All messages of the account, the oldest first.
    #[must_use]
    pub fn bubbles(&self) -> Vec<Bubble> {
        self.book().bubbles.clone()
    }

    /// The names of the calls so far.
    #[must_use]
    pub fn calls(&self) -> Vec<&'static str> {
        self.book().calls.clone()
    }

    /// How often people saw the typing indicator.
    #[must_use]
    pub fn typing(&self) -> usize {
        self.book().n_typing
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn show(&mut self, person: &str, way: &'static str, text: String) {
        self.bubbles.push(Bubble {
            bot: ACCOUNT.to_owned(),
            chat: person.to_owned(),
            answers: None,
            way,
            states: vec![text],
            done: true,
        });
    }
}

/// A message's id.
fn number() -> String {
    u64::from_str_radix(&uuid()[..15], 16).unwrap_or_default().to_string()
}

impl PlatformSimulator for Platform {
    fn features(&self) -> Features {
        Features {
            groups: false,
            hears_groups: false,
            streams: false,
            // Five messages of two kilobytes; the rest is behind a link.
            long_answers: false,
            shows_reasoning: false,
            sends_pictures: self.has_customer_service,
            sends_files: false,
            ..Features::ALL
        }
    }

    fn integration(&self) -> Value {
        json!({ "name": "Official Account", "platform": "wechat_mp", "connectionMode": "webhook",
            "credentials": { "appId": self.app, "appSecret": self.secret,
                "token": self.cipher.token, "encodingAesKey": self.cipher.encoding_aes_key },
            "endpoints": { "apiBase": format!("http://{}", self.address) } })
    }

    fn wrong_integration(&self) -> Value {
        let mut integration = self.integration();
        integration["credentials"]["appSecret"] = json!("wrong");
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

    /// Files are not delivered to accounts.
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
            async move { platform.post(document.as_str().unwrap_or_default()).await }
        });
    }

    fn shown(&self, chat: &Speaker) -> Vec<Bubble> {
        let mut all = self.bubbles();
        all.retain(|bubble| bubble.chat == chat.chat());
        all
    }

    fn open_chat(&self, by: &Speaker) -> bool {
        self.redeliver(&self.said.keep(&json!(self.follow(by))));
        true
    }

    fn thinking_signs(&self, _chat: &Speaker) -> Option<usize> {
        Some(self.typing())
    }

    fn rate_limit_once(&self) {
        self.fail_next("send", 45011);
    }

    fn complaints(&self) -> Vec<String> {
        self.book().complaints.all()
    }
}
