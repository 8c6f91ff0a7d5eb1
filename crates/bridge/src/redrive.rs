//! Redrive: an operator's retry of a message that failed.

use std::slice;
use std::time::Duration;

use tieline_core::budget::Pace;
use tieline_core::conversation::inbound_group;
use tieline_core::envelope::{Envelope, EnvelopeV1, WakeUpV1};
use tieline_core::ids::{MessageId, RunId};
use tieline_core::message_state::MessageState;
use tieline_core::reply::{FilesProgress, Progress, Stage, UnreadableProgress};
use tieline_queue::{QueueError, inbound};
use tieline_store::config::integration;
use tieline_store::deadletter::{self, DeadLetter};
use tieline_store::message::{self, MessageRecord};
use tieline_store::reply::{self, Outcome, ReplyRecord};
use tieline_store::{StoreError, conversation};
use tracing::info;

use crate::world::World;
use crate::{large_event, reply_writes, wakeups};

/// Why a dead letter can't be retried.
#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    /// Its message is no longer in the ledger or can't be read, or its integration is gone.
    #[error("the message is not there to be sent again, or its integration isn't")]
    Gone,
    /// The integration is another bot account of the platform now than the one that received the message.
    #[error(
        "another bot account received the message, and the integration has been changed to a different one, which doesn't know the chat; \
         set the integration back to that bot account to send the answer"
    )]
    AccountChanged,
    /// Its message has not failed, or has been redriven already.
    #[error("the message is {}", .0.as_str())]
    NotFailed(MessageState),
    /// It is still being processed, by the attempt that failed or by a retry.
    #[error("the message is still being worked on")]
    InHand,
    /// The stored progress of its reply can't be read, so that what the chat shows already is unknown.
    #[error("the stored progress of the message's reply can't be read")]
    UnreadableProgress,
    /// The table failed.
    #[error("table is unavailable")]
    Store(#[from] StoreError),
    /// The queue failed.
    #[error("queue is unavailable")]
    Queue(#[from] QueueError),
}

/// How often to check whether the failed run has released the message, which it does at once.
const MAX_LOOKS: u32 = 20;
/// Delay before a reply is sent again, so that its dead letter is removed before another one can be written.
const AFTER_THE_LETTER: Duration = Duration::from_secs(2);

/// When a redrive asks the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskAgent {
    /// If there is no recorded answer that could be delivered.
    IfNeeded,
    /// In any case.
    Always,
}

/// Retries the message of a dead letter: it goes through the inbound queue and to the agent again. If the answer is recorded, or only the delivery
/// of its reply was refused, as can happen to our own notices, only the delivery is repeated, and the agent is not called. An answer to several
/// messages is delivered once for all of them: they stay failed, with their dead letters, until it is.
///
/// The order is such that a crash anywhere leaves the dead letter where it is, and a repetition continues from there.
///
/// # Errors
/// [`RedriveError`].
pub async fn redrive(world: &World, letter: &DeadLetter, ask: AskAgent) -> Result<MessageRecord, RedriveError> {
    wait_until_free(world, letter).await?;
    let now = world.clock.now();
    // Read after that check: a run ends the message first and removes it from the conversation second, so a message that is about to fail is
    // still there. And a failed message gets into a conversation again only from here.
    let record = load(world, letter).await?;
    if ask == AskAgent::IfNeeded
        && let Some(last) = answered_with(world, &record).await?
    {
        return deliver_again(world, letter, &last).await;
    }
    match record.state {
        MessageState::Failed => {
            // Checked first: else it would be queued for ever.
            ensure_can_go(world, &record).await?;
            restarted_reply(world, &record).await?;
            // Of two concurrent redrives, one continues.
            if !message::reopen(&world.store, &record.id, record.redrives, now).await? {
                return Err(StoreError::Conflict.into());
            }
        }
        // An earlier redrive died before the message was on the queue.
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

/// Continues the delivery of an answer that the platform refused until the person writes again. A repetition continues from there. Returns the wake-up
/// that was sent for it.
///
/// # Errors
/// [`RedriveError`].
pub(crate) async fn deliver_rest(world: &World, message: &MessageId) -> Result<WakeUpV1, RedriveError> {
    let now = world.clock.now();
    let found = message::get(&world.store, message, now).await?;
    let record = found.ok_or(RedriveError::Gone)?;
    let letter = letter_of(world, &record).await?.ok_or(RedriveError::Gone)?;
    wait_until_free(world, &letter).await?;
    let record = load(world, &letter).await?;
    if record.state != MessageState::Failed {
        return Err(RedriveError::NotFailed(record.state));
    }
    if !has_answer(world, &record).await? {
        return Err(RedriveError::Gone);
    }
    redeliver(world, Some(&letter), &record, Redelivery::Rest).await
}

/// The message whose reply shows the recorded answer to a failed message: itself, or the last one of the run that they failed in together.
async fn answered_with(world: &World, record: &MessageRecord) -> Result<Option<MessageRecord>, StoreError> {
    if record.state != MessageState::Failed {
        return Ok(None);
    }
    let last = match record.run_messages.last().filter(|last| **last != record.id) {
        Some(last) => message::get(&world.store, last, world.clock.now()).await?,
        None => Some(record.clone()),
    };
    // In another run if it was redriven on its own.
    let Some(last) = last.filter(|last| last.run == record.run) else {
        return Ok(None);
    };
    let is_answered = match last.state {
        // Its answer has been delivered, and the process that did it died before it ended this message.
        MessageState::Answered => true,
        MessageState::Failed => has_answer(world, &last).await?,
        _ => false,
    };
    Ok(is_answered.then_some(last))
}

/// Makes a runner deliver the recorded answer that the reply to `last` shows, to the message of the dead letter or to all of its run.
async fn deliver_again(
    world: &World,
    letter: &DeadLetter,
    last: &MessageRecord,
) -> Result<MessageRecord, RedriveError> {
    if let (MessageState::Answered, Some(run)) = (last.state, &last.run) {
        end_others(world, run, slice::from_ref(&letter.message)).await?;
        return load(world, letter).await;
    }
    ensure_can_go(world, last).await?;
    // The other dead letters stay until the answer is delivered.
    let of_last = match last.id == letter.message {
        true => Some(letter.clone()),
        false => letter_of(world, last).await?,
    };
    redeliver(world, of_last.as_ref(), last, Redelivery::FromBeginning).await?;
    load(world, letter).await
}

async fn letter_of(world: &World, record: &MessageRecord) -> Result<Option<DeadLetter>, StoreError> {
    let id = deadletter::id_of(record.received_at, &record.id);
    deadletter::get(&world.store, &record.organization, &id, world.clock.now()).await
}

/// Ends a failed message whose answer has been delivered by a redrive, and those that failed with it in one run.
///
/// # Errors
/// [`StoreError`].
pub(crate) async fn finish_redelivery(world: &World, last: &MessageRecord) -> Result<(), StoreError> {
    if let (Some(run), Some((_, others))) = (&last.run, last.run_messages.split_last()) {
        end_others(world, run, others).await?;
    }
    // The last one last: once it is answered, no process looks for the others.
    message::finish_redelivery(&world.store, &last.id, None, world.clock.now()).await
}

/// Ends failed messages of a run whose answer has been delivered with another one, and removes their dead letters.
async fn end_others(world: &World, run: &RunId, others: &[MessageId]) -> Result<(), StoreError> {
    let now = world.clock.now();
    for id in others {
        message::finish_redelivery(&world.store, id, Some(run), now).await?;
    }
    // Also those of messages that a process has ended and died before it removed them.
    for record in message::get_many(&world.store, others, now).await? {
        let is_ended = record.state == MessageState::Answered && record.run.as_ref() == Some(run);
        if is_ended {
            remove_letter(world, &record).await?;
        }
    }
    Ok(())
}

/// Removes the dead letter of a message that has not failed: the process that wrote it died before it recorded the failure.
///
/// # Errors
/// [`StoreError`].
pub(crate) async fn remove_letter(world: &World, record: &MessageRecord) -> Result<(), StoreError> {
    match letter_of(world, record).await? {
        Some(letter) => deadletter::remove(&world.store, &letter).await,
        None => Ok(()),
    }
}

/// The same for a message that this process wanted to end as failed, and that another one may have ended meanwhile. Returns whether that is so.
///
/// # Errors
/// [`StoreError`].
pub(crate) async fn remove_letter_if_ended_otherwise(world: &World, id: &MessageId) -> Result<bool, StoreError> {
    let found = message::get(&world.store, id, world.clock.now()).await?;
    match found.filter(|found| found.state.is_terminal() && found.state != MessageState::Failed) {
        Some(record) => remove_letter(world, &record).await.map(|()| true),
        None => Ok(false),
    }
}

/// Checks that the message can be read, and that its bot still exists and is the account that received it.
async fn ensure_can_go(world: &World, record: &MessageRecord) -> Result<(), RedriveError> {
    let bot = integration::get(&world.store, &record.integration).await?;
    let bot = bot.ok_or(RedriveError::Gone)?;
    if record.is_of_other_account(bot.account_mark()) {
        return Err(RedriveError::AccountChanged);
    }
    let event = crate::event_of(world, record)?;
    event.map(drop).ok_or(RedriveError::Gone)
}

/// Waits a moment until the conversation no longer holds the message. Sent before that, it would be taken for a duplicate of the one
/// in the conversation, and then be removed with the run that failed.
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

/// Whether everything but the delivery is done: the platform refused it, or a redrive died before it was sent. A process that took over from a
/// dead one may have recorded the message's own end after that.
fn is_only_undelivered(record: &MessageRecord) -> bool {
    let end = record.state.as_str();
    let last = record.steps.iter().rev().find(|step| step.step != end);
    last.is_some_and(|step| matches!(step.step.as_str(), message::DELIVERY_REFUSED | message::REDRIVEN))
}

fn last_step(record: &MessageRecord) -> Option<&str> {
    record.steps.last().map(|step| step.step.as_str())
}

/// Whether the agent's whole answer is recorded.
async fn has_answer(world: &World, record: &MessageRecord) -> Result<bool, StoreError> {
    let found = reply::get(&world.store, &record.reply, world.clock.now()).await?;
    Ok(found.is_some_and(|reply| reply.stage == Stage::Final && reply.outcome == Some(Outcome::Completed)))
}

/// What of an answer is delivered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Redelivery {
    /// All of it.
    FromBeginning,
    /// What the platform has not accepted.
    Rest,
}

/// Makes a runner deliver the recorded answer once more. The message stays failed until it is delivered.
async fn redeliver(
    world: &World,
    letter: Option<&DeadLetter>,
    record: &MessageRecord,
    what: Redelivery,
) -> Result<WakeUpV1, RedriveError> {
    let now = world.clock.now();
    let before = free_reply(world, record).await?;
    // An earlier redrive that has neither succeeded nor failed yet, or whose process died, is continued.
    let is_started = last_step(record) == Some(message::REDRIVEN);
    let number = record.redrives + u32::from(!is_started);
    // The ledger first: after a crash it shows that the redrive was started. Of two concurrent redrives, one continues.
    if !is_started && !message::note_redelivery(&world.store, &record.id, record.redrives, now).await? {
        return Err(StoreError::Conflict.into());
    }
    if before.redrive < number {
        let undelivered = match what {
            Redelivery::FromBeginning => afresh(world, &before).await?,
            Redelivery::Rest => undelivered(&before),
        };
        let mut after = ReplyRecord {
            final_at: None,
            redrive: number,
            ..undelivered
        };
        reply_writes::restart(world, &before, &mut after, now).await?;
    }
    let sent = wake(world, &before, number).await?;
    if let Some(letter) = letter {
        deadletter::remove(&world.store, letter).await?;
    }
    info!(account.id = %record.integration, event.key = %record.id, "restarted delivery of the answer to message {}", record.id);
    Ok(sent)
}

/// Makes a runner continue the delivery of the reply from where it stopped.
async fn resend(world: &World, letter: &DeadLetter, record: &MessageRecord) -> Result<MessageRecord, RedriveError> {
    ensure_can_go(world, record).await?;
    let now = world.clock.now();
    let before = free_reply(world, record).await?;
    if before.delivered {
        let mut after = ReplyRecord {
            // It is retried for as long as the first time.
            final_at: None,
            ..undelivered(&before)
        };
        // The ledger first: after a crash it shows that the redrive was started.
        message::note_resent(&world.store, &record.id, now).await?;
        reply_writes::save(world, Some(&before), &mut after, now).await?;
    }
    wake(world, &before, before.redrive).await?;
    deadletter::remove(&world.store, letter).await?;
    info!(account.id = %record.integration, event.key = %record.id, "restarted delivery of the reply to message {}", record.id);
    load(world, letter).await
}

/// The finished reply. Waits a moment if need be: the failed attempt may be about to record that it is final.
async fn free_reply(world: &World, record: &MessageRecord) -> Result<ReplyRecord, RedriveError> {
    for look in 0..MAX_LOOKS {
        let now = world.clock.now();
        let found = reply::get(&world.store, &record.reply, now).await?;
        let reply = found
            .filter(|reply| reply.stage == Stage::Final)
            .ok_or(RedriveError::Gone)?;
        let me = &world.settings.owner;
        if reply.lease.as_ref().is_none_or(|lease| lease.is_free(me, now)) {
            return Ok(reply);
        }
        crate::pause_after_race(look).await;
    }
    Err(RedriveError::InHand)
}

async fn wake(world: &World, reply: &ReplyRecord, redrives: u32) -> Result<WakeUpV1, QueueError> {
    let wake = WakeUpV1::of_reply(reply.organization.clone(), reply.conversation.clone(), reply.id.clone());
    let wake = wake.after_redrives(redrives);
    wakeups::send_watched(world, [(wake.clone(), AFTER_THE_LETTER)]).await?;
    Ok(wake)
}

async fn load(world: &World, letter: &DeadLetter) -> Result<MessageRecord, RedriveError> {
    let found = message::get(&world.store, &letter.message, world.clock.now()).await?;
    found
        .filter(|record| record.organization == letter.organization)
        .ok_or(RedriveError::Gone)
}

/// Resets the reply: with a recorded result the agent would not be called again. Once per redrive: a second
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

/// The reply of a message before and after the reset. `None` if there is none.
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
        question: None,
        notice: None,
        outcome: None,
        same_as: None,
        resume: None,
        ..afresh(world, &before).await?
    };
    Ok(Some((before, after)))
}

/// The reply with its content, as if nothing of it were shown.
async fn afresh(world: &World, before: &ReplyRecord) -> Result<ReplyRecord, RedriveError> {
    Ok(ReplyRecord {
        progress: restarted_progress(world, before).await?,
        sent_files: FilesProgress::default(),
        closed: None,
        // It may belong to another conversation from now on, which has its own fencing tokens.
        fence: 0,
        ..undelivered(before)
    })
}

/// The reply as one that a runner delivers from where it stopped.
fn undelivered(before: &ReplyRecord) -> ReplyRecord {
    ReplyRecord {
        pace: Pace::default(),
        delivered: false,
        lease: None,
        ..before.clone()
    }
}

/// Progress of the reset reply. The platform may refuse the same idempotency key twice, so the connector derives it.
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
    let event = crate::event_of(world, record)?.ok_or(RedriveError::Gone)?;
    let mut envelope = EnvelopeV1 {
        organization: record.organization.clone(),
        integration: record.integration.clone(),
        account: record.account.clone(),
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
    // A deduplication id other than the first, or the queue would drop it as a duplicate.
    let dedup = format!("{}.{}", record.id, record.redrives);
    inbound::send(&world.queues, &Envelope::V1(envelope), &group, &dedup).await?;
    Ok(())
}
