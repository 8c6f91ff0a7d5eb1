//! A simulated platform to which answers are pushed: the part of Telegram's Bot API that a conversation uses. Calls of processes get the same faults
//! as their calls of tables, and now and then the platform's rate limit.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tieline_bridge::seeded::SimulatedPlatform;
use tieline_core::http_types::{ApiAnswer, Body, HttpCall};
use tokio::time::Instant;

use crate::chance::SeededRng;
use crate::faults::{ProcessRun, with_fault};
use crate::mistakes::Mistake;

/// The bot's user name.
pub(crate) const BOT_NAME: &str = "simbot";
/// How many of a thousand calls the platform refuses for its rate limit.
const TOO_FAST: u64 = 20;

/// What every version of a message said, and since when.
pub(crate) type Versions = Vec<(Instant, String)>;

/// A message of the bot.
#[derive(Debug, Clone)]
pub(crate) struct ShownMessage {
    pub(crate) chat: i64,
    pub(crate) versions: Versions,
}

impl ShownMessage {
    /// What it says now.
    pub(crate) fn text(&self) -> &str {
        self.versions.last().map_or("", |(_, text)| text)
    }

    pub(crate) fn sent_at(&self) -> Instant {
        self.versions[0].0
    }
}

/// The platform's server.
#[derive(Debug)]
pub(crate) struct Platform {
    messages: Mutex<Vec<ShownMessage>>,
    rate_limit: Option<Mutex<SeededRng>>,
    /// When the platform stops refusing calls for its rate limit.
    until: Instant,
}

impl Platform {
    /// A platform that refuses some calls until then, if `rate_limit` says which.
    pub(crate) fn new(rate_limit: Option<SeededRng>, until: Instant) -> Arc<Self> {
        Arc::new(Self {
            messages: Mutex::default(),
            rate_limit: rate_limit.map(Mutex::new),
            until,
        })
    }

    /// All messages of the bot, in the order in which they were sent.
    pub(crate) fn messages(&self) -> Vec<ShownMessage> {
        self.messages.lock().unwrap().clone()
    }

    /// Executes a method.
    fn execute(&self, method: &str, parameters: &Value) -> ApiAnswer {
        if let Some(wait) = self.asked_to_wait() {
            return answered(
                429,
                &json!({ "ok": false, "error_code": 429, "description": "Too Many Requests", "parameters": { "retry_after": wait } }),
            );
        }
        match method {
            "sendMessage" => self.send(parameters),
            "editMessageText" => self.edit(parameters),
            "sendChatAction" | "sendMessageDraft" => done(&json!(true)),
            _ => answered(
                404,
                &json!({ "ok": false, "error_code": 404, "description": "Not Found" }),
            ),
        }
    }

    /// For how many seconds the platform asks the bot to wait.
    fn asked_to_wait(&self) -> Option<u64> {
        let mut rng = self.rate_limit.as_ref()?.lock().unwrap();
        let refuses = Instant::now() < self.until && rng.in_thousand(TOO_FAST);
        refuses.then(|| 1 + rng.below(30))
    }

    fn send(&self, parameters: &Value) -> ApiAnswer {
        let (Some(chat), Some(text)) = (parameters["chat_id"].as_i64(), text_of(parameters)) else {
            return refused("Bad Request: message text is empty");
        };
        let mut messages = self.messages.lock().unwrap();
        messages.push(ShownMessage {
            chat,
            versions: vec![(Instant::now(), text)],
        });
        done(&json!({ "message_id": messages.len(), "chat": { "id": chat } }))
    }

    fn edit(&self, parameters: &Value) -> ApiAnswer {
        let mut messages = self.messages.lock().unwrap();
        let number = parameters["message_id"]
            .as_u64()
            .and_then(|id| usize::try_from(id).ok());
        let message = number.and_then(|number| messages.get_mut(number.checked_sub(1)?));
        let Some(message) = message.filter(|message| parameters["chat_id"] == message.chat) else {
            return refused("Bad Request: message to edit not found");
        };
        let Some(text) = text_of(parameters) else {
            return refused("Bad Request: message text is empty");
        };
        if message.text() == text {
            return refused("Bad Request: message is not modified");
        }
        message.versions.push((Instant::now(), text));
        done(&json!({ "message_id": number }))
    }
}

fn text_of(parameters: &Value) -> Option<String> {
    let text = parameters["text"].as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn done(result: &Value) -> ApiAnswer {
    answered(200, &json!({ "ok": true, "result": result }))
}

fn refused(why: &str) -> ApiAnswer {
    answered(400, &json!({ "ok": false, "error_code": 400, "description": why }))
}

fn answered(status: u16, body: &Value) -> ApiAnswer {
    ApiAnswer::Answered {
        status,
        retry_after_s: None,
        body: body.to_string().into_bytes(),
    }
}

/// The platform as a process reaches it.
#[derive(Debug)]
pub(crate) struct ReachedPlatform {
    pub(crate) platform: Arc<Platform>,
    /// `None`: without faults.
    pub(crate) process_run: Option<Arc<ProcessRun>>,
}

impl SimulatedPlatform for ReachedPlatform {
    fn answer(&self, call: &HttpCall) -> Pin<Box<dyn Future<Output = ApiAnswer> + Send>> {
        let method = call.url.rsplit('/').next().unwrap_or_default().to_owned();
        let parameters = match &call.body {
            Body::Json(text) => serde_json::from_str(text).unwrap_or_default(),
            _ => Value::Null,
        };
        let (platform, process_run, limit) = (Arc::clone(&self.platform), self.process_run.clone(), call.timeout);
        Box::pin(async move {
            let called = format!("Platform.{method}");
            let executed = async move { platform.execute(&method, &parameters) };
            let Some(process_run) = process_run else {
                return executed.await;
            };
            // A connection that breaks doesn't say whether the call arrived.
            let answering = with_fault(Arc::clone(&process_run), &called, limit, executed, || {
                ApiAnswer::Unknown
            });
            match (answering.await, process_run.mistake()) {
                (ApiAnswer::Unknown, Some(Mistake::UnansweredIsAccepted)) => done(&json!({ "message_id": 1 })),
                (answer, _) => answer,
            }
        })
    }
}
