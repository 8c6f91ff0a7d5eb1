//! Events that fail each time, and always will.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use tieline_core::envelope::EnvelopeV1;
use tieline_core::event::{Event, Message};
use tieline_core::fate::{LedgerStep, MessageState};
use tieline_core::ids::{ConversationId, PlatformMessageId};
use tieline_store::config::integration;
use tieline_store::message::{self, Claim, Ending, MessageRecord};
use tracing::{error, warn};

use super::{Arrival, DispatchError, open};
use crate::journal;
use crate::notices::Word;
use crate::world::World;

/// Ends an event that can't be dispatched: in the ledger and among the dead letters, whence it can be sent on its road again when what
/// failed is repaired. Whoever sent it is told, if that can be done. Doing it again changes nothing.
///
/// # Errors
/// [`DispatchError`] if it must come again.
pub async fn give_up(world: &World, envelope: &EnvelopeV1, reason: &str) -> Result<(), DispatchError> {
    let event = open(world, envelope).ok();
    let failing = Box::pin(tell(world, envelope, event.as_ref(), reason));
    // What failed before may fail again, and must not keep it here.
    let conversation = match AssertUnwindSafe(failing).catch_unwind().await {
        Ok(Ok(conversation)) => conversation,
        Ok(Err(error)) => return Err(error),
        Err(_) => {
            warn!(event.key = %envelope.message, "nobody can be told that an event failed");
            None
        }
    };
    let now = world.clock.now();
    let record = MessageRecord {
        id: envelope.message.clone(),
        reply: envelope.reply.clone(),
        organization: envelope.organization.clone(),
        integration: envelope.integration.clone(),
        platform_message: event.map_or_else(|| PlatformMessageId::new(""), |event| event.id().clone()),
        conversation,
        session: None,
        received_at: envelope.received_at,
        state: MessageState::Queued,
        event: envelope.event.clone(),
        run: None,
        reason: None,
        steps: vec![LedgerStep::new(envelope.received_at, "received")],
        redrives: 0,
        version: 0,
    };
    let record = match message::claim(&world.store, &record).await? {
        Claim::New => record,
        Claim::Seen(before) if before.state.is_terminal() => return Ok(()),
        Claim::Seen(before) => *before,
    };
    journal::bury(world, &record, reason).await?;
    let ending = Ending {
        state: MessageState::Failed,
        reason: Some(reason.to_owned()),
        run: None,
        session: None,
        steps: vec![LedgerStep::new(now, "failed").code(reason)],
    };
    message::finish(&world.store, &record.id, &ending).await?;
    error!(account.id = %record.integration, event.key = %record.id, reason, "event is given up");
    Ok(())
}

/// Tells who sent it. Gives the conversation, if it is a message's.
async fn tell(
    world: &World,
    envelope: &EnvelopeV1,
    event: Option<&Event>,
    reason: &str,
) -> Result<Option<ConversationId>, DispatchError> {
    let Some(Event::Message(message)) = event else {
        return Ok(None);
    };
    let Some(bound) = integration::look_up(&world.store, &envelope.integration, world.clock.now()).await? else {
        return Ok(None);
    };
    let arrival = Arrival {
        world,
        envelope,
        bound: &bound,
    };
    let message: &Message = message;
    let id = arrival.key(message).id();
    arrival.say(message, &id, Word::failed(reason)).await?;
    Ok(Some(id))
}
