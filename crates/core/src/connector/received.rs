//! Result of a webhook request: its events and answer, or its rejection.

use super::{PollRequest, Remark};
use crate::event::Event;
use crate::http_types::WebhookAnswer;

/// Both results of a verified webhook request: its events, and the answer that the platform waits for.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// The events to process, in order.
    pub events: Vec<Event>,
    /// The answer to the platform, sent after the events are on the queue.
    pub answer: Answer,
    /// Why there is no event, for the integration's log.
    pub remark: Option<Remark>,
}

impl Received {
    /// No event; the platform gets `answer`.
    #[must_use]
    pub fn only(answer: WebhookAnswer) -> Self {
        Self {
            events: Vec::new(),
            answer: Answer::Fixed(answer),
            remark: None,
        }
    }

    /// An event that we don't use; the platform gets `answer`.
    #[must_use]
    pub fn ignored(reason: &'static str, answer: WebhookAnswer) -> Self {
        Self {
            events: Vec::new(),
            answer: Answer::Fixed(answer),
            remark: Some(Remark::Ignored(reason)),
        }
    }

    /// Verified but unreadable; the platform gets its success answer.
    #[must_use]
    pub fn unreadable(reason: &'static str, answer: WebhookAnswer) -> Self {
        Self {
            events: Vec::new(),
            answer: Answer::Fixed(answer),
            remark: Some(Remark::Unreadable(reason)),
        }
    }
}

/// The answer to a webhook request.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Fixed.
    Fixed(WebhookAnswer),
    /// The newest state of a reply: the bridge looks it up, [`super::PolledReplies::answer_poll`] writes it.
    Polled(PollRequest),
}

/// Why a request can't be proved to come from the platform. The caller gets the same response for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A part of the proof is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The signature is wrong.
    #[error("signature does not match")]
    BadSignature,
    /// The timestamp is too old or too far in the future.
    #[error("request is {age_s} s old, limit {limit_s} s")]
    Stale {
        /// Age in seconds; negative if it is in the future.
        age_s: i64,
        /// The limit in seconds.
        limit_s: i64,
    },
    /// It can't be decrypted.
    #[error("payload can't be decrypted: {0}")]
    BadCipher(&'static str),
    /// Signed for another receiver.
    #[error("payload is for another receiver")]
    WrongReceiver,
    /// A part that must be read before the proof can't be read.
    #[error("request does not have the documented shape: {0}")]
    Malformed(&'static str),
}
