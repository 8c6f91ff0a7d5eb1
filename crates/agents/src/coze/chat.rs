//! One chat: created and streamed; polled after its stream broke.

use std::time::Duration;

use reqwest::Response;
use tieline_core::agent::{AgentEvent, AgentFailure, AgentRequest, Resume};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::read::{Ended, Reading, answer_of};
use super::wire::{Chat, Envelope, LastError, Message, Request, Said};
use super::{Coze, attachments, codes, refusal};
use crate::answer::{self, Answer, Events};
use crate::api::{self, document};
use crate::call::{self, Manner};
use crate::env::Env;
use crate::facts::{self, Facts};
use crate::failure;
use crate::manifest::end_user;
use crate::run::{End, EventSink};

/// Time limit for polling a chat without a stream.
const POLLING_LIMIT: Duration = Duration::from_mins(30);

/// One question and its chat.
pub(super) struct Run<'a> {
    coze: &'a Coze,
    request: &'a AgentRequest,
    sink: &'a mut EventSink,
    env: &'a Env,
    reading: Reading,
    /// Id of the conversation to create the chat in; empty for a new one.
    conversation: String,
}

/// Outcome of a question.
enum Asked {
    Ended(End),
    Refused(Refusal),
}

/// Coze refused the chat, or the chat failed.
struct Refusal {
    error: LastError,
    log_id: Option<String>,
    retry_after: Option<Duration>,
}

impl<'a> Run<'a> {
    pub(super) fn new(coze: &'a Coze, request: &'a AgentRequest, sink: &'a mut EventSink, env: &'a Env) -> Self {
        Self {
            coze,
            request,
            sink,
            env,
            reading: Reading::default(),
            conversation: request.session.conversation_ref.clone().unwrap_or_default(),
        }
    }

    /// Asks until the chat ends. Waits if the conversation has a running chat; starts a new conversation if the old one is gone.
    pub(super) async fn ask(&mut self) -> Result<End, AgentFailure> {
        let message = attachments::message(self.coze, self.request, self.env).await?;
        let (mut n_occupied, mut n_tries, mut question) = (0, 1, 1);
        loop {
            let refusal = match self.ask_once(&message, question).await? {
                Asked::Ended(end) => return Ok(end),
                Asked::Refused(refusal) => refusal,
            };
            let failure = codes::failure_of(&refusal.error, refusal.log_id.as_deref());
            let code = refusal.error.code;
            if self.reading.has_text() {
                return Err(failure);
            }
            if codes::is_occupied(code) {
                n_occupied += 1;
                info!(run = %self.request.run, "conversation has a running chat, waiting for its end");
                sleep(self.env.backoff.wait(n_occupied, (self.env.random)())).await;
            } else if codes::is_not_found(code) && !self.conversation.is_empty() {
                self.conversation.clear();
                question += 1;
                self.sink.emit(AgentEvent::ConversationLost).await?;
            } else if codes::is_passing(code) && n_tries < call::TRIES {
                let asked = refusal.retry_after.unwrap_or_default();
                if asked > call::MAX_RETRY_AFTER {
                    return Err(failure);
                }
                sleep(asked.max(self.env.backoff.wait(n_tries, (self.env.random)()))).await;
                n_tries += 1;
            } else {
                return Err(failure);
            }
        }
    }

    async fn ask_once(&mut self, message: &Message, question: u32) -> Result<Asked, AgentFailure> {
        self.reading = Reading::default();
        let response = match self.post(message, question).await? {
            Ok(response) => response,
            Err(error) => return Ok(Asked::Refused(Refusal::of(error))),
        };
        let retry_after = call::retry_after(response.headers(), (self.env.now)());
        match answer::open(response, self.coze.idle).await? {
            // Errors come as a document with status 200.
            Answer::Json(body) => {
                let answer: Envelope<Chat> = api::parse(&body)?;
                let told = answer.error().map(|(error, log_id)| (error, log_id.map(str::to_owned)));
                let (error, log_id) =
                    told.ok_or_else(|| failure::bad_answer("expected server-sent events, got a JSON document"))?;
                Ok(Asked::Refused(Refusal {
                    error,
                    log_id,
                    retry_after,
                }))
            }
            Answer::Events(events) => self.stream(events).await,
        }
    }

    async fn post(&self, message: &Message, question: u32) -> Result<Result<Response, LastError>, AgentFailure> {
        let mut url = self.coze.api.url(&["v3", "chat"]);
        if !self.conversation.is_empty() {
            url.query_pairs_mut().append_pair("conversation_id", &self.conversation);
        }
        let facts = Facts::of(self.request);
        let body = Request {
            bot_id: &self.coze.bot,
            user_id: &end_user(&self.request.organization, &self.request.user.id),
            stream: true,
            auto_save_history: true,
            additional_messages: std::slice::from_ref(message),
            custom_variables: &facts.fill_object(&self.coze.custom_variables)?,
            parameters: &facts.fill_object(&self.coze.parameters)?,
            meta_data: facts::metadata(self.request),
        };
        let key = Some(call::idempotency_key(&self.request.run, question));
        let manner = Manner::asking(self.coze.idle);
        match self.coze.api.post(&url, &body, key, manner, self.env).await {
            Ok(response) => Ok(Ok(response)),
            Err(fault) => match refusal(&fault) {
                // Coze's code counts, whatever the status. Passing errors were retried already.
                Some(error) if !codes::is_passing(error.code) || !fault.failure.retryable => Ok(Err(error)),
                _ => Err(fault.failure),
            },
        }
    }

    /// Reads the stream. If it breaks, the chat continues, so polls for its end.
    async fn stream(&mut self, events: Box<Events>) -> Result<Asked, AgentFailure> {
        let cut = match self.read(events).await {
            Ok(Some(Ended::Run(end))) => return Ok(Asked::Ended(end)),
            Ok(Some(Ended::Failed(error))) => return Ok(Asked::Refused(Refusal::of(error))),
            Ok(None) => failure::incomplete(),
            Err(failure) => failure,
        };
        if self.reading.chat.is_empty() {
            return Err(cut);
        }
        match cut.code.as_str() {
            failure::BROKEN | failure::INCOMPLETE => {
                warn!(run = %self.request.run, error = %cut.code, "stream of a chat broke, polling for its end");
                self.poll().await
            }
            _ => Err(self.give_up(cut).await),
        }
    }

    /// Cancels the chat: without a reader it would occupy its conversation.
    async fn give_up(&self, failure: AgentFailure) -> AgentFailure {
        let (conversation, chat) = (&self.reading.conversation, &self.reading.chat);
        if let Err(error) = self.coze.cancel_chat(conversation, chat, self.env).await {
            warn!(run = %self.request.run, error = %error.code, "chat can't be cancelled");
        }
        failure
    }

    async fn read(&mut self, mut events: Box<Events>) -> Result<Option<Ended>, AgentFailure> {
        while let Some(event) = events.next().await? {
            let (read, ended) = self.reading.event(&event)?;
            for event in read {
                self.emit(event).await?;
            }
            if ended.is_some() {
                return Ok(ended);
            }
        }
        Ok(None)
    }

    async fn emit(&mut self, event: AgentEvent) -> Result<(), AgentFailure> {
        if matches!(event, AgentEvent::Started { .. }) {
            let conversation = self.reading.conversation.clone();
            // Coze Studio silently starts a new conversation.
            if !self.conversation.is_empty() && conversation != self.conversation {
                self.sink.emit(AgentEvent::ConversationLost).await?;
            }
            // Emitted before `Started`, so that both are stored together.
            self.sink.emit(AgentEvent::Cursor(conversation)).await?;
        }
        self.sink.emit(event).await
    }

    /// Waits for the end of a chat that an earlier process created.
    pub(super) async fn resume(&mut self, resume: &Resume) -> Result<End, AgentFailure> {
        self.reading.chat.clone_from(&resume.run_ref);
        self.reading.conversation = resume.cursor.clone().unwrap_or_default();
        match self.poll().await? {
            Asked::Ended(end) => Ok(end),
            Asked::Refused(refusal) => Err(codes::failure_of(&refusal.error, refusal.log_id.as_deref())),
        }
    }

    /// Polls the chat's status until it has ended, then fetches its answers.
    async fn poll(&mut self) -> Result<Asked, AgentFailure> {
        let give_up_at = Instant::now() + POLLING_LIMIT;
        let chat = loop {
            let chat: Chat = self.get(&["retrieve"]).await?;
            if !chat.is_running() {
                break chat;
            }
            if Instant::now() > give_up_at {
                return Err(self.give_up(failure::idle_timeout(POLLING_LIMIT)).await);
            }
            // The vendor allows one call a second.
            sleep(self.env.backoff.base * 2).await;
        };
        let messages: Vec<Said> = self.get(&["message", "list"]).await?;
        let answer = answer_of(&messages);
        if let Some(newest) = messages.iter().rfind(|message| message.is_answer()) {
            self.reading.set_newest(newest.text());
        }
        let (events, ended) = self.reading.end(&chat, &chat.status)?;
        if !events.is_empty() && !answer.is_empty() {
            self.sink.emit(AgentEvent::TextSnapshot(answer.clone())).await?;
        }
        let is_asked = !events.is_empty();
        for event in events {
            self.sink.emit(event).await?;
        }
        Ok(match ended {
            Ended::Run(End::Completed { .. }) if !is_asked => Asked::Ended(End::Completed {
                final_text: Some(answer).filter(|answer| !answer.is_empty()),
            }),
            Ended::Run(end) => Asked::Ended(end),
            Ended::Failed(error) => Asked::Refused(Refusal::of(error)),
        })
    }

    /// Fetches something of the chat. A refusal of this call says nothing of the chat, so the question is never asked again because of it.
    async fn get<T: serde::de::DeserializeOwned>(&self, path: &[&str]) -> Result<T, AgentFailure> {
        let (conversation, chat) = (&self.reading.conversation, &self.reading.chat);
        let url = self.coze.chat_url(path, conversation, chat);
        let mut attempt = 1;
        loop {
            let (idle, env) = (self.coze.idle, self.env);
            let send = || self.coze.api.get(&url, idle, env);
            let read = |response| document(response, idle);
            let answer: Envelope<T> = call::send_and_read(Manner::rejoining(idle), env, send, read).await?;
            let Some((error, log_id)) = answer.error() else {
                return answer
                    .data
                    .ok_or_else(|| failure::bad_answer("expected `data`, got none"));
            };
            let failure = codes::failure_of(&error, log_id);
            if !codes::is_passing(error.code) {
                return Err(failure);
            }
            if attempt >= call::REJOIN_TRIES {
                return Err(failure::lost(failure));
            }
            sleep(self.env.backoff.wait(attempt, (self.env.random)())).await;
            attempt += 1;
        }
    }
}

impl Refusal {
    fn of(error: LastError) -> Self {
        Self {
            error,
            log_id: None,
            retry_after: None,
        }
    }
}
