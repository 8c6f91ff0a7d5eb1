//! Our contract with webhook agents. A change here affects every agent: add fields, never rename them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tieline_core::agent::{AgentPart, AgentRequest};
use tieline_core::event::{ChatKind, PartKind};
use tieline_core::timestamp::Timestamp;

/// The version of everything that we post.
pub(crate) const VERSION: u32 = 1;

/// A question.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Created<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    version: u32,
    run_id: &'a str,
    organization: &'a str,
    agent: Named<'a>,
    integration: Named<'a>,
    session: Session<'a>,
    user: User<'a>,
    chat: Chat<'a>,
    message: Message<'a>,
    reply: Reply<'a>,
    limits: Limits,
}

/// A run was cancelled.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cancelled<'a> {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) version: u32,
    pub(crate) run_id: &'a str,
}

/// An operator tests the agent. Any success status will do.
#[derive(Debug, Serialize)]
pub(crate) struct Ping {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) version: u32,
}

/// An unstreamed answer.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    pub(crate) text: String,
    /// Shown below the text.
    #[serde(default)]
    pub(crate) card: Option<Value>,
}

#[derive(Debug, Serialize)]
struct Named<'a> {
    id: &'a str,
    name: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Session<'a> {
    id: &'a str,
    number: u64,
    is_new: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct User<'a> {
    id: &'a str,
    platform: &'a str,
    external_id: &'a str,
    display_name: Option<&'a str>,
    /// Only present if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    person: Option<Person<'a>>,
    locale: &'static str,
}

/// The known person whom the account is linked to.
#[derive(Debug, Serialize)]
struct Person<'a> {
    id: &'a str,
    name: &'a str,
    email: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Chat<'a> {
    #[serde(rename = "type")]
    kind: ChatKind,
    id: &'a str,
    /// Only present if the platform reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    thread_id: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Message<'a> {
    id: &'a str,
    text: &'a str,
    parts: Vec<Part<'a>>,
    quoted: Option<Quoted<'a>>,
}

#[derive(Debug, Serialize)]
struct Part<'a> {
    #[serde(rename = "type")]
    kind: PartKind,
    url: &'a str,
    mime: Option<&'a str>,
    name: Option<&'a str>,
    /// Only present if true.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unavailable: bool,
}

#[derive(Debug, Serialize)]
struct Quoted<'a> {
    text: &'a str,
    parts: Vec<Part<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Reply<'a> {
    events_url: &'a str,
    token: &'a str,
    expires_at: Timestamp,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Limits {
    max_text_bytes: usize,
    stream: bool,
}

impl<'a> Created<'a> {
    /// Converts `request` to the posted message.
    pub(crate) fn of(request: &'a AgentRequest) -> Self {
        Self {
            kind: "message.created",
            version: VERSION,
            run_id: request.run.as_str(),
            organization: request.organization.as_str(),
            agent: Named {
                id: request.agent.id.as_str(),
                name: &request.agent.name,
            },
            integration: Named {
                id: request.integration.id.as_str(),
                name: &request.integration.name,
            },
            session: Session {
                id: request.session.id.as_str(),
                number: request.session.number,
                is_new: request.session.is_new,
            },
            user: User {
                id: request.user.id.as_str(),
                platform: &request.user.platform,
                external_id: &request.user.external_id,
                display_name: request.user.display_name.as_deref(),
                person: request.user.person.as_ref().map(|person| Person {
                    id: &person.id,
                    name: &person.name,
                    email: person.email.as_deref(),
                }),
                locale: request.user.locale.tag(),
            },
            chat: Chat {
                kind: request.chat.kind,
                id: &request.chat.id,
                name: request.chat.name.as_deref(),
                thread_id: request.chat.thread_id.as_deref(),
            },
            message: Message {
                id: request.message.id.as_str(),
                text: &request.message.text,
                parts: parts(&request.message.parts),
                quoted: request.message.quoted.as_ref().map(|(text, quoted)| Quoted {
                    text,
                    parts: parts(quoted),
                }),
            },
            reply: Reply {
                events_url: &request.reply.events_url,
                token: request.reply.token.expose(),
                expires_at: request.reply.expires_at,
            },
            limits: Limits {
                max_text_bytes: request.limits.max_text_bytes,
                stream: request.limits.stream,
            },
        }
    }
}

fn parts(parts: &[AgentPart]) -> Vec<Part<'_>> {
    parts.iter().map(part).collect()
}

fn part(part: &AgentPart) -> Part<'_> {
    Part {
        kind: part.kind,
        url: &part.url,
        mime: part.mime.as_deref(),
        name: part.name.as_deref(),
        unavailable: part.unavailable,
    }
}
