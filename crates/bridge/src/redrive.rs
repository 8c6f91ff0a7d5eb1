//! Redrive: a message that failed is processed again, because an operator says so.

use std::time::Duration;

use tieline_core::budget::Pace;
use tieline_core::conversation::inbound_group;
use tieline_core::envelope::{Envelope, EnvelopeV1, WakeUpV1};
use tieline_core::message_state::MessageState;
use tieline_core::reply::{FilesProgress, Progress, Stage, UnreadableProgress};
use tieline_queue::{QueueError, inbound};
use tieline_store::config::integration;
use tieline_store::deadletter::{self, DeadLetter};
use tieline_store::message::{self, MessageRecord};
use tieline_store::reply::{self, ReplyRecord};
use tieline_store::{StoreError, conversation};
use tracing::info;

use crate::world::World;
use crate::{large_event, reply_writes, wakeups};

/// Why a dead letter is not retried.
#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    /// Its message is not in the ledger (any more), or can't be read, or its integration is gone.
    #[error("the message is not there to be sent again, or its integration isn't")]
    Gone,
    /// Its message is not failed (any more).
    #[error("the message is {}", .0.as_str())]
    NotFailed(MessageState),
    /// It is still being processed, by the attempt that failed or by a retry.
    #[error("the message is still being worked on")]
    InHand,
    /// The stored progress of its reply can't be read, so that what the chat shows already is unknown.
    #[error("the stored progress of the message's reply can't be read")]
    UnreadableProgress,
    /// The table.
    #[error("table is unavailable")]
    Store(#[from] StoreError),
    /// The queue.
    #[error("queue is unavailable")]
    Queue(#[from] QueueError),
}

/// How often we look whether those who failed have let go of the message, which they do at once.
const MAX_LOOKS: u32 = 20;
/// How long a reply that goes out again waits, so that its letter is gone before another one can be written.
const AFTER_THE_LETTER: Duration = Duration::from_secs(2);

/// Retries the message of a dead letter: from the inbound queue on, and the agent is asked again. If only its reply was
/// refused, as our own sentences are, only that is sent again, and the agent is not asked.
///
/// In this order a crash anywhere leaves the letter where it is, and doing it again goes on from there.
///
/// # Errors
/// [`RedriveError`].
pub async fn redrive(world: &World, letter: &DeadLetter) -> Result<MessageRecord, RedriveError> {
    wait_until_free(world, letter).await?;
    let now = world.clock.now();
    // After that look: a run ends the message first and leaves the conversation second, so that one is not there any more that
    // fails yet. And a failed message comes into a conversation again only from here.
    let record = load(world, letter).await?;
    match record.state {
        // First: it would be queued for ever.
        MessageState::Failed if !can_go(world, &record).await? => return Err(RedriveError::Gone),
        MessageState::Failed => {
            restarted_reply(world, &record).await?;
            // Of two redrives at once, one goes on.
            if !message::reopen(&world.store, &record.id, record.redrives, now).await? {
                return Err(StoreError::Conflict.into());
            }
        }
        // An earlier redrive died before the queue had the message.
        MessageState::Queued => {}
        _ if is_only_undelivered(&record) => return resend(world, letter, &record).await,
        state => return Err(RedriveError::NotFailed(state)),
    }
    let reopened = load(world, letter).await?;
    restart_reply(world, &reopened).await?;
    send(world, &reopened).await?;
    deadletter::remove(&world.store, letter).await?;
    info!(account.id = %record.integration, event.key = %record.id, "retried message {}", record.id);
    Ok(reopened)
}

/// Whether the message can be read, and there is a bot that it was for.
async fn can_go(world: &World, record: &MessageRecord) -> Result<bool, StoreError> {
    let bot = integration::get(&world.store, &record.integration).await?;
    Ok(bot.is_some() && crate::event_of(world, record).is_some())
}

/// Waits a moment until the conversation doesn't hold the message any more. A message that was sent would be taken for one that is
/// there already, and then leave with the run that failed.
async fn wait_until_free(world: &World, letter: &DeadLetter) -> Result<(), RedriveError> {
    let Some(id) = &letter.conversation else {
        return Ok(());
    };
    for look in 0..MAX_LOOKS {
        let found = conversation::load(&world.store, id, world.clock.now()).await?;
        if !found.is_some_and(|found| found.holds(&letter.message)) {
            return Ok(());
        }
        crate::pause_after_race(look).await;
    }
    Err(RedriveError::InHand)
}

/// Whether all is done but the delivery: the platform refused it, or a redrive died before it was sent.
fn is_only_undelivered(record: &MessageRecord) -> bool {
    let last = record.steps.last().map(|step| step.step.as_str());
    matches!(last, Some(message::DELIVERY_REFUSED | message::REDRIVEN))
}

/// Has a runner bring the reply into its chat, from where it stopped.
async fn resend(world: &World, letter: &DeadLetter, record: &MessageRecord) -> Result<MessageRecord, RedriveError> {
    let now = world.clock.now();
    let before = free_reply(world, record).await?;
    if before.delivered {
        let mut after = ReplyRecord {
            pace: Pace::default(),
            delivered: false,
            lease: None,
            // It is tried for as long as the first time.
            final_at: None,
            ..before.clone()
        };
        // The ledger first: after a crash it shows that the redrive was begun.
        message::note_resent(&world.store, &record.id, now).await?;
        reply_writes::save(world, Some(&before), &mut after, now).await?;
    }
    wake(world, &before).await?;
    deadletter::remove(&world.store, letter).await?;
    info!(account.id = %record.integration, event.key = %record.id, "sent the reply to message {} out again", record.id);
    load(world, letter).await
}

/// The finished reply, after a moment if need be: the attempt that failed is about to record that it is final.
async fn free_reply(world: &World, record: &MessageRecord) -> Result<ReplyRecord, RedriveError> {
    for look in 0..MAX_LOOKS {
        let now = world.clock.now();
        let found = reply::get(&world.store, &record.reply, now).await?;
        let reply = found
            .filter(|reply| reply.stage == Stage::Final)
            .ok_or(RedriveError::Gone)?;
        if reply.lease.as_ref().is_none_or(|lease| lease.expires_at <= now) {
            return Ok(reply);
        }
        crate::pause_after_race(look).await;
    }
    Err(RedriveError::InHand)
}

async fn wake(world: &World, reply: &ReplyRecord) -> Result<(), QueueError> {
    let wake = WakeUpV1::of_reply(reply.organization.clone(), reply.conversation.clone(), reply.id.clone());
    wakeups::send_watched(world, [(wake, AFTER_THE_LETTER)]).await
}

async fn load(world: &World, letter: &DeadLetter) -> Result<MessageRecord, RedriveError> {
    let found = message::get(&world.store, &letter.message, world.clock.now()).await?;
    found
        .filter(|record| record.organization == letter.organization)
        .ok_or(RedriveError::Gone)
}

/// The reply starts from the beginning: with a recorded result the agent would never be asked again. Once for each redrive: a second
/// operator who is a moment late must not wipe out what is shown already.
async fn restart_reply(world: &World, record: &MessageRecord) -> Result<(), RedriveError> {
    let Some((before, mut after)) = restarted_reply(world, record).await? else {
        return Ok(());
    };
    if before.redrive >= record.redrives {
        return Ok(());
    }
    after.redrive = record.redrives;
    Ok(reply_writes::restart(world, &before, &mut after, world.clock.now()).await?)
}

/// The reply of a message, and what it becomes when it starts from the beginning. `None` if there is none.
async fn restarted_reply(
    world: &World,
    record: &MessageRecord,
) -> Result<Option<(ReplyRecord, ReplyRecord)>, RedriveError> {
    let Some(before) = reply::get(&world.store, &record.reply, world.clock.now()).await? else {
        return Ok(None);
    };
    let after = ReplyRecord {
        stage: Stage::Thinking,
        text: String::new(),
        reasoning: String::new(),
        files: Vec::new(),
        card: None,
        notice: None,
        outcome: None,
        progress: restarted_progress(world, &before).await?,
        sent_files: FilesProgress::default(),
        pace: Pace::default(),
        same_as: None,
        closed: None,
        resume: None,
        delivered: false,
        lease: None,
        // It may be another conversation's from now on, whose fences are others.
        fence: 0,
        ..before.clone()
    };
    Ok(Some((before, after)))
}

/// Progress of the restarted reply. The platform may refuse the same idempotency key twice, so its connector writes it.
async fn restarted_progress(world: &World, before: &ReplyRecord) -> Result<Progress, RedriveError> {
    let record = integration::get(&world.store, &before.integration).await?;
    let connector = record.and_then(|record| world.connector(&record.platform));
    connector.map_or_else(
        || Ok(Progress::default()),
        |it| {
            it.restart(&before.progress)
                .map_err(|UnreadableProgress| RedriveError::UnreadableProgress)
        },
    )
}

async fn send(world: &World, record: &MessageRecord) -> Result<(), RedriveError> {
    let event = crate::event_of(world, record).ok_or(RedriveError::Gone)?;
    let mut envelope = EnvelopeV1 {
        organization: record.organization.clone(),
        integration: record.integration.clone(),
        message: record.id.clone(),
        reply: record.reply.clone(),
        received_at: record.received_at,
        event: record.event.clone(),
        event_file: None,
    };
    if let Some(apart) = large_event::take(&mut envelope) {
        large_event::store(&world.store, &apart, world.clock.now()).await?;
    }
    let group = inbound_group(&record.integration, event.chat());
    // Another name than the first time's, or the queue would take it for a repetition.
    let dedup = format!("{}.{}", record.id, record.redrives);
    inbound::send(&world.queues, &Envelope::V1(envelope), &group, &dedup).await?;
    Ok(())
}
