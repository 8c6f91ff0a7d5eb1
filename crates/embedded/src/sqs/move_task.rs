//! State of a redrive.

use super::wire;

/// Moves dead letters out of one queue, one slice at a time.
#[derive(Debug)]
pub(super) struct MoveTask {
    pub(super) handle: String,
    pub(super) source: i64,
    /// `None` returns each message to the queue that it was dead-lettered from.
    pub(super) destination: Option<i64>,
    pub(super) destination_arn: Option<String>,
    pub(super) per_second: Option<usize>,
    pub(super) state: State,
    pub(super) n_moved: u64,
    pub(super) n_to_move: u64,
    pub(super) started_ms: i64,
    pub(super) resume_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Completed,
    Cancelled,
    Failed(&'static str),
}

impl MoveTask {
    pub(super) fn describe(&self, source_arn: &str) -> wire::Move {
        let (status, failure_reason) = match self.state {
            State::Running => ("RUNNING", None),
            State::Completed => ("COMPLETED", None),
            State::Cancelled => ("CANCELLED", None),
            State::Failed(why) => ("FAILED", Some(why)),
        };
        wire::Move {
            task_handle: (self.state == State::Running).then(|| self.handle.clone()),
            status,
            source_arn: source_arn.into(),
            destination_arn: self.destination_arn.clone(),
            approximate_number_of_messages_moved: self.n_moved,
            approximate_number_of_messages_to_move: self.n_to_move,
            started_timestamp: self.started_ms,
            failure_reason,
        }
    }
}
