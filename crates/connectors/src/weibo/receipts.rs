//! Tracks which of the written chunks the platform has read.

use std::collections::VecDeque;
use std::time::Duration;

use tieline_core::http_types::ApiAnswer;
use tieline_core::stream::{Effect, Frame};
use tieline_core::timestamp::Timestamp;

/// Time limit for the first confirmation of a server that has confirmed nothing yet.
const FIRST_WITHIN: Duration = Duration::from_secs(2);
/// Time limit for the confirmations of a server that confirms: after that, the connection counts as dead.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(10);

/// Status of a chunk that the platform has read.
const ACCEPTED: u16 = 200;
/// Status of a chunk that it refused.
pub(super) const REFUSED: u16 = 400;

/// Written chunks that are not confirmed yet, with the pings between them, in the order of writing.
#[derive(Default)]
pub(super) struct Receipts {
    outstanding: VecDeque<Outstanding>,
    manner: Manner,
}

enum Outstanding {
    Chunk { call_id: String, due_at: Timestamp },
    Ping,
}

/// Ways in which a server confirms what it has read.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Manner {
    /// Not known yet.
    #[default]
    Unknown,
    /// It acknowledges each chunk.
    Acknowledges,
    /// It answers pings, and reads in order.
    AnswersPings,
    /// It doesn't: whatever is written counts as sent.
    Silent,
}

impl Receipts {
    /// Records a chunk that is being written.
    pub(super) fn on_call(&mut self, call_id: &str, now: Timestamp) -> Vec<Effect> {
        let call_id = call_id.to_owned();
        let patience = match self.manner {
            Manner::Silent => return vec![answered(call_id, ACCEPTED)],
            Manner::Unknown => FIRST_WITHIN,
            Manner::Acknowledges | Manner::AnswersPings => CONFIRMED_WITHIN,
        };
        let due_at = now.after(patience);
        self.outstanding.push_back(Outstanding::Chunk { call_id, due_at });
        if self.manner == Manner::Acknowledges {
            return Vec::new();
        }
        self.pinged();
        vec![ping()]
    }

    /// Records a ping that is being written.
    pub(super) fn pinged(&mut self) {
        self.outstanding.push_back(Outstanding::Ping);
    }

    /// The server acknowledged the oldest chunk.
    pub(super) fn on_ack(&mut self) -> Option<Effect> {
        self.manner = Manner::Acknowledges;
        Some(answered(self.take_oldest()?, ACCEPTED))
    }

    /// The server refused a frame. Where it acknowledges each chunk, it was the oldest chunk.
    pub(super) fn on_error(&mut self) -> Option<Effect> {
        if self.manner != Manner::Acknowledges {
            return None;
        }
        Some(answered(self.take_oldest()?, REFUSED))
    }

    /// Removes the oldest chunk. Returns the id of its call.
    fn take_oldest(&mut self) -> Option<String> {
        let is_chunk = |it: &Outstanding| matches!(it, Outstanding::Chunk { .. });
        let at = self.outstanding.iter().position(is_chunk)?;
        match self.outstanding.remove(at)? {
            Outstanding::Chunk { call_id, .. } => Some(call_id),
            Outstanding::Ping => None,
        }
    }

    /// The server answered the oldest ping, so it has read everything written before.
    pub(super) fn on_pong(&mut self) -> Vec<Effect> {
        let is_ping = |it: &Outstanding| matches!(it, Outstanding::Ping);
        let Some(at) = self.outstanding.iter().position(is_ping) else {
            return Vec::new();
        };
        let read: Vec<Effect> = self.outstanding.drain(..=at).filter_map(answer).collect();
        if !read.is_empty() && self.manner == Manner::Unknown {
            self.manner = Manner::AnswersPings;
        }
        read
    }

    /// Checks for overdue chunks. The error says why the connection counts as dead.
    pub(super) fn on_time(&mut self, now: Timestamp) -> Result<Vec<Effect>, &'static str> {
        if self.wake_at().is_none_or(|due_at| due_at > now) {
            return Ok(Vec::new());
        }
        if self.manner != Manner::Unknown {
            return Err("chunks were not confirmed");
        }
        self.manner = Manner::Silent;
        Ok(self.outstanding.drain(..).filter_map(answer).collect())
    }

    /// When the oldest chunk is overdue.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        self.outstanding.iter().find_map(|it| match it {
            Outstanding::Chunk { due_at, .. } => Some(*due_at),
            Outstanding::Ping => None,
        })
    }

    /// The connection is closed: whether the other chunks were read is unknown.
    pub(super) fn on_close(&mut self) -> Vec<Effect> {
        let unknown = |it| match it {
            Outstanding::Chunk { call_id, .. } => Some(Effect::Answer {
                call_id,
                answer: ApiAnswer::Unknown,
            }),
            Outstanding::Ping => None,
        };
        self.outstanding.drain(..).filter_map(unknown).collect()
    }
}

fn answer(it: Outstanding) -> Option<Effect> {
    match it {
        Outstanding::Chunk { call_id, .. } => Some(answered(call_id, ACCEPTED)),
        Outstanding::Ping => None,
    }
}

fn answered(call_id: String, status: u16) -> Effect {
    Effect::Answer {
        call_id,
        answer: ApiAnswer::Answered {
            status,
            retry_after_s: None,
            body: Vec::new(),
        },
    }
}

/// Sends a ping, whose pong proves that the server has read everything written before.
pub(super) fn ping() -> Effect {
    Effect::Send(Frame::Text(r#"{"type":"ping"}"#.to_owned()))
}
