//! Replies for which a platform polls.

use std::time::Duration;

use super::Context;
use crate::http_types::WebhookAnswer;
use crate::ids::{ReplyId, SenderId};
use crate::reply::{Progress, ReplyTarget, ReplyView};

/// Answers to a platform that polls for the newest state of a reply.
pub trait PolledReplies: Sync {
    /// Writes the answer to a poll. `reply` is `None` while there is no record of it.
    fn answer_poll(&self, asked: &PollRequest, reply: Option<&ReplyView>, cx: &Context<'_>) -> WebhookAnswer;

    /// Writes the answer to a poll of a reply without a record. `link` leads to its text once there is one.
    fn answer_unrecorded(&self, asked: &PollRequest, link: &str, cx: &Context<'_>) -> WebhookAnswer {
        let _ = link;
        self.answer_poll(asked, None, cx)
    }

    /// The progress with which polling ends, if the answer to this poll is the last one that shows anything.
    ///
    /// Called before [`PolledReplies::answer_poll`] while `reply.closed` is empty. The bridge first stores it in the reply's record,
    /// on condition that none is there; then it sets `reply.closed` to the value in the record. From then on every poll gets the
    /// same last answer, and `deliver` gets it as [`crate::reply::Pulled::closed`], to push the rest.
    fn final_poll_state(&self, asked: &PollRequest, reply: &ReplyView, cx: &Context<'_>) -> Option<Progress> {
        let _ = (asked, reply, cx);
        None
    }

    /// Whether a reply whose polling ended with `closed` has text beyond what was polled, so that the rest must be pushed soon.
    fn leaves_rest(&self, closed: &Progress) -> bool {
        let _ = closed;
        false
    }

    /// Whether the rest of a polled reply can be pushed to `to`. Called before polling ends with a rest.
    fn can_push(&self, to: &ReplyTarget, cx: &Context<'_>) -> bool {
        let _ = (to, cx);
        true
    }
}

/// A request for the newest state of a reply.
#[derive(Debug, Clone, PartialEq)]
pub struct PollRequest {
    /// The reply.
    pub reply: ReplyId,
    /// The person whose client polls.
    pub asker: SenderId,
    /// Whether this request delivered the message itself, so that a missing record only means "not yet".
    pub first: bool,
    /// Data that the connector needs to write the answer (a nonce, say).
    pub note: String,
    /// What to wait for before answering.
    pub wait: PollWait,
}

/// What a poll waits for before it is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PollWait {
    /// Nothing.
    #[default]
    No,
    /// A state newer than this version.
    Newer(u64),
    /// The final text, for at most this long.
    Final(Duration),
}
