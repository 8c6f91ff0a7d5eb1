//! The simulator behind the interface of the shared scenarios: callbacks, and polls of the streams that answer them.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Bot, Cipher, ResponseServer};
use crate::outbound::{Bubble, Speaker};
use crate::platform::{Features, PlatformSimulator, SaidMessages, Upload};

/// How long the platform polls an unfinished stream.
const POLLED: Duration = Duration::from_mins(6);
/// Pause between two polls. The real platform waits for about a second.
const POLL_PAUSE: Duration = Duration::from_millis(200);

/// One bot, and what its members see.
#[derive(Clone)]
pub struct Callbacks {
    cipher: Cipher,
    responses: ResponseServer,
    callback_url: Arc<OnceLock<String>>,
    said: SaidMessages,
    bubbles: Arc<Mutex<Vec<Bubble>>>,
    /// The id by which the newest answer can be rated.
    rated_by: Arc<Mutex<Option<String>>>,
    complaints: Arc<Mutex<Vec<String>>>,
}

impl Callbacks {
    /// Starts the platform with a fresh token and key.
    pub async fn start() -> Self {
        Self {
            cipher: Cipher::fresh(),
            responses: ResponseServer::start().await,
            callback_url: Arc::default(),
            said: SaidMessages::default(),
            bubbles: Arc::default(),
            rated_by: Arc::default(),
            complaints: Arc::default(),
        }
    }

    /// Delivers a message with this content. Returns its id.
    fn deliver(&self, from: &Speaker, content: &Value) -> String {
        let said = json!({ "user": from.user, "group": from.group, "content": content });
        let id = self.said.keep(&said);
        self.redeliver(&id);
        id
    }

    /// Delivers a message, and polls until its stream is finished. A poll that can't reach the bot is repeated.
    async fn converse(self, id: String) {
        let said = self.said.get(&id);
        let from = Speaker {
            user: said["user"].as_str().unwrap_or_default().to_owned(),
            group: said["group"].as_str().map(str::to_owned),
        };
        let bot = self.bot();
        let mut request = bot.message(&from, &id, &said["content"], &self.responses.url_for(&id));
        let began = Instant::now();
        while began.elapsed() < POLLED {
            match bot.send_for_stream(&request).await {
                Ok(shown) => {
                    if shown.feedback.is_some() {
                        lock(&self.rated_by).clone_from(&shown.feedback);
                    }
                    self.show(&id, &from, shown.content, shown.finish);
                    if shown.finish {
                        return;
                    }
                    request = bot.poll(&from, &shown.id);
                }
                Err(error) if error.is::<reqwest::Error>() => {}
                Err(error) => return lock(&self.complaints).push(format!("{error:#}")),
            }
            sleep(POLL_PAUSE).await;
        }
    }

    fn bot(&self) -> Bot {
        Bot::new(
            self.cipher.clone(),
            self.callback_url.get().cloned().unwrap_or_default(),
        )
    }

    /// Delivers an event of a person once, and shows the response.
    fn happen(&self, by: &Speaker, id: &'static str, event: Value) {
        let (row, by) = (self.clone(), by.clone());
        tokio::spawn(async move {
            let bot = row.bot();
            let mut callback = bot.envelope(&by, id);
            (callback["msgtype"], callback["event"]) = (json!("event"), event);
            match bot.send(&callback).await {
                Ok(Some(said)) if said["msgtype"] == "text" => {
                    row.show(
                        id,
                        &by,
                        said["text"]["content"].as_str().unwrap_or_default().to_owned(),
                        true,
                    );
                }
                Ok(None) => {}
                other => lock(&row.complaints).push(format!("an event was answered with {other:?}")),
            }
        });
    }

    fn show(&self, id: &str, from: &Speaker, text: String, done: bool) {
        let mut all = lock(&self.bubbles);
        let known = all.iter().position(|it| it.answers.as_deref() == Some(id));
        let at = known.unwrap_or_else(|| {
            all.push(Bubble {
                bot: "wecom".to_owned(),
                chat: from.chat().to_owned(),
                answers: Some(id.to_owned()),
                way: "stream",
                states: Vec::new(),
                done: false,
            });
            all.len() - 1
        });
        let bubble = &mut all[at];
        if bubble.states.last() != Some(&text) {
            bubble.states.push(text);
        }
        bubble.done = done;
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PlatformSimulator for Callbacks {
    fn features(&self) -> Features {
        Features {
            hears_groups: false,
            // A stream and one more message; the rest is behind a link.
            long_answers: false,
            // The bot calls nothing but an address that is valid for one message.
            checks_credentials: false,
            rate_limits: false,
            sends_pictures: false,
            sends_files: false,
            ..Features::ALL
        }
    }

    fn integration(&self) -> Value {
        let mut integration = Bot::new(self.cipher.clone(), String::new()).as_integration("WeCom");
        integration["endpoints"] = json!({ "apiBase": self.responses.url });
        integration
    }

    fn wrong_integration(&self) -> Value {
        self.integration()
    }

    fn created(&self, callback_url: &str) {
        // A bot is created once.
        let _ = self.callback_url.set(callback_url.to_owned());
    }

    fn is_connected(&self) -> bool {
        self.callback_url.get().is_some()
    }

    fn say(&self, from: &Speaker, text: &str, mention: bool) -> String {
        let text = super::mentioning(from, text, mention);
        self.deliver(from, &json!({ "msgtype": "text", "text": { "content": text } }))
    }

    /// Encrypted with the bot's own key.
    fn upload(&self, from: &Speaker, upload: Upload) -> Option<String> {
        let url = self.responses.keep_file(self.cipher.encrypt_file(upload.bytes));
        let kind = if upload.is_picture { "image" } else { "file" };
        Some(self.deliver(from, &json!({ "msgtype": kind, kind: { "url": url } })))
    }

    fn redeliver(&self, id: &str) {
        tokio::spawn(self.clone().converse(id.to_owned()));
    }

    fn shown(&self, chat: &Speaker) -> Vec<Bubble> {
        let mut all = lock(&self.bubbles).clone();
        all.extend(self.responses.shown_after(&all));
        all.retain(|bubble| bubble.chat == chat.chat());
        all
    }

    fn open_chat(&self, by: &Speaker) -> bool {
        self.happen(by, "entered1", json!({ "eventtype": "enter_chat" }));
        true
    }

    fn rate(&self, by: &Speaker, is_good: bool) -> bool {
        let subject = lock(&self.rated_by).clone().expect("an answer that can be rated");
        self.happen(by, "rated1", super::feedback(&json!(subject), is_good));
        true
    }

    /// Dots in place of a text.
    fn thinking_signs(&self, chat: &Speaker) -> Option<usize> {
        Some(super::dots(&self.shown(chat)))
    }

    fn rate_limit_once(&self) {}

    fn complaints(&self) -> Vec<String> {
        let mut all = lock(&self.complaints).clone();
        all.extend(self.responses.refused());
        all
    }
}
