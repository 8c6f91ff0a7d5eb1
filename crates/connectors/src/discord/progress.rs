//! Progress of a reply, stored between calls.

use serde::{Deserialize, Serialize};
use tieline_core::timestamp::Timestamp;

use crate::text_digest::{digest_before, is_unchanged_before};

/// State that later calls need from earlier ones.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct DiscordProgress {
    /// How often an operator restarted the reply.
    #[serde(skip_serializing_if = "is_default")]
    pub round: u32,
    /// The call whose success leads to this progress.
    #[serde(skip_serializing_if = "is_default")]
    pub call: CallKind,
    /// Whether the final text has begun to be shown, so no earlier stage may be shown any more.
    #[serde(skip_serializing_if = "is_default")]
    pub ending: bool,
    /// Whether a message of the reply was deleted while it grew: from then on, only the final text is sent. Otherwise each stage of a
    /// growing text could become one more message, where something deletes what the bot writes.
    #[serde(skip_serializing_if = "is_default")]
    pub only_final: bool,
    /// Whether the bot lacks permission to read the channel's history, so its messages can't be replies.
    #[serde(skip_serializing_if = "is_default")]
    pub without_reference: bool,
    /// Whether the interaction's token has expired or is invalid.
    #[serde(skip_serializing_if = "is_default")]
    pub token_closed: bool,
    /// Whether the interaction's token was so young at the call that the platform may not have known it yet.
    #[serde(skip_serializing_if = "is_default")]
    pub token_young: bool,
    /// Whether the call shows the end of the final text. Set only between `deliver` and `classify`.
    #[serde(skip_serializing_if = "is_default")]
    pub is_last: bool,
    /// Whether the platform blocks the text: a notice replaces it.
    #[serde(skip_serializing_if = "is_default")]
    pub withheld: bool,
    /// Code of a follow-up with the end of the answer that the platform may or may not have sent: a notice replaces the text, and nothing follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unconfirmed: Option<String>,
    /// The direct channel opened for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct: Option<String>,
    /// When the typing indicator was last shown.
    #[serde(
        with = "tieline_core::timestamp::millis::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub typed_at: Option<Timestamp>,
    /// The current message.
    pub bubble: Bubble,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl DiscordProgress {
    /// The part that must be stored durably: not the text that a message shows, which can be sent again.
    pub(super) fn lasting(mut self) -> Self {
        self.bubble.end = 0;
        (self.bubble.end_tail, self.bubble.text) = <_>::default();
        Self {
            typed_at: None,
            ending: false,
            call: CallKind::None,
            is_last: false,
            ..self
        }
    }

    /// Progress at the start of the next round.
    pub(super) fn next_round(&self) -> Self {
        Self {
            round: self.round + 1,
            ..Self::default()
        }
    }
}

/// Kinds of call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CallKind {
    /// No call yet.
    #[default]
    None,
    /// Shows the typing indicator.
    Type,
    /// Opens the direct channel to a person.
    OpenDirect,
    /// Creates a message in the channel.
    Send,
    /// Sends a follow-up message with the interaction's token.
    FollowUp,
    /// Fills in the deferred response of the interaction.
    EditOriginal,
    /// Changes a message.
    Edit,
}

/// One message of the reply.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Bubble {
    /// Its number, from 0.
    pub number: u32,
    /// Its start in the answer.
    pub start: usize,
    /// Digest of the text before `start`, to detect a changed answer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub start_tail: String,
    /// End of its text in the answer.
    pub end: usize,
    /// Digest of the text before `end`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub end_tail: String,
    /// Digest of the text that it shows.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The button that it shows.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub button: String,
    /// Its location, once it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageId>,
    /// Whether it says that the answer continues in another message.
    #[serde(skip_serializing_if = "is_default")]
    pub continued: bool,
    /// Whether it has no room for more text.
    #[serde(skip_serializing_if = "is_default")]
    pub full: bool,
    /// Whether the platform refuses further edits of it.
    #[serde(skip_serializing_if = "is_default")]
    pub frozen: bool,
}

/// Location of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MessageId {
    /// The deferred response of the interaction.
    Original,
    /// A follow-up message of the interaction. The id is empty in progress that an earlier version stored, if the platform didn't return it.
    FollowUp(String),
    /// A message in the channel.
    Channel(String),
}

impl Bubble {
    /// The message after this one, which begins at `start` of `text`.
    pub(super) fn next(&self, start: usize, text: &str) -> Self {
        Self {
            number: self.number + 1,
            start,
            start_tail: digest_before(text, start),
            end: start,
            end_tail: digest_before(text, start),
            ..Self::default()
        }
    }

    /// The same text again, in another message.
    pub(super) fn again(&self) -> Self {
        Self {
            number: self.number + 1,
            start: self.start,
            start_tail: self.start_tail.clone(),
            ..Self::default()
        }
    }

    /// Whether the text before it in `text` is unchanged.
    pub(super) fn fits(&self, text: &str) -> bool {
        self.start == 0 || is_unchanged_before(text, self.start, &self.start_tail)
    }

    /// End of the shown part of `text`, if the shown text is still part of it.
    pub(super) fn shown_of(&self, text: &str) -> Option<usize> {
        let is_shown = self.message.is_some() && self.end > self.start;
        (is_shown && is_unchanged_before(text, self.end, &self.end_tail)).then_some(self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_still_in_the_answer_counts_as_shown() {
        let mut bubble = Bubble::default();
        assert_eq!(bubble.shown_of("abc"), None);
        (bubble.end, bubble.end_tail) = (8, digest_before("one two three", 8));
        bubble.message = Some(MessageId::Original);
        assert_eq!(bubble.shown_of("one two four"), Some(8));
        assert_eq!(bubble.shown_of("ein zwo drei"), None);
        assert_eq!(bubble.shown_of("one 2"), None);
    }
}
