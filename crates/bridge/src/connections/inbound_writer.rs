//! Puts the events of sockets on the queue: many in a call, in order per bot, again and again until it has them.

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

/// How many calls are made at the same time. A bot's events always go through the same one, so they stay in order.
const WORKERS: usize = 16;
/// Most jobs that share a call.
const BATCH: usize = 10;
/// Events that wait for the queue may take so much memory; then sockets are not read any more.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// How long one call may take.
const CALL_WITHIN: Duration = Duration::from_secs(10);
/// After the queue failed.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(200),
    cap: Duration::from_secs(3),
};

/// Events that came together.
pub(super) struct Job {
    /// The events, sealed.
    pub(super) events: Vec<Inbound>,
    /// Files that came inside the events. Stored before them.
    pub(super) files: Vec<InlineFile>,
    /// Events that are too long for the queue. Stored before their envelopes are sent.
    pub(super) apart: Vec<StoredApart>,
    /// What they take in memory, roughly.
    pub(super) n_bytes: usize,
    /// After this they are of no use.
    pub(super) give_up_at: Timestamp,
    /// Who is told what came of it, and under which token.
    pub(super) done: UnboundedSender<(u64, Stored)>,
    /// The token.
    pub(super) token: u64,
}

/// Whether the queue has events that came together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// It has them.
    Yes,
    /// It did not take them in time.
    Late,
    /// It never takes one of them; it has the others.
    TooLarge,
}

/// Takes events in, and never waits.
#[derive(Clone)]
pub(super) struct InboundWriter {
    workers: Arc<[UnboundedSender<Job>]>,
    in_hand: Arc<InHand>,
    hash: Arc<RandomState>,
}

#[derive(Default)]
struct InHand {
    jobs: AtomicUsize,
    bytes: AtomicUsize,
    emptied: Notify,
}

impl InboundWriter {
    /// Begins to work. The workers end with the last inbound_writer.
    pub(super) fn new(queues: &Queues, store: &Store, clock: Clock) -> Self {
        let in_hand = Arc::new(InHand::default());
        let workers = (0..WORKERS).map(|_| {
            let (sender, jobs) = unbounded_channel();
            let target = Target {
                queues: queues.clone(),
                store: store.clone(),
                clock,
            };
            tokio::spawn(work(target, jobs, Arc::clone(&in_hand)));
            sender
        });
        Self {
            workers: workers.collect(),
            in_hand,
            hash: Arc::default(),
        }
    }

    /// Whether there is memory for more.
    pub(super) fn has_room(&self) -> bool {
        self.in_hand.bytes.load(Ordering::Relaxed) < MOST_BYTES
    }

    /// How many jobs wait.
    pub(super) fn n_waiting(&self) -> usize {
        self.in_hand.jobs.load(Ordering::Relaxed)
    }

    /// Takes events of a bot in.
    pub(super) fn put(&self, integration: &IntegrationId, job: Job) {
        let mut hash = self.hash.build_hasher();
        hash.write(integration.as_str().as_bytes());
        let worker = usize::try_from(hash.finish() % WORKERS as u64).unwrap_or(0);
        self.in_hand.jobs.fetch_add(1, Ordering::Relaxed);
        self.in_hand.bytes.fetch_add(job.n_bytes, Ordering::Relaxed);
        // A worker lives as long as any inbound_writer does.
        let _ = self.workers[worker].send(job);
    }

    /// Waits until nothing is in flight.
    pub(super) async fn drained(&self) {
        loop {
            let emptied = self.in_hand.emptied.notified();
            if self.n_waiting() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

/// Where a worker writes.
struct Target {
    queues: Queues,
    store: Store,
    clock: Clock,
}

async fn work(target: Target, mut waiting: UnboundedReceiver<Job>, in_hand: Arc<InHand>) {
    let mut jobs = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut jobs, BATCH).await > 0 {
        // Files take a write of their own, which must not hold up the jobs without any.
        let together = jobs.len() > 1 && jobs.iter().all(|job| job.files.is_empty() && job.apart.is_empty());
        let together = together && {
            let all = jobs.iter().flat_map(|job| job.events.iter().cloned()).collect();
            send(&target.queues, all).await.is_ok()
        };
        for job in jobs.drain(..) {
            // One that the queue never takes must not hold up the others, so a call that failed is taken apart.
            let stored = match together {
                true => Stored::Yes,
                false => send_until_taken(&target, &job).await,
            };
            in_hand.finished(&job);
            // The socket may be gone by now: then there is no socket to acknowledge on.
            let _ = job.done.send((job.token, stored));
        }
    }
}

impl InHand {
    fn finished(&self, job: &Job) {
        self.bytes.fetch_sub(job.n_bytes, Ordering::Relaxed);
        if self.jobs.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.emptied.notify_waiters();
        }
    }
}

async fn send_until_taken(target: &Target, job: &Job) -> Stored {
    let stored = send_together(target, job, &job.events).await;
    if stored != Stored::TooLarge || job.events.len() == 1 {
        return stored;
    }
    // One that the queue never takes must not lose those that came with it.
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
            error!(size_bytes, "event is larger than the queue takes");
            return Stored::TooLarge;
        }
        failures += 1;
        let wait = BACKOFF.wait(failures, chance());
        if target.clock.now().after(wait) >= job.give_up_at {
            error!(error = %failed, queue.attempt = failures, "queue did not take an event in time");
            return Stored::Late;
        }
        warn!(error = %failed, queue.attempt = failures, "queue does not take an event");
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
