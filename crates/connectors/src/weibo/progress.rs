//! Progress of a reply in the chat.

use serde::{Deserialize, Serialize};
use tieline_core::ids;
use tieline_core::timestamp::Timestamp;

/// Progress of a reply in the chat.
///
/// A message grows by chunks, which are appended to its text; the last one closes it, and the text continues in the next message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WeiboProgress {
    /// Number of the open message, or of the next one.
    pub(super) message: u32,
    /// Number of chunks in the open message. 0: none is open.
    pub(super) chunks: u32,
    /// End of each closed message in the text.
    pub(super) closed: Vec<usize>,
    /// A chain of digests of the closed messages' texts.
    pub(super) closed_digest: String,
    /// End of the text that the open message shows.
    pub(super) end: usize,
    /// Digest of the open message's text.
    pub(super) open_digest: String,
    /// Whether the final text begins with what is shown. Checked once, since a final text doesn't change.
    pub(super) verified: bool,
    /// What follows next in the final reply.
    pub(super) phase: Phase,
    /// Number of files that are sent or given up.
    pub(super) files: usize,
    /// Files that were given up and are shown as links.
    pub(super) as_links: Vec<usize>,
    /// Progress with a chunk of unknown outcome. It is sent again unchanged: the platform deduplicates by its key.
    pub(super) doubt: Option<Box<WeiboProgress>>,
    /// Refusals of the chunk in doubt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<Refusals>,
}

/// Refusals of a chunk in a row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Refusals {
    pub(super) times: u32,
    /// Time of the next attempt.
    #[serde(with = "tieline_core::timestamp::millis")]
    pub(super) until: Timestamp,
}

/// Phases of a final reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// The text.
    #[default]
    Text,
    /// The files, one by one.
    Files,
    /// Links to the files that could not be sent.
    Links,
    /// Nothing more.
    Done,
}

impl WeiboProgress {
    /// Start of the open message's text.
    pub(super) fn from(&self) -> usize {
        self.closed.last().copied().unwrap_or(0)
    }

    /// Whether the open message's text is unchanged in `text`.
    pub(super) fn is_open_part_of(&self, text: &str) -> bool {
        let open = text.get(self.from()..self.end);
        open.is_some_and(|open| open.is_empty() || digest_of(open) == self.open_digest)
    }

    /// Whether `text` begins with everything that is shown.
    pub(super) fn is_beginning_of(&self, text: &str) -> bool {
        let mut at = 0;
        let mut chain = String::new();
        for &end in &self.closed {
            let Some(part) = text.get(at..end) else { return false };
            chain = ids::digest(&[&chain, part]);
            at = end;
        }
        chain == self.closed_digest && self.is_open_part_of(text)
    }

    /// Progress after a chunk that shows `text` up to `end`.
    pub(super) fn with_chunk(&self, text: &str, end: usize) -> Self {
        Self {
            chunks: self.chunks + 1,
            end,
            open_digest: digest_of(&text[self.from()..end]),
            doubt: None,
            refused: None,
            ..self.clone()
        }
    }

    /// Progress after the open message is closed.
    pub(super) fn closed(mut self, text: &str) -> Self {
        let part = &text[self.from()..self.end];
        self.closed_digest = ids::digest(&[&self.closed_digest, part]);
        self.closed.push(self.end);
        self.open_digest = String::new();
        self.message += 1;
        self.chunks = 0;
        self
    }

    /// Progress of a text that starts over in a new message.
    pub(super) fn restarted(&self) -> Self {
        Self {
            message: self.message + 1,
            phase: self.phase,
            files: self.files,
            as_links: self.as_links.clone(),
            ..Self::default()
        }
    }

    /// Progress at the start of the next phase.
    pub(super) fn next_phase(self, sends_files: bool) -> Self {
        let phase = match self.phase {
            Phase::Text if sends_files => Phase::Files,
            Phase::Files if !self.as_links.is_empty() => {
                return Self {
                    phase: Phase::Links,
                    ..self.restarted()
                };
            }
            _ => Phase::Done,
        };
        Self { phase, ..self }
    }
}

fn digest_of(part: &str) -> String {
    ids::digest(&[part])
}
