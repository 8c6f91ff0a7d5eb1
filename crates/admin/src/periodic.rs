//! Periodic work, once a minute: sends scheduled messages that are due, and notifies operators.

use std::time::Duration;

use tieline_bridge::scheduled;
use tieline_bridge::world::{World, chance};
use tokio::time::sleep;

use crate::notify;

/// Interval between two passes.
const PERIOD: Duration = Duration::from_mins(1);

/// Runs a pass every minute, for as long as the process lives.
pub async fn run(world: World) {
    loop {
        let jitter = Duration::from_millis(chance() % 5_000);
        sleep(PERIOD + jitter).await;
        look(&world).await;
    }
}

/// Runs one pass: sends scheduled messages that are due, and notifies operators of changes. Errors are logged; the next pass retries.
pub async fn look(world: &World) {
    scheduled::say_due(world).await;
    notify::look_at_all(world).await;
}
