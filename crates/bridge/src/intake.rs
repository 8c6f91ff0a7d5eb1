//! A batch of events for the dispatcher: in order within a group, at the same time across groups.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use tieline_core::backoff::Backoff;
use tieline_core::envelope::Envelope;
use tieline_queue::inbound;
use tracing::{error, warn};

use crate::dispatch::{self, DispatchError};
use crate::metrics::Place;
use crate::world::{World, chance};

/// Most groups that are dispatched at the same time.
const CONCURRENCY: usize = 32;
/// After a table or a queue failed.
const WHEN_FAILED: Backoff = Backoff {
    base: Duration::from_secs(1),
    cap: Duration::from_secs(60),
};
/// An event that can't be read holds up its group until it lies among the dead letters, so it goes there soon: in some minutes, in which
/// a deployment can bring the program that reads it.
const WHEN_UNREADABLE: Duration = Duration::from_secs(3);

/// One record of a batch.
#[derive(Debug)]
pub struct Item {
    /// The record's id on the queue.
    pub id: String,
    /// With which it is shown again sooner.
    pub receipt: String,
    /// Its message group.
    pub group: String,
    /// The how-many-th delivery.
    pub attempt: u32,
    /// What it says. `None`: it can't be read.
    pub envelope: Option<Envelope>,
}

/// Dispatches a batch. Returns the ids of the records that must come again: in a group, the first failed and all after it. They are shown
/// again after a while that grows, instead of after the queue's long time-out.
pub async fn take_in(world: &World, items: Vec<Item>) -> Vec<String> {
    let groups = by_group(items);
    let failed = stream::iter(groups)
        .map(|group| take_in_group(world, group))
        .buffer_unordered(CONCURRENCY);
    failed.concat().await
}

fn by_group(items: Vec<Item>) -> Vec<Vec<Item>> {
    let mut groups: Vec<Vec<Item>> = Vec::new();
    for item in items {
        match groups.iter_mut().find(|group| group[0].group == item.group) {
            Some(group) => group.push(item),
            None => groups.push(vec![item]),
        }
    }
    groups
}

async fn take_in_group(world: &World, group: Vec<Item>) -> Vec<String> {
    let mut waiting = group.into_iter();
    while let Some(item) = waiting.next() {
        if let Err(delay) = take_in_one(world, &item).await {
            let again: Vec<Item> = std::iter::once(item).chain(waiting).collect();
            // All of them: one that stays hidden holds up its group, and so the ones before it.
            join_all(again.iter().map(|item| again_in(world, &item.receipt, delay))).await;
            return again.into_iter().map(|item| item.id).collect();
        }
    }
    Vec::new()
}

/// # Errors
/// How long to wait before the next try.
async fn take_in_one(world: &World, item: &Item) -> Result<(), Duration> {
    let Some(Envelope::V1(envelope)) = &item.envelope else {
        // The queue's own dead letters keep it: after some deliveries it goes there.
        error!(queue.attempt = item.attempt, "event on the queue can't be read");
        return Err(WHEN_UNREADABLE);
    };
    let Err(error) = dispatch::dispatch(world, envelope).await else {
        return Ok(());
    };
    dispatch::log_failure(envelope, item.attempt, &error);
    world.metrics.retry(Place::Queue);
    Err(match error {
        DispatchError::Unreadable => WHEN_UNREADABLE,
        DispatchError::Store(_) | DispatchError::Queue(_) | DispatchError::Contended => {
            WHEN_FAILED.wait(item.attempt, chance())
        }
    })
}

async fn again_in(world: &World, receipt: &str, delay: Duration) {
    if let Err(error) = inbound::retry_in(&world.queues, receipt, delay).await {
        warn!(error = %error, "event comes again only after the queue's time-out");
    }
}
