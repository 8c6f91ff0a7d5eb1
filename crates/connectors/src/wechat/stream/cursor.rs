//! State that a session leaves to the next: the platform's cursor, and fingerprints for detecting copies of the latest messages.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

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

    pub(super) fn see(&mut self, fingerprints: Vec<String>) {
        self.seen.extend(fingerprints);
        let surplus = self.seen.len().saturating_sub(MOST_SEEN);
        self.seen.drain(..surplus);
    }
}
