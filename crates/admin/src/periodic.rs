//! Periodic work, once a minute: scheduled messages that are due, notifications of operators.

use std::time::Duration;

use tieline_bridge::scheduled;
use tieline_bridge::world::{World, chance};
use tokio::time::sleep;

use crate::notify;

/// Time between two looks.
const PERIOD: Duration = Duration::from_mins(1);

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
}
