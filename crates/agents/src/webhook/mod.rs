//! `webhook`: our own contract, signed after Standard Webhooks.
//!
//! The agent answers with JSON, with a stream of events, or with 202 and callbacks later ([`events`]). A silent agent is called again
//! like a failing one: the `webhook-id` is the same on every attempt, so the agent recognizes the question.
//!
//! See [Standard Webhooks/Specification](https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).

pub mod events;

mod wire;

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode};
use serde::Serialize;
use tieline_core::agent::{AgentEvent, AgentFailure, AgentMessage, AgentRequest};
use tieline_core::bilingual::Bilingual;
use tieline_core::ids::{RunId, digest};
use tieline_core::webhook_signature::{ID_HEADER, SIGNATURE_HEADER, SigningKeys, TIMESTAMP_HEADER};
use url::Url;

use crate::answer::{self, Answer, Events};
use crate::call::{self, Manner};
use crate::config::{self, Field, FieldKind, InvalidConfig};
use crate::env::Env;
use crate::failure;
use crate::json;
use crate::manifest::{CancelRequest, Manifest};
use crate::run::{End, EventSink};
use crate::settings::Settings;

const URL: Field = Field {
    name: "url",
    kind: FieldKind::Address,
    required: true,
    secret: false,
    help: Bilingual {
        en: "Where messages are posted.",
        zh: "消息发送到的地址。",
    },
};
const SECRET: Field = Field {
    name: "secret",
    kind: FieldKind::Texts,
    required: true,
    secret: true,
    help: Bilingual {
        en: "What the posts are signed with: whsec_ and base64, or any text. A list while it is being changed.",
        zh: "请求的签名密钥：whsec_ 加 base64，或任意文本。更换期间可填一个列表。",
    },
};

/// The protocol's manifest.
pub static MANIFEST: Manifest = Manifest {
    word: "webhook",
    name: "Webhook",
    fields: &[
        URL,
        SECRET,
        config::HEADERS,
        config::IDLE_TIMEOUT,
        config::MAX_RUN,
        config::IDENTITY,
    ],
    needs_transcript: false,
    wants_inline_images: false,
    can_resume: false,
};

/// An agent that implements our contract.
#[derive(Clone)]
pub(crate) struct Webhook {
    url: Url,
    headers: HeaderMap,
    keys: SigningKeys,
    idle: Duration,
}

impl Webhook {
    pub(crate) fn read(settings: &Settings<'_>) -> Result<Self, InvalidConfig> {
        let keys = SigningKeys::read(&settings.texts(&SECRET));
        let mut headers = settings.headers(&config::HEADERS, &[ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER])?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream, application/json"));
        Ok(Self {
            url: settings.address(&URL)?,
            headers,
            keys: keys.map_err(|_| config::invalid(SECRET.name, "must have base64 after whsec_"))?,
            idle: settings.seconds(&config::IDLE_TIMEOUT),
        })
    }

    pub(crate) async fn ask(
        &self,
        request: &AgentRequest,
        sink: &mut EventSink,
        env: &Env,
    ) -> Result<End, AgentFailure> {
        let manner = Manner::asking(self.idle).idempotent();
        let response = self
            .post(&question_id(&request.message), &wire::Created::of(request), manner, env)
            .await?;
        if response.status() == StatusCode::ACCEPTED {
            return Ok(End::Deferred);
        }
        match answer::open(response, self.idle).await? {
            Answer::Json(body) => whole(&body, sink).await,
            Answer::Events(events) => streamed(events, sink).await,
        }
    }

    pub(crate) async fn cancel(&self, cancel: &CancelRequest, env: &Env) -> Result<(), AgentFailure> {
        let manner = Manner::cancelling();
        let cancelled = wire::Cancelled {
            kind: "run.cancelled",
            version: wire::VERSION,
            run_id: cancel.run.as_str(),
        };
        self.post(&cancel_id(&cancel.run), &cancelled, manner, env)
            .await
            .map(|_| ())
    }

    /// Posts a `ping`. An agent that responds with an error about the message is alive and accepts our signature.
    pub(crate) async fn probe(&self, env: &Env) -> Result<(), AgentFailure> {
        let manner = Manner::probing();
        let now = (env.now)();
        let ping = wire::Ping {
            kind: "ping",
            version: wire::VERSION,
        };
        match self
            .post(
                &format!("msg_{}", digest(&["ping", &now.to_string()])),
                &ping,
                manner,
                env,
            )
            .await
        {
            Err(failure) if matches!(failure.code.as_str(), "http_400" | "http_422") => Ok(()),
            answered => answered.map(|_| ()),
        }
    }

    async fn post(&self, id: &str, body: &impl Serialize, manner: Manner, env: &Env) -> Result<Response, AgentFailure> {
        let unwritable = |_| failure::new(failure::AGENT_ERROR, "the request can't be written", false);
        let body = Bytes::from(serde_json::to_vec(body).map_err(|_| unwritable(()))?);
        let id_header = HeaderValue::from_str(id).map_err(|_| unwritable(()))?;
        let make = || {
            // The time of this attempt, so that a late retry isn't taken for a replay.
            let timestamp = (env.now)().as_secs();
            let mut headers = self.headers.clone();
            let signature = HeaderValue::from_str(&self.keys.sign(id, timestamp, &body));
            headers.insert(ID_HEADER, id_header.clone());
            headers.insert(call::IDEMPOTENCY_KEY, id_header.clone());
            headers.insert(TIMESTAMP_HEADER, HeaderValue::from(timestamp));
            headers.insert(
                SIGNATURE_HEADER,
                signature.expect("base64 and spaces are header characters"),
            );
            env.http.post(self.url.clone()).headers(headers).body(body.clone())
        };
        call::send(make, manner, env).await
    }
}

/// The message's id, the same on every attempt. A message that an operator redrives is a new question: an agent that follows the
/// contract would ignore the old id.
fn question_id(message: &AgentMessage) -> String {
    match message.redrives {
        0 => message.id.to_string(),
        n => format!("{}-{n}", message.id),
    }
}

/// Id of the cancel post: other than the question's, and the same on every attempt.
fn cancel_id(run: &RunId) -> String {
    format!("msg_{}", digest(&["cancel", run.as_str()]))
}

async fn whole(body: &[u8], sink: &mut EventSink) -> Result<End, AgentFailure> {
    let answer: Result<wire::Answer, _> = json::read(body);
    let answer = answer.map_err(|_| failure::bad_answer("expected JSON with a `text`, got other JSON"))?;
    if let Some(card) = answer.card {
        let card = events::card(&card).map_err(|error| failure::bad_answer(error.to_string()))?;
        sink.emit(AgentEvent::Card(card)).await?;
    }
    Ok(End::Completed {
        final_text: Some(answer.text),
    })
}

async fn streamed(mut events: Box<Events>, sink: &mut EventSink) -> Result<End, AgentFailure> {
    let mut waits_for_person = false;
    while let Some(event) = events.next().await? {
        let read = events::read(&event.data).map_err(|error| failure::bad_answer(error.to_string()))?;
        match read {
            None => {}
            Some(AgentEvent::Completed { final_text }) => return Ok(End::Completed { final_text }),
            Some(AgentEvent::Failed(failure)) => return Err(failure),
            Some(AgentEvent::Cancelled) => return Ok(End::Cancelled),
            Some(event) => {
                waits_for_person = match event {
                    AgentEvent::InputRequired { .. } => true,
                    AgentEvent::Progress { .. } | AgentEvent::Cursor(_) => waits_for_person,
                    _ => false,
                };
                sink.emit(event).await?;
            }
        }
    }
    // A question to the person ends the agent's turn, even without other text.
    if waits_for_person {
        Ok(End::Completed { final_text: None })
    } else {
        Err(failure::incomplete())
    }
}
