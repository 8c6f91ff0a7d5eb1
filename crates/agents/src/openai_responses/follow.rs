//! Follows one response: streamed, unstreamed, or polled.

use reqwest::Response as HttpResponse;
use tieline_core::agent::{AgentEvent, AgentFailure, AgentRequest, MAX_ANSWER_BYTES};
use tokio::time::sleep;
use tracing::warn;

use super::read::{self, Reading, pictures};
use super::wire::Response;
use super::{Dialect, OpenaiResponses};
use crate::answer::{self, Answer, Events};
use crate::call::{self, Manner};
use crate::env::Env;
use crate::failure;
use crate::run::{End, EventSink};

/// Largest number of reconnects in a row without an event in between.
const MAX_RECONNECTS: u32 = 5;

/// One response, and the run that follows it.
pub(super) struct Follower<'a> {
    server: &'a OpenaiResponses,
    request: &'a AgentRequest,
    sink: &'a mut EventSink,
    env: &'a Env,
    pub(super) reading: Reading,
    started: bool,
}

impl<'a> Follower<'a> {
    pub(super) fn new(
        server: &'a OpenaiResponses,
        request: &'a AgentRequest,
        sink: &'a mut EventSink,
        env: &'a Env,
    ) -> Self {
        Self {
            server,
            request,
            sink,
            env,
            reading: Reading::new(server.dialect),
            started: false,
        }
    }

    /// Reads a response that came as one JSON document; polls if it is still in progress.
    pub(super) async fn whole(&mut self, body: &[u8]) -> Result<End, AgentFailure> {
        let response = read::response(body)?;
        self.reading.id = Some(response.id.clone());
        self.start().await?;
        if response.is_running() {
            sleep(self.env.backoff.wait(1, (self.env.random)())).await;
            return self.poll().await;
        }
        self.conclude(&response, true).await
    }

    /// Reads a stream, and resumes it after a break if the response continues in the background.
    pub(super) async fn stream(&mut self, events: Box<Events>) -> Result<End, AgentFailure> {
        match self.read(events).await {
            Err(cut) if self.is_followable(&cut) => {
                warn!(run = %self.request.run, error = %cut.code, "stream of a background response broke, reconnecting");
                self.reconnect().await
            }
            ended => ended,
        }
    }

    fn is_followable(&self, cut: &AgentFailure) -> bool {
        let broke = matches!(
            cut.code.as_str(),
            failure::BROKEN | failure::INCOMPLETE | failure::IDLE_TIMEOUT
        );
        broke && self.server.can_resume() && self.reading.id.is_some()
    }

    /// Resumes the stream after the latest event, or polls if the server can't resume streams.
    pub(super) async fn reconnect(&mut self) -> Result<End, AgentFailure> {
        let mut attempt = 0;
        while self.server.dialect == Dialect::Openai && attempt < MAX_RECONNECTS {
            let before = self.reading.sequence_number;
            let Ok(response) = self.open_stream().await else {
                break;
            };
            let ended = match answer::open(response, self.server.idle).await {
                Ok(Answer::Json(body)) => return self.whole(&body).await,
                Ok(Answer::Events(events)) => self.read(events).await,
                Err(failure) => Err(failure),
            };
            match ended {
                Err(cut) if self.is_followable(&cut) => {}
                ended => return ended,
            }
            attempt = if self.reading.sequence_number == before {
                attempt + 1
            } else {
                1
            };
            sleep(self.env.backoff.wait(attempt, (self.env.random)())).await;
        }
        self.poll().await
    }

    async fn open_stream(&self) -> Result<HttpResponse, AgentFailure> {
        let mut url = self.response_url()?;
        url.query_pairs_mut().append_pair("stream", "true");
        if let Some(number) = self.reading.sequence_number {
            url.query_pairs_mut().append_pair("starting_after", &number.to_string());
        }
        Ok(self.server.api.get(&url, self.server.idle, self.env).await?)
    }

    fn response_url(&self) -> Result<url::Url, AgentFailure> {
        let id = self.reading.id.as_deref().ok_or_else(failure::incomplete)?;
        Ok(self.server.api.url(&["responses", id]))
    }

    /// Polls the response until it is finished.
    pub(super) async fn poll(&mut self) -> Result<End, AgentFailure> {
        let url = self.response_url()?;
        let mut attempt = 0;
        loop {
            let (idle, env) = (self.server.idle, self.env);
            let send = || self.server.api.get(&url, idle, env);
            let read = |response| answer::whole(response, idle, MAX_ANSWER_BYTES);
            let body = call::send_and_read(Manner::rejoining(idle), env, send, read).await?;
            let response = read::response(&body)?;
            if !response.is_running() {
                return self.conclude(&response, true).await;
            }
            attempt += 1;
            sleep(self.env.backoff.wait(attempt, (self.env.random)())).await;
        }
    }

    async fn read(&mut self, mut events: Box<Events>) -> Result<End, AgentFailure> {
        while let Some(event) = events.next().await? {
            if event.data.trim() == "[DONE]" {
                break;
            }
            let before = self.reading.sequence_number;
            let read = self.reading.event(event.data.as_bytes())?;
            self.start().await?;
            for event in read {
                self.sink.emit(event).await?;
            }
            if let Some(response) = self.reading.take_last() {
                return self.conclude(&response, false).await;
            }
            if self.server.background
                && self.reading.sequence_number != before
                && let Some(number) = self.reading.sequence_number
            {
                self.sink.emit(AgentEvent::Cursor(number.to_string())).await?;
            }
        }
        Err(failure::incomplete())
    }

    /// Emits `Started` once. A conversation of the dialect `openai` advances only with a finished response.
    async fn start(&mut self) -> Result<(), AgentFailure> {
        let Some(id) = self.reading.id.clone().filter(|_| !self.started) else {
            return Ok(());
        };
        self.started = true;
        let conversation_ref = match self.server.dialect {
            Dialect::Wegent => Some(id.clone()),
            Dialect::Openai => self.request.session.conversation_ref.clone(),
        };
        let started = AgentEvent::Started {
            run_ref: id,
            conversation_ref,
        };
        self.sink.emit(started).await
    }

    async fn conclude(&mut self, response: &Response, with_pictures: bool) -> Result<End, AgentFailure> {
        if with_pictures {
            for picture in pictures(response) {
                self.sink.emit(picture).await?;
            }
        }
        let is_part_of_conversation = matches!(response.status.as_deref(), Some("completed" | "incomplete"));
        if self.server.dialect == Dialect::Openai && is_part_of_conversation {
            let moved_on = AgentEvent::Started {
                run_ref: response.id.clone(),
                conversation_ref: Some(response.id.clone()),
            };
            self.sink.emit(moved_on).await?;
        }
        match self.reading.end(response) {
            // Text of an incomplete answer is shown with the note that it is incomplete.
            Err(failure) if !self.reading.has_text() && failure.code == failure::LENGTH => {
                let text = response.text();
                if !text.is_empty() {
                    self.sink.emit(AgentEvent::TextSnapshot(text)).await?;
                }
                Err(failure)
            }
            ended => ended,
        }
    }
}
