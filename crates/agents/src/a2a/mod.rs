//! `a2a`: Agent2Agent over JSON-RPC, versions 1.0 and 0.3.
//!
//! The agent's card says which interface to call. A session is a context. A run is a task, which continues without a listener: it is
//! read again with `GetTask` (everything so far) and `SubscribeToTask` (what follows), in the same process or in another one. An
//! agent that doesn't stream is polled. Push notifications are not used: their body is not what our callback endpoint accepts, and
//! polling a task needs none.
//!
//! See [A2A Protocol Specification](https://a2a-protocol.org/latest/specification/).

mod card;
mod compose;
mod read;
mod refs;
mod rpc;
mod shown;
mod wire;

use tieline_core::agent::{AgentEvent, AgentFailure, AgentRequest};
use tieline_core::bilingual::Bilingual;
use tieline_core::notice::Language;
use tokio::time::sleep;

use crate::answer::Events;
use crate::call::{self, Manner};
use crate::config::{self, Field, FieldKind, InvalidConfig};
use crate::env::Env;
use crate::failure;
use crate::json_api::{JsonApi, JsonCall};
use crate::manifest::{CancelRequest, Manifest};
use crate::rejoin::Rejoins;
use crate::run::{End, EventSink};
use crate::settings::Settings;

use card::Endpoint;
use read::Reading;
use refs::{ContextRef, TaskRef};
use rpc::{CallError, Called, Rpc, is_unsupported, next_item};
use shown::Shown;
use wire::{Item, Method, State, Version, code};

const PROTOCOL_VERSION: Field = Field {
    name: "protocolVersion",
    kind: FieldKind::Choice(&["auto", "1.0", "0.3"]),
    required: false,
    secret: false,
    help: Bilingual {
        en: "Version of the protocol to speak. auto: the first one of the agent's card that we speak.",
        zh: "所用的协议版本。auto：智能体名片（agent card）中第一个我们支持的版本。",
    },
};

/// The protocol's manifest.
pub static MANIFEST: Manifest = Manifest {
    word: "a2a",
    name: "Agent2Agent (A2A)",
    fields: &[
        config::BASE_URL,
        config::API_KEY,
        PROTOCOL_VERSION,
        config::HEADERS,
        config::IDLE_TIMEOUT,
        config::MAX_RUN,
        config::IDENTITY,
    ],
    needs_transcript: false,
    wants_inline_images: true,
    can_resume: true,
};

/// Path of the agent card; before 0.3 it was `OLD_CARD`.
const CARD: [&str; 2] = [".well-known", "agent-card.json"];
const OLD_CARD: [&str; 2] = [".well-known", "agent.json"];

/// Attempt number at which the backoff between polls stops growing.
const MAX_POLL_STEP: u32 = 4;

/// An agent that speaks A2A.
#[derive(Clone)]
pub(crate) struct A2a {
    /// Base URL below which the card is.
    api: JsonApi,
    only: Option<Version>,
}

/// State of reading one task.
struct Reader<'a> {
    rpc: Rpc<'a>,
    reading: Reading,
    /// The latest references that were emitted.
    started: Option<AgentEvent>,
    /// Whether events may have been missed: then only a snapshot is complete.
    needs_snapshot: bool,
    locale: Language,
}

impl A2a {
    pub(crate) fn read(settings: &Settings<'_>) -> Result<Self, InvalidConfig> {
        let only = settings.choice(&PROTOCOL_VERSION);
        Ok(Self {
            api: JsonApi {
                base: settings.address(&config::BASE_URL)?,
                headers: settings.bearer_headers()?,
                idle: settings.seconds(&config::IDLE_TIMEOUT),
            },
            only: Version::of(only),
        })
    }

    pub(crate) async fn ask(
        &self,
        request: &AgentRequest,
        sink: &mut EventSink,
        env: &Env,
    ) -> Result<End, AgentFailure> {
        let resume = request.resume.as_ref();
        if let Some(known) = resume.and_then(|resume| TaskRef::parse(&resume.run_ref)) {
            let mut reader = Reader::new(Rpc::to(&self.api, known.endpoint, env)?, request);
            (reader.reading.task, reader.reading.context) = (known.task, known.context);
            reader.reading.going_on(known.shown);
            let stream = reader.rejoin(sink).await?;
            return reader.follow(stream, sink).await;
        }
        let endpoint = self.endpoint(Manner::asking(self.api.idle).idempotent(), env).await?;
        let mut reader = Reader::new(Rpc::to(&self.api, endpoint, env)?, request);
        let stream = reader.send(request, sink).await?;
        reader.follow(stream, sink).await
    }

    /// Cancels the task. A task that has ended, or that the agent doesn't know, counts as cancelled.
    pub(crate) async fn cancel(&self, cancel: &CancelRequest, env: &Env) -> Result<(), AgentFailure> {
        let known = cancel.run_ref.as_deref().and_then(TaskRef::parse);
        let Some((task, endpoint)) = known.and_then(|known| Some((known.task?, known.endpoint))) else {
            return Ok(());
        };
        let rpc = Rpc::to(&self.api, endpoint, env)?;
        let params = compose::task_params(&task, &rpc.endpoint);
        match rpc.call(Method::Cancel, params, None, Manner::cancelling()).await {
            Err(CallError::Rpc(error)) if matches!(error.code, code::TASK_NOT_CANCELABLE | code::TASK_NOT_FOUND) => {
                Ok(())
            }
            called => called.map(|_| ()).map_err(AgentFailure::from),
        }
    }

    /// Fetches the card and requests a task that doesn't exist: tests URL, card and key without creating a task.
    pub(crate) async fn probe(&self, env: &Env) -> Result<(), AgentFailure> {
        let endpoint = self.endpoint(Manner::probing(), env).await?;
        let rpc = Rpc::to(&self.api, endpoint, env)?;
        let params = compose::task_params(&crate::derived_id::uuid(&["a2a probe"]), &rpc.endpoint);
        match rpc.call(Method::Get, params, None, Manner::probing()).await {
            Err(CallError::Rpc(error)) if error.code == code::TASK_NOT_FOUND => Ok(()),
            called => called.map(|_| ()).map_err(AgentFailure::from),
        }
    }

    async fn endpoint(&self, manner: Manner, env: &Env) -> Result<Endpoint, AgentFailure> {
        let card = self.api.json(&JsonCall::get(&CARD), manner, env).await;
        let card = match card {
            Err(failure) if failure.code == "http_404" => self.api.json(&JsonCall::get(&OLD_CARD), manner, env).await,
            card => card,
        };
        card::choose(&card?, self.only)
    }
}

impl<'a> Reader<'a> {
    fn new(rpc: Rpc<'a>, request: &AgentRequest) -> Self {
        Self {
            rpc,
            reading: Reading::default(),
            started: None,
            needs_snapshot: false,
            locale: request.user.locale,
        }
    }

    /// Sends the question. If the agent refuses the waiting task, which may have ended in the meantime, the question is the context's next one;
    /// if it has forgotten the context too, a new one is started.
    async fn send(
        &mut self,
        request: &AgentRequest,
        sink: &mut EventSink,
    ) -> Result<Option<Box<Events>>, AgentFailure> {
        let mut to = ContextRef::of(request);
        let mut question = 1;
        loop {
            match self.send_to(request, &to, question, sink).await {
                // Agents have different codes for a task that takes no messages. Its context may be known even if it is forgotten.
                Err(CallError::Rpc(error)) if error.code != code::INTERNAL && to.waiting_task.is_some() => {
                    (to.waiting_task, to.shown) = (None, Shown::default());
                }
                Err(CallError::Rpc(error)) if error.code == code::TASK_NOT_FOUND && !to.is_empty() => {
                    sink.emit(AgentEvent::ConversationLost).await?;
                    to = ContextRef::default();
                }
                sent => return Ok(sent?),
            }
            question += 1;
        }
    }

    async fn send_to(
        &mut self,
        request: &AgentRequest,
        to: &ContextRef,
        question: u32,
        sink: &mut EventSink,
    ) -> Result<Option<Box<Events>>, CallError> {
        let method = match self.rpc.endpoint.streams {
            true => Method::Stream,
            false => Method::Send,
        };
        let params = compose::params(request, to, &self.rpc.endpoint);
        self.reading.going_on(to.shown.clone());
        let key = call::idempotency_key(&request.run, question);
        let manner = Manner::asking(self.rpc.api.idle);
        match self.rpc.call(method, params, Some(key), manner).await? {
            Called::One(item) => {
                self.take(item, sink).await?;
                Ok(None)
            }
            Called::Stream(mut events) => {
                // An error may come as the first event.
                if let Some(item) = next_item(&mut events).await? {
                    self.take(item, sink).await?;
                }
                Ok(Some(events))
            }
        }
    }

    /// Reads the task to its end: the stream, and after a break the rest by rejoining.
    async fn follow(&mut self, mut stream: Option<Box<Events>>, sink: &mut EventSink) -> Result<End, AgentFailure> {
        let mut rejoins = Rejoins::default();
        let mut n_polls = 0;
        loop {
            while let Some(events) = &mut stream
                && !self.reading.is_over()
            {
                match next_item(events).await {
                    Ok(Some(item)) => {
                        rejoins.progressed();
                        self.take(item, sink).await?;
                    }
                    Ok(None) => stream = None,
                    // The agent can stream but doesn't support subscriptions.
                    Err(CallError::Rpc(error)) if self.needs_snapshot && is_unsupported(&error) => {
                        self.rpc.endpoint.streams = false;
                        stream = None;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if self.reading.is_over() {
                return self.end(sink).await;
            }
            if self.reading.task.is_none() {
                return Err(failure::incomplete());
            }
            if self.rpc.endpoint.streams {
                rejoins.wait(self.rpc.env).await?;
            } else {
                n_polls += 1;
                let random = (self.rpc.env.random)();
                sleep(self.rpc.env.backoff.wait(n_polls.min(MAX_POLL_STEP), random)).await;
            }
            stream = self.rejoin(sink).await?;
        }
    }

    /// Reads a snapshot of everything so far, then subscribes to further events.
    async fn rejoin(&mut self, sink: &mut EventSink) -> Result<Option<Box<Events>>, AgentFailure> {
        self.snapshot(sink).await?;
        let Some(task) = self.reading.task.clone().filter(|_| !self.reading.is_over()) else {
            return Ok(None);
        };
        if !self.rpc.endpoint.streams {
            return Ok(None);
        }
        // A final snapshot contains what happens between this snapshot and the subscription.
        self.needs_snapshot = true;
        match self.rpc.about(Method::Subscribe, &task).await {
            Ok(Called::Stream(events)) => Ok(Some(events)),
            Ok(Called::One(item)) => {
                self.take(item, sink).await?;
                Ok(None)
            }
            Err(CallError::Rpc(error)) if is_unsupported(&error) => {
                self.rpc.endpoint.streams = false;
                Ok(None)
            }
            // The connection broke before the first event: the next round starts with another snapshot.
            Err(CallError::Failure(failure)) if failure.code == failure::BROKEN => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn snapshot(&mut self, sink: &mut EventSink) -> Result<(), AgentFailure> {
        let Some(task) = self.reading.task.clone() else {
            return Err(failure::incomplete());
        };
        self.needs_snapshot = false;
        match self.rpc.about(Method::Get, &task).await? {
            Called::One(item) => self.take(item, sink).await,
            Called::Stream(_) => Err(failure::bad_answer("expected a task, got a stream")),
        }
    }

    /// Emits the events of an item, after the references of its task and context.
    async fn take(&mut self, item: Item, sink: &mut EventSink) -> Result<(), AgentFailure> {
        let events = self.reading.item(item);
        let started = self.started_event(false);
        if self.started.as_ref() != Some(&started) {
            sink.emit(started.clone()).await?;
            self.started = Some(started);
        }
        for event in events {
            sink.emit(event).await?;
        }
        Ok(())
    }

    fn started_event(&self, waits: bool) -> AgentEvent {
        let Reading { task, context, .. } = &self.reading;
        let run = TaskRef {
            task: task.clone(),
            context: context.clone(),
            shown: self.reading.shown_before().clone(),
            endpoint: self.rpc.endpoint.clone(),
        };
        let conversation = ContextRef {
            context: context.clone(),
            waiting_task: task.clone().filter(|_| waits),
            shown: if waits { self.reading.shown() } else { Shown::default() },
        };
        AgentEvent::Started {
            run_ref: refs::write(run),
            conversation_ref: (!conversation.is_empty()).then(|| refs::write(conversation)),
        }
    }

    async fn end(&mut self, sink: &mut EventSink) -> Result<End, AgentFailure> {
        if self.needs_snapshot {
            self.snapshot(sink).await?;
        }
        let words = self.reading.status_text.clone();
        let failed = |code: &str, retryable| failure::new(code, format!("the task's last message: {words}"), retryable);
        match self.reading.state {
            _ if self.reading.answered => {}
            State::Completed | State::Submitted | State::Working => {}
            State::Canceled => return Ok(End::Cancelled),
            State::Failed => return Err(failed("task_failed", true)),
            State::Rejected => return Err(failed("task_rejected", false)),
            State::Unknown => return Err(failed("task_unknown", false)),
            State::InputRequired | State::AuthRequired => {
                let prompt = match (words.is_empty(), self.reading.has_text()) {
                    (true, false) => default_prompt(self.locale).to_owned(),
                    _ => words,
                };
                sink.emit(AgentEvent::InputRequired {
                    prompt,
                    choices: Vec::new(),
                    resume_ref: self.reading.task.clone(),
                })
                .await?;
                sink.emit(self.started_event(true)).await?;
            }
        }
        Ok(End::Completed { final_text: None })
    }
}

/// The question of an agent that requests input without a text.
const fn default_prompt(locale: Language) -> &'static str {
    match locale {
        Language::English => "The agent needs more information.",
        Language::Chinese => "智能体需要更多信息。",
    }
}
