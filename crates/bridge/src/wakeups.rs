//! Sends wake-ups to runners, each with its watchdog.

use std::time::Duration;

use tieline_core::account::ConnectionMode;
use tieline_core::backoff::Backoff;
use tieline_core::envelope::{WakeUp, WakeUpV1};
use tieline_core::ids::IntegrationId;
use tieline_queue::{QueueError, relay, work};
use tieline_store::config::integration::Bound;
use tokio::time::sleep;

use crate::world::{World, chance};

/// Between two attempts to send messages of which the queue accepted only some.
const BETWEEN_SENDS: Backoff = Backoff {
    base: Duration::from_millis(100),
    cap: Duration::from_secs(1),
};
/// Most such attempts.
const MAX_SENDS: u32 = 4;

/// Sends each wake-up with its delay, and a watchdog for later: if a runner receives the wake-up and dies, it is replaced.
///
/// A wake-up without a delay that names a bot on a long connection goes to the bot's relay. Its watchdog doesn't: relays delete wake-ups
/// when they receive them, and a queue that keeps the order delays no single message.
///
/// # Errors
/// [`QueueError`] if the queues may not have all of them.
pub async fn send_watched(
    world: &World,
    wakes: impl IntoIterator<Item = (WakeUpV1, Duration)>,
) -> Result<(), QueueError> {
    let now = world.clock.now();
    let (mut at_work, mut at_relays) = (Vec::new(), Vec::new());
    for (wake, delay) in wakes {
        let later = (delay + world.settings.watchdog).min(work::MAX_DELAY);
        let is_for_relay = wake.relay.is_some() && delay.is_zero();
        let relay = wake.relay.filter(|_| is_for_relay);
        let (wake, watchdog) = WakeUpV1 { relay, ..wake }.watched(now.after(later));
        if is_for_relay {
            at_relays.push(wake);
        } else {
            at_work.push((wake, delay));
        }
        at_work.push((watchdog, later));
    }
    // A received wake-up starts a run and relies on its own watchdog being in flight, so a refused watchdog is sent again, with its wake-up. A
    // duplicate of either does no harm.
    let nonce = if at_relays.is_empty() { String::new() } else { nonce() };
    for attempt in 1..MAX_SENDS {
        match send(world, &at_work, &at_relays, &nonce).await {
            Err(QueueError::Partial { .. }) => sleep(BETWEEN_SENDS.wait(attempt, chance())).await,
            done => return done,
        }
    }
    send(world, &at_work, &at_relays, &nonce).await
}

async fn send(
    world: &World,
    at_work: &[(WakeUp, Duration)],
    at_relays: &[WakeUp],
    nonce: &str,
) -> Result<(), QueueError> {
    work::send(&world.queues, at_work).await?;
    relay::wake(&world.queues, at_relays, nonce).await
}

/// Sends a wake-up to the relay of the bot that it names.
///
/// # Errors
/// [`QueueError`] if the queue may not have it.
pub(crate) async fn send_to_relay(world: &World, wake: WakeUpV1) -> Result<(), QueueError> {
    relay::wake(&world.queues, &[WakeUp::V1(wake)], &nonce()).await
}

/// The bot, if its relay is to run its conversations: relays run in this deployment, and one holds a long connection for the bot.
pub(crate) fn relay_of(world: &World, bound: &Bound) -> Option<IntegrationId> {
    let Bound { integration, trigger } = bound;
    let is_connected = integration.enabled && trigger.is_some() && integration.mode == ConnectionMode::LongConnection;
    let is_run_there = world.settings.relays_run && is_connected && world.shard_of(&integration.id).is_some();
    is_run_there.then(|| integration.id.clone())
}

fn nonce() -> String {
    format!("{:016x}{:016x}", chance(), chance())
}

#[cfg(test)]
mod tests;
