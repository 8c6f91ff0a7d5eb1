//! Sends wake-ups to runners, each with its watchdog.

use std::time::Duration;

use tieline_core::account::ConnectionMode;
use tieline_core::backoff::Backoff;
use tieline_core::envelope::{WakeUp, WakeUpV1};
use tieline_core::ids::IntegrationId;
use tieline_queue::{QueueError, relay, work};
use tieline_store::config::integration::Bound;
use tokio::time::sleep;
use tracing::warn;

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
/// # Errors
/// [`QueueError`] if the queue may not have all of them.
pub async fn send_watched(
    world: &World,
    wakes: impl IntoIterator<Item = (WakeUpV1, Duration)>,
) -> Result<(), QueueError> {
    let mut messages = Vec::new();
    for (wake, delay) in wakes {
        let (wake, watchdog) = with_watchdog(world, WakeUpV1 { relay: None, ..wake }, delay);
        messages.extend([(wake, delay), watchdog]);
    }
    send(world, &messages).await
}

/// Like [`send_watched`], but a wake-up without a delay that names a bot on a long connection goes to the bot's relay. Its watchdog doesn't:
/// relays delete wake-ups when they receive them, and a queue that keeps the order delays no single message.
///
/// # Errors
/// [`QueueError`] if the queue of all runners may not have all that belong there.
pub(crate) async fn send_watched_to_relays(
    world: &World,
    wakes: impl IntoIterator<Item = (WakeUpV1, Duration)>,
) -> Result<(), QueueError> {
    let (mut at_work, mut at_relays) = (Vec::new(), Vec::new());
    for (wake, delay) in wakes {
        let relay = wake.relay.filter(|_| delay.is_zero());
        let is_for_relay = relay.is_some();
        let (wake, watchdog) = with_watchdog(world, WakeUpV1 { relay, ..wake }, delay);
        match is_for_relay {
            true => at_relays.push(wake),
            false => at_work.push((wake, delay)),
        }
        at_work.push(watchdog);
    }
    send(world, &at_work).await?;
    if at_relays.is_empty() {
        return Ok(());
    }
    let Err(error) = relay::wake(&world.queues, &at_relays, &nonce()).await else {
        return Ok(());
    };
    // A fault of a relay's queue must not hold back the bot's chats. A runner that gets a wake-up forwards it, or runs it if no relay has the bot.
    warn!(error = %error, "wake-ups can't be sent to their relays: any runner gets them");
    let anywhere = at_relays.into_iter().map(|WakeUp::V1(wake)| {
        let wake = WakeUp::V1(WakeUpV1 { relay: None, ..wake });
        (wake, Duration::ZERO)
    });
    send(world, &anywhere.collect::<Vec<_>>()).await
}

/// The wake-up, and its watchdog with its delay.
fn with_watchdog(world: &World, wake: WakeUpV1, delay: Duration) -> (WakeUp, (WakeUp, Duration)) {
    let later = (delay + world.settings.watchdog).min(work::MAX_DELAY);
    let (wake, watchdog) = wake.watched(world.clock.now().after(later));
    (wake, (watchdog, later))
}

/// A received wake-up starts a run and relies on its own watchdog being in flight, so if one is refused, all are sent again. Duplicates do no
/// harm.
async fn send(world: &World, messages: &[(WakeUp, Duration)]) -> Result<(), QueueError> {
    for attempt in 1..MAX_SENDS {
        match work::send(&world.queues, messages).await {
            Err(QueueError::Partial { .. }) => sleep(BETWEEN_SENDS.wait(attempt, chance())).await,
            done => return done,
        }
    }
    work::send(&world.queues, messages).await
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
