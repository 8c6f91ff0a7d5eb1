//! Progress of a reply, stored between calls.

use serde::{Deserialize, Serialize};
use tieline_core::timestamp::Timestamp;

use crate::text_digest::{digest_before, is_unchanged_before};

/// State that later calls need from earlier ones.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct TelegramProgress {
    /// Id of the supergroup, if the group became one in the meantime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat: Option<i64>,
    pub way: Way,
    /// Whether the platform refuses the formatting: from then on, plain text is sent.
    pub plain: bool,
    /// Whether the message to reply to is gone: from then on, messages are no replies.
    pub unquoted: bool,
    /// How often the platform found the text too long: each time, messages become half as long.
    pub shrunk: u32,
    /// Number of consecutive sends with unknown outcome. The platform has no idempotency keys.
    pub uncertain: u32,
    /// Time before which the send is not repeated.
    #[serde(
        with = "tieline_core::timestamp::millis::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub retry_at: Option<Timestamp>,
    /// Whether the callback query of the button press was answered.
    pub query_answered: bool,
    /// When the typing indicator was last shown.
    #[serde(
        with = "tieline_core::timestamp::millis::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub typing_at: Option<Timestamp>,
    /// Whether the final text has begun to be shown, so no earlier stage may be shown any more.
    pub ending: bool,
    /// Whether a message of the reply could not be edited: from then on, only the final text is sent. Otherwise each stage of a growing
    /// text could become one more message.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub only_final: bool,
    pub bubble: Bubble,
    /// The call that leads to this progress. Set only between `deliver` and `classify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
}

impl TelegramProgress {
    /// The group has become this supergroup, whose messages have ids of their own: the known ones are those of other messages there. So what is
    /// shown is no reply from now on, and a message of the old group is not edited.
    pub(super) fn moves_to(&mut self, supergroup: i64) {
        self.chat = Some(supergroup);
        self.unquoted = true;
        if self.bubble.message.is_some() {
            self.bubble = self.bubble.again();
        }
    }

    /// The part that must be stored durably: not the text that a message or its draft shows, which can be sent again.
    pub(super) fn lasting(mut self) -> Self {
        let bubble = &mut self.bubble;
        (bubble.end, bubble.full, bubble.changed_at) = (0, false, None);
        (bubble.end_digest, bubble.mark, bubble.draft) = <_>::default();
        Self {
            typing_at: None,
            ending: false,
            call: None,
            ..self
        }
    }
}

/// How a growing text is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Way {
    /// In a draft if the chat is private, else in an edited message.
    #[default]
    Best,
    /// In an edited message.
    Edit,
}

/// Calls whose responses `classify` reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Call {
    AnswerQuery,
    Typing,
    Draft,
    Send,
    Edit,
}

/// The current message of the reply.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Bubble {
    /// Its number among the messages of the reply, from 0.
    pub number: u32,
    /// Its start in `full_text`, and a digest of the text before it, to detect a changed answer.
    pub start: usize,
    pub start_digest: String,
    /// End of its text in `full_text`, and a digest of the text before it.
    pub end: usize,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub end_digest: String,
    /// Whether it has no room for more text.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub full: bool,
    /// Digest of its content.
    pub mark: String,
    /// Digest of its draft's content.
    pub draft: String,
    /// Id of the message, once it was sent. 0 if the platform didn't return it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<i64>,
    #[serde(
        with = "tieline_core::timestamp::millis::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub changed_at: Option<Timestamp>,
}

impl Bubble {
    /// The bubble after this one.
    pub(super) fn next(&self, full_text: &str) -> Self {
        Self {
            number: self.number + 1,
            start: self.end,
            start_digest: digest_before(full_text, self.end),
            ..Self::default()
        }
    }

    /// The same text again, as another message.
    pub(super) fn again(&self) -> Self {
        Self {
            number: self.number + 1,
            start: self.start,
            start_digest: self.start_digest.clone(),
            ..Self::default()
        }
    }

    /// Records that it shows `full_text` up to `end`, in its message or its draft, and whether it is full.
    pub(super) fn shows(&mut self, full_text: &str, end: usize, full: bool, now: Timestamp) {
        (self.end, self.full) = (end, full);
        self.end_digest = digest_before(full_text, end);
        self.changed_at = Some(now);
    }

    /// End of the shown part of `full_text`, if the shown text is still part of it.
    pub(super) fn shown_of(&self, full_text: &str) -> Option<usize> {
        (self.end > self.start && is_unchanged_before(full_text, self.end, &self.end_digest)).then_some(self.end)
    }

    /// Whether the text before it in `full_text` is unchanged.
    pub(super) fn fits(&self, full_text: &str) -> bool {
        self.start == 0 || is_unchanged_before(full_text, self.start, &self.start_digest)
    }
}
