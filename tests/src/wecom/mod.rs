//! WeCom's side of an AI bot in callback mode, as strict as the platform: what we answer is checked field by field.
//!
//! An independent implementation of the cryptography: nothing here uses the connector.

pub(crate) mod cipher;
mod response;
mod row;

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use reqwest::Client;
use serde_json::{Value, json};

use crate::outbound::Bubble;
pub use crate::outbound::Speaker;
pub use cipher::Cipher;
pub use response::{ResponseServer, Said};
pub use row::Callbacks;

/// A bot as the platform knows it.
#[derive(Clone)]
pub struct Bot {
    /// Token and key, as the operator enters them.
    pub cipher: Cipher,
    /// The callback URL.
    pub callback_url: String,
    http: Client,
}

/// One state of a stream, as the platform would show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The stream.
    pub id: String,
    /// The text.
    pub content: String,
    /// Whether it is the last.
    pub finish: bool,
    /// The id by which it can be rated. Only in the first state.
    pub feedback: Option<String>,
}

/// The platform's timeout of a callback.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest content of a stream.
const MAX_CONTENT_BYTES: usize = 20_480;

/// The text as the platform delivers it: in a group it contains the mention of the bot.
#[must_use]
pub fn mentioning(from: &Speaker, text: &str, mention: bool) -> String {
    match from.group {
        Some(_) if mention => format!("@Helper {text}"),
        _ => text.to_owned(),
    }
}

/// The event of a person's rating of an answer.
pub(crate) fn feedback(subject: &Value, is_good: bool) -> Value {
    let kind = if is_good { 1 } else { 2 };
    json!({ "eventtype": "feedback_event", "feedback_event": { "id": subject, "type": kind } })
}

/// Number of bubbles that began with dots.
pub(crate) fn dots(bubbles: &[Bubble]) -> usize {
    let begun = bubbles
        .iter()
        .filter(|bubble| bubble.states.first().is_some_and(|text| text == "<think></think>"));
    begun.count()
}

impl Bot {
    /// A bot with a token and a key, whose callbacks go to `callback_url`.
    ///
    /// # Panics
    /// If no HTTP client can be made.
    #[must_use]
    pub fn new(cipher: Cipher, callback_url: String) -> Self {
        let http = Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .expect("a client can be made");
        Self {
            cipher,
            callback_url,
            http,
        }
    }

    /// Request body that creates the integration of the bot.
    #[must_use]
    pub fn as_integration(&self, name: &str) -> Value {
        json!({ "name": name, "platform": "wecom", "connectionMode": "webhook",
                "credentials": { "token": self.cipher.token, "encodingAesKey": self.cipher.encoding_aes_key, "botName": "Helper" } })
    }

    /// The callback of a text message.
    #[must_use]
    pub fn text(&self, from: &Speaker, id: &str, text: &str, response_url: &str) -> Value {
        let content = json!({ "msgtype": "text", "text": { "content": text } });
        self.message(from, id, &content, response_url)
    }

    /// The callback of a message with this content: its type, and the field of that name.
    #[must_use]
    pub fn message(&self, from: &Speaker, id: &str, content: &Value, response_url: &str) -> Value {
        let mut message = self.envelope(from, id);
        message["response_url"] = json!(response_url);
        if let (Some(message), Value::Object(content)) = (message.as_object_mut(), content.clone()) {
            message.extend(content);
        }
        message
    }

    /// The callback that polls the newest state of a stream.
    #[must_use]
    pub fn poll(&self, from: &Speaker, stream: &str) -> Value {
        let mut message = self.envelope(from, &format!("poll-{}", cipher::nonce()));
        message["msgtype"] = json!("stream");
        message["stream"] = json!({ "id": stream });
        message
    }

    /// Fields that every callback has.
    #[must_use]
    pub fn envelope(&self, from: &Speaker, id: &str) -> Value {
        let mut message =
            json!({ "msgid": id, "aibotid": "aibTESTS", "chattype": "single", "from": { "userid": from.user } });
        if let Some(group) = &from.group {
            message["chattype"] = json!("group");
            message["chatid"] = json!(group);
        }
        message
    }

    /// Sends a callback as the platform does. Returns status, body and the time it took.
    ///
    /// # Errors
    /// If there is no response within five seconds.
    pub async fn send_raw(&self, query: &str, body: String) -> anyhow::Result<(u16, String, Duration)> {
        let began = Instant::now();
        let url = format!("{}?{query}", self.callback_url);
        let response = self
            .http
            .post(url)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await?;
        let status = response.status().as_u16();
        Ok((status, response.text().await?, began.elapsed()))
    }

    /// Sends a callback and parses the passive reply. `None`: an empty body.
    ///
    /// # Errors
    /// If the platform would not accept the response.
    pub async fn send(&self, message: &Value) -> anyhow::Result<Option<Value>> {
        let (query, body, nonce) = self.cipher.callback(&message.to_string());
        let (status, body, _) = self.send_raw(&query, body).await?;
        ensure!(status == 200, "the callback got {status}: {body}");
        if body.is_empty() {
            return Ok(None);
        }
        let plain = self.cipher.open_reply(&body, &nonce)?;
        Ok(Some(serde_json::from_str(&plain)?))
    }

    /// Sends a callback whose response must be a stream.
    ///
    /// # Errors
    /// If it isn't one, or breaks a rule of streams.
    pub async fn send_for_stream(&self, message: &Value) -> anyhow::Result<Shown> {
        let reply = self
            .send(message)
            .await?
            .context("the response is empty: the client would show a spinner for ever")?;
        ensure!(reply["msgtype"] == "stream", "not a stream: {reply}");
        let stream = &reply["stream"];
        for field in stream.as_object().context("no stream")?.keys() {
            ensure!(
                ["id", "finish", "content", "msg_item", "feedback"].contains(&field.as_str()),
                "unknown field {field}"
            );
        }
        let id = stream["id"].as_str().context("no stream id")?.to_owned();
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        ensure!(
            !id.is_empty() && id.len() <= 64 && id.chars().all(legal),
            "bad stream id {id}"
        );
        let content = stream["content"].as_str().context("no content")?.to_owned();
        ensure!(content.len() <= MAX_CONTENT_BYTES, "content of {} bytes", content.len());
        let finish = stream["finish"].as_bool().unwrap_or(false);
        ensure!(
            !finish || !content.trim().is_empty(),
            "the last frame has no visible text"
        );
        let feedback = stream["feedback"]["id"].as_str().map(str::to_owned);
        Ok(Shown {
            id,
            content,
            finish,
            feedback,
        })
    }

    /// Sends a message and polls like the platform until the stream is finished. Returns all states in order.
    ///
    /// # Errors
    /// If it isn't within `limit`.
    pub async fn converse(&self, from: &Speaker, message: &Value, limit: Duration) -> anyhow::Result<Vec<Shown>> {
        let first = self.send_for_stream(message).await?;
        let id = first.id.clone();
        let mut shown = vec![first];
        let give_up_at = Instant::now() + limit;
        while !shown.last().is_some_and(|last| last.finish) {
            if Instant::now() > give_up_at {
                bail!("the stream is not finished: {:?}", shown.last());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
            let next = self.send_for_stream(&self.poll(from, &id)).await?;
            ensure!(next.id == id, "the stream changed its id from {id} to {}", next.id);
            if shown.last() != Some(&next) {
                shown.push(next);
            }
        }
        Ok(shown)
    }
}
