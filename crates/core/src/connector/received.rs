//! What a webhook request brings, or why it is rejected.

use super::{PollRequest, Remark};
use crate::event::Event;
use crate::http_types::WebhookAnswer;

/// Both halves of a webhook request: what happened, and what the platform waits to hear.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// The events to process, in order.
    pub events: Vec<Event>,
    /// What the platform is answered, after the events are in the queue.
    pub answer: Answer,
    /// Why there is no event, for the integration's log.
    pub remark: Option<Remark>,
}

impl Received {
    /// Nothing happened; the platform gets `answer`.
    #[must_use]
    pub fn only(answer: WebhookAnswer) -> Self {
        Self {
            events: Vec::new(),
            answer: Answer::Fixed(answer),
            remark: None,
        }
    }

    /// Nothing that we use; the platform gets `answer`.
    #[must_use]
    pub fn ignored(reason: &'static str, answer: WebhookAnswer) -> Self {
        Self {
            events: Vec::new(),
            answer: Answer::Fixed(answer),
            remark: Some(Remark::Ignored(reason)),
        }
    }

    /// Proved but unreadable; the platform gets its success answer.
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
    /// Known at once.
    Fixed(WebhookAnswer),
    /// The newest state of a reply: the bridge looks it up, [`super::PolledReplies::answer_poll`] writes it.
    Polled(PollRequest),
}

/// Why a request is not proved to come from the platform. To the caller all look the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Something that proves it is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The signature is another one.
    #[error("signature does not match")]
    BadSignature,
    /// Too old or too far ahead.
    #[error("request is {age_s} s old, limit {limit_s} s")]
    Stale {
        /// Age in seconds; negative if it is ahead.
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
    /// What must be read before the proof can't be read.
    #[error("request does not have the documented shape: {0}")]
    Malformed(&'static str),
}
