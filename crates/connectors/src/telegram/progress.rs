//! How far a reply has come, as it is stored between calls.

use serde::{Deserialize, Serialize};
use tieline_core::ids;
use tieline_core::timestamp::Timestamp;

/// Everything that later calls need to know of earlier ones.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct TelegramProgress {
    /// Where the group has moved, if it became a supergroup meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat: Option<i64>,
    pub way: Way,
    /// The platform refuses the formatting: plain text from now on.
    pub plain: bool,
    /// The message that is answered is gone: nothing is quoted.
    pub unquoted: bool,
    /// How often the platform found the text too long: each time messages become half as long.
    pub shrunk: u32,
    /// Sends in a row whose outcome isn't known. The platform has no idempotency keys.
    pub uncertain: u32,
    /// Before this time the same send is not repeated.
    #[serde(
        with = "tieline_core::timestamp::millis::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub retry_at: Option<Timestamp>,
    /// The press of a button that this reply follows is answered.
    pub query_answered: bool,
    /// When the chat was last shown that the bot is typing.
    #[serde(
        with = "tieline_core::timestamp::millis::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub typing_at: Option<Timestamp>,
    /// The final text has begun to be shown, so nothing earlier may be any more.
    pub ending: bool,
    pub bubble: Bubble,
    /// What the call is that leads here. Only between `deliver` and `classify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
}

impl TelegramProgress {
    /// What must not be forgotten: without the text that a message or its draft shows, which can be shown again in its place.
    pub(super) fn lasting(mut self) -> Self {
        let bubble = &mut self.bubble;
        (bubble.end, bubble.changed_at) = (0, None);
        (bubble.mark, bubble.draft) = <_>::default();
        Self {
            typing_at: None,
            ending: false,
            call: None,
            ..self
        }
    }
}

/// How text is shown while it grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Way {
    /// In a draft where the chat is private, else in a message that is edited.
    #[default]
    Best,
    /// In a message that is edited.
    Edit,
}

/// The calls that `classify` reads answers of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Call {
    AnswerQuery,
    Typing,
    Draft,
    Send,
    Edit,
}

/// One message of the reply: the one that is being written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Bubble {
    /// Its number among the messages of the reply, from 0.
    pub number: u32,
    /// Where in the full_text it begins, and a digest of what is before that, so that an answer that changed there is noticed.
    pub start: usize,
    pub start_digest: String,
    /// Where in the full_text what it shows ends.
    pub end: usize,
    /// Digest of what it shows.
    pub mark: String,
    /// Digest of what its draft shows.
    pub draft: String,
    /// The message, once it was sent. 0 if the platform didn't give its id.
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
            start_digest: before(full_text, self.end),
            ..Self::default()
        }
    }

    /// The same text once more, as another message.
    pub(super) fn again(&self) -> Self {
        Self {
            number: self.number + 1,
            start: self.start,
            start_digest: self.start_digest.clone(),
            ..Self::default()
        }
    }

    /// Whether it still begins where it did in `full_text`.
    pub(super) fn fits(&self, full_text: &str) -> bool {
        let inside = self.start == 0 || full_text.is_char_boundary(self.start);
        inside && (self.start == 0 || self.start_digest == before(full_text, self.start))
    }
}

/// Bytes before a position whose digest shows whether the answer is still the same there.
const DIGESTED: usize = 64;

fn before(full_text: &str, at: usize) -> String {
    let from = at.saturating_sub(DIGESTED);
    let from = (from..=at).find(|from| full_text.is_char_boundary(*from)).unwrap_or(at);
    short_digest(&full_text[from..at])
}

/// A digest long enough to distinguish texts.
pub(super) fn short_digest(text: &str) -> String {
    ids::digest(&[text])[..16].to_owned()
}
