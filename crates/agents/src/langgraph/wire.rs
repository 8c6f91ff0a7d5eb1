//! The Agent Server's JSON: the fields that we use.
//!
//! See [LangSmith Docs/Agent Server API reference](https://docs.langchain.com/langsmith/server-api-ref) and
//! [Streaming API](https://docs.langchain.com/langsmith/streaming).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[derive(Debug, Serialize)]
pub(crate) struct CreateThread<'a> {
    /// Derived from the session, so that creating it twice creates one thread.
    pub(crate) thread_id: &'a str,
    pub(crate) if_exists: &'static str,
    /// Metadata that the server stores with it, for its operator to search by.
    pub(crate) metadata: &'a Map<String, Value>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Thread {
    pub(crate) thread_id: String,
}

/// A run. Every strategy is set, because the defaults of clients and servers differ.
#[derive(Debug, Serialize)]
pub(crate) struct CreateRun<'a, M: Serialize> {
    pub(crate) assistant_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) input: Option<Input<M>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<Command<'a>>,
    /// Metadata that the server stores with it, for its operator to search by.
    pub(crate) metadata: &'a Map<String, Value>,
    pub(crate) stream_mode: &'static [&'static str],
    pub(crate) stream_subgraphs: bool,
    pub(crate) stream_resumable: bool,
    pub(crate) multitask_strategy: &'static str,
    pub(crate) if_not_exists: &'static str,
    pub(crate) on_disconnect: &'static str,
}

#[derive(Debug, Serialize)]
pub(crate) struct Input<M: Serialize> {
    pub(crate) messages: [M; 1],
}

#[derive(Debug, Serialize)]
pub(crate) struct Command<'a> {
    pub(crate) resume: ResumeValue<'a>,
}

/// The answer to one interrupt, or to several by their ids.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum ResumeValue<'a> {
    One(Value),
    Several(BTreeMap<&'a str, Value>),
}

/// `metadata`: the first event of a stream.
#[derive(Debug, Deserialize)]
pub(crate) struct RunMetadata {
    pub(crate) run_id: String,
}

/// `GET /threads/{thread}/runs/{run}`.
#[derive(Debug, Deserialize)]
pub(crate) struct Run {
    pub(crate) status: String,
}

/// A message, or a chunk of one. All fields are optional, since graphs put anything here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Message {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) content: Value,
    pub(crate) additional_kwargs: Value,
    pub(crate) tool_calls: Option<Vec<ToolCall>>,
    pub(crate) status: Option<String>,
    pub(crate) usage_metadata: Option<Usage>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ToolCall {
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Usage {
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
}

/// An update or a result: only interrupts and errors are read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    #[serde(rename = "__interrupt__")]
    pub(crate) interrupts: Option<Vec<Interrupt>>,
    #[serde(rename = "__error__")]
    pub(crate) error: Option<RunError>,
    pub(crate) messages: Option<Value>,
}

#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Interrupt {
    #[serde(default)]
    pub(crate) id: Option<String>,
    #[serde(default)]
    pub(crate) value: Value,
}

/// `error`: the exception that ended the run.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RunError {
    pub(crate) error: Option<String>,
    pub(crate) message: Option<String>,
}
