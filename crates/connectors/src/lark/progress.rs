//! Progress of a reply, stored between calls.

use serde::{Deserialize, Serialize};
use tieline_core::timestamp::Timestamp;

use crate::text_digest::{digest_before, is_unchanged_before};

/// State that later calls need from earlier ones.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct LarkProgress {
    /// How often an operator restarted the reply.
    #[serde(skip_serializing_if = "is_zero")]
    pub round: u32,
    pub way: Way,
    /// Number of messages to reply to that turned out to be deleted.
    pub gone: u32,
    /// Whether the chat doesn't support replies in topics.
    pub no_topic: bool,
    pub sign: Sign,
    /// Failed removals of the reaction, if it is still there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unremoved: Option<Unremoved>,
    /// Whether the platform refuses the text: a notice replaces it.
    pub withheld: bool,
    /// Whether the platform refuses the tables: they are shown as code.
    pub plain_tables: bool,
    /// How often the platform found the text too long: each time, messages become half as long.
    pub shrunk: u32,
    /// Whether the final text has begun to be shown, so no earlier stage may be shown any more.
    pub ending: bool,
    pub bubble: Bubble,
    /// A card that was given up and still shows that it is being written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<Card>,
    /// The call that leads to this progress. `None` once its response is classified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
}

/// A call, as far as the classification of its response depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Call {
    pub kind: CallKind,
    /// Whether the bubble's text before this call is still part of the answer, so that the rest can follow in another card.
    #[serde(default)]
    pub leads_on: bool,
}

/// Kinds of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CallKind {
    React,
    Unreact,
    CreateCard,
    SendCard,
    WriteCard,
    ReopenCard,
    CloseCard,
    /// Ends streaming of a card that was given up.
    CloseLeft,
    ReplaceCard,
    /// Sends a message.
    Send,
    /// Replaces the card in a message.
    Patch,
}

impl CallKind {
    /// Whether it changes a card entity that the chat shows.
    pub(super) const fn changes_card(self) -> bool {
        matches!(
            self,
            Self::WriteCard | Self::ReopenCard | Self::CloseCard | Self::ReplaceCard
        )
    }

    /// Whether it is only a decoration, of which a failure never delays the text.
    pub(super) const fn is_decoration(self) -> bool {
        matches!(self, Self::React | Self::Unreact | Self::CloseLeft)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it out so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl LarkProgress {
    /// The part that must be stored durably: not the text that a bubble shows, which can be sent again.
    pub(super) fn lasting(mut self) -> Self {
        let bubble = &mut self.bubble;
        (bubble.end, bubble.full, bubble.changed_at) = (0, false, None);
        (bubble.end_tail, bubble.mark) = <_>::default();
        if let Some(card) = &mut bubble.card {
            (card.sequence, card.refused, card.clicked, card.hold_until) = (0, 0, 0, None);
        }
        // A removed reaction can be removed again. The record's stage also says whether the end has begun.
        if let Sign::Put(_) = self.sign {
            self.sign = Sign::Gone;
        }
        Self {
            ending: false,
            call: None,
            ..self
        }
    }

    /// The progress that `planned` was planned from: without the content of its call, but after finished messages, and with the chosen
    /// way.
    pub(super) fn before_call(self, planned: &Self) -> Self {
        let bubble = if planned.bubble.number == self.bubble.number {
            Bubble {
                start: planned.bubble.start,
                ..self.bubble
            }
        } else {
            Bubble {
                number: planned.bubble.number,
                start: planned.bubble.start,
                tail: planned.bubble.tail.clone(),
                ..Bubble::default()
            }
        };
        Self {
            way: planned.way,
            ending: planned.ending,
            bubble,
            ..self
        }
    }

    /// Progress at the start of the next round.
    pub(super) fn restarted(&self) -> Self {
        Self {
            round: self.round + 1,
            ..Self::default()
        }
    }
}

/// How text is shown. Each way is the fallback of the one before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Way {
    /// A growing text is streamed into a card entity; a text that is final from the start is a card in a message.
    #[default]
    Stream,
    /// A card in a message, replaced as a whole while the text grows.
    Card,
    /// A post, sent at the end.
    Post,
    /// A text, sent at the end.
    Text,
}

impl Way {
    pub(super) const fn next(self) -> Option<Self> {
        match self {
            Self::Stream => Some(Self::Card),
            Self::Card => Some(Self::Post),
            Self::Post => Some(Self::Text),
            Self::Text => None,
        }
    }

    /// Whether a sent message can be edited.
    pub(super) const fn edits(self) -> bool {
        matches!(self, Self::Stream | Self::Card)
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Card => "card",
            Self::Post => "post",
            Self::Text => "text",
        }
    }
}

/// State of the reaction that means "received".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Sign {
    #[default]
    Not,
    /// It was added, with this id.
    Put(String),
    /// It was removed, or could not be added.
    Gone,
}

/// Removals of the reaction that failed for the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Unremoved {
    /// Number of failures.
    pub failures: u32,
    /// Earliest time of the next attempt.
    #[serde(with = "tieline_core::timestamp::millis")]
    pub retry_at: Timestamp,
}

/// The current message of the reply.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Bubble {
    /// Its number, from 0.
    pub number: u32,
    /// Its start in the answer.
    pub start: usize,
    /// Digest of the text before `start`, to detect a changed answer.
    pub tail: String,
    /// End of its text in the answer.
    pub end: usize,
    /// Digest of the text before `end`, to detect a changed answer.
    pub end_tail: String,
    /// Whether it has no room for more text.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub full: bool,
    /// Digest of its content.
    pub mark: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card: Option<Card>,
    /// Id of the message, once it was sent. Empty if the platform didn't return it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(with = "tieline_core::timestamp::millis::option")]
    pub changed_at: Option<Timestamp>,
}

impl Bubble {
    /// The bubble after this one, which begins at `start` of `full_text`.
    pub(super) fn next(&self, start: usize, full_text: &str) -> Self {
        Self {
            number: self.number + 1,
            start,
            tail: digest_before(full_text, start),
            ..Self::default()
        }
    }

    /// The same text again, as another message.
    pub(super) fn again(&self) -> Self {
        Self {
            number: self.number + 1,
            start: self.start,
            tail: self.tail.clone(),
            ..Self::default()
        }
    }

    /// The bubble after this one, which begins where this one ends.
    pub(super) fn following(&self) -> Self {
        Self {
            number: self.number + 1,
            start: self.end,
            tail: self.end_tail.clone(),
            ..Self::default()
        }
    }

    /// Records that it now shows `full_text` up to `end`, and whether it is full.
    pub(super) fn shows(&mut self, full_text: &str, end: usize, full: bool, mark: &str, now: Timestamp) {
        (self.end, self.full) = (end, full);
        self.end_tail = digest_before(full_text, end);
        self.mark = mark.to_owned();
        self.changed_at = Some(now);
    }

    /// Whether its text is still part of `full_text`, so that the rest can follow it.
    pub(super) fn leads_on(&self, full_text: &str) -> bool {
        self.end > self.start && is_unchanged_before(full_text, self.end, &self.end_tail)
    }

    /// Whether the text before it in `full_text` is unchanged.
    pub(super) fn fits(&self, full_text: &str) -> bool {
        self.start == 0 || is_unchanged_before(full_text, self.start, &self.tail)
    }
}

/// A card entity.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Card {
    pub id: String,
    /// Last used sequence number: all changes of a card are numbered together.
    pub sequence: u32,
    /// When it was created.
    #[serde(with = "tieline_core::timestamp::millis::option")]
    pub made_at: Option<Timestamp>,
    /// Number of consecutive refused changes.
    pub refused: u32,
    /// Number of consecutive changes refused because a click was being processed.
    #[serde(skip_serializing_if = "is_zero")]
    pub clicked: u32,
    /// No change before this time: the card has an internal fault, or a click on it is being processed.
    #[serde(
        with = "tieline_core::timestamp::millis::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub hold_until: Option<Timestamp>,
    /// Whether it was sent to the chat.
    pub sent: bool,
    /// Whether the list of chats shows that it is being written.
    pub open: bool,
    /// Since when it is streaming. `None` if streaming has ended.
    #[serde(with = "tieline_core::timestamp::millis::option")]
    pub since: Option<Timestamp>,
}

impl Card {
    /// Sequence number of the next change: based on the card's age, so that it is above those of an earlier lease holder that recorded
    /// none.
    ///
    /// A card can be changed for 14 days; that many milliseconds fit into the platform's 32 bits.
    ///
    /// See [Feishu Docs/更新卡片实体](https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/cardkit-v1/card/update).
    pub(super) fn next_sequence(&self, now: Timestamp) -> u32 {
        let age_ms = self.made_at.map_or(0, |made_at| now.since(made_at).as_millis());
        (self.sequence + 1).max(u32::try_from(age_ms).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unchanged_text_can_be_continued() {
        let mut bubble = Bubble::default();
        assert!(!bubble.leads_on("abc"));
        bubble.shows("one two three", 8, false, "", Timestamp::from_secs(0));
        assert!(bubble.leads_on("one two four"));
        assert!(!bubble.leads_on("one 2"));
        assert!(!bubble.leads_on("ein zwo drei"));
    }
}
