//! `xpert`: threads and runs of Xpert AI.
//!
//! A session is a thread. A run is started in the background, so that its id is known and it can be cancelled before its first text; its
//! stream is stored for a day and joined with `Last-Event-ID`, after a broken connection as well as after a hand-over.
//!
//! Based on the server's source:
//! [xpert-ai/xpert](https://github.com/xpert-ai/xpert/blob/main/packages/server-ai/src/ai/thread.controller.ts).

mod read;
mod wire;

use std::time::Duration;

use reqwest::header::HeaderValue;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tieline_core::agent::{AgentEvent, AgentFailure, AgentRequest};
use tieline_core::bilingual::Bilingual;
use tokio::time::timeout;
use tracing::debug;

use crate::answer::Events;
use crate::call::{self, Manner};
use crate::config::{self, Field, FieldKind, InvalidConfig};
use crate::confirmation::is_confirmed;
use crate::env::Env;
use crate::json_api::{JsonApi, JsonCall};
use crate::langgraph::refs::{self, Cursor, RunRef};
use crate::manifest::{CancelRequest, Manifest};
use crate::rejoin::{self, Next, Rejoins};
use crate::run::{End, EventSink};
use crate::settings::{self, Settings};
use crate::{derived_id, facts, failure, prompt};

use read::Reading;
use wire::{CreateRun, CreateThread, Decision, Human, Input, Message, Run, Target};

const ASSISTANT_ID: Field = Field {
    name: "assistantId",
    kind: FieldKind::Text,
    required: true,
    secret: false,
    help: Bilingual {
        en: "Id of the digital expert.",
        zh: "数字专家的 ID。",
    },
};
const ORGANIZATION_ID: Field = Field {
    name: "organizationId",
    kind: FieldKind::Text,
    required: false,
    secret: false,
    help: Bilingual {
        en: "Id of the organization that the expert belongs to.",
        zh: "数字专家所属组织的 ID。",
    },
};

/// The protocol's manifest.
pub static MANIFEST: Manifest = Manifest {
    word: "xpert",
    name: "Xpert AI",
    fields: &[
        config::BASE_URL,
        config::API_KEY,
        ASSISTANT_ID,
        ORGANIZATION_ID,
        config::HEADERS,
        config::IDLE_TIMEOUT,
        config::MAX_RUN,
        config::IDENTITY,
    ],
    needs_transcript: false,
    wants_inline_images: false,
    can_resume: true,
};

const ORGANIZATION_HEADER: &str = "organization-id";
const LAST_EVENT_ID: &str = "last-event-id";
/// Largest number of joins in a row that bring no event. They outlast the lock of a stream whose reader, an older server, crashed: 30 s.
const MAX_FRUITLESS_JOINS: u32 = 10;
/// Time limit for reading the stored events of an ended run: an expired stream stays silent forever.
const REPLAY_PATIENCE: Duration = Duration::from_secs(15);

/// A server of Xpert AI.
#[derive(Clone)]
pub(crate) struct Xpert {
    api: JsonApi,
    assistant: String,
}

/// A thread, and the run in it that waits for a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ThreadRef {
    thread: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    waiting: Option<Waiting>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Waiting {
    run: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// The last event before the question, after which the run's stream continues.
    event: String,
}

/// State of reading one run.
struct Reader<'a> {
    server: &'a Xpert,
    env: &'a Env,
    run: RunRef,
    reading: Reading,
    /// Whether the server says that the run has ended, so all its events are stored.
    has_ended: bool,
}

impl Xpert {
    pub(crate) fn read(settings: &Settings<'_>) -> Result<Self, InvalidConfig> {
        let mut headers = settings.bearer_headers()?;
        let organization = settings.text(&ORGANIZATION_ID);
        if !organization.is_empty() {
            let value = HeaderValue::from_str(organization);
            let value = value.map_err(|_| config::invalid(ORGANIZATION_ID.name, "can't be sent as a header"))?;
            headers.insert(ORGANIZATION_HEADER, value);
        }
        Ok(Self {
            api: JsonApi {
                base: settings::below(&settings.address(&config::BASE_URL)?, &["api", "ai"]),
                headers,
                idle: settings.seconds(&config::IDLE_TIMEOUT),
            },
            assistant: settings.text(&ASSISTANT_ID).to_owned(),
        })
    }

    pub(crate) async fn ask(
        &self,
        request: &AgentRequest,
        sink: &mut EventSink,
        env: &Env,
    ) -> Result<End, AgentFailure> {
        let resume = request.resume.as_ref();
        let known = resume.and_then(|resume| Some((RunRef::parse(&resume.run_ref)?, Cursor::of(resume))));
        let is_resumed = known.is_some();
        let (run, reading) = match known {
            Some((run, cursor)) => (run, Reading::resumed(cursor)),
            None => self.begin(request, sink, env).await?,
        };
        let mut reader = Reader {
            server: self,
            env,
            run,
            reading,
            has_ended: false,
        };
        sink.emit(reader.started(None)).await?;
        if is_resumed {
            reader.has_ended = reader.has_ended().await?;
        }
        reader.follow(sink).await
    }

    /// Starts a run.
    async fn begin(
        &self,
        request: &AgentRequest,
        sink: &mut EventSink,
        env: &Env,
    ) -> Result<(RunRef, Reading), AgentFailure> {
        let kept = request.session.conversation_ref.as_deref();
        let known: Option<ThreadRef> = kept.and_then(|kept| serde_json::from_str(kept).ok());
        if let Some(known) = known {
            match self.create_run(request, &known, 1, env).await {
                Err(failure) if failure.code == "http_404" => {}
                created => return created,
            }
            let thread = self.create_thread(request, env).await?;
            let created = self.create_run(request, &thread, 2, env).await?;
            sink.emit(AgentEvent::ConversationLost).await?;
            return Ok(created);
        }
        let thread = self.create_thread(request, env).await?;
        self.create_run(request, &thread, 1, env).await
    }

    async fn create_thread(&self, request: &AgentRequest, env: &Env) -> Result<ThreadRef, AgentFailure> {
        let (organization, session) = (request.organization.as_str(), request.session.id.as_str());
        let body = CreateThread {
            thread_id: &derived_id::uuid(&["xpert thread", organization, session]),
            assistant_id: &self.assistant,
            if_exists: "do_nothing",
        };
        let call = JsonCall::post(&["threads"], &body)?;
        let manner = Manner::asking(self.api.idle).idempotent();
        let created: wire::Thread = self.api.json(&call, manner, env).await?;
        Ok(ThreadRef {
            thread: created.thread_id,
            waiting: None,
        })
    }

    async fn create_run(
        &self,
        request: &AgentRequest,
        thread: &ThreadRef,
        question: u32,
        env: &Env,
    ) -> Result<(RunRef, Reading), AgentFailure> {
        let answer = &prompt::answer(&request.message);
        let input = match &thread.waiting {
            Some(waiting) => Input::Resume {
                target: Target {
                    ai_message_id: waiting.message.as_deref(),
                    execution_id: &waiting.run,
                },
                decision: Decision {
                    kind: match is_confirmed(&request.message.answer) {
                        true => "confirm",
                        // Whatever else was said is passed on with the decision.
                        false => "reject",
                    },
                    payload: answer,
                },
            },
            None => Input::Send {
                message: Message {
                    client_message_id: request.message.id.as_str(),
                    // Files would have to be stored at the server first, so they are sent as links.
                    input: Human {
                        input: prompt::text(&request.message, |_| false),
                    },
                },
                // The expert gets those facts that it has declared as state variables.
                state: facts::object(request).into(),
            },
        };
        let body = CreateRun {
            assistant_id: &self.assistant,
            input,
        };
        let path = ["threads", &thread.thread, "runs"];
        let call = JsonCall::post(&path, &body)?;
        let call = call.header(call::IDEMPOTENCY_KEY, call::idempotency_key(&request.run, question));
        let run: Run = self.api.json(&call, Manner::asking(self.api.idle), env).await?;
        let run = run
            .run_id
            .ok_or_else(|| failure::bad_answer("expected a run with an id"))?;
        // A resumed run keeps its id, and its stream contains the events before the question.
        let mut reading = Reading::default();
        if let Some(waiting) = thread.waiting.as_ref().filter(|waiting| waiting.run == run) {
            reading.cursor.event.clone_from(&waiting.event);
        }
        let thread = thread.thread.clone();
        let run = RunRef {
            thread,
            run,
            answers_interrupt: false,
        };
        Ok((run, reading))
    }

    /// Cancels the run. A run that the server doesn't know counts as cancelled.
    pub(crate) async fn cancel(&self, cancel: &CancelRequest, env: &Env) -> Result<(), AgentFailure> {
        let Some(run) = cancel.run_ref.as_deref().and_then(RunRef::parse) else {
            return Ok(());
        };
        let path = ["threads", &run.thread, "runs", &run.run, "cancel"];
        let call = JsonCall::post(&path, &json!({}))?;
        match self.api.send(&call, Manner::cancelling(), env).await {
            Err(failure) if failure.code == "http_404" => Ok(()),
            sent => sent.map(|_| ()),
        }
    }

    /// Fetches the expert: tests URL, key and expert without a run.
    pub(crate) async fn probe(&self, env: &Env) -> Result<(), AgentFailure> {
        let path = ["assistants", &self.assistant];
        let found: Result<Value, _> = self.api.json(&JsonCall::get(&path), Manner::probing(), env).await;
        found.map(|_| ())
    }
}

impl Reader<'_> {
    /// Reads the stream to the run's end, and joins it again when its connection breaks.
    async fn follow(&mut self, sink: &mut EventSink) -> Result<End, AgentFailure> {
        let mut rejoins = Rejoins::at_most(MAX_FRUITLESS_JOINS);
        loop {
            if let Some(mut events) = self.join().await? {
                while !self.reading.is_complete
                    && let Next::Event(event) = self.next(&mut events).await?
                    && let Some(read) = self.reading.event(&event)
                {
                    rejoins.progressed();
                    for event in read {
                        sink.emit(event).await?;
                    }
                }
            }
            if self.reading.is_complete {
                return self.end(sink).await;
            }
            rejoins.wait(self.env).await?;
            self.has_ended = self.has_ended().await?;
        }
    }

    async fn next(&self, events: &mut Events) -> Result<Next, AgentFailure> {
        if !self.has_ended {
            return rejoin::next(events).await;
        }
        let next = timeout(REPLAY_PATIENCE, rejoin::next(events)).await;
        next.unwrap_or_else(|_| Err(failure::incomplete()))
    }

    async fn join(&self) -> Result<Option<Box<Events>>, AgentFailure> {
        let path = ["threads", &self.run.thread, "runs", &self.run.run, "stream"];
        let mut call = JsonCall::get(&path);
        if let Some(last) = self.last_event() {
            call = call.header(LAST_EVENT_ID, last);
        }
        let manner = Manner::rejoining(self.server.api.idle);
        match self.server.api.send(&call, manner, self.env).await {
            // Older servers allow one connection to a stream, and a broken one may hold it until they notice.
            Err(failure) if failure.code == "http_409" => Ok(None),
            sent => self.server.api.events(sent?).await,
        }
    }

    /// The event to join after; `None` joins from the start.
    fn last_event(&self) -> Option<HeaderValue> {
        let last = Some(&self.reading.cursor.event).filter(|last| !last.is_empty())?;
        HeaderValue::from_str(last).ok()
    }

    async fn has_ended(&self) -> Result<bool, AgentFailure> {
        let path = ["threads", &self.run.thread, "runs", &self.run.run];
        let manner = Manner::rejoining(self.server.api.idle);
        let run: Run = self.server.api.json(&JsonCall::get(&path), manner, self.env).await?;
        Ok(!matches!(run.status.as_str(), "running" | "pending"))
    }

    async fn end(&mut self, sink: &mut EventSink) -> Result<End, AgentFailure> {
        let (input_tokens, output_tokens) = self.reading.tokens;
        debug!(run = %self.run.run, input_tokens, output_tokens, "run of an agent ended");
        let Some(operation) = self.reading.operation.take() else {
            return match self.reading.failure() {
                Some(failure) => Err(failure),
                None => Ok(End::Completed { final_text: None }),
            };
        };
        sink.emit(AgentEvent::InputRequired {
            prompt: read::question(&operation),
            choices: vec!["confirm".into(), "reject".into()],
            resume_ref: Some(self.run.run.clone()),
        })
        .await?;
        let waiting = Waiting {
            run: self.run.run.clone(),
            message: self.reading.message.clone(),
            event: self.reading.cursor.event.clone(),
        };
        sink.emit(self.started(Some(waiting))).await?;
        Ok(End::Completed { final_text: None })
    }

    fn started(&self, waiting: Option<Waiting>) -> AgentEvent {
        let thread = ThreadRef {
            thread: self.run.thread.clone(),
            waiting,
        };
        AgentEvent::Started {
            run_ref: refs::write(&self.run),
            conversation_ref: Some(refs::write(&thread)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::BACKOFF;

    #[test]
    fn joins_outlast_the_lock_of_a_crashed_server() {
        let shortest: Duration = (1..=MAX_FRUITLESS_JOINS).map(|attempt| BACKOFF.wait(attempt, 0)).sum();
        assert!(shortest > Duration::from_secs(30), "{shortest:?}");
    }
}
