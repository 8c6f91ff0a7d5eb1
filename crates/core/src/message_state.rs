//! States of a message, and its steps in the ledger.

use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// State of a message. All but `Queued` and `Running` are terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// Accepted, and pending in its conversation's mailbox.
    Queued,
    /// An agent works on it. Not stored, since that would cost a write: readers derive it from the conversation's run.
    Running,
    /// The chat shows the agent's answer.
    Answered,
    /// It was a command and has been carried out.
    Commanded,
    /// It was stopped.
    Stopped,
    /// It was pending when a person started a new session.
    Dropped,
    /// It is not answered; the chat got a notice.
    Refused,
    /// The agent or the platform failed for good; the chat got a notice if possible, and there is a dead letter.
    Failed,
}

impl MessageState {
    /// Whether it is terminal.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// The name used in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Answered => "answered",
            Self::Commanded => "commanded",
            Self::Stopped => "stopped",
            Self::Dropped => "dropped",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Longest detail of a step, in characters.
const MAX_DETAIL_CHARS: usize = 500;

/// A step of a message, as stored in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerStep {
    /// When it happened.
    pub at: Timestamp,
    /// Its name: `received`, `dispatched`, `run_started`, `first_text`, `result`, `delivered`, `failed`, ...
    pub step: String,
    /// Number of the attempt, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The platform's or agent's code, or our reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The agent's own message about a failure, redacted and at most 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl LedgerStep {
    /// A step without details.
    #[must_use]
    pub fn new(at: Timestamp, step: &str) -> Self {
        Self {
            at,
            step: step.to_owned(),
            attempt: None,
            code: None,
            detail: None,
        }
    }

    /// The same step with a code.
    #[must_use]
    pub fn code(self, code: impl Into<String>) -> Self {
        Self {
            code: Some(code.into()),
            ..self
        }
    }

    /// The same step with the agent's own message. An empty one is left out.
    #[must_use]
    pub fn detail(self, detail: &str) -> Self {
        let detail: String = detail.chars().take(MAX_DETAIL_CHARS).collect();
        Self {
            detail: Some(detail).filter(|detail| !detail.is_empty()),
            ..self
        }
    }

    /// The same step with the number of its attempt.
    #[must_use]
    pub fn attempt(self, attempt: u32) -> Self {
        Self {
            attempt: Some(attempt),
            ..self
        }
    }
}
