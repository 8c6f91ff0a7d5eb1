//! Runs a batch of wake-ups concurrently. One that finds no slot waits here, if the process may, or on the queue.

use std::time::Duration;

use futures_util::future::join_all;
use tieline_core::backoff::Backoff;
use tieline_core::envelope::{WakeUp, WakeUpV1};
use tieline_queue::receive::Received;
use tieline_queue::work;
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, warn};

use super::{self as run, Next};
use crate::metrics::RetrySource;
use crate::tenant_slots::{Missing, Slot};
use crate::world::{World, chance};

/// Backoff between two checks for a free slot.
const WHEN_FULL: Backoff = Backoff {
    base: Duration::from_millis(1000),
    cap: WHEN_FULL_AT_MOST,
};
/// Longest time between two checks for a free slot.
pub(crate) const WHEN_FULL_AT_MOST: Duration = Duration::from_secs(10);
/// How much longer than it waits in this process a wake-up is hidden: if the process dies, another one receives it soon.
const HIDDEN_LONGER: Duration = Duration::from_secs(10);
/// Backoff after a table or a queue failed.
const WHEN_FAILED: Backoff = Backoff {
    base: Duration::from_secs(2),
    cap: Duration::from_secs(64),
};
/// After so many deliveries a waiting wake-up is replaced by a new one. Well before the queue would move it to the dead letters.
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

/// Processes a wake-up that was deleted on receipt, until its watchdog takes over, if it has one. Retries that are due later are sent
/// to `work`.
pub async fn run_accepted(world: &World, wake: WakeUpV1) {
    let until = Instant::now() + world.settings.watchdog;
    let mut granted = None;
    for attempt in 1.. {
        let wait = match Box::pin(run::wake(world, &wake, None, granted.take())).await {
            Ok(Next::Done) => return,
            Ok(Next::Again(delay)) => {
                start_over(world, wake, delay).await;
                return;
            }
            Ok(Next::Full(missing)) => {
                let left = until.saturating_duration_since(Instant::now());
                match wait_for_slot(world, &wake, missing, left, WHEN_FULL.wait(attempt, chance())).await {
                    Ok(slot) => {
                        granted = slot;
                        continue;
                    }
                    Err(wait) => wait,
                }
            }
            Err(error) => {
                run::log_failure(&wake, attempt, &error);
                world.metrics.retry(RetrySource::Queue);
                WHEN_FAILED.wait(attempt, chance())
            }
        };
        if Instant::now() + wait >= until {
            return leave(world, wake, wait).await;
        }
        sleep(wait).await;
    }
}

/// Leaves an accepted wake-up for `delay`: to its watchdog, if it has one. Sending another wake-up would add one each time.
pub async fn leave(world: &World, wake: WakeUpV1, delay: Duration) {
    if wake.watch_at.is_none() {
        start_over(world, wake, delay).await;
    }
}

/// A wake-up's wait for a slot, within this process.
#[derive(Default)]
struct Waiting {
    granted: Option<Slot>,
    until: Option<Instant>,
}

impl Waiting {
    /// Waits until the wake-up may be retried here. Otherwise returns the delay after which the queue is to deliver it again.
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
        match wait_for_slot(world, wake, missing, left, crowded).await {
            Ok(granted) => {
                self.granted = granted;
                None
            }
            Err(delay) => Some(delay),
        }
    }
}

/// Waits at most for `left` until the wake-up may be retried, with a slot if it was granted one. The error is the delay before the next attempt.
async fn wait_for_slot(
    world: &World,
    wake: &WakeUpV1,
    missing: Missing,
    left: Duration,
    crowded: Duration,
) -> Result<Option<Slot>, Duration> {
    if left.is_zero() {
        return Err(Duration::ZERO);
    }
    let id = wake
        .reply
        .as_ref()
        .map_or(wake.conversation.as_str(), |reply| reply.as_str());
    let (slots, organization) = (&world.tenant_slots, &wake.organization);
    match missing {
        Missing::Here(kind) => match timeout(left, slots.wait(organization, kind, id)).await {
            Ok(Some(slot)) => Ok(Some(slot)),
            Ok(None) => Err(crowded),
            Err(_) => Err(Duration::ZERO),
        },
        // Other processes don't announce that they release one.
        Missing::Everywhere => match timeout(left.min(crowded), slots.wait_everywhere(organization, id)).await {
            Ok(Some(())) | Err(_) => Ok(None),
            Ok(None) => Err(crowded),
        },
    }
}

/// Replaces a wake-up by a new one: one that waits for a slot or a table must not end among the dead letters. `false` if the queue didn't accept it.
async fn start_over(world: &World, wake: WakeUpV1, delay: Duration) -> bool {
    let wake = WakeUp::V1(WakeUpV1 { relay: None, ..wake });
    let sent = work::send(&world.queues, &[(wake, delay)]).await;
    if let Err(error) = &sent {
        warn!(error = %error, "wake-up can't be replaced by a new one");
    }
    sent.is_ok()
}

/// Makes the queue deliver the record again after `delay`, instead of after its long visibility timeout.
async fn again_in(world: &World, receipt: &str, delay: Duration) {
    if let Err(error) = work::retry_in(&world.queues, receipt, delay).await {
        warn!(error = %error, "wake-up is retried only after the queue's visibility timeout");
    }
}
