//! References to threads and runs, as the bridge stores them.

use serde::{Deserialize, Serialize};
use tieline_core::agent::{AgentRequest, Resume};

use super::review::Review;
use crate::derived_id;

/// A thread, and the interrupts that wait for the next message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ThreadRef {
    pub(crate) thread: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) interrupts: Vec<String>,
    /// For each interrupt the calls of tools that wait for a decision. Absent if no interrupt has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) reviews: Vec<Vec<Review>>,
}

/// A run of a thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunRef {
    pub(crate) thread: String,
    pub(crate) run: String,
    /// Whether it answers an interrupt: then the thread has no message of the person that begins its answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) answers_interrupt: bool,
}

/// Position at which the stream of a run was left: its last event, and the messages of the first and the latest text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    pub(crate) event: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first_message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
}

impl ThreadRef {
    pub(crate) fn of(request: &AgentRequest) -> Option<Self> {
        serde_json::from_str(request.session.conversation_ref.as_deref()?).ok()
    }
}

impl RunRef {
    pub(crate) fn parse(run_ref: &str) -> Option<Self> {
        serde_json::from_str(run_ref).ok()
    }
}

impl Cursor {
    pub(crate) fn of(resume: &Resume) -> Option<Self> {
        serde_json::from_str(resume.cursor.as_deref()?).ok()
    }
}

/// Serializes a reference. Can't fail: references consist of strings and lists of them.
pub(crate) fn write(reference: &impl Serialize) -> String {
    serde_json::to_string(reference).unwrap_or_default()
}

/// The id of a session's thread. Derived, so that two attempts to create it create one; the server accepts UUIDs only.
pub(crate) fn thread_id(request: &AgentRequest) -> String {
    let organization = request.organization.as_str();
    derived_id::uuid(&["langgraph thread", organization, request.session.id.as_str()])
}
