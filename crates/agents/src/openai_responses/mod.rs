//! `openai_responses`: the Responses API, in the dialects of OpenAI and of Wegent.
//!
//! The server keeps the conversation: `openai` chains responses by their ids, so only a finished one is passed on; `wegent` has one id for
//! the whole conversation. With `background` the response continues without a listener, and another process can follow it.
//!
//! See [OpenAI API Reference/Responses](https://platform.openai.com/docs/api-reference/responses) and
//! [Background mode](https://platform.openai.com/docs/guides/background). Wegent's dialect is documented by its source,
//! [wecode-ai/Wegent](https://github.com/wecode-ai/Wegent).

mod compose;
mod follow;
mod read;
mod wire;

use std::time::Duration;

use reqwest::Response;
use tieline_core::agent::{AgentEvent, AgentFailure, AgentRequest, Resume};
use tieline_core::bilingual::Bilingual;
use tokio::time::sleep;
use tracing::info;

use crate::answer::{self, Answer};
use crate::api::Api;
use crate::call::{self, Fault, Manner};
use crate::config::{self, Field, FieldKind, InvalidConfig, invalid};
use crate::env::Env;
use crate::facts::{self, Facts};
use crate::failure;
use crate::manifest::{CancelRequest, Manifest, end_user};
use crate::run::{End, EventSink};
use crate::settings::Settings;

use follow::Follower;
use read::Reading;
use wire::{Input, Request};

const MODEL: Field = Field {
    name: "model",
    kind: FieldKind::Text,
    required: true,
    secret: false,
    help: Bilingual {
        en: "Name of the model, as the server knows it. Wegent: namespace#team, or namespace#team#model.",
        zh: "模型名称，以服务器所用的为准。Wegent：namespace#team 或 namespace#team#model。",
    },
};
const DIALECT: Field = Field {
    name: "dialect",
    kind: FieldKind::Choice(&["openai", "wegent"]),
    required: false,
    secret: false,
    help: Bilingual {
        en: "Whose Responses API the server speaks.",
        zh: "服务器所用的 Responses API 是哪一家的。",
    },
};
const BACKGROUND: Field = Field {
    name: "background",
    kind: FieldKind::Flag,
    required: false,
    secret: false,
    help: Bilingual {
        en: "The server generates the response in the background: the answer survives a broken connection and a restart of the bridge. \
           Use it for answers that take minutes, if the server supports background mode. Wegent: poll instead of streaming; use it \
           for a team whose shell is not Chat.",
        zh: "服务端在后台生成回答：连接断开或网桥重启后，回答仍能继续。回答需要数分钟、且服务端支持后台模式时启用。\
           Wegent：不用流式，改为轮询；team 的 shell 不是 Chat 时启用。",
    },
};

/// The protocol's manifest.
pub static MANIFEST: Manifest = Manifest {
    word: "openai_responses",
    name: "Responses API",
    fields: &[
        config::BASE_URL,
        config::API_KEY,
        MODEL,
        DIALECT,
        BACKGROUND,
        config::SYSTEM_PROMPT,
        config::HEADERS,
        config::IDLE_TIMEOUT,
        config::MAX_RUN,
        config::IDENTITY,
    ],
    needs_transcript: false,
    wants_inline_images: true,
    can_resume: true,
};

/// Dialect of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Openai,
    Wegent,
}

/// A server of the Responses API.
#[derive(Clone)]
pub(crate) struct OpenaiResponses {
    api: Api,
    model: String,
    dialect: Dialect,
    background: bool,
    instructions: String,
    idle: Duration,
}

impl OpenaiResponses {
    pub(crate) fn read(settings: &Settings<'_>) -> Result<Self, InvalidConfig> {
        let dialect = match settings.choice(&DIALECT) {
            "wegent" => Dialect::Wegent,
            _ => Dialect::Openai,
        };
        let instructions = settings.text(&config::SYSTEM_PROMPT);
        if dialect == Dialect::Wegent && !instructions.is_empty() {
            let reason = "can't be set with the dialect wegent: the team has its own prompt";
            return Err(invalid(config::SYSTEM_PROMPT.name, reason));
        }
        Ok(Self {
            api: Api::read(settings)?,
            model: settings.text(&MODEL).to_owned(),
            dialect,
            background: settings.flag(&BACKGROUND),
            instructions: instructions.to_owned(),
            idle: settings.seconds(&config::IDLE_TIMEOUT),
        })
    }

    /// Whether a response continues without a listener.
    pub(crate) const fn can_resume(&self) -> bool {
        self.background || matches!(self.dialect, Dialect::Wegent)
    }

    pub(crate) async fn ask(
        &self,
        request: &AgentRequest,
        sink: &mut EventSink,
        env: &Env,
    ) -> Result<End, AgentFailure> {
        if let Some(resume) = &request.resume {
            return self.resume(resume, request, sink, env).await;
        }
        let mut question = Question {
            previous: request.session.conversation_ref.as_deref(),
            stream: self.dialect == Dialect::Openai || !self.background,
            n: 1,
        };
        loop {
            let response = self.create(request, &mut question, sink, env).await?;
            let mut follower = Follower::new(self, request, sink, env);
            let ended = match answer::open(response, self.idle).await? {
                Answer::Json(body) => follower.whole(&body).await,
                Answer::Events(events) => follower.stream(events).await,
            };
            match ended {
                Err(failure) if question.stream && self.cannot_stream(&failure.code) => question.without_stream(),
                ended => return ended,
            }
        }
    }

    /// Follows the response that an earlier process created.
    async fn resume(
        &self,
        resume: &Resume,
        request: &AgentRequest,
        sink: &mut EventSink,
        env: &Env,
    ) -> Result<End, AgentFailure> {
        let mut follower = Follower::new(self, request, sink, env);
        let sequence_number = resume.cursor.as_deref().and_then(|cursor| cursor.parse().ok());
        follower.reading.resume(resume.run_ref.clone(), sequence_number);
        match sequence_number {
            Some(_) => follower.reconnect().await,
            None => follower.poll().await,
        }
    }

    /// Creates the response: in a new conversation if the server has forgotten the old one, after the running task of a conversation
    /// that has one, and without a stream if the server can't stream.
    async fn create(
        &self,
        request: &AgentRequest,
        question: &mut Question<'_>,
        sink: &mut EventSink,
        env: &Env,
    ) -> Result<Response, AgentFailure> {
        let user = end_user(&request.organization, &request.user.id);
        let mut n_busy = 0;
        loop {
            let body = self.body(request, question, &user)?;
            let key = Some(call::idempotency_key(&request.run, question.n));
            let url = self.api.url(&["responses"]);
            let fault = match self.api.post(&url, &body, key, Manner::asking(self.idle), env).await {
                Ok(response) => return Ok(response),
                Err(fault) => fault,
            };
            if question.previous.is_some() && is_unknown_previous(&fault) {
                sink.emit(AgentEvent::ConversationLost).await?;
                question.restart();
            } else if self.is_busy(&fault) {
                n_busy += 1;
                info!(run = %request.run, "agent still works on an earlier message of the conversation, waiting");
                sleep(env.backoff.wait(n_busy, (env.random)())).await;
            } else if question.stream && self.cannot_stream(fault.error.word().unwrap_or_default()) {
                question.without_stream();
            } else {
                return Err(fault.failure);
            }
        }
    }

    fn body<'a>(
        &'a self,
        request: &AgentRequest,
        question: &Question<'a>,
        user: &'a str,
    ) -> Result<Request<'a>, AgentFailure> {
        let common = Request {
            model: &self.model,
            input: compose::input(request, self.dialect),
            previous_response_id: question.previous,
            stream: question.stream,
            ..Request::default()
        };
        Ok(match self.dialect {
            Dialect::Wegent => common,
            Dialect::Openai => Request {
                instructions: Facts::of(request).fill(&self.instructions)?,
                background: Some(self.background),
                store: Some(true),
                user: Some(user),
                metadata: facts::metadata(request),
                ..common
            },
        })
    }

    /// Whether an earlier message of the conversation is still being processed.
    fn is_busy(&self, fault: &Fault) -> bool {
        let message = fault.error.message.as_deref().unwrap_or_default();
        self.dialect == Dialect::Wegent && fault.status == 400 && message.to_lowercase().contains("running")
    }

    fn cannot_stream(&self, code: &str) -> bool {
        self.dialect == Dialect::Wegent && matches!(code, "streaming_not_supported" | "not_implemented")
    }

    /// Cancels a background response. For any other, closing the connection was enough.
    pub(crate) async fn cancel(&self, cancel: &CancelRequest, env: &Env) -> Result<(), AgentFailure> {
        let Some(id) = cancel.run_ref.as_deref().filter(|_| self.can_resume()) else {
            return Ok(());
        };
        let url = self.api.url(&["responses", id, "cancel"]);
        let no_body = serde_json::json!({});
        match self.api.post(&url, &no_body, None, Manner::cancelling(), env).await {
            Ok(_) => Ok(()),
            // It has ended in the meantime, or is unknown.
            Err(fault) if matches!(fault.status, 400 | 404 | 409) => Ok(()),
            Err(fault) => Err(fault.failure),
        }
    }

    /// Asks for one word and closes the connection at the first event. Wegent creates a task for every question, so it is asked for a
    /// response that can't exist.
    pub(crate) async fn probe(&self, env: &Env) -> Result<(), AgentFailure> {
        if self.dialect == Dialect::Wegent {
            let url = self.api.url(&["responses", "resp_0"]);
            return match self.api.get_once(&url, env).await {
                Err(fault) if fault.status == 404 && fault.error.message.is_some() => Ok(()),
                answered => answered.map(|_| ()).map_err(AgentFailure::from),
            };
        }
        let body = Request {
            model: &self.model,
            input: Input::Text("ping".to_owned()),
            stream: true,
            store: Some(false),
            max_output_tokens: Some(16),
            user: Some("probe"),
            ..Request::default()
        };
        let url = self.api.url(&["responses"]);
        let response = self.api.post(&url, &body, None, Manner::probing(), env).await?;
        let mut reading = Reading::new(self.dialect);
        match answer::open(response, self.idle).await? {
            Answer::Json(body) => read::response(&body).map(|_| ()),
            Answer::Events(mut events) => match events.next().await? {
                Some(event) => reading.event(event.data.as_bytes()).map(|_| ()),
                None => Err(failure::incomplete()),
            },
        }
    }
}

/// Variant of a question's body.
struct Question<'a> {
    previous: Option<&'a str>,
    stream: bool,
    /// Number of the body, for the idempotency key.
    n: u32,
}

impl Question<'_> {
    fn restart(&mut self) {
        self.previous = None;
        self.n += 1;
    }

    fn without_stream(&mut self) {
        self.stream = false;
        self.n += 1;
    }
}

fn is_unknown_previous(fault: &Fault) -> bool {
    let message = fault.error.message.as_deref().unwrap_or_default().to_lowercase();
    let told = fault.error.code.as_deref() == Some("previous_response_not_found")
        || message.contains("previous response") && message.contains("not found");
    matches!(fault.status, 400 | 404) && told
}
