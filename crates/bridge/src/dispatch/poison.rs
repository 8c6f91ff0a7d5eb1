//! Poison events: events whose processing always fails.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use tieline_core::envelope::EnvelopeV1;
use tieline_core::event::{Event, Message};
use tieline_core::ids::{ConversationId, PlatformMessageId};
use tieline_core::message_state::{LedgerStep, MessageState};
use tieline_store::config::integration::{self, Bound};
use tieline_store::message::{self, Claim, Ending, MessageRecord};
use tracing::error;

use super::{Arrival, DispatchError, open};
use crate::integration_log;
use crate::notices::NoticeReply;
use crate::redrive;
use crate::world::World;

/// Ends an event that can't be dispatched: in the ledger and among the dead letters, from which it can be redriven once the cause
/// is fixed. Sends its sender a notice, if possible. Idempotent.
///
/// # Errors
/// [`DispatchError`] if it must be retried.
pub async fn give_up(world: &World, envelope: &EnvelopeV1, reason: &str) -> Result<(), DispatchError> {
    // What failed before may fail here again and must not block this: then no notice is sent.
    let seen = AssertUnwindSafe(look(world, envelope)).catch_unwind().await;
    let seen = seen.unwrap_or(Ok(Seen::default()))?;
    if seen.has_no_record {
        error!(account.id = %envelope.integration, event.key = %envelope.message, reason, "recall or change of a group's id is given up");
        return Ok(());
    }
    let now = world.clock.now();
    let record = MessageRecord {
        id: envelope.message.clone(),
        reply: envelope.reply.clone(),
        organization: envelope.organization.clone(),
        integration: envelope.integration.clone(),
        account: envelope.account.clone(),
        platform_message: seen.id,
        conversation: seen.asked.as_ref().map(|(_, conversation)| conversation.clone()),
        session: None,
        sender: None,
        received_at: envelope.received_at,
        state: MessageState::Queued,
        event: envelope.event.clone(),
        run: None,
        run_messages: Vec::new(),
        reason: None,
        steps: vec![LedgerStep::new(envelope.received_at, "received")],
        redrives: 0,
        version: 0,
    };
    let record = match message::claim(&world.store, &record).await? {
        Claim::New => record,
        Claim::Seen(before) if before.state.is_terminal() => {
            return match (&seen.bound, &before.conversation) {
                (Some(bound), Some(id)) => arrival(world, envelope, bound).end_left_closing(id).await,
                _ => Ok(()),
            };
        }
        Claim::Seen(before) => *before,
    };
    // After the claim: delivery of the notice looks for the message.
    if let (Some(bound), Some((message, conversation))) = (&seen.bound, &seen.asked) {
        let arrival = arrival(world, envelope, bound);
        arrival.say(message, conversation, NoticeReply::failed(reason)).await?;
    }
    integration_log::dead_letter(world, &record, reason).await?;
    let ending = Ending {
        state: MessageState::Failed,
        reason: Some(reason.to_owned()),
        run: None,
        session: None,
        steps: vec![LedgerStep::new(now, "failed").code(reason)],
    };
    if message::finish(&world.store, &record.id, &ending).await? {
        let platform = seen.bound.as_ref().map_or("none", |bound| &bound.integration.platform);
        world.metrics.message(platform, MessageState::Failed);
    } else if redrive::remove_letter_if_ended_otherwise(world, &record.id).await? {
        return Ok(());
    }
    error!(account.id = %record.integration, event.key = %record.id, reason, "event is given up");
    integration_log::warn(
        world,
        &record.integration,
        "given_up",
        "an event could not be worked on: see the dead letters",
    )
    .await;
    Ok(())
}

fn arrival<'a>(world: &'a World, envelope: &'a EnvelopeV1, bound: &'a Bound) -> Arrival<'a> {
    Arrival {
        world,
        envelope,
        bound,
        begun_at: world.clock.now(),
    }
}

/// What could be read of an event.
struct Seen {
    id: PlatformMessageId,
    bound: Option<Bound>,
    /// The message and its conversation, if it is a message.
    asked: Option<(Message, ConversationId)>,
    /// Whether the ledger has no record of the event: of a recall, whose envelope has the ids of the recalled message, and of a change of a group's id.
    has_no_record: bool,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            id: PlatformMessageId::new(""),
            bound: None,
            asked: None,
            has_no_record: false,
        }
    }
}

async fn look(world: &World, envelope: &EnvelopeV1) -> Result<Seen, DispatchError> {
    let mut seen = Seen {
        bound: integration::look_up(&world.store, &envelope.integration, world.clock.now()).await?,
        ..Seen::default()
    };
    let Ok(event) = open(world, envelope) else {
        return Ok(seen);
    };
    seen.id = event.id().clone();
    seen.has_no_record = matches!(event, Event::Recalled(_) | Event::ChatMoved(_));
    if let (Event::Message(message), Some(bound)) = (event, &seen.bound) {
        let conversation = arrival(world, envelope, bound).key(&message).id();
        seen.asked = Some((message, conversation));
    }
    Ok(seen)
}
