//! One server for each protocol. They only encode: what an agent does is decided in `runs`.

mod a2a;
mod apps;
mod openai;
mod threads;
mod webhook;

use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use crate::faults::Fault;
use crate::runs::{PICTURE, Runs};
use crate::server::{Act, Call, Server};

/// How a run is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// By closing the connection.
    Close,
    /// By a call that has this text in its request line or its body.
    Call(&'static str),
}

/// What happens to a run whose process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resume {
    /// The next process resumes it.
    GoesOn,
    /// What was shown is kept, with a notice.
    Refused,
}

/// A protocol and its features.
pub(crate) struct Row {
    /// The protocol's name in the configuration.
    pub(crate) protocol: &'static str,
    /// What distinguishes this row from others of the protocol.
    pub(crate) variant: &'static str,
    pub(crate) cancel: Cancel,
    pub(crate) resume: Resume,
    /// Whether the protocol names tools.
    pub(crate) tools: bool,
    /// Whether the protocol carries files of the agent.
    pub(crate) files: bool,
    /// How the protocol carries questions to the person and their answers.
    pub(crate) asks: Asks,
    config: fn(&str) -> Value,
    handle: fn(&Call, &mut Runs) -> Vec<Act>,
}

/// How a protocol carries questions to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Not at all: an agent asks in its text, and the answer is the next question.
    InWords,
    /// As a question; the next message is an ordinary one.
    Question,
    /// As a question that the next message answers.
    QuestionAndAnswer,
}

const KEY: &str = "secret-key";
const ARN: &str = "arn:aws:bedrock-agentcore:us-west-2:123456789012:runtime/agent-a1";

/// Every protocol except `echo`, which has no server.
pub(crate) const ROWS: &[Row] = &[
    Row {
        protocol: "openai_chat",
        variant: "",
        cancel: Cancel::Close,
        resume: Resume::Refused,
        tools: false,
        files: false,
        asks: Asks::InWords,
        config: |url| json!({"baseUrl": format!("{url}/v1"), "apiKey": KEY, "model": "m"}),
        handle: openai::chat,
    },
    Row {
        protocol: "openai_responses",
        variant: "background",
        cancel: Cancel::Call("/cancel"),
        resume: Resume::GoesOn,
        tools: true,
        files: true,
        asks: Asks::InWords,
        config: |url| json!({"baseUrl": format!("{url}/v1"), "apiKey": KEY, "model": "m", "background": true}),
        handle: openai::responses,
    },
    Row {
        protocol: "dify",
        variant: "chatflow",
        cancel: Cancel::Call("/stop"),
        resume: Resume::GoesOn,
        tools: true,
        files: true,
        asks: Asks::QuestionAndAnswer,
        config: |url| json!({"baseUrl": format!("{url}/v1"), "apiKey": KEY}),
        handle: apps::dify,
    },
    Row {
        protocol: "langgraph",
        variant: "",
        cancel: Cancel::Call("/cancel"),
        resume: Resume::GoesOn,
        tools: true,
        files: true,
        asks: Asks::QuestionAndAnswer,
        config: |url| json!({"baseUrl": url, "apiKey": KEY, "assistantId": "agent"}),
        handle: threads::langgraph,
    },
    Row {
        protocol: "xpert",
        variant: "",
        cancel: Cancel::Call("/cancel"),
        resume: Resume::GoesOn,
        tools: true,
        files: true,
        asks: Asks::QuestionAndAnswer,
        config: |url| json!({"baseUrl": url, "apiKey": KEY, "assistantId": "expert"}),
        handle: threads::xpert,
    },
    Row {
        protocol: "agentcore",
        variant: "",
        cancel: Cancel::Close,
        resume: Resume::Refused,
        tools: false,
        files: false,
        asks: Asks::InWords,
        config: |url| json!({"runtimeArn": ARN, "baseUrl": url, "auth": "bearer", "apiKey": KEY}),
        handle: apps::agentcore,
    },
    Row {
        protocol: "a2a",
        variant: "",
        cancel: Cancel::Call("CancelTask"),
        resume: Resume::GoesOn,
        tools: true,
        files: true,
        asks: Asks::QuestionAndAnswer,
        config: |url| json!({"baseUrl": url, "apiKey": KEY}),
        handle: a2a::handle,
    },
    Row {
        protocol: "coze",
        variant: "",
        cancel: Cancel::Call("/v3/chat/cancel"),
        resume: Resume::GoesOn,
        tools: true,
        files: false,
        asks: Asks::Question,
        config: |url| json!({"baseUrl": url, "apiKey": KEY, "botId": "bot"}),
        handle: apps::coze,
    },
    Row {
        protocol: "webhook",
        variant: "stream",
        cancel: Cancel::Call("run.cancelled"),
        resume: Resume::Refused,
        tools: true,
        files: true,
        asks: Asks::QuestionAndAnswer,
        config: |url| json!({"url": format!("{url}/hook"), "secret": "whsec_c2VjcmV0"}),
        handle: webhook::streamed,
    },
    Row {
        protocol: "webhook",
        variant: "callbacks",
        cancel: Cancel::Call("run.cancelled"),
        resume: Resume::GoesOn,
        tools: true,
        files: true,
        asks: Asks::QuestionAndAnswer,
        config: |url| json!({"url": format!("{url}/hook"), "secret": "whsec_c2VjcmV0"}),
        handle: webhook::called_back,
    },
];

/// The agent server of a row.
pub(crate) struct AgentServer {
    pub(crate) row: &'static Row,
    pub(crate) server: Server,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    runs: Runs,
    fault: Option<Fault>,
}

impl AgentServer {
    pub(crate) async fn start(row: &'static Row) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let answering = state.clone();
        let server = Server::answering(move |call| {
            let mut state = answering.lock().unwrap();
            let script = (row.handle)(call, &mut state.runs);
            match state.fault {
                Some(fault) => fault.instead_of(script),
                None => script,
            }
        })
        .await;
        Self { row, server, state }
    }

    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.row.protocol, self.row.variant).trim().to_owned()
    }

    /// Settings of an agent that calls this server.
    pub(crate) fn as_agent(&self) -> Value {
        let mut config = (self.row.config)(&self.server.url);
        config["idleTimeoutSeconds"] = json!(IDLE_SECONDS);
        json!({"name": self.name(), "protocol": self.row.protocol, "config": config})
    }

    /// From now on its answers have this fault; `None` ends it.
    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        self.state.lock().unwrap().fault = fault;
    }

    /// Number of times that a text was asked.
    pub(crate) fn n_asked(&self, text: &str) -> usize {
        self.lock().runs.n_asked(text)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// Limit of an agent's silence.
pub(crate) const IDLE_SECONDS: u64 = 10;

fn data(event: &Value) -> String {
    format!("data: {event}\n\n")
}

/// The text of a message, in any of the forms of the protocols.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let nested = parts.iter().map(|part| match part["text"].as_str() {
                Some(text) => text.to_owned(),
                None => text_of(&part["content"]),
            });
            nested.collect()
        }
        _ => String::new(),
    }
}

/// The form in which a protocol expects a picture.
#[derive(Clone, Copy)]
enum Asked {
    Base64,
    Block,
}

fn picture_of(form: Asked) -> Value {
    match form {
        Asked::Base64 => json!(PICTURE),
        Asked::Block => json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{PICTURE}")}}),
    }
}

fn word_in(query: &str, name: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn number_in(query: &str, name: &str) -> Option<usize> {
    word_in(query, name)?.parse().ok()
}
