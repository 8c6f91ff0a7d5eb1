//! How far a reply over the long connection is, as it is stored between calls.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_core::connector::Verdict;
use tieline_core::ids;
use tieline_core::notice::Language;
use tieline_core::reply::{DesiredReply, Progress, Stage};
use tieline_core::timestamp::Timestamp;

use super::full_text;
use crate::markdown::Piece;

/// How long after an unacknowledged message no other is sent, longer each time: a dead connection is noticed and replaced meanwhile.
const DOUBT: Duration = Duration::from_secs(15);
/// Attempts to send a message that is never acknowledged.
const MAX_SENDS: u32 = 4;

/// How far a reply is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SocketProgress {
    /// The way that is open.
    pub(super) way: Way,
    /// Bytes of the text that finished bubbles and messages show.
    pub(super) from: usize,
    /// A digest of those bytes: if the agent takes them back, its text is shown again.
    pub(super) digest: String,
    /// How many bubbles were finished or given up.
    pub(super) bubbles: u32,
    /// The bubble that is open.
    pub(super) bubble: Option<Bubble>,
    /// Everything is shown.
    pub(super) complete: bool,
    /// `response_url` may have been used: the answer got lost.
    pub(super) unsure: bool,
    /// `response_url` was used in place of the socket.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) url_used: bool,
    /// `response_url` was refused: what waits for a connection goes on waiting.
    pub(super) url_closed: bool,
    /// Since when the last word has waited for a connection.
    #[serde(with = "tieline_core::timestamp::millis::option")]
    pub(super) absent_since: Option<Timestamp>,
    /// A message of its own that was not acknowledged.
    pub(super) doubt: Option<Doubt>,
    /// The end of a bubble that was not acknowledged.
    pub(super) closing: Option<Closing>,
    /// Everything is shown, but not in the bubble, which still waits for it.
    pub(super) left_open: bool,
    /// How the card with the buttons is.
    #[serde(skip_serializing_if = "is_due")]
    pub(super) card: CardState,
    /// The call that leads to this progress. `None` once its answer is classified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) call: Option<SocketCallInFlight>,
}

/// How far the card is that follows the text, if there are buttons.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CardState {
    /// Not sent.
    #[default]
    Due,
    /// Sent, and perhaps not arrived.
    Unsure,
    /// Sent.
    Sent,
    /// Refused: its buttons are lines of the text.
    Refused,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference to the field")]
fn is_due(state: &CardState) -> bool {
    *state == CardState::Due
}

/// A call, as far as the classification of its answer depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SocketCallInFlight {
    pub(super) kind: CallKind,
    /// Whether the text is final.
    pub(super) is_final: bool,
    /// Whether the message answers no other.
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

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CallKind {
    /// Shows text in a bubble that may go on growing.
    Grow,
    /// Ends a bubble.
    End,
    /// Sends a message of its own.
    Message,
    /// Sends the card with the buttons.
    Card,
    /// Sends the rest by `response_url`.
    Respond,
}

/// The end of a bubble that may or may not have arrived. If it has, nothing more is shown there, so it is repeated as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Closing {
    /// Up to where the bubble then shows the text.
    pub(super) end: usize,
    /// A digest of the text up to there.
    pub(super) digest: String,
    /// Whether it is the last word.
    pub(super) complete: bool,
}

/// A message that may or may not have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Doubt {
    /// How often it was sent.
    pub(super) times: u32,
    /// When it may be sent again.
    #[serde(with = "tieline_core::timestamp::millis")]
    pub(super) until: Timestamp,
}

/// A bubble that still grows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bubble {
    #[serde(with = "tieline_core::timestamp::millis")]
    pub(super) began: Timestamp,
    /// Up to where it shows the text.
    pub(super) end: usize,
    /// A digest of the text up to there.
    pub(super) digest: String,
    /// A digest of what it shows.
    pub(super) content: String,
}

/// The ways to the chat, the best first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Way {
    /// A bubble that grows.
    #[default]
    Stream,
    /// Messages of their own, once the text is whole.
    Send,
    /// `response_url`, once.
    Url,
}

impl SocketProgress {
    /// What must not be forgotten: without the text that an open bubble shows, which can be shown again in its place.
    pub(super) fn lasting(mut self) -> Self {
        if let Some(bubble) = &mut self.bubble {
            bubble.end = 0;
            (bubble.digest, bubble.content) = <_>::default();
        }
        Self { call: None, ..self }
    }

    /// The open bubble is lost: what it shows stays, the rest goes elsewhere.
    pub(super) fn without_bubble(mut self) -> Self {
        self.closing = None;
        if let Some(bubble) = self.bubble.take() {
            self.from = bubble.end;
            self.digest = bubble.digest;
            self.bubbles += 1;
        }
        self
    }

    /// The bubble that a lost frame may have opened: it is open from now on, and whatever it shows is sent again. `None` if the frame
    /// was not a bubble's first, or its last as well.
    ///
    /// Only a bubble's very first frame may carry `feedback`, so the next one must not, or it might be refused for good.
    pub(super) fn perhaps_opened(&self, mut then: Self) -> Option<Self> {
        let bubble = then.bubble.as_mut().filter(|_| self.bubble.is_none())?;
        bubble.content.clear();
        Some(then)
    }

    /// The reply after a lost frame that ends the bubble: until it is known to have arrived, it is all that is sent. `None` if that is
    /// remembered already.
    pub(super) fn perhaps_closed(&self, then: Self) -> Option<Self> {
        let closing = Closing {
            end: then.from,
            digest: then.digest,
            complete: then.complete,
        };
        let is_news = !self.complete && self.closing.as_ref() != Some(&closing);
        (is_news || self.absent_since.is_some()).then(|| Self {
            closing: Some(closing).filter(|_| !self.complete),
            ..self.clone().present()
        })
    }

    /// Whether a lost frame has shown the last word, for all that is known: the platform has a bubble by now of which it got no other.
    pub(super) fn has_only_its_end(&self) -> bool {
        self.bubble.is_none() && self.closing.is_some()
    }

    /// The card was refused: its buttons are to be said in a message.
    pub(super) fn without_card(self) -> Self {
        Self {
            card: CardState::Refused,
            complete: false,
            way: Way::Send,
            ..self.present()
        }
    }

    /// Everything was shown another way. A bubble that is open stays so until it gets its end.
    pub(super) fn used_url(self) -> Self {
        Self {
            complete: true,
            url_used: true,
            left_open: self.bubble.is_some(),
            ..self
        }
    }

    /// A message of its own was sent and not acknowledged. `None` if that has happened so often that one of them must have arrived:
    /// the chat shows each that did.
    pub(super) fn in_doubt(self, now: Timestamp) -> Option<Self> {
        let times = self.doubt.map_or(1, |doubt| doubt.times + 1);
        let until = now.after(DOUBT * times);
        (times < MAX_SENDS).then_some(Self {
            doubt: Some(Doubt { times, until }),
            ..self.present()
        })
    }

    /// There is a connection.
    pub(super) fn present(self) -> Self {
        Self {
            absent_since: None,
            ..self
        }
    }

    /// The outcome of `response_url`, used in place of a missing connection: the socket's ways are still open, so unless
    /// the words may have been shown, they wait for a connection again.
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

    /// This, as what the success of a call leads to. A call that is answered had a connection.
    pub(super) fn after(self, kind: CallKind, desired: &DesiredReply<'_>) -> Progress {
        Progress::write(&Self {
            call: Some(SocketCallInFlight::new(kind, desired)),
            ..self.present()
        })
    }

    /// The same for a call to `response_url`, which needs no connection.
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

    /// Where the part of `text` begins that isn't shown yet.
    pub(super) fn rest_of(&self, text: &str) -> usize {
        let same = |part: &&str| self.from == 0 || ids::digest(&[part]) == self.digest;
        text.get(..self.from).filter(same).map_or(0, str::len)
    }

    /// What isn't shown yet as far as `end`, as the end of a bubble that goes on elsewhere; nothing of it, if the agent took it back.
    pub(super) fn part_up_to(&self, text: &str, end: usize, digest: &str, language: Language) -> Piece {
        let from = self.rest_of(text);
        let same = |part: &&str| part.len() >= from && ids::digest(&[part]) == digest;
        full_text::part(text.get(..end).filter(same).unwrap_or(&text[..from]), from, language)
    }
}
