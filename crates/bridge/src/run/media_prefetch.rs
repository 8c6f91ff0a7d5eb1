//! Prefetches attachments of messages that wait behind a run, where the platform serves them only for minutes: by a runner that was woken for
//! the conversation and has nothing else to do there.

use std::time::Duration;

use tieline_core::conversation::{Conversation, RunPhase, RunState};
use tieline_core::event::{Event, Part};
use tieline_core::ids::MessageId;
use tieline_core::timestamp::Timestamp;
use tieline_store::StoreError;
use tieline_store::config::integration;
use tieline_store::message::{self, MessageRecord};
use tokio::time::Instant;
use tracing::warn;

use super::Next;
use super::slot::Slots;
use crate::accounts::{self, Bot};
use crate::media::{self, PartRef};
use crate::tenant_slots::{Missing, SlotKind};
use crate::world::World;

/// Attachments of older messages are stored already, or no longer available.
const RECENT: Duration = Duration::from_secs(5 * 60);
/// Most messages examined, the newest: each has its own wake-up.
const MAX_MESSAGES: usize = 20;
/// Time limit for all of it.
const PATIENCE: Duration = Duration::from_secs(40);

/// Stores the attachments of pending messages of a conversation which another process holds, whose tenant is at its limit, or whose run
/// waits for its agent or its platform. If one can't be stored now, the run of its message tries again. [`Next::Full`] if the
/// tenant occupies too many slots in this process.
pub(super) async fn keep(
    world: &World,
    conversation: &Conversation,
    until: Option<Instant>,
    slots: &mut Slots,
) -> Next {
    let end = Instant::now() + PATIENCE;
    let end = until.map_or(end, |until| until.min(end));
    keep_until(world, conversation, end, slots)
        .await
        .unwrap_or_else(|error| {
            warn!(conversation = %conversation.key.id(), error = %error, "pending messages can't be read");
            Next::Done
        })
}

async fn keep_until(
    world: &World,
    conversation: &Conversation,
    end: Instant,
    slots: &mut Slots,
) -> Result<Next, StoreError> {
    let now = world.clock.now();
    let recent = conversation.pending.iter().rev().take(MAX_MESSAGES);
    let recent = recent.filter(|waiting| now.since(waiting.since) < RECENT);
    let recent = recent.map(|waiting| &waiting.message);
    let ids: Vec<MessageId> = recent.chain(left(conversation, now)).cloned().collect();
    if ids.is_empty() {
        return Ok(Next::Done);
    }
    let Some(bound) = integration::look_up(&world.store, &conversation.key.integration, now).await? else {
        return Ok(Next::Done);
    };
    let Ok(bot) = accounts::open(world, &bound.integration) else {
        return Ok(Next::Done);
    };
    if !bot.connector.manifest().media_is_short_lived {
        return Ok(Next::Done);
    }
    // Many of them, each as long as this may take, would leave no memory to other tenants.
    slots.pause_work();
    let Some(_slot) = slots.enter(world, &conversation.key.organization, SlotKind::Telling) else {
        return Ok(Next::Full(Missing::Here(SlotKind::Telling)));
    };
    for record in message::get_many(&world.store, &ids, now).await? {
        keep_parts(world, &bot, &record, end).await;
    }
    Ok(Next::Done)
}

/// The messages of a run that no process holds and whose agent wasn't called.
fn left(conversation: &Conversation, now: Timestamp) -> impl Iterator<Item = &MessageId> {
    let is_free = conversation.lease.as_ref().is_none_or(|lease| lease.expires_at <= now);
    let waits = |run: &&RunState| is_free && run.phase == RunPhase::Calling && now.since(run.started_at) < RECENT;
    let run = conversation.run.as_ref().filter(waits);
    run.into_iter().flat_map(|run| &run.messages)
}

async fn keep_parts(world: &World, bot: &Bot, record: &MessageRecord, end: Instant) {
    let Ok(Some(Event::Message(message))) = crate::event_of(world, record) else {
        return;
    };
    if record.state.is_terminal() {
        return;
    }
    let own = message.parts.iter().enumerate();
    let quoted = message.quoted.iter().flat_map(|quoted| quoted.parts.iter().enumerate());
    let parts: Vec<(PartRef, &Part)> = own
        .map(|(at, part)| (PartRef::Message(at), part))
        .chain(quoted.map(|(at, part)| (PartRef::Quote(at), part)))
        .collect();
    for (place, part) in parts {
        let patience = end.saturating_duration_since(Instant::now());
        if patience.is_zero() {
            return;
        }
        if let Err(error) = media::keep_part(world, bot, &record.id, part, place, patience).await {
            warn!(account.id = %bot.account.integration, event.key = %record.id, error = %error, "part of a pending message can't be prefetched");
        }
    }
}
