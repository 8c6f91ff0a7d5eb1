//! `openai_chat`: Chat Completions, in the variants of many servers.
//!
//! The API is stateless: the session stores a window of earlier turns and sends it again. Closing the connection cancels.
//!
//! See [OpenAI API Reference/Chat Completions](https://platform.openai.com/docs/api-reference/chat/create).

pub(crate) mod compose;
mod read;
mod window;
mod wire;

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{RequestBuilder, Response};
use tieline_core::agent::{AgentFailure, AgentRequest};
use tieline_core::bilingual::Bilingual;
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::answer::{self, Answer, Events};
use crate::call::{self, Manner};
use crate::config::{self, Field, FieldKind, InvalidConfig};
use crate::env::Env;
use crate::failure;
use crate::manifest::{History, Manifest, end_user};
use crate::run::{End, EventSink, log_usage};
use crate::settings::{self, Settings};
use crate::sse::Event;

use read::Reading;
use window::Window;

const MODEL: Field = Field {
    name: "model",
    kind: FieldKind::Text,
    required: true,
    secret: false,
    help: Bilingual {
        en: "Name of the model, as the server knows it.",
        zh: "模型名称，以服务器所用的为准。",
    },
};
const HISTORY_MESSAGES: Field = Field {
    name: "historyMessages",
    kind: FieldKind::Whole {
        default: 40,
        min: 0,
        max: 1000,
    },
    required: false,
    secret: false,
    help: Bilingual {
        en: "Most earlier messages of the session that are sent along; a question and its answer are two.",
        zh: "最多附带会话中多少条早先的消息；一问一答算两条。",
    },
};
const HISTORY_TOKENS: Field = Field {
    name: "historyTokens",
    kind: FieldKind::Whole {
        default: 8000,
        min: 0,
        max: 10_000_000,
    },
    required: false,
    secret: false,
    help: Bilingual {
        en: "Most tokens of earlier messages, by a plain estimate: 4 ASCII characters or 1 other character each.",
        zh: "早先消息的 token 上限，按简单估算：4 个 ASCII 字符或 1 个其他字符算一个。",
    },
};

/// The protocol's manifest.
pub static MANIFEST: Manifest = Manifest {
    word: "openai_chat",
    name: "Chat Completions",
    fields: &[
        config::BASE_URL,
        config::API_KEY,
        MODEL,
        config::SYSTEM_PROMPT,
        HISTORY_MESSAGES,
        HISTORY_TOKENS,
        config::HEADERS,
        config::IDLE_TIMEOUT,
        config::MAX_RUN,
        config::IDENTITY,
    ],
    needs_transcript: true,
    wants_inline_images: true,
    can_resume: false,
};

/// Wait after `finish_reason`: usage and `[DONE]` may follow, and some servers never close.
const TRAILER_PATIENCE: Duration = Duration::from_secs(1);
/// Wait after a `finish_reason` that came together with text: more text may follow, with a model's pauses, so this is longer.
const MORE_PATIENCE: Duration = Duration::from_secs(5);
/// Wait after a `finish_reason` that came before any text, since the model may still be thinking.
const FIRST_PATIENCE: Duration = Duration::from_secs(30);

/// A server of Chat Completions.
#[derive(Clone)]
pub(crate) struct OpenaiChat {
    url: Url,
    headers: HeaderMap,
    model: String,
    system_prompt: String,
    window: Window,
    idle: Duration,
}

impl OpenaiChat {
    pub(crate) fn read(settings: &Settings<'_>) -> Result<Self, InvalidConfig> {
        Ok(Self {
            url: settings::below(&settings.address(&config::BASE_URL)?, &["chat", "completions"]),
            headers: headers(settings)?,
            model: settings.text(&MODEL).to_owned(),
            system_prompt: settings.text(&config::SYSTEM_PROMPT).to_owned(),
            window: Window {
                max_messages: settings.whole(&HISTORY_MESSAGES),
                max_tokens: settings.whole(&HISTORY_TOKENS),
            },
            idle: settings.seconds(&config::IDLE_TIMEOUT),
        })
    }

    pub(crate) fn history(&self) -> History {
        self.window.history()
    }

    pub(crate) async fn ask(
        &self,
        request: &AgentRequest,
        sink: &mut EventSink,
        env: &Env,
    ) -> Result<End, AgentFailure> {
        let user = end_user(&request.organization, &request.user.id);
        let messages = compose::messages(&self.system_prompt, &self.window, request)?;
        let key = Some(call::idempotency_key(&request.run, 1));
        let response = self.send(messages, &user, key, Manner::asking(self.idle), env).await?;
        match answer::open(response, self.idle).await? {
            Answer::Json(body) => self.whole(&body, sink).await,
            Answer::Events(events) => self.streamed(events, sink).await,
        }
    }

    /// Asks for one word and closes the connection at the first byte of the answer: the cheapest test of URL, key and model.
    pub(crate) async fn probe(&self, env: &Env) -> Result<(), AgentFailure> {
        let response = match self.send_probe(Some(1), env).await {
            // Some models refuse `max_tokens`; such an agent is alive and is asked without the field.
            Err(failure) if failure.message.contains("max_tokens") => self.send_probe(None, env).await?,
            answered => answered?,
        };
        let mut reading = Reading::default();
        match answer::open(response, self.idle).await? {
            Answer::Json(body) => reading.whole(&body).map(|_| ()),
            Answer::Events(mut events) => match events.next().await? {
                Some(event) if read::is_done(&event.data) => Ok(()),
                Some(event) => reading.chunk(&event.data).map(|_| ()),
                None => Err(failure::incomplete()),
            },
        }
    }

    async fn send_probe(&self, max_tokens: Option<u32>, env: &Env) -> Result<Response, AgentFailure> {
        let body = compose::body(&self.model, compose::probe(), "probe", max_tokens)?;
        self.send_body(body, None, Manner::probing(), env).await
    }

    async fn send(
        &self,
        messages: Vec<wire::Message>,
        user: &str,
        key: Option<HeaderValue>,
        manner: Manner,
        env: &Env,
    ) -> Result<Response, AgentFailure> {
        let body = compose::body(&self.model, messages, user, None)?;
        self.send_body(body, key, manner, env).await
    }

    async fn send_body(
        &self,
        body: Bytes,
        key: Option<HeaderValue>,
        manner: Manner,
        env: &Env,
    ) -> Result<Response, AgentFailure> {
        let mut headers = self.headers.clone();
        headers.extend(key.map(|key| (HeaderName::from_static(call::IDEMPOTENCY_KEY), key)));
        let make = || -> RequestBuilder {
            env.http
                .post(self.url.clone())
                .headers(headers.clone())
                .body(body.clone())
        };
        call::send(make, manner, env).await
    }

    /// Reads an unstreamed answer: some servers send plain JSON in spite of `stream`.
    async fn whole(&self, body: &[u8], sink: &mut EventSink) -> Result<End, AgentFailure> {
        let mut reading = Reading::default();
        for event in reading.whole(body)? {
            sink.emit(event).await?;
        }
        self.end(&reading)
    }

    async fn streamed(&self, mut events: Box<Events>, sink: &mut EventSink) -> Result<End, AgentFailure> {
        let mut reading = Reading::default();
        let mut silent_until = None;
        while !reading.is_finished() {
            let said = match next_until(silent_until, &mut events).await {
                Ok(Some(event)) => reading.chunk(&event.data),
                // A stream that ends after a finish reason is complete.
                Ok(None) if reading.may_be_finished() => return self.end(&reading),
                Ok(None) => Err(failure::incomplete()),
                Err(failure) => Err(failure),
            };
            let said = match said {
                Err(_) if reading.was_whole() => return self.end(&reading),
                said => said?,
            };
            let is_news = silent_until.is_none() || !said.is_empty();
            for said in said {
                sink.emit(said).await?;
            }
            // Counted from the time at which the event is read, which may be a while after it arrived.
            if reading.may_be_finished() && is_news {
                let patience = if reading.has_text() {
                    MORE_PATIENCE
                } else {
                    FIRST_PATIENCE
                };
                silent_until = Some(Instant::now() + patience);
            }
        }
        read_trailer(&mut reading, &mut events).await;
        self.end(&reading)
    }

    fn end(&self, reading: &Reading) -> Result<End, AgentFailure> {
        if let Some(usage) = reading.usage() {
            log_usage(usage.prompt_tokens, usage.completion_tokens);
        }
        reading.end().map(|()| End::Completed { final_text: None })
    }
}

/// The next event; `None` at the end of the stream, or if no event comes before `until`.
async fn next_until(until: Option<Instant>, events: &mut Events) -> Result<Option<Event>, AgentFailure> {
    let Some(until) = until else {
        return events.next().await;
    };
    match timeout_at(until, events.next()).await {
        // The agent's own idle timeout was shorter than the wait.
        Ok(Err(failure)) if failure::is_timeout(&failure) => Ok(None),
        Ok(next) => next,
        Err(_) => Ok(None),
    }
}

/// Reads on for the usage after the answer is complete. Errors no longer matter.
async fn read_trailer(reading: &mut Reading, events: &mut Events) {
    let deadline = Instant::now() + TRAILER_PATIENCE;
    while !reading.is_done()
        && let Ok(Ok(Some(event))) = timeout_at(deadline, events.next()).await
        && reading.chunk(&event.data).is_ok()
    {}
}

fn headers(settings: &Settings<'_>) -> Result<HeaderMap, InvalidConfig> {
    let mut headers = settings.bearer_headers()?;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(headers)
}
