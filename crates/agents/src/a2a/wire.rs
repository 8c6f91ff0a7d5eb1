//! Agent2Agent JSON, versions 1.0 and 0.3: the fields that we use.
//!
//! The versions use different names; parts, tasks and events of both are read into the same types. A null is an absent field, as JSON of
//! protocol buffers has it.
//!
//! See [A2A Protocol Specification](https://a2a-protocol.org/latest/specification/) and its
//! [version 0.3](https://a2a-protocol.org/v0.3.0/specification/).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json;

/// A version of the protocol that we support. 0.2 has the methods and the types of 0.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Version {
    #[serde(rename = "1.0")]
    V1,
    #[serde(rename = "0.3")]
    V03,
}

/// The methods that we call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Send,
    Stream,
    Get,
    Subscribe,
    Cancel,
}

impl Version {
    /// Parses the version of a card, which may have a patch number.
    pub(crate) fn of(version: &str) -> Option<Self> {
        let mut numbers = version.split('.');
        match (numbers.next()?, numbers.next().unwrap_or("0")) {
            ("1", "0") => Some(Self::V1),
            ("0", "2" | "3") => Some(Self::V03),
            _ => None,
        }
    }

    pub(crate) const fn method(self, method: Method) -> &'static str {
        match (self, method) {
            (Self::V1, Method::Send) => "SendMessage",
            (Self::V1, Method::Stream) => "SendStreamingMessage",
            (Self::V1, Method::Get) => "GetTask",
            (Self::V1, Method::Subscribe) => "SubscribeToTask",
            (Self::V1, Method::Cancel) => "CancelTask",
            (Self::V03, Method::Send) => "message/send",
            (Self::V03, Method::Stream) => "message/stream",
            (Self::V03, Method::Get) => "tasks/get",
            (Self::V03, Method::Subscribe) => "tasks/resubscribe",
            (Self::V03, Method::Cancel) => "tasks/cancel",
        }
    }
}

/// An agent card of either version; some have the fields of both.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Card {
    #[serde(deserialize_with = "json::or_default")]
    pub(crate) supported_interfaces: Vec<Interface>,
    pub(crate) url: Option<String>,
    pub(crate) preferred_transport: Option<String>,
    #[serde(deserialize_with = "json::or_default")]
    pub(crate) additional_interfaces: Vec<Transport>,
    pub(crate) protocol_version: Option<String>,
    #[serde(deserialize_with = "json::or_default")]
    pub(crate) capabilities: Capabilities,
}

/// An interface in a card of 1.0.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Interface {
    pub(crate) url: String,
    #[serde(default, deserialize_with = "json::or_default")]
    pub(crate) protocol_binding: String,
    #[serde(default, deserialize_with = "json::or_default")]
    pub(crate) protocol_version: String,
    pub(crate) tenant: Option<String>,
}

/// An interface in a card of 0.3.
#[derive(Debug, Deserialize)]
pub(crate) struct Transport {
    pub(crate) url: String,
    pub(crate) transport: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Capabilities {
    #[serde(deserialize_with = "json::or_default")]
    pub(crate) streaming: bool,
}

/// A JSON-RPC response.
#[derive(Debug, Deserialize)]
pub(crate) struct RpcAnswer {
    pub(crate) result: Option<Value>,
    pub(crate) error: Option<RpcError>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RpcError {
    pub(crate) code: i64,
    #[serde(default, deserialize_with = "json::or_default")]
    pub(crate) message: String,
}

/// JSON-RPC error codes that we act on.
pub(crate) mod code {
    pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
    pub(crate) const INTERNAL: i64 = -32603;
    pub(crate) const TASK_NOT_FOUND: i64 = -32001;
    pub(crate) const TASK_NOT_CANCELABLE: i64 = -32002;
    pub(crate) const UNSUPPORTED_OPERATION: i64 = -32004;
}

/// A result, or an event of a stream.
#[derive(Debug)]
pub(crate) enum Item {
    Task(Task),
    Message(Message),
    Status(StatusUpdate),
    Artifact(ArtifactUpdate),
}

impl Item {
    /// Reads a result: one member in 1.0, `kind` in 0.3. `None` if it is neither, or of an unknown kind.
    pub(crate) fn read(mut result: Value) -> Option<Self> {
        let fields = result.as_object_mut()?;
        let kind = fields.get("kind").and_then(Value::as_str).map(str::to_owned);
        let (kind, value) = match kind {
            Some(kind) => (kind, result),
            // A call about a task returns the bare task.
            None if fields.contains_key("id") && fields.contains_key("status") => ("task".to_owned(), result),
            None => {
                let kinds = ["task", "message", "statusUpdate", "artifactUpdate"];
                let is_present = |kind: &&str| fields.get(*kind).is_some_and(|value| !value.is_null());
                let kind = kinds.into_iter().find(is_present)?;
                (kind.to_owned(), fields.remove(kind)?)
            }
        };
        match kind.as_str() {
            "task" => serde_json::from_value(value).ok().map(Self::Task),
            "message" => serde_json::from_value(value).ok().map(Self::Message),
            "statusUpdate" | "status-update" => serde_json::from_value(value).ok().map(Self::Status),
            "artifactUpdate" | "artifact-update" => serde_json::from_value(value).ok().map(Self::Artifact),
            _ => None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Task {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) context_id: Option<String>,
    #[serde(default, deserialize_with = "json::or_default")]
    pub(crate) status: Status,
    #[serde(default)]
    pub(crate) artifacts: Option<Vec<Artifact>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    #[serde(deserialize_with = "json::or_default")]
    pub(crate) state: State,
    pub(crate) message: Option<Message>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Message {
    pub(crate) context_id: Option<String>,
    #[serde(deserialize_with = "json::or_default")]
    pub(crate) parts: Vec<Part>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusUpdate {
    #[serde(default)]
    pub(crate) task_id: Option<String>,
    #[serde(default)]
    pub(crate) context_id: Option<String>,
    pub(crate) status: Status,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ArtifactUpdate {
    #[serde(default)]
    pub(crate) task_id: Option<String>,
    #[serde(default)]
    pub(crate) context_id: Option<String>,
    pub(crate) artifact: Artifact,
    #[serde(default)]
    pub(crate) append: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Artifact {
    #[serde(default, deserialize_with = "json::or_default")]
    pub(crate) artifact_id: String,
    #[serde(default, deserialize_with = "json::or_default")]
    pub(crate) parts: Vec<Part>,
}

/// A part, of either version.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Part {
    pub(crate) text: Option<String>,
    pub(crate) data: Option<Value>,
    pub(crate) url: Option<String>,
    pub(crate) raw: Option<String>,
    pub(crate) filename: Option<String>,
    pub(crate) media_type: Option<String>,
    pub(crate) file: Option<File>,
}

/// A file of a 0.3 part.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct File {
    pub(crate) uri: Option<String>,
    pub(crate) bytes: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) mime_type: Option<String>,
}

/// State of a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(crate) enum State {
    /// Submitted, or an unknown state.
    #[default]
    Submitted,
    Working,
    InputRequired,
    AuthRequired,
    Completed,
    Failed,
    Canceled,
    Rejected,
    /// A state of 0.3: the server has lost the task.
    Unknown,
}

impl From<String> for State {
    fn from(state: String) -> Self {
        let name = state.strip_prefix("TASK_STATE_").unwrap_or(&state);
        match name.to_ascii_lowercase().replace('_', "-").as_str() {
            "working" => Self::Working,
            "input-required" => Self::InputRequired,
            "auth-required" => Self::AuthRequired,
            "completed" => Self::Completed,
            "failed" => Self::Failed,
            "canceled" => Self::Canceled,
            "rejected" => Self::Rejected,
            "unknown" => Self::Unknown,
            _ => Self::Submitted,
        }
    }
}

impl State {
    /// Whether the agent is working on the task.
    pub(crate) const fn is_active(self) -> bool {
        matches!(self, Self::Submitted | Self::Working)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_patch_numbers() {
        for (text, version) in [
            ("1.0", Some(Version::V1)),
            ("1.0.1", Some(Version::V1)),
            ("0.3.0", Some(Version::V03)),
            ("0.2.6", Some(Version::V03)),
            ("0.1", None),
            ("2.0", None),
            ("", None),
        ] {
            assert_eq!(Version::of(text), version, "{text}");
        }
    }

    #[test]
    fn null_means_absent() {
        let card = r#"{"url":"https://a.example","supportedInterfaces":null,"additionalInterfaces":null,"capabilities":{"streaming":null}}"#;
        assert!(serde_json::from_str::<Card>(card).is_ok_and(|card| !card.capabilities.streaming));
        assert!(serde_json::from_str::<Card>(r#"{"url":"https://a.example","capabilities":null}"#).is_ok());
        let read = |result: &str| Item::read(serde_json::from_str(result).unwrap());
        let task = r#"{"task":{"id":"t","contextId":null,"status":{"state":"TASK_STATE_WORKING","message":{"parts":null}},"artifacts":null}}"#;
        assert!(matches!(read(task), Some(Item::Task(task)) if task.status.state == State::Working));
        let message = r#"{"task":null,"message":{"parts":[{"text":"hi","data":null}]}}"#;
        assert!(matches!(read(message), Some(Item::Message(_))));
        let artifact = r#"{"artifactUpdate":{"taskId":"t","artifact":{"artifactId":null,"parts":null},"append":null}}"#;
        assert!(matches!(read(artifact), Some(Item::Artifact(_))));
        let status = r#"{"statusUpdate":{"taskId":"t","status":{"state":null,"message":null}}}"#;
        assert!(matches!(read(status), Some(Item::Status(_))));
        let error = r#"{"jsonrpc":"2.0","id":1,"result":null,"error":{"code":-32001,"message":null}}"#;
        assert!(serde_json::from_str::<RpcAnswer>(error).is_ok());
    }

    #[test]
    fn states_of_both_versions_are_equivalent() {
        for (new, old, state) in [
            ("TASK_STATE_INPUT_REQUIRED", "input-required", State::InputRequired),
            ("TASK_STATE_CANCELED", "canceled", State::Canceled),
            ("TASK_STATE_COMPLETED", "completed", State::Completed),
            ("TASK_STATE_UNSPECIFIED", "made-up", State::Submitted),
        ] {
            assert_eq!(
                (State::from(new.to_owned()), State::from(old.to_owned())),
                (state, state)
            );
        }
    }
}
