//! Periodic work, once a minute: scheduled messages that are due, notifications of operators, lists of desired connections after an upgrade.

use std::time::Duration;

use tieline_bridge::scheduled;
use tieline_bridge::world::{World, chance};
use tieline_core::timestamp::Timestamp;
use tieline_store::config::desired_connections::{self, Compare};
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::notify;

/// Time between two looks.
const PERIOD: Duration = Duration::from_mins(1);
/// How long bringing lists in line may take at a time. The next look continues.
const COMPLETE_WITHIN: Duration = Duration::from_secs(20);
/// Minutes between two comparisons of the lists although no change was counted.
const COMPARE_EVERY_MIN: i64 = 24 * 60;

/// Looks once a minute, for as long as the process lives.
pub async fn run(world: World) {
    loop {
        let jitter = Duration::from_millis(chance() % 5_000);
        sleep(PERIOD + jitter).await;
        look(&world).await;
    }
}

/// Looks once: says what is scheduled for now, and notifies operators of what has changed. What fails is logged: the next look makes up for
/// it.
pub async fn look(world: &World) {
    scheduled::say_due(world).await;
    notify::look_at_all(world).await;
    complete_lists(world).await;
}

/// Brings the lists that relays read in line with what processes of an earlier version have changed.
async fn complete_lists(world: &World) {
    let completing = desired_connections::complete(&world.store, compare_at(world.clock.now()));
    match timeout(COMPLETE_WITHIN, completing).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => warn!(error = %error, "lists of desired connections are completed later"),
        Err(_) => warn!("lists of desired connections can't be completed in one look"),
    }
}

const fn compare_at(now: Timestamp) -> Compare {
    if (now.as_secs() / 60) % COMPARE_EVERY_MIN == 0 {
        Compare::Always
    } else {
        Compare::IfChanged
    }
}
