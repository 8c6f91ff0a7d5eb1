//! A batch of wake-ups for the runner: all at the same time.

use std::time::Duration;

use futures_util::future::join_all;
use tieline_core::backoff::Backoff;
use tieline_core::envelope::{WakeUp, WakeUpV1};
use tieline_queue::work;
use tokio::time::Instant;
use tracing::{error, warn};

use super::{self as run, Next};
use crate::metrics::RetrySource;
use crate::world::{World, chance};

/// Between two looks for a place among a tenant's runs.
const WHEN_FULL: Backoff = Backoff {
    base: Duration::from_millis(1000),
    cap: WHEN_FULL_AT_MOST,
};
/// The longest time between two looks for a place.
pub(crate) const WHEN_FULL_AT_MOST: Duration = Duration::from_secs(10);
/// After a table or a queue failed.
const WHEN_FAILED: Backoff = Backoff {
    base: Duration::from_secs(2),
    cap: Duration::from_secs(64),
};
/// After so many deliveries a wake-up that waits is replaced by a new one. Well before the queue would give it up.
const MAX_WAITS: u32 = 60;

/// One record of a batch.
#[derive(Debug)]
pub struct Item {
    /// The record's id on the queue.
    pub id: String,
    /// With which it is hidden longer or shown sooner.
    pub receipt: String,
    /// How often the queue has delivered it (`ApproximateReceiveCount`).
    pub attempt: u32,
    /// What it says. `None`: it can't be read.
    pub wake: Option<WakeUp>,
}

/// Runs a batch until `until`. Returns the ids of the records to retry.
pub async fn run(world: &World, items: Vec<Item>, until: Option<Instant>) -> Vec<String> {
    let failed = join_all(items.into_iter().map(|item| run_one(world, item, until))).await;
    failed.into_iter().flatten().collect()
}

async fn run_one(world: &World, item: Item, until: Option<Instant>) -> Option<String> {
    let Some(WakeUp::V1(wake)) = item.wake else {
        // It carries no truth, so nothing is lost with it; the watchdogs find the conversation.
        error!(queue.attempt = item.attempt, "wake-up can't be read");
        return None;
    };
    let (wait, is_lasting) = match run::wake(world, &wake, until).await {
        Ok(Next::Done) => return None,
        Ok(Next::Again(delay)) => (delay, false),
        Ok(Next::Full) => (WHEN_FULL.wait(item.attempt, chance()), false),
        Err(error) => {
            run::log_failure(&wake, item.attempt, &error);
            world.metrics.retry(RetrySource::Queue);
            (WHEN_FAILED.wait(item.attempt, chance()), error.is_lasting())
        }
    };
    if item.attempt >= MAX_WAITS && !is_lasting && start_over(world, wake, wait).await {
        return None;
    }
    again_in(world, &item.receipt, wait).await;
    Some(item.id)
}

/// Replaces a wake-up by a new one: one that waits, for a place or for a table, must not end among the dead letters. `false` if the queue didn't take it.
async fn start_over(world: &World, wake: WakeUpV1, delay: Duration) -> bool {
    let sent = work::send(&world.queues, &[(WakeUp::V1(wake), delay)]).await;
    if let Err(error) = &sent {
        warn!(error = %error, "wake-up can't be replaced by a new one");
    }
    sent.is_ok()
}

/// Shows the record again after `delay`, instead of after the queue's long time-out.
async fn again_in(world: &World, receipt: &str, delay: Duration) {
    if let Err(error) = work::retry_in(&world.queues, receipt, delay).await {
        warn!(error = %error, "wake-up comes again only after the queue's time-out");
    }
}
