//! Earlier answers of the conversation that the platform refused until the person writes again: the run of the next message delivers them before
//! it shows an answer of its own.

use std::time::Duration;

use tieline_core::envelope::WakeUpV1;
use tokio::time::Instant;
use tracing::warn;

use super::slot::Slots;
use super::watchdog::Watchdog;
use super::{LeasedConversation, Next, RunError, standalone_reply, update};
use crate::refused_answers;
use crate::wakeups;
use crate::world::World;

/// After this time the run goes on: answers whose delivery has not started by then come after its own.
const PATIENCE: Duration = Duration::from_secs(20);

/// Delivers them, or leaves them to their wake-ups.
pub(super) async fn deliver(
    world: &World,
    held: &mut LeasedConversation,
    until: Option<Instant>,
) -> Result<(), RunError> {
    if held.conversation.refused_answers.is_empty() {
        return Ok(());
    }
    let found = Box::pin(refused_answers::deliver(world, &held.conversation)).await;
    // After a crash before this they are found delivered. Before they are delivered: one that is refused once more is kept again.
    update(world, held, |conversation| {
        conversation
            .refused_answers
            .retain(|message| !found.done.contains(message));
    })
    .await?;
    held.working.pause();
    let patience = Instant::now() + PATIENCE;
    for wake in found.wakes {
        if Instant::now() < patience {
            Box::pin(deliver_now(world, wake, until)).await;
        }
    }
    held.working.resume(world).await;
    Ok(())
}

/// Delivers one before its wake-up is due, so that the chat has it in order. The wake-up and its watchdog stay in case that this process dies or
/// can't deliver it. It must not fail the run.
async fn deliver_now(world: &World, wake: WakeUpV1, until: Option<Instant>) {
    let Some(reply) = wake.reply.clone() else { return };
    let mut watch = Watchdog::new(world, &wake);
    let slots = Slots::begin(world, &wake.organization, None).await;
    let delivered = Box::pin(standalone_reply::deliver(
        world, &mut watch, &wake, &reply, until, slots,
    ))
    .await;
    let left = match delivered {
        // Its wake-up may have been received meanwhile.
        Ok(Next::Again(delay)) => wakeups::send_watched(world, [(wake, delay)])
            .await
            .map_err(RunError::from),
        // Another process delivers it, or it waits for a slot on the queue.
        Ok(Next::Done | Next::Full(_)) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = left {
        warn!(reply = %reply, error = %error, "earlier answer is left to its watchdog");
    }
}
