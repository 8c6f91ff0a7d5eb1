//! References to contexts and tasks, as the bridge stores them.

use serde::{Deserialize, Serialize};
use tieline_core::agent::AgentRequest;

use super::card::Endpoint;
use super::shown::Shown;
use crate::run::MAX_REF_BYTES;

/// A context, and the task in it that waits for the next message, if there is one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContextRef {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) context: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) waiting_task: Option<String>,
    /// What the answers of the waiting task have shown.
    #[serde(default, skip_serializing_if = "Shown::is_empty")]
    pub(crate) shown: Shown,
}

/// A task with its endpoint, since the card may have changed when the task is read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TaskRef {
    /// `None` while the agent answers without a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) task: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) context: Option<String>,
    /// What earlier answers of the task have shown.
    #[serde(default, skip_serializing_if = "Shown::is_empty")]
    pub(crate) shown: Shown,
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

/// A reference that says what was shown.
pub(crate) trait Reference: Serialize {
    fn shown(&mut self) -> &mut Shown;
}

impl Reference for ContextRef {
    fn shown(&mut self) -> &mut Shown {
        &mut self.shown
    }
}

impl Reference for TaskRef {
    fn shown(&mut self) -> &mut Shown {
        &mut self.shown
    }
}

/// Serializes a reference, without what was shown if it would be too long to be stored. Can't fail: references are structs of strings and numbers.
pub(crate) fn write(mut reference: impl Reference) -> String {
    let text = serde_json::to_string(&reference).unwrap_or_default();
    if text.len() <= MAX_REF_BYTES {
        return text;
    }
    *reference.shown() = Shown::default();
    serde_json::to_string(&reference).unwrap_or_default()
}
