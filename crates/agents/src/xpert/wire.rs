//! Xpert's JSON: the fields that we use.
//!
//! Based on the server's source, which is its only reference:
//! [xpert-ai/xpert packages/server-ai/src/ai](https://github.com/xpert-ai/xpert/tree/main/packages/server-ai/src/ai).

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Serialize)]
pub(crate) struct CreateThread<'a> {
    /// Derived from the session, so that creating it twice creates one thread.
    pub(crate) thread_id: &'a str,
    pub(crate) assistant_id: &'a str,
    pub(crate) if_exists: &'static str,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Thread {
    pub(crate) thread_id: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct CreateRun<'a> {
    pub(crate) assistant_id: &'a str,
    pub(crate) input: Input<'a>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub(crate) enum Input<'a> {
    Send { message: Message<'a>, state: Value },
    Resume { target: Target<'a>, decision: Decision<'a> },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Message<'a> {
    pub(crate) client_message_id: &'a str,
    pub(crate) input: Human,
}

#[derive(Debug, Serialize)]
pub(crate) struct Human {
    pub(crate) input: String,
}

/// The run that waits for a decision.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Target<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ai_message_id: Option<&'a str>,
    pub(crate) execution_id: &'a str,
}

#[derive(Debug, Serialize)]
pub(crate) struct Decision<'a> {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) payload: &'a str,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Run {
    #[serde(default)]
    pub(crate) run_id: Option<String>,
    #[serde(default)]
    pub(crate) status: String,
}

/// Data of an event: a piece of the message, or a status event.
#[derive(Debug, Deserialize)]
pub(crate) struct Payload {
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) event: String,
    #[serde(default)]
    pub(crate) data: Value,
}

/// Data of the end of a message, a conversation or an agent.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Ending {
    pub(crate) status: Option<String>,
    pub(crate) error: Option<Value>,
    pub(crate) input_tokens: Option<u64>,
    pub(crate) output_tokens: Option<u64>,
}

/// The operation that an interrupted agent wants confirmed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Operation {
    pub(crate) tasks: Vec<Task>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Task {
    pub(crate) name: String,
    pub(crate) info: Option<Info>,
    pub(crate) call: Option<ToolCall>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Info {
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ToolCall {
    pub(crate) name: String,
    pub(crate) args: Value,
}
