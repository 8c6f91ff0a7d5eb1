//! `langgraph`: runs of an Agent Server (LangGraph Platform, LangSmith Deployment).
//!
//! A session is a thread. A run continues without a listener (`on_disconnect: continue`) and its stream can be joined again
//! (`stream_resumable`): after a broken connection in the same process, after a hand-over or a crash in another process. The server
//! closes the stream without a last event, so the run's status decides what the end means.
//!
//! See [LangSmith Docs/Agent Server API reference](https://docs.langchain.com/langsmith/server-api-ref).

mod read;
pub(crate) mod refs;
mod review;
mod texts;
mod wire;

use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::Value;
use tieline_core::agent::{AgentEvent, AgentFailure, AgentMessage, AgentRequest};
use tieline_core::bilingual::Bilingual;
use tracing::debug;

use crate::answer::Events;
use crate::call::{self, Manner};
use crate::config::{self, Field, FieldKind, InvalidConfig};
use crate::env::Env;
use crate::facts;
use crate::failure;
use crate::json_api::{JsonApi, JsonCall};
use crate::manifest::{CancelRequest, Manifest};
use crate::openai_chat::compose;
use crate::prompt;
use crate::rejoin::{self, Next, Rejoins};
use crate::run::{End, EventSink};
use crate::settings::{self, Settings};

use read::{Beginning, Reading};
use refs::{Cursor, RunRef, ThreadRef};
use review::Review;

const ASSISTANT_ID: Field = Field {
    name: "assistantId",
    kind: FieldKind::Text,
    required: true,
    secret: false,
    help: Bilingual {
        en: "Id of the assistant, or name of the graph.",
        zh: "助手（assistant）的 ID，或图（graph）的名称。",
    },
};

/// The protocol's manifest.
pub static MANIFEST: Manifest = Manifest {
    word: "langgraph",
    name: "LangGraph Agent Server",
    fields: &[
        config::BASE_URL,
        config::API_KEY,
        ASSISTANT_ID,
        config::HEADERS,
        config::IDLE_TIMEOUT,
        config::MAX_RUN,
        config::IDENTITY,
    ],
    needs_transcript: false,
    wants_inline_images: true,
    can_resume: true,
};

const API_KEY_HEADER: &str = "x-api-key";
/// Tokens and tool calls, and the output of nodes: interrupts are only in the latter.
const STREAM_MODES: &[&str] = &["messages-tuple", "updates"];
const LAST_EVENT_ID: &str = "last-event-id";
/// Joins a stream from its first event.
const FROM_THE_START: &str = "-1";

/// An Agent Server.
#[derive(Clone)]
pub(crate) struct Langgraph {
    api: JsonApi,
    assistant: String,
}

/// State of reading one run.
struct Reader<'a> {
    server: &'a Langgraph,
    env: &'a Env,
    run: RunRef,
    reading: Reading,
    /// Whether another connection read a part of the stream: then events may have expired.
    rejoined: bool,
}

impl Langgraph {
    pub(crate) fn read(settings: &Settings<'_>) -> Result<Self, InvalidConfig> {
        Ok(Self {
            api: JsonApi {
                base: settings.address(&config::BASE_URL)?,
                headers: headers(settings)?,
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
        let Some((run, cursor)) = known else {
            return self.begin(request, sink, env).await;
        };
        let mut reader = Reader {
            server: self,
            env,
            run,
            reading: Reading::resumed(cursor),
            rejoined: true,
        };
        sink.emit(reader.started(Vec::new(), Vec::new())).await?;
        let events = reader.join().await?;
        reader.follow(events, sink).await
    }

    /// Starts a run and reads it.
    async fn begin(&self, request: &AgentRequest, sink: &mut EventSink, env: &Env) -> Result<End, AgentFailure> {
        let known = ThreadRef::of(request);
        let (thread, response) = match &known {
            Some(known) => match self.create_run(request, known, false, 1, env).await {
                Err(failure) if failure.code == "http_404" => {
                    let thread = self.create_thread(request, env).await?;
                    let response = self.create_run(request, &thread, true, 2, env).await?;
                    sink.emit(AgentEvent::ConversationLost).await?;
                    (thread, response)
                }
                response => (known.clone(), response?),
            },
            None => {
                let thread = self.create_thread(request, env).await?;
                let response = self.create_run(request, &thread, true, 1, env).await?;
                (thread, response)
            }
        };
        let run = run_in(response.headers());
        let mut events = self.api.events(response).await?;
        let mut reading = Reading::default();
        let run = match run {
            Some(run) => run,
            None => first_event(events.as_deref_mut(), &mut reading).await?,
        };
        let run = RunRef {
            answers_interrupt: !thread.interrupts.is_empty(),
            thread: thread.thread,
            run,
        };
        let mut reader = Reader {
            server: self,
            env,
            run,
            reading,
            rejoined: false,
        };
        sink.emit(reader.started(Vec::new(), Vec::new())).await?;
        reader.follow(events, sink).await
    }

    async fn create_thread(&self, request: &AgentRequest, env: &Env) -> Result<ThreadRef, AgentFailure> {
        let body = wire::CreateThread {
            thread_id: &refs::thread_id(request),
            if_exists: "do_nothing",
            metadata: &facts::object(request),
        };
        let call = JsonCall::post(&["threads"], &body)?;
        let manner = Manner::asking(self.api.idle).idempotent();
        let created: wire::Thread = self.api.json(&call, manner, env).await?;
        Ok(ThreadRef {
            thread: created.thread_id,
            interrupts: Vec::new(),
            reviews: Vec::new(),
        })
    }

    async fn create_run(
        &self,
        request: &AgentRequest,
        thread: &ThreadRef,
        may_create: bool,
        question: u32,
        env: &Env,
    ) -> Result<reqwest::Response, AgentFailure> {
        let resume = resume_value(thread, &request.message);
        let input = resume.is_none().then(|| wire::Input {
            messages: [compose::asked(request)],
        });
        let body = wire::CreateRun {
            assistant_id: &self.assistant,
            input,
            command: resume.map(|resume| wire::Command { resume }),
            metadata: &facts::object(request),
            stream_mode: STREAM_MODES,
            stream_subgraphs: false,
            stream_resumable: true,
            multitask_strategy: "enqueue",
            // The run must fail if its thread was deleted, because the thread's history is gone.
            if_not_exists: if may_create { "create" } else { "reject" },
            on_disconnect: "continue",
        };
        let path = ["threads", &thread.thread, "runs", "stream"];
        let call = JsonCall::post(&path, &body)?;
        let call = call.header(call::IDEMPOTENCY_KEY, call::idempotency_key(&request.run, question));
        self.api.send(&call, Manner::asking(self.api.idle), env).await
    }

    /// Interrupts the run. A run that has ended, or that the server doesn't know, counts as interrupted.
    pub(crate) async fn cancel(&self, cancel: &CancelRequest, env: &Env) -> Result<(), AgentFailure> {
        let Some(run) = cancel.run_ref.as_deref().and_then(RunRef::parse) else {
            return Ok(());
        };
        let path = ["threads", &run.thread, "runs", &run.run, "cancel"];
        let call = JsonCall::post(&path, &serde_json::json!({}))?.query(&[("action", "interrupt")]);
        match self.api.send(&call, Manner::cancelling(), env).await {
            Err(failure) if matches!(failure.code.as_str(), "http_404" | "http_409") => Ok(()),
            sent => sent.map(|_| ()),
        }
    }

    /// Fetches the assistant: tests URL, key and assistant without a run.
    pub(crate) async fn probe(&self, env: &Env) -> Result<(), AgentFailure> {
        if is_uuid(&self.assistant) {
            let path = ["assistants", &self.assistant];
            return self
                .api
                .json::<Value>(&JsonCall::get(&path), Manner::probing(), env)
                .await
                .map(|_| ());
        }
        let body = serde_json::json!({"graph_id": self.assistant, "limit": 1});
        let call = JsonCall::post(&["assistants", "search"], &body)?;
        let found: Vec<Value> = self.api.json(&call, Manner::probing(), env).await?;
        match found.is_empty() {
            true => Err(failure::new(
                failure::AGENT_ERROR,
                "the server has no graph of the name in assistantId",
                false,
            )),
            false => Ok(()),
        }
    }
}

impl Reader<'_> {
    /// Reads the stream to the run's end, and joins it again when its connection breaks.
    async fn follow(&mut self, mut events: Option<Box<Events>>, sink: &mut EventSink) -> Result<End, AgentFailure> {
        let mut rejoins = Rejoins::default();
        loop {
            let is_whole = match &mut events {
                Some(events) => self.read_stream(events, &mut rejoins, sink).await?,
                None => false,
            };
            if is_whole && let Some(end) = self.end(sink).await? {
                return Ok(end);
            }
            rejoins.wait(self.env).await?;
            events = self.join().await?;
            self.rejoined = true;
        }
    }

    /// Reads one connection. Returns whether the server ended the stream.
    async fn read_stream(
        &mut self,
        events: &mut Events,
        rejoins: &mut Rejoins,
        sink: &mut EventSink,
    ) -> Result<bool, AgentFailure> {
        while !self.reading.has_ended {
            let event = match rejoin::next(events).await? {
                Next::Event(event) => event,
                Next::Ended => break,
                Next::Broken => return Ok(false),
            };
            rejoins.progressed();
            for event in self.reading.event(&event)? {
                sink.emit(event).await?;
            }
        }
        Ok(true)
    }

    async fn join(&self) -> Result<Option<Box<Events>>, AgentFailure> {
        let path = ["threads", &self.run.thread, "runs", &self.run.run, "stream"];
        let last = match self.reading.cursor.event.as_str() {
            "" => FROM_THE_START,
            last => last,
        };
        let last = HeaderValue::from_str(last).unwrap_or(HeaderValue::from_static(FROM_THE_START));
        let modes: Vec<_> = STREAM_MODES.iter().map(|mode| ("stream_mode", *mode)).collect();
        let call = JsonCall::get(&path).query(&modes).header(LAST_EVENT_ID, last);
        let manner = Manner::rejoining(self.server.api.idle);
        let response = self.server.api.send(&call, manner, self.env).await?;
        self.server.api.events(response).await
    }

    /// What the stream's end means. `None` if the run is still active.
    async fn end(&mut self, sink: &mut EventSink) -> Result<Option<End>, AgentFailure> {
        if !self.reading.has_ended {
            let path = ["threads", &self.run.thread, "runs", &self.run.run];
            let run: wire::Run = self.get(&path).await?;
            match run.status.as_str() {
                "pending" | "running" => return Ok(None),
                "error" => return Err(read::failed(self.result().await.error)),
                "timeout" => {
                    return Err(failure::new(
                        "timeout",
                        "the run exceeded the server's time limit",
                        true,
                    ));
                }
                "interrupted" if self.reading.interrupts.is_empty() => {
                    let interrupts = self.result().await.interrupts.unwrap_or_default();
                    if interrupts.is_empty() {
                        return Ok(Some(End::Cancelled));
                    }
                    self.reading.interrupted(interrupts);
                }
                _ => {}
            }
        }
        let mut final_text = None;
        if self.rejoined {
            let state = self.result().await;
            let beginning = match self.run.answers_interrupt {
                true => Beginning::Message(self.reading.cursor.first_message.as_deref()),
                false => Beginning::Question,
            };
            final_text = read::final_text(&state, beginning);
            if let Some(error) = state.error {
                return Err(read::failed(Some(error)));
            }
            self.reading.interrupted(state.interrupts.unwrap_or_default());
        }
        debug!(run = %self.run.run, usage = ?self.reading.usage, "run of an agent ended");
        let final_text = self.put_question(final_text, sink).await?;
        Ok(Some(End::Completed { final_text }))
    }

    /// Emits the interrupts that the run ended with as a question, and stores their ids for the answer. Returns the text that is left to
    /// replace everything at the end: below it would be no question.
    async fn put_question(
        &mut self,
        final_text: Option<String>,
        sink: &mut EventSink,
    ) -> Result<Option<String>, AgentFailure> {
        let interrupts = std::mem::take(&mut self.reading.interrupts);
        if interrupts.is_empty() {
            return Ok(final_text);
        }
        if let Some(text) = final_text {
            sink.emit(AgentEvent::TextSnapshot(text)).await?;
        }
        let (prompt, choices) = read::question(&interrupts);
        let reviews = interrupts.iter().map(|it| review::reviews(&it.value)).collect();
        let ids: Vec<String> = interrupts.into_iter().map(|it| it.id.unwrap_or_default()).collect();
        let resume_ref = ids.first().cloned().filter(|id| !id.is_empty());
        sink.emit(AgentEvent::InputRequired {
            prompt,
            choices,
            resume_ref,
        })
        .await?;
        sink.emit(self.started(ids, reviews)).await?;
        Ok(None)
    }

    fn started(&self, interrupts: Vec<String>, reviews: Vec<Vec<Review>>) -> AgentEvent {
        let has_reviews = reviews.iter().any(|reviews| !reviews.is_empty());
        let thread = ThreadRef {
            thread: self.run.thread.clone(),
            interrupts,
            reviews: if has_reviews { reviews } else { Vec::new() },
        };
        AgentEvent::Started {
            run_ref: refs::write(&self.run),
            conversation_ref: Some(refs::write(&thread)),
        }
    }

    /// The run's result; the default if the server doesn't return it or it is too large.
    async fn result(&self) -> wire::State {
        let path = ["threads", &self.run.thread, "runs", &self.run.run, "join"];
        self.get(&path).await.unwrap_or_default()
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &[&str]) -> Result<T, AgentFailure> {
        let manner = Manner::rejoining(self.server.api.idle);
        self.server.api.json(&JsonCall::get(path), manner, self.env).await
    }
}

fn headers(settings: &Settings<'_>) -> Result<HeaderMap, InvalidConfig> {
    let key = settings.text(&config::API_KEY);
    let reserved: &[&str] = if key.is_empty() { &[] } else { &[API_KEY_HEADER] };
    let mut headers = settings.headers(&config::HEADERS, reserved)?;
    headers.insert(
        reqwest::header::ACCEPT,
        HeaderValue::from_static("text/event-stream, application/json"),
    );
    if !key.is_empty() {
        let key = settings::sensitive(key);
        headers.insert(
            API_KEY_HEADER,
            key.map_err(|_| config::invalid(config::API_KEY.name, "can't be sent as a header"))?,
        );
    }
    Ok(headers)
}

/// The answer to the interrupts that wait in the thread; `None` if there are none.
fn resume_value<'a>(thread: &'a ThreadRef, message: &AgentMessage) -> Option<wire::ResumeValue<'a>> {
    let text = prompt::answer(message);
    let answer = |index: usize| match thread.reviews.get(index).map(Vec::as_slice) {
        None | Some([]) => Value::from(text.as_str()),
        Some(reviews) => review::answer(reviews, &message.answer, &text),
    };
    match thread.interrupts.as_slice() {
        [] => None,
        [_] => Some(wire::ResumeValue::One(answer(0))),
        several => {
            let answers = several
                .iter()
                .enumerate()
                .map(|(index, id)| (id.as_str(), answer(index)));
            Some(wire::ResumeValue::Several(answers.collect()))
        }
    }
}

/// The run's id from `Content-Location: /threads/{thread}/runs/{run}`, known before the first event.
fn run_in(headers: &HeaderMap) -> Option<String> {
    let location = headers.get(reqwest::header::CONTENT_LOCATION)?.to_str().ok()?;
    let (_, run) = location.rsplit_once("/runs/")?;
    let is_id = !run.is_empty() && run.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    is_id.then(|| run.to_owned())
}

/// The run's id from the first events, for servers that don't send it in the response's head.
async fn first_event(events: Option<&mut Events>, reading: &mut Reading) -> Result<String, AgentFailure> {
    let events = events.ok_or_else(failure::incomplete)?;
    while let Some(event) = events.next().await? {
        reading.event(&event)?;
        if let Some(run) = reading.run.take() {
            return Ok(run);
        }
    }
    Err(failure::incomplete())
}

fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}
