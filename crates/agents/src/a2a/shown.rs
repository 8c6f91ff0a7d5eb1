//! What answers of a task have shown, as a part of its reference.

use serde::{Deserialize, Serialize};

use crate::derived_id::hex_digest;

/// Most artifacts, and most files, of earlier answers that are recognized when the agent sends them again. They are part of a reference, which
/// must stay short.
pub(super) const MAX_SHOWN: usize = 8;
/// Length of the digests in such a reference, in hexadecimal digits.
const DIGEST_CHARS: usize = 16;

/// What answers of a task have shown: after a question to the person the agent sends the task's artifacts again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shown {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) texts: Vec<ShownText>,
    /// Digests of names and sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) files: Vec<String>,
}

/// The text of an artifact that was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShownText {
    /// Digest of the artifact's id.
    pub(super) artifact: String,
    n_bytes: usize,
    /// Digest of the text.
    text: String,
}

impl Shown {
    pub(crate) fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.files.is_empty()
    }

    /// How many bytes at the beginning of an artifact's text were shown.
    pub(super) fn n_bytes(&self, artifact: &str, text: &str) -> usize {
        let is_beginning = |it: &&ShownText| {
            text.get(..it.n_bytes)
                .is_some_and(|beginning| ShownText::of(artifact, beginning) == **it)
        };
        self.texts.iter().find(is_beginning).map_or(0, |it| it.n_bytes)
    }
}

impl ShownText {
    pub(super) fn of(artifact: &str, text: &str) -> Self {
        Self {
            artifact: short_digest(&[artifact]),
            n_bytes: text.len(),
            text: short_digest(&[text]),
        }
    }
}

pub(super) fn short_digest(fields: &[&str]) -> String {
    let mut digest = hex_digest(fields);
    digest.truncate(DIGEST_CHARS);
    digest
}
