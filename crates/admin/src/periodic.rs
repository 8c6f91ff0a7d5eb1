//! Periodic work, once a minute: sends scheduled messages that are due, notifies operators, repeats registrations that a platform
//! has not accepted, and completes the lists of desired connections after an upgrade.

use std::time::Duration;

use tieline_bridge::scheduled;
use tieline_bridge::world::{World, chance};
use tieline_core::timestamp::Timestamp;
use tieline_store::config::desired_connections::{self, Compare};
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::integrations::{callback_base, registration};
use crate::notify;

/// Interval between two passes.
const PERIOD: Duration = Duration::from_mins(1);
/// Time limit of each of the other parts of a pass: notifying operators, repeating registrations, completing the lists. The
/// next pass continues. A deployed pass is stopped after 29 s.
const WITHIN: Duration = Duration::from_secs(20);
/// Minutes between two comparisons of the lists although no change was counted.
const COMPARE_EVERY_MIN: i64 = 24 * 60;

/// Runs a pass every minute, for as long as the process lives, which runs alone. Before the first one, bots are registered again if platforms were
/// told another address than this process has.
pub async fn run(world: World) {
    let mut is_address_stored = false;
    loop {
        if !is_address_stored {
            is_address_stored = register_after_change(&world).await;
            register_all(&world).await;
        }
        let jitter = Duration::from_millis(chance() % 5_000);
        sleep(PERIOD + jitter).await;
        look(&world).await;
    }
}

/// Runs one pass: sends scheduled messages that are due, notifies operators of changes, repeats failed registrations, and completes the lists
/// of desired connections. Errors are logged; the next pass retries.
///
/// All at once: however long one of them takes, the others get their turn in each pass.
pub async fn look(world: &World) {
    tokio::join!(
        Box::pin(scheduled::say_due(world)),
        Box::pin(notify_all(world)),
        Box::pin(register_all(world)),
        Box::pin(complete_lists(world))
    );
}

async fn notify_all(world: &World) {
    if timeout(WITHIN, notify::look_at_all(world)).await.is_err() {
        warn!("not all operators can be notified within one pass; the next pass begins with others");
    }
}

/// Makes registrations due if platforms were told another address. Returns whether the address of this process is stored.
async fn register_after_change(world: &World) -> bool {
    let marked = callback_base::register_after_change(world).await;
    if let Err(error) = &marked {
        warn!(error = %error, "bots can't be registered at a new address; the next pass retries");
    }
    marked.is_ok()
}

async fn register_all(world: &World) {
    match timeout(WITHIN, registration::repeat_due(world)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(error = %error, "registrations that are due can't be read; the next pass retries"),
        Err(_) => warn!("not all registrations can be repeated within one pass; the next pass continues"),
    }
}

/// Adds the changes made by processes of an earlier version to the lists that relays read.
async fn complete_lists(world: &World) {
    let completing = desired_connections::complete(&world.store, compare_at(world.clock.now()));
    match timeout(WITHIN, completing).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            warn!(error = %error, "lists of desired connections can't be completed; the next pass retries")
        }
        Err(_) => warn!("lists of desired connections can't be completed within one pass; the next pass continues"),
    }
}

const fn compare_at(now: Timestamp) -> Compare {
    if (now.as_secs() / 60) % COMPARE_EVERY_MIN == 0 {
        Compare::Always
    } else {
        Compare::IfChanged
    }
}
