//! Redrive: moves dead letters back to the queues that they came from, or to another one, a slice at a time.
//!
//! Tasks are in memory. A restart that interrupts one loses no message: those not moved yet are still in the dead-letter queue, and the
//! task can be started again.

use super::engine_state::{EngineState, Outcome, new_message_id, random_bytes};
use super::error::{Code, Refusal};
use super::move_task::{MoveTask, State};
use super::ready_queue::{Entry, Seq, Visibility};
use super::settings::name_of_arn;
use super::wire;

/// Messages moved in one commit, so that other requests are served in between.
const SLICE: usize = 200;
const MAX_PER_SECOND: i64 = 500;
/// Number of finished tasks that are kept for each queue.
const KEPT_TASKS: usize = 10;

impl EngineState {
    pub(super) fn start_move(&mut self, request: wire::StartMove, now_ms: i64) -> Outcome<String> {
        let source = self.by_arn(&request.source_arn)?;
        let source_name = self.queues[&source].name.clone();
        if self.source_queues(&source_name)?.is_empty() {
            let message = "Source queue must be configured as a Dead Letter Queue.";
            return Err(Refusal::new(Code::InvalidParameterValue, message).into());
        }
        if self
            .moves
            .iter()
            .any(|m| m.source == source && m.state == State::Running)
        {
            let message = "There is already a task running. Only one active task is allowed for a source queue.";
            return Err(Refusal::new(Code::UnsupportedOperation, message).into());
        }
        let destination = match &request.destination_arn {
            Some(arn) => Some(self.by_arn(arn)?),
            None => None,
        };
        if destination.is_some_and(|id| self.queues[&id].settings.order != self.queues[&source].settings.order) {
            let message = "Source and destination must be queues of the same type.";
            return Err(Refusal::new(Code::InvalidParameterValue, message).into());
        }
        let per_second = per_second(request.max_number_of_messages_per_second)?;
        let n_to_move = self.queue(&source_name)?.ready_queue.n_ready() as u64;
        let handle = hex::encode(random_bytes());
        self.forget_old_moves(source);
        self.moves.push(MoveTask {
            handle: handle.clone(),
            source,
            destination,
            destination_arn: request.destination_arn,
            per_second,
            state: State::Running,
            n_moved: 0,
            n_to_move,
            started_ms: now_ms,
            resume_ms: now_ms,
        });
        Ok(handle)
    }

    fn by_arn(&self, arn: &str) -> Result<i64, Refusal> {
        let id = name_of_arn(arn).and_then(|name| self.names.get(name));
        id.copied().ok_or_else(|| {
            let message = "The resource that you specified for the SourceArn or DestinationArn doesn't exist.";
            Refusal::new(Code::ResourceNotFound, message)
        })
    }

    fn forget_old_moves(&mut self, source: i64) {
        let of_source = |m: &MoveTask| m.source == source;
        if self.moves.iter().filter(|m| of_source(m)).count() >= KEPT_TASKS
            && let Some(oldest) = self.moves.iter().position(of_source)
        {
            self.moves.remove(oldest);
        }
    }

    pub(super) fn list_moves(&self, request: &wire::ListMoves) -> Outcome<Vec<wire::Move>> {
        let source = self.by_arn(&request.source_arn)?;
        let most = request.max_results.unwrap_or(1);
        let most = usize::try_from(most).ok().filter(|n| (1..=10).contains(n));
        let most = most.ok_or_else(|| Refusal::invalid("MaxResults", "given", "Must be between 1 and 10."))?;
        let newest_first = self.moves.iter().rev().filter(|m| m.source == source);
        Ok(newest_first
            .take(most)
            .map(|m| m.describe(&request.source_arn))
            .collect())
    }

    pub(super) fn cancel_move(&mut self, handle: &str) -> Outcome<u64> {
        let task = self
            .moves
            .iter_mut()
            .find(|m| m.handle == handle && m.state == State::Running);
        let Some(task) = task else {
            let message = "Task does not exist or is not running.";
            return Err(Refusal::new(Code::ResourceNotFound, message).into());
        };
        task.state = State::Cancelled;
        Ok(task.n_moved)
    }

    /// Time at which the next slice is due.
    pub(super) fn next_move_ms(&self) -> Option<i64> {
        let running = self.moves.iter().filter(|m| m.state == State::Running);
        running.map(|m| m.resume_ms).min()
    }

    /// Moves the slices that are due.
    pub(super) fn advance_moves(&mut self, now_ms: i64) -> Outcome<()> {
        for at in 0..self.moves.len() {
            let task = &self.moves[at];
            if task.state == State::Running && task.resume_ms <= now_ms {
                self.advance_move(at, now_ms)?;
            }
        }
        Ok(())
    }

    fn advance_move(&mut self, at: usize, now_ms: i64) -> Outcome<()> {
        let (source, destination) = (self.moves[at].source, self.moves[at].destination);
        let slice = self.moves[at].per_second.unwrap_or(SLICE);
        let seqs = match self.queues.get_mut(&source) {
            Some(queue) => {
                queue.ready_queue.settle(now_ms);
                queue.ready_queue.oldest_ready(slice)
            }
            None => Vec::new(),
        };
        for seq in &seqs {
            let target = match destination {
                Some(id) => Some(id),
                None => self.disk.source(*seq)?,
            };
            let Some(target) = target.filter(|id| self.queues.contains_key(id)) else {
                let why = "A message has no source queue to go back to.";
                self.moves[at].state = State::Failed(why);
                return Ok(());
            };
            self.move_message(*seq, source, target, now_ms)?;
            self.moves[at].n_moved += 1;
        }
        let task = &mut self.moves[at];
        if seqs.len() < slice {
            task.state = State::Completed;
        }
        task.resume_ms = now_ms + if task.per_second.is_some() { 1_000 } else { 0 };
        Ok(())
    }

    /// To SQS a redriven message is a new one: new id, new time, never received.
    fn move_message(&mut self, seq: Seq, from: i64, to: i64, now_ms: i64) -> Outcome<()> {
        let old = self
            .queues
            .get_mut(&from)
            .and_then(|queue| queue.ready_queue.remove(seq));
        let Some(old) = old else { return Ok(()) };
        let entry = Entry {
            group: old.group,
            sent_ms: now_ms,
            first_ms: 0,
            count: 0,
            nonce: 0,
            visibility: Visibility::Ready,
        };
        let new_seq = self.next_seq()?;
        self.disk.renumber(seq, new_seq, new_message_id())?;
        self.disk.put_slot(new_seq, to, None, &entry)?;
        if let Some(target) = self.queues.get_mut(&to) {
            target.ready_queue.add(new_seq, entry);
        }
        Ok(())
    }
}

fn per_second(asked: Option<i64>) -> Result<Option<usize>, Refusal> {
    let Some(n) = asked else { return Ok(None) };
    let fits = usize::try_from(n).ok().filter(|_| (1..=MAX_PER_SECOND).contains(&n));
    match fits {
        Some(n) => Ok(Some(n)),
        None => Err(Refusal::invalid(
            "MaxNumberOfMessagesPerSecond",
            n,
            "Must be between 1 and 500.",
        )),
    }
}
