//! What a chat shows while the agent is thinking, before its text begins.

use serde::{Deserialize, Serialize};

/// Longest reasoning that is shown, in bytes: the end of it.
const MAX_FULL_BYTES: usize = 4000;
/// Longest line of reasoning that is shown in brief, in bytes.
const MAX_BRIEF_BYTES: usize = 300;

/// How much of an agent's reasoning is shown. The text replaces it and never contains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasoningDetail {
    /// None.
    Hidden,
    /// The latest line.
    Brief,
    /// All of it, or its end if it is long.
    Full,
}

impl ReasoningDetail {
    /// The part of `reasoning` that is shown.
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

/// Whether a thinking sign is shown: a typing indicator, a reaction, a card without text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThinkingSign {
    /// Shown.
    On,
    /// Not shown, except where the platform's protocol requires one at the start of an answer.
    Off,
}

/// What an integration shows before the text begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThinkingDisplay {
    /// How much of the reasoning. `None`: the platform's default ([`crate::connector::ModeManifest::reasoning`]).
    pub reasoning: Option<ReasoningDetail>,
    /// Whether a thinking sign is shown, where the platform has one.
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

/// The end of `text`, at most `max_bytes` bytes.
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
