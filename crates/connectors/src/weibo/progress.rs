//! How far a chat shows a reply.

use serde::{Deserialize, Serialize};
use tieline_core::ids;

/// How far a chat shows a reply.
///
/// A message grows by chunks, which add to its text; it is closed with the last of them, and the text goes on in the next message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WeiboProgress {
    /// Which of the reply's messages is open, or comes next.
    pub(super) message: u32,
    /// How many chunks the open message has. 0: none is open.
    pub(super) chunks: u32,
    /// Where in the text each closed message ends.
    pub(super) closed: Vec<usize>,
    /// A chain of digests of the closed messages' texts.
    pub(super) closed_digest: String,
    /// Up to where the open message shows the text.
    pub(super) end: usize,
    /// A digest of the open message's text.
    pub(super) open_digest: String,
    /// Whether the final text begins with what is shown. Checked once: it doesn't change any more.
    pub(super) verified: bool,
    /// What of the final reply comes next.
    pub(super) phase: Phase,
    /// How many of the files are sent or given up.
    pub(super) files: usize,
    /// Those of them that were given up and are shown as links.
    pub(super) as_links: Vec<usize>,
    /// Progress with a chunk that may have been sent or not. It is sent again as it was: by its key the platform recognizes it.
    pub(super) doubt: Option<Box<WeiboProgress>>,
}

/// What of a final reply comes next.
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
    /// Nothing.
    Done,
}

impl WeiboProgress {
    /// Where the open message's text begins.
    pub(super) fn from(&self) -> usize {
        self.closed.last().copied().unwrap_or(0)
    }

    /// Whether the open message's text is still at its place in `text`.
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

    /// The progress after a chunk that shows `text` up to `end`.
    pub(super) fn with_chunk(&self, text: &str, end: usize) -> Self {
        Self {
            chunks: self.chunks + 1,
            end,
            open_digest: digest_of(&text[self.from()..end]),
            doubt: None,
            ..self.clone()
        }
    }

    /// The progress once the open message is closed.
    pub(super) fn closed(mut self, text: &str) -> Self {
        let part = &text[self.from()..self.end];
        self.closed_digest = ids::digest(&[&self.closed_digest, part]);
        self.closed.push(self.end);
        self.open_digest = String::new();
        self.message += 1;
        self.chunks = 0;
        self
    }

    /// The progress of a text that begins in a message of its own.
    pub(super) fn anew(&self) -> Self {
        Self {
            message: self.message + 1,
            phase: self.phase,
            files: self.files,
            as_links: self.as_links.clone(),
            ..Self::default()
        }
    }

    /// The progress once this phase is over.
    pub(super) fn next_phase(self, sends_files: bool) -> Self {
        let phase = match self.phase {
            Phase::Text if sends_files => Phase::Files,
            Phase::Files if !self.as_links.is_empty() => {
                return Self {
                    phase: Phase::Links,
                    ..self.anew()
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
