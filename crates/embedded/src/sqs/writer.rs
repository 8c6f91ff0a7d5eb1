//! Writer: owns the engine state, usually on a thread of its own, and commits in groups.
//!
//! Requests queue up during a commit; the next turn puts all of them into one transaction, and each is answered only after its commit.
//! Receivers that found no message are parked here and served in the turn that brings them one, so there is no polling.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{error, warn};

use super::engine_state::{EngineState, Failure, Outcome};
use super::error::Refusal;
use super::receipt::Receipt;
use super::receiving::Delivery;
use super::request::{Now, Receive, Request};
use super::wire;
use crate::Clock;

mod delivery_guard;

use delivery_guard::DeliveryGuard;

/// Largest number of requests that share a commit.
const MAX_BATCH: usize = 256;
/// Interval for removing expired entries, and the longest sleep.
const TIDY_EVERY_MS: i64 = 60_000;

#[derive(Debug)]
pub(super) enum Job {
    Do(Request, Answerer),
    /// Undoes deliveries without a receiver.
    TakeBack(Vec<Receipt>),
    /// The clock may have jumped: check again what is due.
    Wake,
    Close,
}

pub(super) type Answerer = oneshot::Sender<Result<Reply, Refusal>>;

/// The writer's result. The caller turns it into JSON, to keep that work off the writer's thread.
#[derive(Debug)]
pub(super) enum Reply {
    Ready(wire::Answer),
    QueueName(String),
    QueueNames { names: Vec<String>, next: Option<String> },
    SourceNames(Vec<String>),
    Deliveries(DeliveryGuard),
}

struct Waiter {
    receive: Receive,
    give_up: Instant,
    answerer: Answerer,
}

/// The owner of the engine state.
pub(super) struct Writer {
    state: EngineState,
    clock: Clock,
    parked: HashMap<i64, VecDeque<Waiter>>,
    /// Results that wait for the commit.
    answers: Vec<(Answerer, Result<Reply, Refusal>)>,
    /// Channel for returning undelivered messages.
    back: Sender<Job>,
    tidied_ms: i64,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer(..)")
    }
}

impl Writer {
    /// `back` is the sending end of the job channel.
    pub(super) fn new(state: EngineState, back: Sender<Job>, clock: Clock) -> Self {
        Self {
            tidied_ms: clock.now_ms(),
            state,
            clock,
            parked: HashMap::new(),
            answers: Vec::new(),
            back,
        }
    }

    /// Executes jobs until [`Job::Close`].
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            let first = match jobs.recv_timeout(self.nap()) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let batch = first.into_iter().chain(jobs.try_iter()).take(MAX_BATCH);
            match self.turn(batch.collect()) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    error!(%error, "queue storage can't be reloaded after a failure, closing the queues");
                    return;
                }
            }
        }
    }

    /// Executes the jobs queued so far. Refuses them if the storage fails.
    pub(super) fn work_off(&mut self, jobs: &Receiver<Job>) {
        let batch: Vec<Job> = jobs.try_iter().collect();
        if !batch.is_empty()
            && let Err(error) = self.turn(batch)
        {
            error!(%error, "queue storage can't be reloaded after a failure");
        }
    }

    /// When the queue can next deliver a message: now, if it has a visible one.
    pub(super) fn next_message_ms(&mut self, queue: &str) -> Option<i64> {
        let now_ms = self.clock.now_ms();
        let id = self.state.queue(queue).ok()?.id;
        let ready = &mut self.state.queues.get_mut(&id)?.ready_queue;
        ready.settle(now_ms);
        if ready.can_give() {
            return Some(now_ms);
        }
        ready.next_due_ms()
    }

    /// Executes one batch in one transaction. Returns false if it was the last.
    fn turn(&mut self, batch: Vec<Job>) -> rusqlite::Result<bool> {
        let now_ms = self.clock.now_ms();
        let (mut goes_on, mut done) = (true, self.tidy(now_ms));
        for job in batch {
            match job {
                Job::Close => {
                    goes_on = false;
                    break;
                }
                Job::Wake => {}
                Job::TakeBack(receipts) if done.is_ok() => done = self.state.take_back(&receipts),
                Job::Do(request, answerer) if done.is_ok() => done = self.take(request, answerer, now_ms),
                // Rolled back with everything else of this turn.
                Job::TakeBack(_) => {}
                Job::Do(_, answerer) => self.answers.push((answerer, Err(Refusal::internal()))),
            }
        }
        let done = done.and_then(|()| self.rest_of_turn(now_ms));
        self.commit(done)?;
        Ok(goes_on)
    }

    fn rest_of_turn(&mut self, now_ms: i64) -> rusqlite::Result<()> {
        disk_only(self.state.advance_moves(now_ms))?;
        self.serve_parked(now_ms)?;
        self.release_parked();
        Ok(())
    }

    /// Removes expired entries before a turn's requests, which would otherwise receive them.
    fn tidy(&mut self, now_ms: i64) -> rusqlite::Result<()> {
        if now_ms >= self.tidied_ms + TIDY_EVERY_MS {
            self.tidied_ms = now_ms;
            self.state.tidy(now_ms)?;
        }
        Ok(())
    }

    /// Commits and answers; after a failure, rolls back the whole turn and refuses its requests.
    fn commit(&mut self, done: rusqlite::Result<()>) -> rusqlite::Result<()> {
        let committed = done.and_then(|()| self.state.disk.commit());
        if let Err(error) = &committed {
            warn!(%error, "queue storage failed, refusing the requests of this turn");
            self.state.start_over()?;
        }
        for (answerer, answer) in self.answers.drain(..) {
            let answer = if committed.is_ok() {
                answer
            } else {
                Err(Refusal::internal())
            };
            // If the receiver was dropped, `DeliveryGuard` returns its messages.
            let _ = answerer.send(answer);
        }
        Ok(())
    }

    fn take(&mut self, request: Request, answerer: Answerer, now_ms: i64) -> rusqlite::Result<()> {
        match request {
            Request::Receive(receive) => self.receive_or_park(receive, answerer, now_ms),
            Request::Now(now) => {
                let outcome = self.state.answer(now, now_ms);
                self.record(answerer, outcome)
            }
        }
    }

    fn record(&mut self, answerer: Answerer, outcome: Result<Reply, Failure>) -> rusqlite::Result<()> {
        let (answer, done) = match outcome {
            Ok(reply) => (Ok(reply), Ok(())),
            Err(Failure::Refused(refusal)) => (Err(refusal), Ok(())),
            Err(Failure::Disk(error)) => (Err(Refusal::internal()), Err(error)),
        };
        self.answers.push((answerer, answer));
        done
    }

    fn receive_or_park(&mut self, receive: Receive, answerer: Answerer, now_ms: i64) -> rusqlite::Result<()> {
        let queue = match self.state.queue(&receive.queue) {
            Ok(queue) => queue,
            Err(refusal) => return self.record(answerer, Err(refusal.into())),
        };
        let (id, queue_wait_s) = (queue.id, queue.settings.wait_s);
        let received = self.state.receive(id, receive.most, receive.visibility_s, now_ms);
        let wait_s = receive.wait_s.unwrap_or(queue_wait_s);
        match received {
            Ok(deliveries) if deliveries.is_empty() && wait_s > 0 => {
                let wait = Duration::from_secs(wait_s.unsigned_abs());
                let waiter = Waiter {
                    receive,
                    give_up: Instant::now() + wait,
                    answerer,
                };
                self.parked.entry(id).or_default().push_back(waiter);
                Ok(())
            }
            received => self.hand_over(answerer, received),
        }
    }

    fn hand_over(&mut self, answerer: Answerer, received: Outcome<Vec<Delivery>>) -> rusqlite::Result<()> {
        let guard = received.map(|deliveries| DeliveryGuard::new(deliveries, self.back.clone()));
        self.record(answerer, guard.map(Reply::Deliveries))
    }

    /// Serves parked receivers, the longest waiting first, while there are messages.
    fn serve_parked(&mut self, now_ms: i64) -> rusqlite::Result<()> {
        // Serving one queue may dead-letter into another, so repeat until nothing changes.
        let mut queues: Vec<i64> = self.parked.keys().copied().collect();
        while let Some(id) = queues.pop() {
            while let Some(waiter) = self.next_to_serve(id, now_ms) {
                let Receive { most, visibility_s, .. } = waiter.receive;
                match self.state.receive(id, most, visibility_s, now_ms) {
                    Ok(deliveries) if deliveries.is_empty() => {
                        self.parked.entry(id).or_default().push_front(waiter);
                        queues.extend(self.parked.keys().filter(|other| **other != id));
                        break;
                    }
                    received => self.hand_over(waiter.answerer, received)?,
                }
            }
        }
        Ok(())
    }

    /// The first parked receiver that wasn't dropped, if its queue has a message for it.
    fn next_to_serve(&mut self, id: i64, now_ms: i64) -> Option<Waiter> {
        let has_some = match self.state.queues.get_mut(&id) {
            Some(queue) => {
                queue.ready_queue.settle(now_ms);
                queue.ready_queue.can_give()
            }
            None => true, // Queue deleted: the receivers must get the error.
        };
        let waiters = self.parked.get_mut(&id)?;
        while waiters.front().is_some_and(|w| w.answerer.is_closed()) {
            waiters.pop_front();
        }
        waiters.front()?;
        if has_some { waiters.pop_front() } else { None }
    }

    /// Sends an empty response to receivers whose wait time is over.
    fn release_parked(&mut self) {
        let now = Instant::now();
        for waiters in self.parked.values_mut() {
            for waiter in std::mem::take(waiters) {
                if waiter.answerer.is_closed() {
                    continue;
                }
                if waiter.give_up <= now {
                    let nothing = wire::Answer::Messages { messages: Vec::new() };
                    self.answers.push((waiter.answerer, Ok(Reply::Ready(nothing))));
                } else {
                    waiters.push_back(waiter);
                }
            }
        }
        self.parked.retain(|_, waiters| !waiters.is_empty());
    }

    /// Longest time to sleep until something is due without a request.
    fn nap(&self) -> Duration {
        let now_ms = self.clock.now_ms();
        let patience = self.parked.values().flatten().map(|w| w.give_up);
        let patience = patience.map(|at| at.saturating_duration_since(Instant::now()));
        let due = self
            .parked
            .keys()
            .filter_map(|id| self.state.queues.get(id)?.ready_queue.next_due_ms());
        let due = due.chain(self.state.next_move_ms());
        let due = due.map(|at_ms| Duration::from_millis((at_ms - now_ms).max(0).unsigned_abs()));
        let longest = Duration::from_millis(TIDY_EVERY_MS.unsigned_abs());
        patience.chain(due).fold(longest, Duration::min)
    }
}

/// Drops a refusal: work without a request has no caller to report it to.
fn disk_only(outcome: Result<(), Failure>) -> rusqlite::Result<()> {
    match outcome {
        Ok(()) | Err(Failure::Refused(_)) => Ok(()),
        Err(Failure::Disk(error)) => Err(error),
    }
}

impl EngineState {
    fn answer(&mut self, request: Now, now_ms: i64) -> Result<Reply, Failure> {
        use wire::Answer;
        let answer = match request {
            Now::CreateQueue(create) => return self.create_queue(create, now_ms).map(Reply::QueueName),
            Now::QueueUrl { queue } => {
                self.id(&queue)?;
                return Ok(Reply::QueueName(queue));
            }
            Now::ListQueues(list) => {
                let (names, next) = self.list_queues(&list)?;
                return Ok(Reply::QueueNames { names, next });
            }
            Now::SourceQueues { queue } => return self.source_queues(&queue).map(Reply::SourceNames),
            Now::GetAttributes { queue, wanted } => Answer::Attributes {
                attributes: self.get_attributes(&queue, &wanted, now_ms)?,
            },
            Now::SetAttributes(set) => nothing(self.set_attributes(set, now_ms))?,
            Now::DeleteQueue { queue } => nothing(self.delete_queue(&queue))?,
            Now::PurgeQueue { queue } => nothing(self.purge_queue(&queue, now_ms))?,
            Now::Send { queue, draft } => Answer::Sent(self.send(&queue, *draft, now_ms)?),
            Now::SendBatch { queue, drafts } => {
                let (successful, failed) = self.send_batch(&queue, drafts, now_ms)?;
                Answer::SentBatch { successful, failed }
            }
            Now::Settle { queue, handle, what } => nothing(self.settle(&queue, &handle, &what, now_ms))?,
            Now::SettleBatch { queue, settlements } => {
                let (successful, failed) = self.settle_batch(&queue, settlements, now_ms)?;
                Answer::Settled { successful, failed }
            }
            Now::StartMove(start) => Answer::MoveStarted {
                task_handle: self.start_move(start, now_ms)?,
            },
            Now::ListMoves(list) => Answer::Moves {
                results: self.list_moves(&list)?,
            },
            Now::CancelMove { handle } => Answer::MoveCancelled {
                approximate_number_of_messages_moved: self.cancel_move(&handle)?,
            },
        };
        Ok(Reply::Ready(answer))
    }
}

fn nothing(outcome: Result<(), Failure>) -> Result<wire::Answer, Failure> {
    outcome.map(|()| wire::Answer::Nothing {})
}

#[cfg(test)]
#[path = "writer/tests.rs"]
mod tests;
