//! Writes events received on sockets to the inbound queue: batched, in order per bot, retried until the queue has them.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tieline_core::backoff::Backoff;
use tieline_core::ids::IntegrationId;
use tieline_core::timestamp::Timestamp;
use tieline_queue::inbound::{self, Inbound};
use tieline_queue::{QueueError, Queues};
use tieline_store::Store;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};
use tracing::{error, warn};

use crate::clock::Clock;
use crate::large_event::{self, StoredApart};
use crate::media::{self, InlineFile};
use crate::receive::EnqueueError;
use crate::world::chance;

/// How many calls run concurrently. A bot's events always go through the same worker, so they stay in order.
const WORKERS: usize = 16;
/// Most jobs batched into one call.
const BATCH: usize = 10;
/// Memory limit for events that wait for the queue. At the limit sockets are no longer read (backpressure).
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// Timeout of one call.
const CALL_WITHIN: Duration = Duration::from_secs(10);
/// Between attempts after the queue failed.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(200),
    cap: Duration::from_secs(3),
};

/// Events that were received together.
pub(super) struct Job {
    /// The events, sealed.
    pub(super) events: Vec<Inbound>,
    /// Files that were received inside the events. Stored before them.
    pub(super) files: Vec<InlineFile>,
    /// Events that are too long for the queue. Stored before their envelopes are sent.
    pub(super) apart: Vec<StoredApart>,
    /// Their approximate size in memory.
    pub(super) n_bytes: usize,
    /// Events not stored by then are abandoned.
    pub(super) give_up_at: Timestamp,
    /// Receives the outcome, with `token`.
    pub(super) done: UnboundedSender<(u64, Stored)>,
    /// Identifies the delivery in `done`.
    pub(super) token: u64,
}

/// Outcome of storing events that were received together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// The queue has them.
    Yes,
    /// The queue did not accept them in time.
    Late,
    /// One of them exceeds the queue's limit; the queue has the others.
    TooLarge,
}

/// Accepts events without waiting, and writes them in the background.
#[derive(Clone)]
pub(super) struct InboundWriter {
    workers: Arc<[UnboundedSender<Job>]>,
    in_flight: Arc<InFlight>,
    hash: Arc<RandomState>,
}

#[derive(Default)]
struct InFlight {
    jobs: AtomicUsize,
    bytes: AtomicUsize,
    emptied: Notify,
}

impl InboundWriter {
    /// Starts the workers. They end when the last clone of this writer is dropped.
    pub(super) fn new(queues: &Queues, store: &Store, clock: Clock) -> Self {
        let in_flight = Arc::new(InFlight::default());
        let workers = (0..WORKERS).map(|_| {
            let (sender, jobs) = unbounded_channel();
            let target = Target {
                queues: queues.clone(),
                store: store.clone(),
                clock,
            };
            tokio::spawn(work(target, jobs, Arc::clone(&in_flight)));
            sender
        });
        Self {
            workers: workers.collect(),
            in_flight,
            hash: Arc::default(),
        }
    }

    /// Whether the memory limit allows more events.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight.bytes.load(Ordering::Relaxed) < MOST_BYTES
    }

    /// How many jobs wait.
    pub(super) fn n_waiting(&self) -> usize {
        self.in_flight.jobs.load(Ordering::Relaxed)
    }

    /// Accepts events of a bot.
    pub(super) fn put(&self, integration: &IntegrationId, job: Job) {
        let mut hash = self.hash.build_hasher();
        hash.write(integration.as_str().as_bytes());
        let worker = usize::try_from(hash.finish() % WORKERS as u64).unwrap_or(0);
        self.in_flight.jobs.fetch_add(1, Ordering::Relaxed);
        self.in_flight.bytes.fetch_add(job.n_bytes, Ordering::Relaxed);
        // A worker lives as long as any clone of this writer.
        let _ = self.workers[worker].send(job);
    }

    /// Waits until nothing is in flight.
    pub(super) async fn drained(&self) {
        loop {
            let emptied = self.in_flight.emptied.notified();
            if self.n_waiting() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

/// Where a worker writes to.
struct Target {
    queues: Queues,
    store: Store,
    clock: Clock,
}

async fn work(target: Target, mut waiting: UnboundedReceiver<Job>, in_flight: Arc<InFlight>) {
    let mut jobs = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut jobs, BATCH).await > 0 {
        // Jobs with files need further writes, which must not delay the jobs without any.
        let together = jobs.len() > 1 && jobs.iter().all(|job| job.files.is_empty() && job.apart.is_empty());
        let together = together && {
            let all = jobs.iter().flat_map(|job| job.events.iter().cloned()).collect();
            send(&target.queues, all).await.is_ok()
        };
        for job in jobs.drain(..) {
            // An event that the queue never accepts must not block the others, so the jobs of a failed batch are sent one by one.
            let stored = match together {
                true => Stored::Yes,
                false => send_until_accepted(&target, &job).await,
            };
            in_flight.finished(&job);
            // The socket may be closed by now: then there is nothing to acknowledge on.
            let _ = job.done.send((job.token, stored));
        }
    }
}

impl InFlight {
    fn finished(&self, job: &Job) {
        self.bytes.fetch_sub(job.n_bytes, Ordering::Relaxed);
        if self.jobs.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.emptied.notify_waiters();
        }
    }
}

async fn send_until_accepted(target: &Target, job: &Job) -> Stored {
    let stored = send_together(target, job, &job.events).await;
    if stored != Stored::TooLarge || job.events.len() == 1 {
        return stored;
    }
    // An event that the queue never accepts must not lose those received with it.
    for event in &job.events {
        if send_together(target, job, std::slice::from_ref(event)).await == Stored::Late {
            return Stored::Late;
        }
    }
    stored
}

async fn send_together(target: &Target, job: &Job, events: &[Inbound]) -> Stored {
    let mut failures = 0;
    loop {
        let failed = match store_and_send(target, job, events).await {
            Ok(()) => return Stored::Yes,
            Err(failed) => failed,
        };
        if let EnqueueError::Queue(QueueError::TooLarge { size_bytes }) = failed {
            error!(size_bytes, "event exceeds the queue's size limit");
            return Stored::TooLarge;
        }
        failures += 1;
        let wait = BACKOFF.wait(failures, chance());
        if target.clock.now().after(wait) >= job.give_up_at {
            error!(error = %failed, queue.attempt = failures, "queue did not accept an event in time");
            return Stored::Late;
        }
        warn!(error = %failed, queue.attempt = failures, "queue did not accept an event yet");
        sleep(wait).await;
    }
}

async fn store_and_send(target: &Target, job: &Job, events: &[Inbound]) -> Result<(), EnqueueError> {
    if !job.files.is_empty() {
        media::store_inline(&target.store, &job.files, target.clock.now()).await?;
    }
    for apart in &job.apart {
        large_event::store(&target.store, apart, target.clock.now()).await?;
    }
    Ok(send(&target.queues, events.to_vec()).await?)
}

async fn send(queues: &Queues, events: Vec<Inbound>) -> Result<(), QueueError> {
    let sending = inbound::send_all(queues, events);
    timeout(CALL_WITHIN, sending).await.unwrap_or_else(|_| {
        Err(QueueError::Unavailable {
            operation: "send",
            code: "timeout".to_owned(),
        })
    })
}
