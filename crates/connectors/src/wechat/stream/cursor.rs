//! What a session must know of the one before it: where to go on, and by what copies of the latest messages are recognized.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Copies come within seconds. A person writes less than this meanwhile.
const MOST_SEEN: usize = 32;

/// Where the next poll goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Cursor {
    /// The platform's own cursor. Opaque, up to several KiB.
    pub(super) buffer: String,
    /// Fingerprints of the latest messages, the oldest first.
    seen: VecDeque<String>,
}

impl Cursor {
    /// Reads what [`Cursor::write`] wrote. The beginning, if it wrote nothing yet.
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
