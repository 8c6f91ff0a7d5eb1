//! What a chat shows of an agent that thinks, before its text begins.

use serde::{Deserialize, Serialize};

/// Longest reasoning that is shown, in bytes: its end.
const MAX_FULL_BYTES: usize = 4000;
/// Longest line of reasoning that is shown as a brief, in bytes.
const MAX_BRIEF_BYTES: usize = 300;

/// How much of an agent's reasoning is shown. It gives way to the text and is never part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasoningDetail {
    /// None.
    Hidden,
    /// The line that it has come to.
    Brief,
    /// All of it, or its end where it is long.
    Full,
}

impl ReasoningDetail {
    /// What is shown of `reasoning`.
    #[must_use]
    pub fn of(self, reasoning: &str) -> &str {
        let reasoning = reasoning.trim();
        match self {
            Self::Hidden => "",
            Self::Brief => tail(
                reasoning.lines().next_back().unwrap_or_default().trim(),
                MAX_BRIEF_BYTES,
            ),
            Self::Full => tail(reasoning, MAX_FULL_BYTES),
        }
    }
}

/// Whether a sign says that the agent is at it: a typing indicator, a reaction, a card without text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThinkingSign {
    /// Shown.
    On,
    /// Not shown, but where the platform's protocol begins an answer with one.
    Off,
}

/// What an integration shows before the text begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThinkingDisplay {
    /// How much of the reasoning. `None`: what the platform usually shows ([`crate::connector::ModeManifest::reasoning`]).
    pub reasoning: Option<ReasoningDetail>,
    /// Whether a sign says that the agent is at it, where the platform has one.
    pub sign: ThinkingSign,
}

impl Default for ThinkingDisplay {
    fn default() -> Self {
        Self {
            reasoning: None,
            sign: ThinkingSign::On,
        }
    }
}

/// The end of `text`, at most so many bytes.
#[must_use]
pub fn tail(text: &str, max_bytes: usize) -> &str {
    let start = text.len().saturating_sub(max_bytes);
    let start = (start..=text.len()).find(|at| text.is_char_boundary(*at));
    &text[start.unwrap_or(text.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brief_is_the_newest_line_and_full_is_the_end_of_all() {
        let said = "First look.\n\nThen compare.\n  Now decide. \n";
        assert_eq!(ReasoningDetail::Hidden.of(said), "");
        assert_eq!(ReasoningDetail::Brief.of(said), "Now decide.");
        assert_eq!(ReasoningDetail::Full.of(said), said.trim());
        let long = "想".repeat(2000);
        assert_eq!(ReasoningDetail::Full.of(&long).len(), 3999);
        assert_eq!(ReasoningDetail::Brief.of(&long).len(), 300);
    }
}
