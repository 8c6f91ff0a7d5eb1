//! A batch of wake-ups for the runner: all at the same time.

use std::time::Duration;

use futures_util::future::join_all;
use tieline_core::envelope::WakeUp;
use tieline_queue::work;
use tokio::time::Instant;
use tracing::{error, warn};

use crate::metrics::Place;
use crate::run::{self, Next};
use crate::world::World;

/// One record of a batch.
#[derive(Debug)]
pub struct Item {
    /// The record's id on the queue.
    pub id: String,
    /// With which it is hidden longer or shown sooner.
    pub receipt: String,
    /// The how-many-th delivery.
    pub attempt: u32,
    /// What it says. `None`: it can't be read.
    pub wake: Option<WakeUp>,
}

/// Runs a batch until `until`. Returns the ids of the records that must come again.
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
    match run::wake(world, &wake, until).await {
        Ok(Next::Done) => None,
        Ok(Next::Again(delay)) => {
            again_in(world, &item.receipt, delay).await;
            Some(item.id)
        }
        Err(error) => {
            run::log_failure(&wake, item.attempt, &error);
            world.metrics.retry(Place::Queue);
            again_in(world, &item.receipt, Duration::from_secs(1 << item.attempt.min(6))).await;
            Some(item.id)
        }
    }
}

/// Shows the record again after `delay`, instead of after the queue's long time-out.
async fn again_in(world: &World, receipt: &str, delay: Duration) {
    if let Err(error) = work::retry_in(&world.queues, receipt, delay).await {
        warn!(error = %error, "wake-up comes again only after the queue's time-out");
    }
}
