//! Replies that a platform fetches by polling.

use std::time::Duration;

use super::Context;
use crate::http_types::WebhookAnswer;
use crate::ids::{ReplyId, SenderId};
use crate::reply::{Progress, ReplyTarget, ReplyView};

/// Replies that the platform fetches by asking for their newest state.
pub trait PolledReplies: Sync {
    /// Writes the answer to a poll. `reply` is `None` while there is no record of it.
    fn answer_poll(&self, asked: &PollRequest, reply: Option<&ReplyView>, cx: &Context<'_>) -> WebhookAnswer;

    /// Writes the answer to a poll of a reply of which there is no record yet. `link` leads to its text once there is one.
    fn answer_unrecorded(&self, asked: &PollRequest, link: &str, cx: &Context<'_>) -> WebhookAnswer {
        let _ = link;
        self.answer_poll(asked, None, cx)
    }

    /// What polling ends with, if the answer to this poll is the last one that shows anything.
    ///
    /// Asked before [`PolledReplies::answer_poll`] while `reply.closed` is empty. The bridge first stores it in the reply's record,
    /// on condition that none is there; then it sets `reply.closed` to what the record holds. From then on every poll gets the
    /// same last answer, and `deliver` gets it as [`crate::reply::Pulled::closed`], to push what it doesn't show.
    fn final_poll_state(&self, asked: &PollRequest, reply: &ReplyView, cx: &Context<'_>) -> Option<Progress> {
        let _ = (asked, reply, cx);
        None
    }

    /// Whether a reply whose polling ended with `closed` goes on beyond what was polled, so that the rest must be pushed soon.
    fn leaves_rest(&self, closed: &Progress) -> bool {
        let _ = closed;
        false
    }

    /// Whether the rest of a polled reply can be pushed to `to`. Asked before polling ends and leaves one.
    fn can_push(&self, to: &ReplyTarget, cx: &Context<'_>) -> bool {
        let _ = (to, cx);
        true
    }
}

/// A request for the newest state of a reply.
#[derive(Debug, Clone, PartialEq)]
pub struct PollRequest {
    /// Which reply.
    pub reply: ReplyId,
    /// Who asks.
    pub asker: SenderId,
    /// Whether this request brought the message itself, so that a missing record only means "not yet".
    pub first: bool,
    /// What the connector needs to write the answer (a nonce, say).
    pub note: String,
    /// What it waits for before it is answered.
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
