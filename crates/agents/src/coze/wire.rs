//! Coze's chat API v3: the fields that we use.
//!
//! See [Coze API/Chat](https://www.coze.com/docs/developer_guides/chat_v3) and the vendor's pages in
//! [coze-dev/coze-sdk-gen](https://github.com/coze-dev/coze-sdk-gen/tree/main/docs/api-markdown).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The body of `POST /v3/chat`.
#[derive(Debug, Serialize)]
pub(crate) struct Request<'a> {
    pub(crate) bot_id: &'a str,
    pub(crate) user_id: &'a str,
    pub(crate) stream: bool,
    pub(crate) auto_save_history: bool,
    pub(crate) additional_messages: &'a [Message],
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) custom_variables: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) parameters: &'a Map<String, Value>,
    pub(crate) meta_data: Map<String, Value>,
}

/// A message of a question.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Message {
    pub(crate) role: &'static str,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) content_type: &'static str,
    /// A text, or a list of [`Part`]s encoded as JSON.
    pub(crate) content: String,
}

/// A part of a message with more than text.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Part {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    #[serde(flatten)]
    pub(crate) content: PartContent,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PartContent {
    Text(String),
    FileId(String),
    FileUrl(String),
}

/// The body of a cancel.
#[derive(Debug, Serialize)]
pub(crate) struct Cancel<'a> {
    pub(crate) conversation_id: &'a str,
    pub(crate) chat_id: &'a str,
}

/// Envelope of every response that is one JSON document.
#[derive(Debug, Deserialize)]
pub(crate) struct Envelope<T> {
    #[serde(default)]
    pub(crate) code: i64,
    #[serde(default)]
    pub(crate) msg: String,
    pub(crate) detail: Option<Detail>,
    #[serde(default = "Option::default")]
    pub(crate) data: Option<T>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Detail {
    pub(crate) logid: Option<String>,
}

/// The answer of `POST /v1/files/upload`.
#[derive(Debug, Deserialize)]
pub(crate) struct Uploaded {
    pub(crate) id: String,
}

/// A chat: the run of one question.
#[derive(Debug, Deserialize)]
pub(crate) struct Chat {
    #[serde(default)]
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) conversation_id: String,
    #[serde(default)]
    pub(crate) status: String,
    pub(crate) last_error: Option<LastError>,
    /// The error of an event that has no other data.
    #[serde(flatten)]
    pub(crate) bare_error: LastError,
    pub(crate) required_action: Option<RequiredAction>,
    pub(crate) usage: Option<Usage>,
}

/// An error. Code 0 means success.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct LastError {
    #[serde(default)]
    pub(crate) code: i64,
    #[serde(default)]
    pub(crate) msg: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Usage {
    #[serde(default)]
    pub(crate) input_count: u64,
    #[serde(default)]
    pub(crate) output_count: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RequiredAction {
    pub(crate) submit_tool_outputs: Option<ToolOutputs>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ToolOutputs {
    #[serde(default)]
    pub(crate) tool_calls: Vec<ToolCall>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ToolCall {
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    pub(crate) function: Option<Function>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Function {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) arguments: String,
}

/// A message of an answer, or a chunk of one.
#[derive(Debug, Deserialize)]
pub(crate) struct Said {
    #[serde(default)]
    pub(crate) id: String,
    pub(crate) role: Option<String>,
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) content: String,
    pub(crate) content_type: Option<String>,
    pub(crate) reasoning_content: Option<String>,
}

impl<T> Envelope<T> {
    /// The error in it, if there is one, and the log id for the vendor's support.
    pub(crate) fn error(&self) -> Option<(LastError, Option<&str>)> {
        let error = LastError {
            code: self.code,
            msg: self.msg.clone(),
        };
        let log = self.detail.as_ref().and_then(|detail| detail.logid.as_deref());
        (self.code != 0).then_some((error, log))
    }
}

impl Chat {
    /// The chat's error.
    pub(crate) fn error(&self) -> LastError {
        let told = self.last_error.clone().filter(|error| error.code != 0);
        told.unwrap_or_else(|| self.bare_error.clone())
    }

    /// Whether it is still running.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.status.as_str(), "created" | "in_progress")
    }
}

impl Said {
    /// Whether it is a part of the answer.
    pub(crate) fn is_answer(&self) -> bool {
        self.kind == "answer" && self.role.as_deref().is_none_or(|role| role == "assistant")
    }

    /// Its text: a card has none.
    pub(crate) fn text(&self) -> &str {
        match self.content_type.as_deref() {
            None | Some("text" | "") => &self.content,
            Some(_) => "",
        }
    }
}
