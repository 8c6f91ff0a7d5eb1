//! Progress of a reply: what the chat already shows.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_core::timestamp::Timestamp;
use tieline_core::timestamp::millis;

use crate::text_digest::{digest_before, is_unchanged_before, short_digest};

/// What the chat shows of a reply.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DingTalkProgress {
    /// How often an operator restarted the reply.
    #[serde(skip_serializing_if = "is_first")]
    pub(super) round: u32,
    /// State of the card.
    pub(super) card: CardState,
    /// Digest of the latest text that the card accepted.
    pub(super) frame: String,
    /// End of the part of the text that the card shows, and a digest of the text before it.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) frame_end: usize,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) frame_tail: String,
    /// Whether the card shows reasoning and no text yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) reasons: bool,
    /// Number of bytes of the text that are shown for good, in the card or in messages.
    pub(super) sent: usize,
    /// Digest of these bytes: if the text was replaced since, it is sent whole.
    pub(super) head: String,
    /// How many messages were sent.
    pub(super) messages: usize,
    /// Time of the last message.
    #[serde(with = "millis::option")]
    pub(super) last_message_at: Option<Timestamp>,
    /// Whether the platform has refused the `sessionWebhook`.
    pub(super) webhook_closed: bool,
    /// End of the `sessionWebhook`'s cooldown after its rate limit was exceeded.
    #[serde(with = "millis::option")]
    pub(super) webhook_rests_until: Option<Timestamp>,
    /// How often the platform found a message too long: each time, the next message is half as long.
    pub(super) shrunk: u8,
    /// Boundaries of the messages in the text, planned once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) messages_plan: Option<MessagesPlan>,
    /// The part of the answer that the platform's moderation blocks.
    pub(super) withheld: Withheld,
    /// Platform code for why there will be no message, while a card still has to be marked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) given_up: Option<String>,
    /// Platform code for why the answer may be missing, while a notice of that still has to be sent through the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unconfirmed: Option<String>,
    /// Number of failures of the pending call.
    pub(super) tries: u8,
    /// Time of its next attempt.
    #[serde(with = "millis::option")]
    pub(super) hold_until: Option<Timestamp>,
    /// Whether the template has no state for a failure.
    pub(super) no_failed_state: bool,
    /// Whether the card's final state is set without its text.
    pub(super) state_alone: bool,
    /// Whether a card with a callback URL for clicks was refused: perhaps the URL isn't registered.
    pub(super) no_clicks: bool,
    /// The call that leads to this progress. `None` once its response is classified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) call: Option<Call>,
}

/// Parts of a text, one for each message, without blank ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessagesPlan {
    /// Digest of the text.
    pub(super) text: String,
    /// Value of [`DingTalkProgress::shrunk`] when the plan was made.
    pub(super) shrunk: u8,
    /// Start and end of each part, in bytes.
    pub(super) parts: Vec<(usize, usize)>,
    /// Whether the parts cover the text to its end.
    pub(super) is_whole: bool,
}

impl MessagesPlan {
    /// The parts from `start` on. `None` if the plan belongs to another text or doesn't cover `start`.
    pub(super) fn rest(&self, text: &str, shrunk: u8, start: usize) -> Option<&[(usize, usize)]> {
        let next = self.parts.partition_point(|(_, end)| *end <= start);
        let follows = match next.checked_sub(1) {
            Some(last) => self.parts[last].1 == start,
            None => start == 0,
        };
        let rest = &self.parts[next..];
        let fits = follows && self.shrunk == shrunk && (self.is_whole || !rest.is_empty());
        (fits && self.text == text).then_some(rest)
    }
}

/// A call, as far as the classification of its response depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Call {
    /// Creates a card.
    Create,
    /// Sets the state in which text begins.
    Begin {
        /// Whether that text is the final one.
        is_final: bool,
    },
    /// Shows text in the card.
    Frame {
        /// Whether it is the card's last text.
        is_last: bool,
        /// Whether the card is to show that the run has failed.
        shows_failure: bool,
    },
    /// Sets the card's final state.
    Settle,
    /// Stops the spinner of a card that takes no text.
    Mark,
    /// Sends a message.
    Message {
        /// Whether it is sent to the `sessionWebhook` rather than through the API.
        over_webhook: bool,
        /// Whether the whole answer can be read through a link.
        has_link: bool,
        /// Whether the chat can be reached through the API too.
        #[serde(default)]
        has_api: bool,
    },
    /// Sends a notice that the answer may be missing.
    LossNotice,
}

/// State of a reply's card.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CardState {
    /// Not created yet.
    #[default]
    None,
    /// Created, but without a response: it may exist. Creating it again is idempotent.
    Unsure,
    /// Shows that the bot is working.
    Thinking,
    /// Accepts text.
    Writing,
    /// Refused a text: only the final one will be tried.
    Muted,
    /// Has the final text; its state still has to be set.
    Ended,
    /// Finished.
    Settled,
    /// There will be no card: the text is sent as messages.
    Refused,
    /// Accepts no more text, and its spinner must be stopped: the text is sent as messages, then the card is marked.
    Stuck,
    /// Marked, after [`Self::Stuck`].
    Marked,
}

/// What the platform's moderation blocks, and what is sent instead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Withheld {
    /// Nothing.
    #[default]
    No,
    /// The answer: a link is sent instead.
    Answer,
    /// The link too: only a sentence is sent.
    Link,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it out so")]
const fn is_zero(end: &usize) -> bool {
    *end == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it out so")]
const fn is_first(round: &u32) -> bool {
    *round == 0
}

impl DingTalkProgress {
    /// The part that must be stored durably: not the text that the card shows, which can be sent again.
    pub(super) fn lasting(mut self) -> Self {
        (self.sent, self.frame_end) = (0, 0);
        (self.frame, self.frame_tail, self.head) = <_>::default();
        Self { call: None, ..self }
    }

    /// Progress at the start of the next round.
    pub(super) fn restarted(&self) -> Self {
        Self {
            round: self.round + 1,
            ..Self::default()
        }
    }

    /// Changes the card's state and resets failures.
    pub(super) fn with_card(self, card: CardState) -> Self {
        Self {
            card,
            tries: 0,
            hold_until: None,
            ..self
        }
    }

    /// Sets the call whose success leads to this progress.
    pub(super) fn with_call(self, call: Call) -> Self {
        Self {
            call: Some(call),
            ..self
        }
    }

    /// Starts the `sessionWebhook`'s cooldown until the given time.
    pub(super) fn with_webhook_at_rest(self, until: Timestamp) -> Self {
        Self {
            webhook_rests_until: self.webhook_rests_until.max(Some(until)),
            ..self
        }
    }

    /// Records that the card shows `text` up to `end` while it grows.
    pub(super) fn with_frame(self, text: &str, end: usize) -> Self {
        Self {
            frame_end: end,
            frame_tail: digest_before(text, end),
            ..self
        }
    }

    /// End of the part of `text` that the card shows; 0 if it shows another text.
    pub(super) fn kept_of(&self, text: &str) -> usize {
        match is_unchanged_before(text, self.frame_end, &self.frame_tail) {
            true => self.frame_end,
            false => 0,
        }
    }

    /// Records that `end` bytes of `text` are shown for good.
    pub(super) fn with_sent(self, text: &str, end: usize) -> Self {
        Self {
            sent: end,
            head: short_digest(&[text.get(..end).unwrap_or(text)]),
            ..self
        }
    }

    /// Counts one more failure, with a backoff of 2, 4, 8, ... seconds.
    pub(super) fn held(self, now: Timestamp) -> Self {
        let tries = self.tries.saturating_add(1);
        Self {
            tries,
            hold_until: Some(now.after(Duration::from_secs(1 << tries.min(6)))),
            ..self
        }
    }

    /// Start of the text that isn't sent yet.
    pub(super) fn start(&self, text: &str) -> usize {
        let same = text
            .get(..self.sent)
            .is_some_and(|head| short_digest(&[head]) == self.head);
        if same { self.sent } else { 0 }
    }
}
