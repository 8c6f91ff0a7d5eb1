//! The end of a bot that is no longer wanted. If it has only lost its trigger, the answers that it is showing are finished first.

use std::sync::Arc;
use std::time::Duration;

use tieline_core::account::ConnectionMode;
use tieline_core::ids::IntegrationId;
use tieline_store::config::integration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep, timeout};

use super::shared::RelayShared;
use super::socket_registry::{BotCommand, End};
use crate::world::World;

/// How long a bot may finish its answers.
const DRAIN_WITHIN: Duration = Duration::from_mins(15);
/// How often it is checked whether it has finished them.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Timeout for reading the integration.
const READ_WITHIN: Duration = Duration::from_secs(4);

/// Ends a bot: at once if its integration is stopped, deleted or a webhook by now, else as soon as this process has no unfinished answer of it.
///
/// Messages that arrive meanwhile are refused, like those to any integration without a trigger.
pub(super) async fn drain(shared: Arc<RelayShared>, id: IntegrationId, orders: UnboundedSender<Box<BotCommand>>) {
    let until = Instant::now() + DRAIN_WITHIN;
    while has_answers(&shared.world, &id)
        && Instant::now() < until
        && !orders.is_closed()
        && may_run(&shared.world, &id).await
    {
        sleep(CHECK_EVERY).await;
    }
    // A bot that has ended already needs no command.
    let _ = orders.send(Box::new(BotCommand::End(End::Dropped)));
}

/// Whether this process works on an answer of the integration, or has parked one that continues later.
fn has_answers(world: &World, id: &IntegrationId) -> bool {
    world.local_claims.has_any_of(id) || world.parked_runs.has_any_of(id, world.clock.now())
}

/// Whether the integration may have a connection. Also if it can't be read: then nothing says that an operator has stopped it.
async fn may_run(world: &World, id: &IntegrationId) -> bool {
    match timeout(READ_WITHIN, integration::get(&world.store, id)).await {
        Ok(Ok(found)) => found.is_some_and(|it| it.enabled && it.mode == ConnectionMode::LongConnection),
        Ok(Err(_)) | Err(_) => true,
    }
}
