//! How far a reply is: what of it the chat already shows.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_core::ids::digest;
use tieline_core::timestamp::Timestamp;
use tieline_core::timestamp::millis;

/// What the chat shows of a reply.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DingTalkProgress {
    /// How often the reply was restarted by an operator.
    #[serde(skip_serializing_if = "is_first")]
    pub(super) round: u32,
    /// The card.
    pub(super) card: CardState,
    /// Fingerprint of the newest text that the card took.
    pub(super) frame: String,
    /// The card shows reasoning, and no text yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) reasons: bool,
    /// How many bytes of the text are out for good, in the card or in messages.
    pub(super) sent: usize,
    /// Fingerprint of these bytes: if the text was exchanged since, it is sent whole.
    pub(super) head: String,
    /// How many messages were sent.
    pub(super) messages: usize,
    /// When the last one was.
    #[serde(with = "millis::option")]
    pub(super) last_message_at: Option<Timestamp>,
    /// The platform has refused the message's own address.
    pub(super) webhook_closed: bool,
    /// It was too fast for the message's own address.
    #[serde(with = "millis::option")]
    pub(super) webhook_rests_until: Option<Timestamp>,
    /// How often the platform found a message too long: each time the next is half as long.
    pub(super) shrunk: u8,
    /// Where the messages begin and end in the text, planned once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) messages_plan: Option<MessagesPlan>,
    /// What of the answer the platform doesn't let through.
    pub(super) withheld: Withheld,
    /// Why there will be no message, by the platform's code, while a card is still to be marked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) given_up: Option<String>,
    /// How often the call that is due has failed.
    pub(super) tries: u8,
    /// When it is due again.
    #[serde(with = "millis::option")]
    pub(super) hold_until: Option<Timestamp>,
    /// The template has no state for a failure.
    pub(super) no_failed_state: bool,
    /// The card's last state is to be set without its text.
    pub(super) state_alone: bool,
    /// A card with an address for clicks was refused: perhaps the address isn't registered.
    pub(super) no_clicks: bool,
    /// The call that leads to this progress. `None` once its answer is classified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) call: Option<Call>,
}

/// The parts of a text that its messages show, the blank ones left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessagesPlan {
    /// Fingerprint of the text.
    pub(super) text: String,
    /// How often messages were halved when it was made.
    pub(super) shrunk: u8,
    /// Where each part begins and ends, in bytes.
    pub(super) parts: Vec<(usize, usize)>,
    /// Whether the parts go to the end of the text.
    pub(super) is_whole: bool,
}

impl MessagesPlan {
    /// The parts from `start` on. `None` if the plan is that of another text, or doesn't say.
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

/// A call, as far as the classification of its answer depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Call {
    /// Puts up a card.
    Create,
    /// Reports to the card that text begins.
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
    /// Sets the card's last state.
    Settle,
    /// Takes the spinning off a card that takes no text.
    Mark,
    /// Sends a message.
    Message {
        /// Whether it goes to the message's own address, not over the API.
        over_webhook: bool,
        /// Whether the whole answer can be read behind a link.
        has_link: bool,
    },
}

/// Where the card of a reply is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CardState {
    /// There is none yet.
    #[default]
    None,
    /// It was sent, and no answer came: it may be there. Sending it again changes nothing then.
    Unsure,
    /// It shows that we are at it.
    Thinking,
    /// It takes text.
    Writing,
    /// It has refused a text: only the last one will be tried.
    Muted,
    /// It has the last text; its state is still to be set.
    Ended,
    /// It is done.
    Settled,
    /// There will be none: the text goes as messages.
    Refused,
    /// It takes no more text and must not spin for ever: the text goes as messages, then it is marked.
    Stuck,
    /// That is done too.
    Marked,
}

/// What the platform finds unsafe, and its replacement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Withheld {
    /// Nothing.
    #[default]
    No,
    /// The answer: a link replaces it.
    Answer,
    /// The link too: only a sentence is left.
    Link,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it out so")]
const fn is_first(round: &u32) -> bool {
    *round == 0
}

impl DingTalkProgress {
    /// What must not be forgotten: without the text that the card shows, which can be shown again in its place.
    pub(super) fn lasting(mut self) -> Self {
        self.sent = 0;
        (self.frame, self.head) = <_>::default();
        Self { call: None, ..self }
    }

    /// The beginning of the next round.
    pub(super) fn restarted(&self) -> Self {
        Self {
            round: self.round + 1,
            ..Self::default()
        }
    }

    /// The same with another card state, and nothing held against it.
    pub(super) fn with_card(self, card: CardState) -> Self {
        Self {
            card,
            tries: 0,
            hold_until: None,
            ..self
        }
    }

    /// The same as what the success of `call` leads to.
    pub(super) fn with_call(self, call: Call) -> Self {
        Self {
            call: Some(call),
            ..self
        }
    }

    /// The same with the message's own address left alone until then.
    pub(super) fn with_webhook_at_rest(self, until: Timestamp) -> Self {
        Self {
            webhook_rests_until: self.webhook_rests_until.max(Some(until)),
            ..self
        }
    }

    /// The same with `end` bytes of `text` out.
    pub(super) fn with_sent(self, text: &str, end: usize) -> Self {
        Self {
            sent: end,
            head: fingerprint(text.get(..end).unwrap_or(text)),
            ..self
        }
    }

    /// The same after one more failure, held for 2, 4, 8, ... seconds.
    pub(super) fn held(self, now: Timestamp) -> Self {
        let tries = self.tries.saturating_add(1);
        Self {
            tries,
            hold_until: Some(now.after(Duration::from_secs(1 << tries.min(6)))),
            ..self
        }
    }

    /// Where the unsent text begins.
    pub(super) fn start(&self, text: &str) -> usize {
        let same = text.get(..self.sent).is_some_and(|head| fingerprint(head) == self.head);
        if same { self.sent } else { 0 }
    }
}

/// A short digest of a text.
pub(super) fn fingerprint(text: &str) -> String {
    let mut digest = digest(&[text]);
    digest.truncate(16);
    digest
}
