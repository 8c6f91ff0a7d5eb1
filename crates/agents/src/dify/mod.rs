//! `dify`: chat apps of Dify: chatbots, agents and chatflows.
//!
//! The server keeps the conversation, for the `user` who began it: a later speaker of the same session is known by the text and the
//! inputs, as in every protocol. A workflow-backed app continues without a listener, and another process can follow it; a chatbot or
//! an agent can't be followed. A form of a paused workflow is asked in the chat, and the next message of the session answers it.
//!
//! See [Dify Docs/Send Chat Message](https://docs.dify.ai/api-reference/chat/send-chat-message).

mod attachments;
mod conversation;
mod read;
mod wire;

use std::time::Duration;

use reqwest::Response;
use serde_json::{Map, Value};
use tieline_core::agent::{AgentEvent, AgentFailure, AgentMessage, AgentRequest, Resume};
use tieline_core::bilingual::Bilingual;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;
use url::Url;

use crate::answer::{self, Answer, Events};
use crate::api::Api;
use crate::call::{self, Manner};
use crate::config::{self, Field, FieldKind, InvalidConfig};
use crate::env::Env;
use crate::facts::Facts;
use crate::failure;
use crate::manifest::{CancelRequest, Manifest, end_user};
use crate::prompt;
use crate::run::{End, EventSink};
use crate::settings::Settings;
use crate::sse::Event;

use conversation::{Conversation, Form};
use read::Reading;
use wire::{Decision, Request, Stop};

const API_KEY: Field = Field {
    required: true,
    help: Bilingual {
        en: "API key of the app (app-…).",
        zh: "应用的 API 密钥（app-…）。",
    },
    ..config::API_KEY
};
const INPUTS: Field = Field {
    name: "inputs",
    kind: FieldKind::Object,
    required: false,
    secret: false,
    help: Bilingual {
        en: "Values of the app's input variables. `{{displayName}}` and the other facts are filled in.",
        zh: "应用各输入变量的值。其中的 `{{displayName}}` 等占位符会替换为实际信息。",
    },
};

/// The protocol's manifest.
pub static MANIFEST: Manifest = Manifest {
    word: "dify",
    name: "Dify",
    fields: &[
        config::BASE_URL,
        API_KEY,
        INPUTS,
        config::HEADERS,
        config::IDLE_TIMEOUT,
        config::MAX_RUN,
        config::IDENTITY,
    ],
    needs_transcript: false,
    wants_inline_images: true,
    can_resume: true,
};

/// Largest number of reconnects after a workflow's stream broke.
const MAX_RECONNECTS: u32 = 3;
/// Time to wait for further events after the answer is complete: chatflows send `message_end` and `workflow_finished` in either order,
/// and a server may leave one of them out.
const TRAILER_PATIENCE: Duration = Duration::from_secs(2);

/// Code of the error for a form that was submitted already.
const SUBMITTED: &str = "human_input_form_submitted";

/// An app of Dify.
#[derive(Clone)]
pub(crate) struct Dify {
    api: Api,
    inputs: Map<String, Value>,
    idle: Duration,
}

impl Dify {
    pub(crate) fn read(settings: &Settings<'_>) -> Result<Self, InvalidConfig> {
        Ok(Self {
            api: Api::read(settings)?,
            inputs: settings.object(&INPUTS),
            idle: settings.seconds(&config::IDLE_TIMEOUT),
        })
    }

    /// Whether the run is a workflow run.
    pub(crate) const fn can_resume(resume: &Resume) -> bool {
        resume.cursor.is_some()
    }

    pub(crate) async fn ask(
        &self,
        request: &AgentRequest,
        sink: &mut EventSink,
        env: &Env,
    ) -> Result<End, AgentFailure> {
        let mut conversation = Conversation::of(request);
        let form = conversation.form.take();
        let mut run = Run {
            dify: self,
            user: conversation.user(&request.organization, &request.user.id),
            sink,
            env,
            reading: Reading::new(conversation, self.api.url(&[])),
        };
        if let Some(resume) = &request.resume {
            run.reading.workflow_run.clone_from(&resume.cursor);
            return run.follow().await;
        }
        if let Some(form) = form
            && let Some(ended) = run.answer_form(form, &request.message).await?
        {
            return Ok(ended);
        }
        let response = run.create(request).await?;
        match answer::open(response, self.idle).await? {
            Answer::Json(body) => Err(read::unexpected_document(&body)),
            Answer::Events(events) => run.stream(events).await,
        }
    }

    /// Stops the generation. If no event came, its id is unknown and it can't be stopped.
    pub(crate) async fn cancel(&self, cancel: &CancelRequest, env: &Env) -> Result<(), AgentFailure> {
        let Some(task) = &cancel.run_ref else {
            return Ok(());
        };
        let conversation = Conversation::read(cancel.conversation_ref.as_deref());
        let user = conversation.user(&cancel.organization, &cancel.user);
        let url = self.api.url(&["chat-messages", task, "stop"]);
        match self
            .api
            .post(&url, &Stop { user: &user }, None, Manner::cancelling(), env)
            .await
        {
            Ok(_) => Ok(()),
            // It has ended in the meantime.
            Err(fault) if fault.status == 404 => Ok(()),
            Err(fault) => Err(fault.failure),
        }
    }

    /// Fetches the app's parameters: tests URL and key, and costs no tokens.
    pub(crate) async fn probe(&self, env: &Env) -> Result<(), AgentFailure> {
        let mut url = self.api.url(&["parameters"]);
        url.query_pairs_mut().append_pair("user", "probe");
        let response = self.api.get_once(&url, env).await?;
        crate::api::document::<Map<String, Value>>(response, self.idle)
            .await
            .map(|_| ())
    }
}

/// One answer of the app.
struct Run<'a> {
    dify: &'a Dify,
    /// Who began the conversation.
    user: String,
    sink: &'a mut EventSink,
    env: &'a Env,
    reading: Reading,
}

impl Run<'_> {
    /// Sends the question; in a new conversation if the app has forgotten the old one.
    async fn create(&mut self, request: &AgentRequest) -> Result<Response, AgentFailure> {
        let inputs = Facts::of(request).fill_object(&self.dify.inputs)?;
        let url = self.dify.api.url(&["chat-messages"]);
        for n in 1.. {
            let (id, user) = (&self.reading.conversation.id, &self.user);
            // Within the loop, because a file belongs to the user who uploaded it, as a conversation does.
            let question = attachments::prepare(self.dify, request, user, self.env).await?;
            let body = Request {
                inputs: &inputs,
                query: &question.query,
                user,
                response_mode: "streaming",
                conversation_id: id,
                files: &question.files,
            };
            let key = Some(call::idempotency_key(&request.run, n));
            let manner = Manner::asking(self.dify.idle);
            let fault = match self.dify.api.post(&url, &body, key, manner, self.env).await {
                Ok(response) => return Ok(response),
                Err(fault) => fault,
            };
            let code = fault.error.code.as_deref().unwrap_or_default();
            let is_gone = fault.status == 404 || matches!(code, "conversation_not_exists" | "conversation_completed");
            if id.is_empty() || !is_gone {
                return Err(fault.failure);
            }
            self.reading.conversation = Conversation::begun_by(request);
            self.user = end_user(&request.organization, &request.user.id);
            self.sink.emit(AgentEvent::ConversationLost).await?;
        }
        Err(failure::incomplete())
    }

    /// Submits the form that the conversation waits for, and follows its workflow. `None` if the form is gone: then the message is an
    /// ordinary question.
    async fn answer_form(&mut self, form: Form, message: &AgentMessage) -> Result<Option<End>, AgentFailure> {
        let Some((action, said)) = form.choose(&message.answer) else {
            let again = AgentEvent::InputRequired {
                prompt: form.prompt.clone(),
                choices: form.choices(),
                resume_ref: Some(form.token),
            };
            self.sink.emit(again).await?;
            return Ok(Some(End::Completed { final_text: None }));
        };
        let said = prompt::with_attachments(said, message);
        let input = form.input.iter().map(|name| (name.clone(), said.as_str().into()));
        let decision = Decision {
            inputs: input.collect(),
            user: &self.user,
            action: &action.id,
        };
        let url = self.dify.api.url(&["form", "human_input", &form.token]);
        let manner = Manner::asking(self.dify.idle);
        match self.dify.api.post(&url, &decision, None, manner, self.env).await {
            Ok(_) => {}
            // By an earlier attempt, whose answer was lost.
            Err(fault) if fault.may_be_repeated && fault.error.code.as_deref() == Some(SUBMITTED) => {}
            // Expired, or submitted elsewhere.
            Err(fault) if matches!(fault.status, 404 | 410 | 412) => return Ok(None),
            Err(fault) => return Err(fault.failure),
        }
        self.reading.workflow_run = Some(form.run);
        self.reading.answered = Some(form.token);
        self.follow().await.map(Some)
    }

    async fn stream(&mut self, events: Box<Events>) -> Result<End, AgentFailure> {
        match self.read(events).await {
            Err(cut) if is_cut(&cut) && self.reading.workflow_run.is_some() => {
                warn!(error = %cut.code, "stream of a workflow broke, reconnecting");
                self.follow().await
            }
            ended => ended,
        }
    }

    /// Follows a running workflow: a snapshot of what it did, then its further events.
    async fn follow(&mut self) -> Result<End, AgentFailure> {
        let mut attempt = 1;
        self.reading.follows = true;
        loop {
            let response = self.dify.api.get(&self.events_url()?, self.dify.idle, self.env).await?;
            let ended = match answer::open(response, self.dify.idle).await? {
                Answer::Json(body) => return Err(read::unexpected_document(&body)),
                Answer::Events(events) => self.read(events).await,
            };
            match ended {
                Err(cut) if is_cut(&cut) && attempt < MAX_RECONNECTS => {}
                ended => return ended,
            }
            sleep(self.env.backoff.wait(attempt, (self.env.random)())).await;
            attempt += 1;
        }
    }

    fn events_url(&self) -> Result<Url, AgentFailure> {
        let run = self.reading.workflow_run.as_deref().ok_or_else(failure::incomplete)?;
        let mut url = self.dify.api.url(&["workflow", run, "events"]);
        url.query_pairs_mut()
            .append_pair("user", &self.user)
            .append_pair("include_state_snapshot", "true")
            .append_pair("continue_on_pause", "true");
        Ok(url)
    }

    async fn read(&mut self, mut events: Box<Events>) -> Result<End, AgentFailure> {
        let mut until = None;
        while !self.reading.is_over() {
            let was_whole = self.reading.is_whole();
            let read = match next_until(until, &mut events).await {
                Ok(Some(event)) => self.reading.event(event.data.as_bytes()),
                Ok(None) => Err(failure::incomplete()),
                Err(failure) => Err(failure),
            };
            let read = match read {
                // The end of the stream and errors after the complete answer don't change it.
                Err(_) if was_whole => break,
                read => read?,
            };
            for event in read {
                self.sink.emit(event).await?;
            }
            if self.reading.is_whole() {
                until.get_or_insert_with(|| Instant::now() + TRAILER_PATIENCE);
            }
        }
        if let Some(waiting) = self.reading.waiting() {
            self.sink.emit(waiting).await?;
        }
        Ok(self.reading.end())
    }
}

/// The next event; `None` at the end of the stream, or if no event comes before `until`.
async fn next_until(until: Option<Instant>, events: &mut Events) -> Result<Option<Event>, AgentFailure> {
    match until {
        None => events.next().await,
        Some(until) => timeout_at(until, events.next()).await.unwrap_or(Ok(None)),
    }
}

fn is_cut(failure: &AgentFailure) -> bool {
    matches!(
        failure.code.as_str(),
        failure::BROKEN | failure::INCOMPLETE | failure::IDLE_TIMEOUT
    )
}
