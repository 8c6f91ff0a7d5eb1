//! Progress of a reply over the long connection, stored between calls.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_core::connector::Verdict;
use tieline_core::ids;
use tieline_core::notice::Language;
use tieline_core::reply::{DesiredReply, Progress, Stage};
use tieline_core::timestamp::Timestamp;

use super::full_text;
use crate::markdown::Piece;

/// Wait after an unacknowledged message before the next one, longer each time: meanwhile a dead connection is detected and replaced.
const DOUBT: Duration = Duration::from_secs(15);
/// Number of attempts to send a message that is never acknowledged.
const MAX_SENDS: u32 = 4;
/// The same for a frame that may be repeated. With the waits between them, the last attempt comes after the time in which a dead
/// connection is detected and replaced.
const MAX_REPEATS: u32 = 5;

/// Progress of a reply.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SocketProgress {
    /// How often an operator restarted the reply.
    #[serde(skip_serializing_if = "is_first")]
    pub(super) round: u32,
    /// The way that is used now.
    pub(super) way: Way,
    /// Number of bytes of the text in finished bubbles and messages.
    pub(super) from: usize,
    /// Digest of those bytes: if the agent replaces them, its text is shown again.
    pub(super) digest: String,
    /// Number of bubbles that were finished or given up.
    pub(super) bubbles: u32,
    /// The open bubble.
    pub(super) bubble: Option<Bubble>,
    /// Whether everything is shown.
    pub(super) complete: bool,
    /// Whether `response_url` may have been used: the response was lost.
    pub(super) unsure: bool,
    /// Whether `response_url` was used in place of the socket.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) url_used: bool,
    /// Whether `response_url` was refused: a text that waits for a connection keeps waiting.
    pub(super) url_closed: bool,
    /// Since when the final text has waited for a connection.
    #[serde(with = "tieline_core::timestamp::millis::option")]
    pub(super) absent_since: Option<Timestamp>,
    /// The separate message, the final frame or the card that was not acknowledged.
    pub(super) doubt: Option<Doubt>,
    /// Final frame of a bubble that was not acknowledged.
    pub(super) closing: Option<Closing>,
    /// Whether the platform refused to let the first frame ask for feedback: the bubble was opened by an earlier attempt.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) feedback_refused: bool,
    /// Whether everything is shown, but outside the bubble, which still needs its final frame.
    pub(super) left_open: bool,
    /// State of the card with the buttons.
    #[serde(skip_serializing_if = "is_due")]
    pub(super) card: CardState,
    /// The call that leads to this progress. `None` once its response is classified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) call: Option<SocketCallInFlight>,
}

/// State of the card that follows the text, if there are buttons.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CardState {
    /// Not sent.
    #[default]
    Due,
    /// Sent, but perhaps not delivered.
    Unsure,
    /// Sent.
    Sent,
    /// Refused: its buttons are lines of the text.
    Refused,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference to the field")]
const fn is_first(round: &u32) -> bool {
    *round == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference to the field")]
fn is_due(state: &CardState) -> bool {
    *state == CardState::Due
}

/// A call, as far as the classification of its response depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SocketCallInFlight {
    pub(super) kind: CallKind,
    /// Whether the text is final.
    pub(super) is_final: bool,
    /// Whether the message is proactive, not a reply.
    pub(super) is_proactive: bool,
}

impl SocketCallInFlight {
    fn new(kind: CallKind, desired: &DesiredReply<'_>) -> Self {
        Self {
            kind,
            is_final: desired.stage == Stage::Final,
            is_proactive: desired.proactive,
        }
    }
}

/// Kinds of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CallKind {
    /// Shows text in a bubble that may continue to grow.
    Grow,
    /// Ends a bubble.
    End,
    /// Sends a separate message.
    Message,
    /// Sends the card with the buttons.
    Card,
    /// Sends the rest by `response_url`.
    Respond,
}

/// Final frame of a bubble with unknown outcome. If it arrived, the bubble accepts nothing more, so it is repeated unchanged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Closing {
    /// End of the text that the bubble shows after it.
    pub(super) end: usize,
    /// Digest of the text up to `end`.
    pub(super) digest: String,
    /// Whether it is the end of the whole reply.
    pub(super) complete: bool,
}

/// Something sent with unknown outcome.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Doubt {
    /// Number of attempts.
    pub(super) times: u32,
    /// Time of the next attempt.
    #[serde(with = "tieline_core::timestamp::millis")]
    pub(super) until: Timestamp,
}

/// An open bubble.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bubble {
    #[serde(with = "tieline_core::timestamp::millis")]
    pub(super) began: Timestamp,
    /// End of the text that it shows.
    pub(super) end: usize,
    /// Digest of the text up to `end`.
    pub(super) digest: String,
    /// Digest of its content.
    pub(super) content: String,
}

/// Ways to the chat, the best first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Way {
    /// A growing bubble.
    #[default]
    Stream,
    /// Separate messages, once the text is complete.
    Send,
    /// `response_url`, once.
    Url,
}

impl SocketProgress {
    /// The part that must be stored durably: not the text that an open bubble shows, which can be sent again.
    pub(super) fn lasting(mut self) -> Self {
        if let Some(bubble) = &mut self.bubble {
            bubble.end = 0;
            (bubble.digest, bubble.content) = <_>::default();
        }
        Self { call: None, ..self }
    }

    /// Whether the next frame asks for feedback: the first one that the platform sees of the first bubble.
    pub(super) const fn asks_for_feedback(&self) -> bool {
        self.bubble.is_none() && self.bubbles == 0 && !self.feedback_refused
    }

    /// Progress at the start of the next round. Frames of a finished bubble are acknowledged and not shown, so the next bubble has an id
    /// that no earlier round has used.
    pub(super) fn restarted(&self) -> Self {
        Self {
            round: self.round + 1,
            bubbles: self.bubbles + 1,
            ..Self::default()
        }
    }

    /// Gives up the open bubble: its text stays, the rest is sent elsewhere.
    pub(super) fn without_bubble(mut self) -> Self {
        self.closing = None;
        if let Some(bubble) = self.bubble.take() {
            self.from = bubble.end;
            self.digest = bubble.digest;
            self.bubbles += 1;
        }
        self
    }

    /// Progress if a lost frame may have opened the bubble: it counts as open, and all of its content is sent again. `None` if the frame
    /// was not a bubble's first, or was its last as well.
    ///
    /// Only a bubble's very first frame may have `feedback`, so the next one must not have it: it might be refused for good.
    pub(super) fn perhaps_opened(&self, mut then: Self) -> Option<Self> {
        let bubble = then.bubble.as_mut().filter(|_| self.bubble.is_none())?;
        bubble.content.clear();
        Some(then)
    }

    /// Progress after a lost final frame of the bubble: until it is acknowledged, nothing else is sent. `None` after so many attempts
    /// that one of them must have arrived.
    pub(super) fn perhaps_closed(&self, then: Self, now: Timestamp) -> Option<Self> {
        let closing = Closing {
            end: then.from,
            digest: then.digest,
            complete: then.complete,
        };
        let is_repeated = self.complete || self.closing.as_ref() == Some(&closing);
        let perhaps = Self {
            closing: Some(closing).filter(|_| !self.complete),
            doubt: self.doubt.filter(|_| is_repeated),
            ..self.clone()
        };
        perhaps.again_in_doubt(now)
    }

    /// Whether a lost final frame must have been delivered: the platform knows the bubble, and got no other frame of it.
    pub(super) fn has_only_its_end(&self) -> bool {
        self.bubble.is_none() && self.closing.is_some()
    }

    /// The card was refused: its buttons have to be sent in a message.
    pub(super) fn without_card(self) -> Self {
        Self {
            card: CardState::Refused,
            complete: false,
            doubt: None,
            way: Way::Send,
            ..self.present()
        }
    }

    /// Everything was shown in another way. An open bubble still needs its final frame.
    pub(super) fn used_url(self) -> Self {
        Self {
            complete: true,
            url_used: true,
            left_open: self.bubble.is_some(),
            doubt: None,
            ..self
        }
    }

    /// A separate message was sent and not acknowledged. `None` after so many attempts that one of them must have arrived; the chat
    /// shows each one that did.
    pub(super) fn in_doubt(self, now: Timestamp) -> Option<Self> {
        let times = self.doubt.map_or(1, |doubt| doubt.times + 1);
        let until = now.after(DOUBT * times);
        (times < MAX_SENDS).then_some(Self {
            doubt: Some(Doubt { times, until }),
            ..self.present()
        })
    }

    /// A frame that the platform shows only once, however often it arrives, was sent and not acknowledged. `None` after so many
    /// attempts that one of them must have arrived. The first repetition is immediate: usually just the acknowledgement was lost.
    pub(super) fn again_in_doubt(self, now: Timestamp) -> Option<Self> {
        let times = self.doubt.map_or(1, |doubt| doubt.times + 1);
        let until = now.after(DOUBT * (times - 1));
        (times < MAX_REPEATS).then_some(Self {
            doubt: Some(Doubt { times, until }),
            ..self.present()
        })
    }

    /// Records that there is a connection.
    pub(super) fn present(self) -> Self {
        Self {
            absent_since: None,
            ..self
        }
    }

    /// Verdict on `response_url` used in place of a missing connection: the socket's ways are still open, so unless the text may
    /// have been delivered, it waits for a connection again.
    pub(super) fn back_to_socket(self, verdict: Verdict) -> Verdict {
        let (url_closed, code) = match verdict {
            verdict if self.way == Way::Url => return verdict,
            Verdict::Refused { code } => (true, code),
            Verdict::Retry { code } | Verdict::SlowDown { code, .. } if !self.unsure => (self.url_closed, code),
            verdict => return verdict,
        };
        Verdict::FallBack {
            progress: Progress::write(&Self { url_closed, ..self }.present()),
            code,
        }
    }

    /// This progress as the result of a successful call. A call with a response had a connection.
    pub(super) fn after(self, kind: CallKind, desired: &DesiredReply<'_>) -> Progress {
        Progress::write(&Self {
            call: Some(SocketCallInFlight::new(kind, desired)),
            ..self.present()
        })
    }

    /// Like [`Self::after`], for a call to `response_url`, which needs no connection.
    pub(super) fn after_response(self, desired: &DesiredReply<'_>) -> Progress {
        let call = SocketCallInFlight::new(CallKind::Respond, desired);
        Progress::write(&Self {
            call: Some(call),
            ..self
        })
    }

    pub(super) fn up_to(mut self, text: &str, end: usize) -> Self {
        self.from = end;
        self.digest = ids::digest(&[&text[..end]]);
        self
    }

    /// Start of the part of `text` that isn't shown yet.
    pub(super) fn rest_of(&self, text: &str) -> usize {
        let same = |part: &&str| self.from == 0 || ids::digest(&[part]) == self.digest;
        text.get(..self.from).filter(same).map_or(0, str::len)
    }

    /// End of the part of `text` that the open bubble shows; 0 if it shows another text.
    pub(super) fn kept_of(&self, text: &str) -> usize {
        let bubble = self.bubble.as_ref();
        let kept = bubble.filter(|bubble| {
            let part = text.get(..bubble.end);
            part.is_some_and(|part| ids::digest(&[part]) == bubble.digest)
        });
        kept.map_or(0, |bubble| bubble.end)
    }

    /// The unshown text up to `end`, as the end of a bubble that continues elsewhere; nothing of it if the agent replaced it.
    pub(super) fn part_up_to(&self, text: &str, end: usize, digest: &str, language: Language) -> Piece {
        let from = self.rest_of(text);
        let same = |part: &&str| part.len() >= from && ids::digest(&[part]) == digest;
        full_text::part(text.get(..end).filter(same).unwrap_or(&text[..from]), from, 0, language)
    }
}
