//! References to contexts and tasks, as the bridge keeps them.

use serde::{Deserialize, Serialize};
use tieline_core::agent::AgentRequest;

use super::card::Endpoint;

/// A context, with the task that waits for the next message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContextRef {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) context: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) waiting_task: Option<String>,
}

/// A task, and where it can be reached: the card may say something else by then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TaskRef {
    /// Absent while the agent answers without a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) task: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) context: Option<String>,
    pub(crate) endpoint: Endpoint,
}

impl ContextRef {
    pub(crate) fn of(request: &AgentRequest) -> Self {
        let kept = request.session.conversation_ref.as_deref();
        kept.and_then(|kept| serde_json::from_str(kept).ok())
            .unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.context.is_none() && self.waiting_task.is_none()
    }
}

impl TaskRef {
    pub(crate) fn parse(run_ref: &str) -> Option<Self> {
        serde_json::from_str(run_ref).ok()
    }
}

/// Writes a reference. Structs of texts always are JSON.
pub(crate) fn write(reference: &impl Serialize) -> String {
    serde_json::to_string(reference).unwrap_or_default()
}
