//! A batch of wake-ups for the runner: all at the same time. One that finds no slot waits here, where the process may, or on the queue.

use std::time::Duration;

use futures_util::future::join_all;
use tieline_core::backoff::Backoff;
use tieline_core::envelope::{WakeUp, WakeUpV1};
use tieline_queue::receive::Received;
use tieline_queue::work;
use tokio::time::{Instant, timeout};
use tracing::{error, warn};

use super::{self as run, Next};
use crate::metrics::RetrySource;
use crate::tenant_slots::{Missing, Slot};
use crate::world::{World, chance};

/// Between two looks for a place among a tenant's runs.
const WHEN_FULL: Backoff = Backoff {
    base: Duration::from_millis(1000),
    cap: WHEN_FULL_AT_MOST,
};
/// The longest time between two looks for a place.
pub(crate) const WHEN_FULL_AT_MOST: Duration = Duration::from_secs(10);
/// How much longer than it waits in this process a wake-up is hidden: if the process dies, another one gets it soon.
const HIDDEN_LONGER: Duration = Duration::from_secs(10);
/// After a table or a queue failed.
const WHEN_FAILED: Backoff = Backoff {
    base: Duration::from_secs(2),
    cap: Duration::from_secs(64),
};
/// After so many deliveries a wake-up that waits is replaced by a new one. Well before the queue would give it up.
const MAX_WAITS: u32 = 60;

/// Runs a batch until `until`. Returns the ids of the records to retry.
pub async fn run(world: &World, items: Vec<Received<WakeUp>>, until: Option<Instant>) -> Vec<String> {
    let failed = join_all(items.into_iter().map(|item| run_one(world, item, until))).await;
    failed.into_iter().flatten().collect()
}

async fn run_one(world: &World, mut item: Received<WakeUp>, until: Option<Instant>) -> Option<String> {
    let Some(WakeUp::V1(wake)) = item.message.take() else {
        // It carries no truth, so nothing is lost with it; the watchdogs find the conversation.
        error!(queue.attempt = item.attempt, "wake-up can't be read");
        return None;
    };
    let mut waiting = Waiting::default();
    let (wait, is_lasting) = loop {
        match Box::pin(run::wake(world, &wake, until, waiting.granted.take())).await {
            Ok(Next::Done) => return None,
            Ok(Next::Again(delay)) => break (delay, false),
            Ok(Next::Full(missing)) => {
                if let Some(delay) = Box::pin(waiting.wait(world, &item, &wake, missing)).await {
                    break (delay, false);
                }
            }
            Err(error) => {
                run::log_failure(&wake, item.attempt, &error);
                world.metrics.retry(RetrySource::Queue);
                break (WHEN_FAILED.wait(item.attempt, chance()), error.is_lasting());
            }
        }
    };
    if item.attempt >= MAX_WAITS && !is_lasting && start_over(world, wake, wait).await {
        return None;
    }
    again_in(world, &item.receipt, wait).await;
    Some(item.id)
}

/// A wake-up's wait for a slot, in this process.
#[derive(Default)]
struct Waiting {
    granted: Option<Slot>,
    until: Option<Instant>,
}

impl Waiting {
    /// Waits until the wake-up may try again. Else gives the delay after which the queue is to show it again.
    async fn wait(
        &mut self,
        world: &World,
        item: &Received<WakeUp>,
        wake: &WakeUpV1,
        missing: Missing,
    ) -> Option<Duration> {
        let patience = world.settings.slot_wait;
        let crowded = WHEN_FULL.wait(item.attempt, chance());
        if patience.is_zero() {
            return Some(crowded);
        }
        let until = match self.until {
            Some(until) => until,
            None => {
                again_in(world, &item.receipt, patience + HIDDEN_LONGER).await;
                *self.until.insert(Instant::now() + patience)
            }
        };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Some(Duration::ZERO);
        }
        let id = wake
            .reply
            .as_ref()
            .map_or(wake.conversation.as_str(), |reply| reply.as_str());
        let (slots, organization) = (&world.tenant_slots, &wake.organization);
        match missing {
            Missing::Here(kind) => match timeout(left, slots.wait(organization, kind, id)).await {
                Ok(Some(slot)) => self.granted = Some(slot),
                Ok(None) => return Some(crowded),
                Err(_) => return Some(Duration::ZERO),
            },
            // Other processes don't say when they give one back.
            Missing::Everywhere => match timeout(left.min(crowded), slots.wait_everywhere(organization, id)).await {
                Ok(Some(())) | Err(_) => {}
                Ok(None) => return Some(crowded),
            },
        }
        None
    }
}

/// Replaces a wake-up by a new one: one that waits, for a slot or for a table, must not end among the dead letters. `false` if the queue didn't take it.
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
