//! Replies that need no agent: notices, and final texts that the platform didn't poll.

use std::slice;
use std::time::Duration;

use tieline_core::connector::Delivery;
use tieline_core::conversation::Lease;
use tieline_core::envelope::WakeUpV1;
use tieline_core::event::Event;
use tieline_core::ids::{MessageId, ReplyId};
use tieline_core::message_state::{LedgerStep, MessageState};
use tieline_core::reply::{Progress, ReplyTarget, Stage};
use tieline_store::StoreError;
use tieline_store::config::integration::{self, IntegrationRecord};
use tieline_store::message::{self, ACCOUNT_CHANGED, DELIVERY_REFUSED, MessageRecord};
use tieline_store::reply::{self, Outcome, ReplyRecord};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::slot::Slots;
use super::watchdog::Watchdog;
use super::{Next, RunError};
use crate::accounts::{self, Bot};
use crate::deliver::{self, DeliveryOutcome, ReplyDelivery};
use crate::integration_log;
use crate::redrive;
use crate::refused_answers;
use crate::reply_writes;
use crate::tenant_slots::{Missing, SlotKind};
use crate::world::World;

/// When to look again at a polled reply whose message has not ended. Its run ends it right after sending the wake-up.
const UNTIL_ENDED: Duration = Duration::from_secs(1);
/// Code of an answer whose integration is deleted or unreadable.
const INTEGRATION_GONE: &str = "integration_gone";

/// Delivers one finished reply, unless it is delivered already or another process is delivering it.
pub(super) async fn deliver(
    world: &World,
    watch: &mut Watchdog<'_>,
    wake: &WakeUpV1,
    id: &ReplyId,
    until: Option<Instant>,
    mut slots: Slots,
) -> Result<Next, RunError> {
    let now = world.clock.now();
    let Some(mut record) = reply::get(&world.store, id, now).await? else {
        return Ok(Next::Done);
    };
    if wake.is_outdated(record.redrive) {
        // The watchdog of an earlier delivery. A run may be showing the reply's new answer, or has shown it without marking the reply as delivered.
        debug!(event.key = %record.message, "wake-up is older than the redrive of its reply");
        return Ok(Next::Done);
    }
    let me = &world.settings.owner;
    if record.delivered || record.stage != Stage::Final {
        return Ok(Next::Done);
    }
    if let Some(taken) = record.lease.as_ref().filter(|lease| !lease.is_free(me, now)) {
        if wake.watch {
            watch.after_lease(taken.expires_at).await?;
        }
        return Ok(Next::Done);
    }
    let kind = slot_kind(&record);
    let Some(_slot) = slots.enter(world, &wake.organization, kind) else {
        return Ok(Next::Full(Missing::Here(kind)));
    };
    if wake.watch {
        watch.again().await?;
    }
    let (ledger, bot, target) = match open(world, &record).await? {
        Opened::Reply(opened) => *opened,
        Opened::Unreadable if !deliver::is_too_late(&record, now) => return Ok(Next::Done),
        opened => {
            let code = match opened {
                Opened::OtherAccount => ACCOUNT_CHANGED,
                _ => INTEGRATION_GONE,
            };
            // First: after the reply is saved as delivered, no process comes back to it.
            refuse_undeliverable(world, &record, code).await?;
            let before = record.clone();
            record.delivered = true;
            reply_writes::save(world, Some(&before), &mut record, now).await?;
            return Ok(Next::Done);
        }
    };
    // Until then its run may write the reply, or another process may repeat the run's end, and that would find a reply whose rest was refused
    // and take it for delivered.
    if deliver::is_pulled(&bot) && !ledger.state.is_terminal() {
        return Ok(Next::Again(UNTIL_ENDED));
    }
    let fence = record.version + 1;
    let Some(_taking) = world.local_claims.enter(id.as_str(), fence, &record.integration) else {
        return Ok(Next::Done);
    };
    // A process that survives the delivery releases the lease.
    let is_taken_over = record.lease.is_some();
    let is_hopeless = is_taken_over && deliver::is_too_late(&record, now);
    let mut showing = ReplyDelivery::new(world, &bot, &target, Some(record.clone()), || record).in_process_until(until);
    showing.record.lease = Some(Lease {
        owner: me.clone(),
        fence,
        expires_at: now.after(world.settings.lease),
    });
    showing.save().await?;
    close_if_over(world, &bot, &mut showing.record).await?;
    slots.pause_work();
    let limit = Instant::now() + world.settings.lease / 2;
    let limit = until.map_or(limit, |until| until.min(limit));
    let shown = match is_hopeless {
        true => DeliveryOutcome::Never {
            code: "crashed".to_owned(),
        },
        false => showing.finish(Some(limit)).await?,
    };
    let next = conclude(world, wake, showing, &ledger, shown).await?;
    if is_taken_over {
        // The process that held it before may have been frozen, and have noted a refusal meanwhile.
        remove_refusal(world, &ledger.id, false).await?;
    }
    // The watchdog that was sent on looks again.
    Ok(if wake.watch { Next::Done } else { next })
}

/// A notice must not wait behind answers, which may be long and many.
const fn slot_kind(record: &ReplyRecord) -> SlotKind {
    match (&record.outcome, record.text.is_empty() && record.card.is_none()) {
        (Some(Outcome::Completed | Outcome::Failed(_)), false) => SlotKind::Telling,
        _ => SlotKind::Confirming,
    }
}

async fn conclude(
    world: &World,
    wake: &WakeUpV1,
    mut showing: ReplyDelivery<'_>,
    ledger: &MessageRecord,
    shown: DeliveryOutcome,
) -> Result<Next, RunError> {
    let now = world.clock.now();
    showing.record.lease = None;
    match shown {
        DeliveryOutcome::Yes | DeliveryOutcome::Until(_) | DeliveryOutcome::Stopped => {
            let is_redelivered =
                ledger.state == MessageState::Failed && showing.record.outcome == Some(Outcome::Completed);
            // Before the reply is saved as delivered, after which no process comes back to it.
            if is_redelivered {
                redrive::finish_redelivery(world, ledger).await?;
            } else if ledger.steps.iter().any(|step| step.step == DELIVERY_REFUSED) {
                remove_refusal(world, &ledger.id, true).await?;
            }
            showing.record.delivered = true;
            showing.save().await?;
            if !is_redelivered {
                message::note(&world.store, &ledger.id, &[LedgerStep::new(now, "delivered")]).await?;
            }
            info!(account.id = %ledger.integration, event.key = %ledger.id, "delivered reply");
            Ok(Next::Done)
        }
        DeliveryOutcome::NotBefore(at) => {
            showing.save().await?;
            info!(conversation = %wake.conversation, event.key = %ledger.id, "delivery of the reply is postponed");
            Ok(Next::Again(at.since(now)))
        }
        DeliveryOutcome::Never { code } => {
            showing.record.delivered = true;
            integration_log::warn(world, &ledger.integration, "delivery_refused", &code).await;
            warn!(account.id = %ledger.integration, event.key = %ledger.id, code, "reply can't be delivered");
            note_refusal(world, ledger, &code).await?;
            if refused_answers::may_be_delivered_later(showing.bot, &showing.record, &code) {
                refused_answers::keep(world, &showing.record.conversation, &ledger.id).await?;
            }
            if let Err(error) = showing.save().await {
                // Another process may have delivered it.
                remove_refusal(world, &ledger.id, false).await?;
                return Err(error.into());
            }
            Ok(Next::Done)
        }
    }
}

/// Removes the dead letter of a reply that the platform refused at first, once it is delivered. That of a failed message stays, whatever became of its
/// notice.
async fn remove_refusal(world: &World, id: &MessageId, is_delivered: bool) -> Result<(), StoreError> {
    let Some(record) = message::get(&world.store, id, world.clock.now()).await? else {
        return Ok(());
    };
    let has = |step: &str| record.steps.iter().any(|it| it.step == step);
    let is_untrue = has(DELIVERY_REFUSED) && (is_delivered || has("delivered"));
    match is_untrue && record.state != MessageState::Failed {
        true => redrive::remove_letter(world, &record).await,
        false => Ok(()),
    }
}

/// Keeps an answer whose integration is deleted, unreadable or another bot account now as a dead letter: once that is restored, the answer can be
/// delivered.
async fn refuse_undeliverable(world: &World, record: &ReplyRecord, code: &str) -> Result<(), RunError> {
    let now = world.clock.now();
    let Some(ledger) = message::get(&world.store, &record.message, now).await? else {
        return Ok(());
    };
    warn!(account.id = %ledger.integration, event.key = %ledger.id, code, "reply can't be delivered by its integration");
    if slot_kind(record) == SlotKind::Confirming {
        return Ok(());
    }
    if code == ACCOUNT_CHANGED {
        integration_log::warn(world, &ledger.integration, "delivery_refused", code).await;
    }
    note_refusal(world, &ledger, code).await
}

/// The ledger first: if this process is cut off and a later attempt delivers the reply, that finds there that there may be a dead letter.
async fn note_refusal(world: &World, ledger: &MessageRecord, code: &str) -> Result<(), RunError> {
    let step = LedgerStep::new(world.clock.now(), DELIVERY_REFUSED).code(code);
    message::note(&world.store, &ledger.id, &[step]).await?;
    integration_log::dead_letter(world, ledger, code).await?;
    Ok(())
}

/// If the platform has stopped polling and polling was never closed, nothing was shown.
async fn close_if_over(world: &World, bot: &Bot, record: &mut ReplyRecord) -> Result<(), RunError> {
    let Delivery::Pull { lifetime, .. } = deliver::delivery(bot) else {
        return Ok(());
    };
    if record.closed.is_none() && world.clock.now() >= record.received_at.after(lifetime) {
        record.closed = Some(reply::close(&world.store, &record.id, &Progress::default(), world.clock.now()).await?);
    }
    Ok(())
}

/// What is needed for delivering a reply.
enum Opened {
    /// The message, the bot and the target.
    Reply(Box<(MessageRecord, Bot, ReplyTarget)>),
    /// The account or the message can't be read. An operator may repair that.
    Unreadable,
    /// The bot or the message no longer exists.
    Gone,
    /// The integration is another bot account than the one that received the message, and doesn't know its chat.
    OtherAccount,
}

async fn open(world: &World, record: &ReplyRecord) -> Result<Opened, RunError> {
    let now = world.clock.now();
    let Some(ledger) = message::get(&world.store, &record.message, now).await? else {
        return Ok(Opened::Gone);
    };
    let Some(bound) = integration::look_up(&world.store, &record.integration, now).await? else {
        return Ok(Opened::Gone);
    };
    let Some(bound) = accounts::for_answering(world, bound, slice::from_ref(&ledger)).await? else {
        return Ok(Opened::Gone);
    };
    if ledger.is_of_other_account(bound.integration.account_mark()) {
        return Ok(Opened::OtherAccount);
    }
    let opened = match open_sealed(world, &bound.integration, &ledger) {
        // Another process knows the key, and this one will soon. When it is too late for the reply, the key is lost.
        Err(StoreError::UnknownKey) if deliver::is_too_late(record, now) => None,
        opened => opened?,
    };
    Ok(opened.map_or(Opened::Unreadable, |(bot, target)| {
        Opened::Reply(Box::new((ledger, bot, target)))
    }))
}

/// The bot and the reply's target, if both can be read.
fn open_sealed(
    world: &World,
    bot: &IntegrationRecord,
    ledger: &MessageRecord,
) -> Result<Option<(Bot, ReplyTarget)>, StoreError> {
    let Some(bot) = accounts::open_if_usable(world, bot)? else {
        return Ok(None);
    };
    let target = match crate::event_of(world, ledger)? {
        Some(Event::Message(message)) => message.target,
        Some(Event::CardAction(action)) => action.target,
        Some(Event::Overheard(_) | Event::Feedback(_) | Event::Recalled(_) | Event::ChatMoved(_)) | None => {
            return Ok(None);
        }
    };
    Ok(Some((bot, target)))
}

#[cfg(test)]
mod tests;
