//! Wake-ups for runners, each with its watchdog.

use std::time::Duration;

use tieline_core::backoff::Backoff;
use tieline_core::envelope::WakeUpV1;
use tieline_queue::{QueueError, work};
use tokio::time::sleep;

use crate::world::{World, chance};

/// Between two tries to send what the queue took only a part of.
const BETWEEN_SENDS: Backoff = Backoff {
    base: Duration::from_millis(100),
    cap: Duration::from_secs(1),
};
/// How often that is sent.
const MAX_SENDS: u32 = 4;

/// Wakes a runner for each of them after its delay, and another later: a runner that takes it and dies is replaced.
///
/// # Errors
/// [`QueueError`] if the queue may not have all of them.
pub async fn send_watched(
    world: &World,
    wakes: impl IntoIterator<Item = (WakeUpV1, Duration)>,
) -> Result<(), QueueError> {
    let now = world.clock.now();
    let watched = wakes.into_iter().flat_map(|(wake, delay)| {
        let later = (delay + world.settings.watchdog).min(work::MAX_DELAY);
        let (wake, watchdog) = wake.watched(now.after(later));
        [(wake, delay), (watchdog, later)]
    });
    let watched: Vec<_> = watched.collect();
    // A wake-up that was taken begins a run and trusts that its own watchdog is on its way, so it isn't left with that one refused. One
    // too many of either does no harm.
    for attempt in 1..MAX_SENDS {
        match work::send(&world.queues, &watched).await {
            Err(QueueError::Partial { .. }) => sleep(BETWEEN_SENDS.wait(attempt, chance())).await,
            done => return done,
        }
    }
    work::send(&world.queues, &watched).await
}

#[cfg(test)]
mod tests;
