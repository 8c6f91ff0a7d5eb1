//! Dify's service API for chat apps: the fields that we use.
//!
//! See [Dify Docs/Send Chat Message](https://docs.dify.ai/api-reference/chat/send-chat-message).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The body of `POST /chat-messages`.
#[derive(Debug, Serialize)]
pub(crate) struct Request<'a> {
    pub(crate) inputs: &'a Map<String, Value>,
    pub(crate) query: &'a str,
    pub(crate) user: &'a str,
    pub(crate) response_mode: &'static str,
    /// Empty for a new conversation.
    pub(crate) conversation_id: &'a str,
    pub(crate) files: &'a [File],
}

/// A file of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct File {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    #[serde(flatten)]
    pub(crate) source: Source,
}

/// Where the file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "transfer_method", rename_all = "snake_case")]
pub(crate) enum Source {
    RemoteUrl { url: String },
    LocalFile { upload_file_id: String },
}

/// The answer of `POST /files/upload`.
#[derive(Debug, Deserialize)]
pub(crate) struct Uploaded {
    pub(crate) id: String,
}

/// The body of a stop.
#[derive(Debug, Serialize)]
pub(crate) struct Stop<'a> {
    pub(crate) user: &'a str,
}

/// The body of `POST /form/human_input/{form_token}`.
#[derive(Debug, Serialize)]
pub(crate) struct Decision<'a> {
    pub(crate) inputs: Map<String, Value>,
    pub(crate) user: &'a str,
    pub(crate) action: &'a str,
}

/// One event of a stream. Each type of event has some of the fields.
#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    #[serde(default)]
    pub(crate) event: String,
    pub(crate) task_id: Option<String>,
    pub(crate) conversation_id: Option<String>,
    pub(crate) workflow_run_id: Option<String>,
    pub(crate) answer: Option<String>,
    /// HTTP status of an `error`.
    pub(crate) status: Option<Value>,
    pub(crate) data: Option<Data>,
    pub(crate) metadata: Option<Metadata>,
    /// Files of the answer, in `message_end`.
    pub(crate) files: Option<Vec<AnswerFile>>,
    /// Tool of an `agent_thought`; several are separated by semicolons.
    pub(crate) tool: Option<String>,
    pub(crate) observation: Option<String>,
    /// The file, in `message_file`.
    #[serde(flatten)]
    pub(crate) file: AnswerFile,
}

#[derive(Debug, Deserialize)]
pub(crate) struct AnswerFile {
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    pub(crate) belongs_to: Option<String>,
    pub(crate) transfer_method: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) filename: Option<String>,
    pub(crate) mime_type: Option<String>,
}

/// Event data of a workflow, a node, or a form.
#[derive(Debug, Deserialize)]
pub(crate) struct Data {
    pub(crate) title: Option<String>,
    pub(crate) node_type: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) outputs: Option<Value>,
    pub(crate) form_content: Option<String>,
    pub(crate) form_token: Option<String>,
    pub(crate) actions: Option<Vec<Action>>,
    pub(crate) inputs: Option<Value>,
}

/// A button of a form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Action {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) title: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) usage: Option<Usage>,
    pub(crate) retriever_resources: Option<Vec<Resource>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Usage {
    #[serde(default)]
    pub(crate) prompt_tokens: u64,
    #[serde(default)]
    pub(crate) completion_tokens: u64,
}

/// A document that the answer is based on.
#[derive(Debug, Deserialize)]
pub(crate) struct Resource {
    pub(crate) document_name: Option<String>,
}
