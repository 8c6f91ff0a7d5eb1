//! Dispatches a batch of events: in order within a group, concurrently across groups.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, FuturesUnordered, StreamExt as _};
use tieline_core::backoff::Backoff;
use tieline_core::envelope::Envelope;
use tieline_queue::inbound;
use tieline_queue::receive::Received;
use tokio::time::{Instant, sleep_until};
use tracing::{error, warn};

use super::{DispatchError, Wake};
use crate::dispatch;
use crate::large_event;
use crate::metrics::RetrySource;
use crate::wakeups;
use crate::world::{World, chance};

/// Most groups dispatched concurrently.
const CONCURRENCY: usize = 32;
/// How long a group's wake-up waits to be batched with those of other groups, so that one slow group delays no other.
const GATHERING: Duration = Duration::from_millis(20);
/// Backoff after a table or a queue failed.
const WHEN_FAILED: Backoff = Backoff {
    base: Duration::from_secs(1),
    cap: Duration::from_secs(60),
};
/// After so many deliveries, about an hour, the outage counts as lasting.
const OUTAGE: u32 = 80;
/// Backoff in a lasting outage: the deliveries that the queue allows last for days.
const WHEN_OUT: Backoff = Backoff {
    base: Duration::from_mins(15),
    cap: Duration::from_mins(15),
};
/// Delay before an event whose own processing fails is retried: it blocks its chat meanwhile.
const WHEN_ITS_OWN: Duration = Duration::from_secs(3);
/// After so many deliveries such a poison event is given up: after some minutes, in which a deployment may bring a program that can process it.
const GIVEN_UP: u32 = 40;

/// Dispatches a batch. Returns the ids of the records to retry: in a group, the first failed and all after it. They become visible
/// again after a backoff, which grows if a table or a queue fails, instead of after the queue's long visibility timeout.
///
/// Wake-ups are sent to the queue in one call, since calls are paid for one by one.
pub async fn dispatch_batch(world: &World, items: Vec<Received<Envelope>>) -> Vec<String> {
    let groups = by_group(items).into_iter().map(|group| dispatch_group(world, group));
    let mut groups = pin!(stream::iter(groups).buffer_unordered(CONCURRENCY));
    let mut sends = FuturesUnordered::new();
    let mut gathered: Vec<GroupOutcome> = Vec::new();
    let mut goes_at: Option<Instant> = None;
    let mut failed = Vec::new();
    let mut are_more = true;
    while are_more || !sends.is_empty() {
        tokio::select! {
            biased;
            taken = groups.next(), if are_more => match taken {
                Some(mut taken) => {
                    failed.append(&mut taken.failed);
                    if !taken.wakes.is_empty() {
                        goes_at.get_or_insert_with(|| Instant::now() + GATHERING);
                        gathered.push(taken);
                    }
                }
                None => are_more = false,
            },
            Some(unsent) = sends.next() => failed.extend::<Vec<String>>(unsent),
            () = until(goes_at) => {}
        }
        if goes_at.is_some_and(|at| !are_more || at <= Instant::now()) {
            sends.push(wake(world, std::mem::take(&mut gathered)));
            goes_at = None;
        }
    }
    failed
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

fn by_group(items: Vec<Received<Envelope>>) -> Vec<Vec<Received<Envelope>>> {
    let mut groups: Vec<Vec<Received<Envelope>>> = Vec::new();
    for item in items {
        match groups.iter_mut().find(|group| group[0].group == item.group) {
            Some(group) => group.push(item),
            None => groups.push(vec![item]),
        }
    }
    groups
}

/// Outcome of a group.
#[derive(Default)]
struct GroupOutcome {
    /// The records to retry.
    failed: Vec<String>,
    /// Wake-ups for the conversations that the other records belong to.
    wakes: Vec<Wake>,
    /// The records that count as dispatched once the queue has these wake-ups: the first that needs one, and all after it.
    items: Vec<Received<Envelope>>,
}

async fn dispatch_group(world: &World, group: Vec<Received<Envelope>>) -> GroupOutcome {
    let mut taken = GroupOutcome::default();
    let mut waiting = group.into_iter();
    while let Some(item) = waiting.next() {
        match dispatch_record(world, &item).await {
            Ok(wake) => taken.add(item, wake),
            Err(_) if item.attempt >= GIVEN_UP && park(world, &item).await => {}
            Err(delay) => {
                // All of them: a record that stays hidden blocks its group, and so the records before it.
                let again: Vec<Received<Envelope>> = std::iter::once(item).chain(waiting).collect();
                join_all(again.iter().map(|item| again_in(world, &item.receipt, delay))).await;
                taken.failed.extend(again.into_iter().map(|item| item.id));
                break;
            }
        }
    }
    taken
}

impl GroupOutcome {
    fn add(&mut self, item: Received<Envelope>, wake: Option<Wake>) {
        if let Some(wake) = wake {
            // The later wake-up covers all pending messages.
            self.wakes
                .retain(|(earlier, _)| earlier.conversation != wake.0.conversation);
            self.wakes.push(wake);
        }
        if !self.wakes.is_empty() {
            self.items.push(item);
        }
    }
}

/// Moves an unreadable record out of its group. `false` if it is readable, or the queue didn't accept it.
async fn park(world: &World, item: &Received<Envelope>) -> bool {
    let Some(body) = &item.unreadable else {
        return false;
    };
    let parked = inbound::park(&world.queues, body, &item.group, &item.id).await;
    if let Err(error) = &parked {
        warn!(error = %error, "unreadable event can't be moved out of its group");
    }
    parked.is_ok()
}

/// # Errors
/// How long to wait before the next try.
async fn dispatch_record(world: &World, item: &Received<Envelope>) -> Result<Option<Wake>, Duration> {
    let Some(Envelope::V1(envelope)) = &item.message else {
        // A deployment may bring a program that can read it. After more deliveries it moves to the dead letters.
        error!(queue.attempt = item.attempt, "event on the queue can't be read");
        return Err(WHEN_ITS_OWN);
    };
    let envelope = match large_event::restore(world, envelope).await {
        Ok(whole) => whole,
        Err(error) => {
            dispatch::log_failure(envelope, item.attempt, &DispatchError::Store(error));
            return Err(after_outage(item.attempt));
        }
    };
    let envelope = &*envelope;
    let error = match dispatch::dispatch(world, envelope).await {
        Ok(wake) => return Ok(wake),
        Err(error) => error,
    };
    dispatch::log_failure(envelope, item.attempt, &error);
    world.metrics.retry(RetrySource::Queue);
    let reason = match error {
        DispatchError::Unreadable => "unreadable",
        DispatchError::Panicked => "crashed",
        DispatchError::Store(_) | DispatchError::Queue(_) | DispatchError::Contended(_) | DispatchError::Busy => {
            return Err(after_outage(item.attempt));
        }
    };
    if item.attempt < GIVEN_UP {
        return Err(WHEN_ITS_OWN);
    }
    match dispatch::give_up(world, envelope, reason).await {
        Ok(()) => Ok(None),
        Err(error) => {
            dispatch::log_failure(envelope, item.attempt, &error);
            Err(WHEN_ITS_OWN)
        }
    }
}

/// Backoff after a table or a queue failed.
fn after_outage(attempt: u32) -> Duration {
    let backoff = if attempt < OUTAGE { WHEN_FAILED } else { WHEN_OUT };
    backoff.wait(attempt, chance())
}

/// Sends the wake-ups for messages that groups left in mailboxes. Returns the records to retry: all, if the queue may not have every wake-up.
async fn wake(world: &World, gathered: Vec<GroupOutcome>) -> Vec<String> {
    let (wakes, items): (Vec<_>, Vec<_>) = gathered.into_iter().map(|taken| (taken.wakes, taken.items)).unzip();
    let Err(error) = wakeups::send_watched_to_relays(world, wakes.into_iter().flatten()).await else {
        return Vec::new();
    };
    let error = DispatchError::Queue(error);
    let again = items.into_iter().flatten().map(async |item| {
        if let Some(Envelope::V1(envelope)) = &item.message {
            dispatch::log_failure(envelope, item.attempt, &error);
        }
        world.metrics.retry(RetrySource::Queue);
        again_in(world, &item.receipt, after_outage(item.attempt)).await;
        item.id
    });
    join_all(again).await
}

async fn again_in(world: &World, receipt: &str, delay: Duration) {
    if let Err(error) = inbound::retry_in(&world.queues, receipt, delay).await {
        warn!(error = %error, "event is retried only after the queue's visibility timeout");
    }
}

#[cfg(test)]
mod tests {
    use tieline_queue::definitions::MAX_RECEIVES;

    use super::*;

    #[test]
    fn retries_of_an_event_last_through_an_outage_of_days() {
        let waits = (1..MAX_RECEIVES).map(after_outage);
        let days = waits.sum::<Duration>().as_secs() / (24 * 3600);
        // The queue keeps it for 14 days.
        assert!((4..14).contains(&days), "{days} days");
        let hour = (1..OUTAGE).map(after_outage);
        assert!(hour.sum::<Duration>() <= Duration::from_hours(2));
    }
}
