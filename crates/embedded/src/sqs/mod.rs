//! The SQS engine: the queue service of AWS, on one SQLite file.
//!
//! A request is parsed and validated on the caller's task, then passed to the one thread that owns all queues (`writer`), which answers
//! after the commit. `ready_queue` decides which message is delivered next, `disk` has the SQL.
//!
//! Not implemented, because nothing here needs it: policies and permissions, tags, encryption, `ReceiveRequestAttemptId` (accepted and
//! ignored), the enforcement of `RedriveAllowPolicy`, the 60 s for which AWS keeps a deleted queue's name.

mod acknowledge;
mod catalog;
mod dedup;
mod digest;
mod disk;
mod engine_state;
mod error;
mod move_task;
mod new_message;
mod ready_queue;
mod receipt;
mod receive_response;
mod receiving;
mod redrive;
mod request;
mod sending;
mod settings;
mod wire;
mod writer;

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use tokio::sync::oneshot;

use self::disk::Disk;
use self::engine_state::EngineState;
use self::error::Refusal;
use self::request::Request;
use self::writer::{Job, Reply, Writer};
use crate::alive::Alive;
use crate::{Answer, Clock, Durability, InHand, OpenError, StorageThread};

pub(crate) const TARGET_PREFIX: &str = "AmazonSQS.";

/// Operations that change nothing.
const READS: [&str; 5] = [
    "GetQueueAttributes",
    "GetQueueUrl",
    "ListDeadLetterSourceQueues",
    "ListMessageMoveTasks",
    "ListQueues",
];

/// A running engine.
#[derive(Debug)]
pub(crate) struct Sqs {
    jobs: Sender<Job>,
    storage: Storage,
}

/// The thread that executes the jobs.
#[derive(Debug)]
enum Storage {
    /// A thread of its own.
    Thread(Mutex<Option<JoinHandle<()>>>),
    /// The thread of the caller that sent a job.
    Callers(Box<Mutex<(Writer, Receiver<Job>)>>),
}

impl Sqs {
    /// Opens the queues in the file `path`, or new ones in memory.
    pub(crate) fn open(
        path: Option<&Path>,
        durability: Durability,
        clock: Clock,
        in_hand: InHand,
        (thread, alive): (StorageThread, Alive),
    ) -> Result<Self, OpenError> {
        let mut disk = Disk::open(path, durability).map_err(OpenError::of_queues)?;
        let (found, expected) = disk.versions().map_err(OpenError::of_queues)?;
        if found != expected {
            return Err(OpenError::Version { found, expected });
        }
        if in_hand == InHand::Returned {
            disk.end_deliveries().map_err(OpenError::of_queues)?;
        }
        disk.shorten_delays(clock.now_ms()).map_err(OpenError::of_queues)?;
        let state = EngineState::read(disk).map_err(OpenError::of_queues)?;
        let (jobs, taken) = channel();
        let writer = Writer::new(state, jobs.clone(), clock);
        let storage = match thread {
            StorageThread::Callers => Storage::Callers(Box::new(Mutex::new((writer, taken)))),
            StorageThread::Own => {
                let thread = Builder::new().name("sqs-writer".into()).spawn(move || {
                    let _alive = alive;
                    writer.run(&taken);
                });
                Storage::Thread(Mutex::new(Some(thread.map_err(OpenError::Thread)?)))
            }
        };
        Ok(Self { jobs, storage })
    }

    pub(crate) fn changes_something(operation: &str) -> bool {
        !READS.contains(&operation)
    }

    /// Answers one request. `origin` is the base address that the caller used; queue URLs begin with it.
    pub(crate) async fn call(&self, operation: &str, body: &[u8], origin: &str) -> Answer {
        match self.try_call(operation, body, origin).await {
            Ok(answer) => Answer::json(200, &answer),
            Err(refusal) => refused(&refusal),
        }
    }

    async fn try_call(&self, operation: &str, body: &[u8], origin: &str) -> Result<wire::Answer, Refusal> {
        let request = Request::parse(operation, body)?;
        let (answerer, answer) = oneshot::channel();
        let job = Job::Do(request, answerer);
        self.jobs.send(job).map_err(|_| Refusal::internal())?;
        if let Storage::Callers(storage) = &self.storage {
            let (writer, jobs) = &mut *storage.lock().unwrap_or_else(PoisonError::into_inner);
            writer.work_off(jobs);
        }
        let reply = answer.await.map_err(|_| Refusal::internal())??;
        let url = |name: String| format!("{origin}/{}/{name}", settings::ACCOUNT);
        Ok(match reply {
            Reply::Ready(answer) => answer,
            Reply::QueueName(name) => wire::Answer::QueueUrl { queue_url: url(name) },
            Reply::QueueNames { names, next } => wire::Answer::QueueUrls {
                queue_urls: names.into_iter().map(url).collect(),
                next_token: next,
            },
            Reply::SourceNames(names) => wire::Answer::SourceQueues {
                queue_urls: names.into_iter().map(url).collect(),
            },
            Reply::Deliveries(guard) => {
                let wanted = request::wanted(body)?;
                let messages = guard.take().into_iter().map(|d| receive_response::present(d, &wanted));
                wire::Answer::Messages {
                    messages: messages.collect(),
                }
            }
        })
    }

    /// See [`Embedded::next_message_ms`](crate::Embedded::next_message_ms).
    pub(crate) fn next_message_ms(&self, queue: &str) -> Option<i64> {
        let Storage::Callers(storage) = &self.storage else {
            return None;
        };
        let (writer, jobs) = &mut *storage.lock().unwrap_or_else(PoisonError::into_inner);
        // Undelivered messages may have been returned.
        writer.work_off(jobs);
        writer.next_message_ms(queue)
    }

    /// Makes the engine check again what is due, after its clock jumped.
    pub(crate) fn wake(&self) {
        // A closed engine has nothing to wake.
        let _ = self.jobs.send(Job::Wake);
    }

    /// Makes the engine stop after the jobs queued so far, without waiting for it.
    pub(crate) fn stop(&self) {
        // Closed before: nothing is left to stop.
        let _ = self.jobs.send(Job::Close);
    }

    /// Finishes the jobs queued so far, then closes the file. Blocks until that is done.
    pub(crate) fn close(&self) {
        self.stop();
        let Storage::Thread(thread) = &self.storage else {
            return;
        };
        let thread = thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("queue storage thread panicked");
        }
    }
}

fn refused(refusal: &Refusal) -> Answer {
    let status = if refusal.code.sender_fault() { 400 } else { 500 };
    let fault = if refusal.code.sender_fault() {
        "Sender"
    } else {
        "Receiver"
    };
    let body = serde_json::json!({ "__type": refusal.code.json_type(), "message": refusal.message });
    let mut answer = Answer::json(status, &body);
    answer.query_error = Some(format!("{};{fault}", refusal.code.query_code()));
    answer
}
