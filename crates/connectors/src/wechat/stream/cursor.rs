//! State that a session leaves to the next: the platform's cursor, fingerprints for detecting copies of the latest messages, and the newest
//! context token.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tieline_core::reply::ReplyTarget;

use super::decode::{context_token, reply_handle};

/// Number of fingerprints kept. Copies arrive within seconds, in which a person writes fewer messages than this.
const MOST_SEEN: usize = 32;

/// Position of the next poll.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Cursor {
    /// The platform's own cursor. Opaque, up to several KiB.
    pub(super) buffer: String,
    /// Fingerprints of the latest messages, the oldest first.
    seen: VecDeque<String>,
    /// The newest context token of the person: a bot has only one person.
    #[serde(skip_serializing_if = "Option::is_none")]
    context_token: Option<String>,
}

impl Cursor {
    /// Parses what [`Cursor::write`] wrote. Empty text gives the start.
    pub(super) fn read(note: &str) -> Self {
        serde_json::from_str(note).unwrap_or_default()
    }

    pub(super) fn write(&self) -> String {
        serde_json::to_string(self).expect("texts serialize as JSON")
    }

    pub(super) fn has_seen(&self, fingerprints: &[String]) -> bool {
        fingerprints.iter().any(|it| self.seen.contains(it))
    }

    /// Remembers the context token of a message. A message without one is answered with the newest known one, since the platform shows no
    /// answer without.
    pub(super) fn complete(&mut self, target: &mut ReplyTarget) {
        match (context_token(target), &self.context_token) {
            (Some(token), _) => self.context_token = Some(token.to_owned()),
            (None, Some(known)) => target.handle = reply_handle(Some(known)),
            (None, None) => {}
        }
    }

    pub(super) fn see(&mut self, fingerprints: Vec<String>) {
        self.seen.extend(fingerprints);
        let surplus = self.seen.len().saturating_sub(MOST_SEEN);
        self.seen.drain(..surplus);
    }
}
