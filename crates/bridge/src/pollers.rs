//! Polls the queues where no Lambda does: in the standalone program, and in the ECS runner.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tieline_core::backoff::Backoff;
use tieline_core::envelope::{Envelope, WakeUp};
use tieline_queue::receive::{self, MAX_BATCH, Received, delete};
use tieline_queue::work;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{error, warn};

use crate::metrics::PERIOD;
use crate::world::{World, chance};
use crate::{dispatch, run};

/// Long-poll wait of one receive call.
const WAIT: Duration = Duration::from_secs(20);
/// Backoff after a queue failed.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(200),
    cap: Duration::from_secs(10),
};
/// First visibility timeout of a wake-up. If a process dies before it has acquired the run, or sent on the watchdog that it received,
/// nothing else triggers a look: the queue's own timeout is as long as a whole run of a function may be.
const HIDDEN_AT_FIRST: Duration = Duration::from_secs(60);
/// The visibility timeout of a wake-up still being processed after this is extended.
const HIDDEN_LONGER_AFTER: Duration = Duration::from_secs(40);
/// How long deletions are batched.
const LINGER: Duration = Duration::from_millis(3);

/// How much is processed concurrently.
#[derive(Debug, Clone, Copy)]
pub struct Concurrency {
    /// Batches of events.
    pub dispatchers: usize,
    /// Wake-ups.
    pub runs: usize,
}

impl Concurrency {
    /// As many wake-ups as there can be slots in use and waited for: receiving them never waits for a run to end.
    #[must_use]
    pub fn of(world: &World, dispatchers: usize) -> Self {
        Self {
            dispatchers,
            runs: world.settings.slots.in_flight(),
        }
    }
}

/// Dispatches events until `stop` says so, and finishes what is in flight.
pub async fn dispatch(world: World, concurrency: Concurrency, stop: watch::Receiver<bool>) {
    let mut pollers = JoinSet::new();
    for _ in 0..concurrency.dispatchers {
        pollers.spawn(dispatch_one_by_one(world.clone(), stop.clone()));
    }
    while pollers.join_next().await.is_some() {}
}

async fn dispatch_one_by_one(world: World, mut stop: watch::Receiver<bool>) {
    let url = world.queues.urls().inbound.clone();
    let failures = AtomicU32::new(0);
    while let Some(received) = poll::<Envelope>(&world, &url, MAX_BATCH, None, &failures, &mut stop).await {
        let receipts: Vec<_> = received.iter().map(|it| (it.id.clone(), it.receipt.clone())).collect();
        let taken_in = dispatch::batch::dispatch_batch(&world, received);
        let Ok(failed) = AssertUnwindSafe(taken_in).catch_unwind().await else {
            // No other poller has them. They are delivered again after the visibility timeout.
            error!("dispatching a batch panicked");
            continue;
        };
        let done = receipts.into_iter().filter(|(id, _)| !failed.contains(id));
        let done: Vec<String> = done.map(|(_, receipt)| receipt).collect();
        if let Err(error) = delete(&world.queues, &url, &done).await {
            warn!(error = %error, "dispatched events can't be deleted and are delivered again");
        }
    }
}

/// Runs wake-ups until `stop` says so. Runs in flight continue: to end them, drop the future or end the process.
pub async fn run(world: World, concurrency: Concurrency, mut stop: watch::Receiver<bool>) {
    let url = world.queues.urls().work.clone();
    let (done, deletions) = mpsc::channel(1024);
    let deleter = tokio::spawn(delete_in_batches(world.clone(), url.clone(), deletions));
    let places = Arc::new(Semaphore::new(concurrency.runs));
    // A set, so that its task ends with this future.
    let mut counting = JoinSet::new();
    let failures = Arc::new(AtomicU32::new(0));
    counting.spawn(count_runs(world.clone(), Arc::clone(&failures)));
    let mut runs = JoinSet::new();
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        drop(place);
        let room = places.available_permits().clamp(1, MAX_BATCH);
        let Some(received) = poll::<WakeUp>(&world, &url, room, Some(HIDDEN_AT_FIRST), &failures, &mut stop).await
        else {
            break;
        };
        for it in received {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                break;
            };
            let (world, done) = (world.clone(), done.clone());
            runs.spawn(async move {
                let receipt = it.receipt.clone();
                if run_hidden(&world, it).await.is_empty() {
                    // The deleter is gone only when the process ends, and then the message is delivered again.
                    let _ = done.send(receipt).await;
                }
                drop(place);
            });
        }
        while runs.try_join_next().is_some() {}
    }
    while runs.join_next().await.is_some() {}
    drop(done);
    // Its only error is a panic, which was logged.
    let _ = deleter.await;
}

/// Runs a wake-up, and keeps it hidden for as long as that takes. Returns its id if it is to be retried.
async fn run_hidden(world: &World, wake: Received<WakeUp>) -> Vec<String> {
    let receipt = wake.receipt.clone();
    // Concurrently: a queue that doesn't respond delays no run.
    tokio::select! {
        biased;
        done = run::batch::run(world, vec![wake], None) => done,
        never = keep_hidden(world, &receipt) => match never {},
    }
}

/// Extends the visibility timeout of a wake-up, each time to as long again as it has been processed. Not to the longest timeout at once: the
/// wake-up may still be waiting for a table, with its watchdog not sent. If the process dies then, the conversation has no other wake-up.
async fn keep_hidden(world: &World, receipt: &str) -> Infallible {
    let mut processed = HIDDEN_LONGER_AFTER;
    sleep(processed).await;
    loop {
        if let Err(error) = work::retry_in(&world.queues, receipt, work::MAX_DELAY.min(2 * processed)).await {
            warn!(error = %error, "visibility timeout of a wake-up can't be extended; it is delivered again while its run lasts");
        }
        sleep(processed).await;
        processed = (2 * processed).min(work::MAX_DELAY / 2);
    }
}

/// Reports how many slots are in use, for as long as the queue responds: a poller that can't read it must count as dead, so it reports nothing.
async fn count_runs(world: World, failures: Arc<AtomicU32>) {
    loop {
        sleep(PERIOD / 2).await;
        if failures.load(Ordering::Relaxed) == 0 {
            world.metrics.runs_in_hand(world.tenant_slots.n_taken());
        }
    }
}

async fn delete_in_batches(world: World, url: String, mut deletions: mpsc::Receiver<String>) {
    while let Some(first) = deletions.recv().await {
        let mut batch = vec![first];
        while batch.len() < MAX_BATCH {
            match timeout(LINGER, deletions.recv()).await {
                Ok(Some(receipt)) => batch.push(receipt),
                Ok(None) | Err(_) => break,
            }
        }
        if let Err(error) = delete(&world.queues, &url, &batch).await {
            warn!(error = %error, "finished wake-ups can't be deleted and are delivered again");
        }
    }
}

/// The next messages; `None` when `stop` says so. `failures`: how often in a row the queue has failed.
async fn poll<T: serde::de::DeserializeOwned>(
    world: &World,
    url: &str,
    max: usize,
    hidden: Option<Duration>,
    failures: &AtomicU32,
    stop: &mut watch::Receiver<bool>,
) -> Option<Vec<Received<T>>> {
    let stopped = async {
        // Stops, too, if the sender is gone.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    tokio::pin!(stopped);
    loop {
        let answer = tokio::select! {
            biased;
            () = &mut stopped => return None,
            answer = receive::receive_for(&world.queues, url, max, WAIT, hidden) => answer,
        };
        match answer {
            Ok(received) => {
                failures.store(0, Ordering::Relaxed);
                if !received.is_empty() {
                    return Some(received);
                }
            }
            Err(error) => {
                let n_failures = failures.fetch_add(1, Ordering::Relaxed) + 1;
                warn!(error = %error, attempt = n_failures, "queue can't be read");
                tokio::select! {
                    biased;
                    () = &mut stopped => return None,
                    () = sleep(BACKOFF.wait(n_failures, chance())) => {}
                }
            }
        }
    }
}
