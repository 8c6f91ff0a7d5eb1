//! A batch of events for the dispatcher: in order within a group, at the same time across groups.

use futures_util::StreamExt as _;
use futures_util::stream;
use tieline_core::envelope::Envelope;
use tracing::error;

use crate::dispatch;
use crate::metrics::Place;
use crate::world::World;

/// Most groups that are dispatched at the same time.
const CONCURRENCY: usize = 32;

/// One record of a batch.
#[derive(Debug)]
pub struct Item {
    /// The record's id on the queue.
    pub id: String,
    /// Its message group.
    pub group: String,
    /// The how-many-th delivery.
    pub attempt: u32,
    /// What it says. `None`: it can't be read.
    pub envelope: Option<Envelope>,
}

/// Dispatches a batch. Returns the ids of the records that must come again: in a group, the first failed and all after it.
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
        if let Err(failed) = take_in_one(world, item).await {
            let mut again = vec![failed];
            again.extend(waiting.map(|item| item.id));
            return again;
        }
    }
    Vec::new()
}

async fn take_in_one(world: &World, item: Item) -> Result<(), String> {
    let Some(Envelope::V1(envelope)) = item.envelope else {
        // The queue's own dead letters keep it: after a few deliveries it goes there.
        error!(queue.attempt = item.attempt, "event on the queue can't be read");
        return Err(item.id);
    };
    match dispatch::dispatch(world, &envelope).await {
        Ok(()) => Ok(()),
        Err(error) => {
            dispatch::log_failure(&envelope, item.attempt, &error);
            world.metrics.retry(Place::Queue);
            Err(item.id)
        }
    }
}
