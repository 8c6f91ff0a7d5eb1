//! The end of a run: delivers the final text, closes other bubbles, ends the messages in the ledger.

use std::time::Duration;

use tieline_core::connector::{Delivery, Merged};
use tieline_core::conversation::{Conversation, RunPhase};
use tieline_core::envelope::WakeUpV1;
use tieline_core::ids::{MessageId, ReplyId};
use tieline_core::message_state::{LedgerStep, MessageState};
use tieline_core::notice::Notice;
use tieline_core::reply::Stage;
use tieline_store::StoreError;
use tieline_store::message::{self, Ending, MessageRecord};
use tieline_store::reply::{self, Outcome, ReplyRecord};
use tieline_store::transcript::{self, NewTurn};
use tokio::time::Instant;
use tracing::{error, info};

use super::request::Asked;
use super::waiting_signs::Signing;
use super::{LeasedConversation, Left, RunError, follow_up, request, update, waiting_signs};
use crate::accounts::Bot;
use crate::deliver::{self, DeliveryOutcome, Patience, ReplyDelivery};
use crate::integration_log;
use crate::metrics::Metric;
use crate::notices::{self, NoticeReply};
use crate::printable::Printable;
use crate::redrive;
use crate::refused_answers;
use crate::reply_writes;
use crate::wakeups;
use crate::world::World;

/// Delivers the final text and ends the messages.
pub(super) async fn deliver(
    world: &World,
    held: &mut LeasedConversation,
    asked: &[Asked],
    mut showing: ReplyDelivery<'_>,
    until: Option<Instant>,
    mut ledger: Vec<LedgerStep>,
    mut signing: Signing<'_>,
) -> Result<Left, RunError> {
    // With several messages the first would be ended before the last, and for a failed one a dead letter is written first.
    if asked.len() == 1 && matches!(showing.record.outcome, Some(Outcome::Completed)) && !showing.is_pulled() {
        showing.let_the_ledger_tell();
    }
    held.working.pause();
    let shown = match showing.record.delivered {
        true => Ok(DeliveryOutcome::Yes),
        false => signing.beside(Box::pin(showing.finish(until))).await,
    };
    signing.end().await;
    let mut shown = shown?;
    if shown == DeliveryOutcome::Stopped {
        let shows_something = showing.replace_by_stopped();
        showing.record.delivered = !shows_something;
        Box::pin(showing.save_patiently()).await?;
        if shows_something {
            shown = Box::pin(showing.finish(until)).await?;
        }
    }
    held.working.resume(world).await;
    let now = world.clock.now();
    match shown {
        DeliveryOutcome::Yes | DeliveryOutcome::Until(_) => ledger.push(LedgerStep::new(now, "delivered")),
        // The chat shows nothing but the confirmation of `/stop`.
        DeliveryOutcome::Stopped => {}
        DeliveryOutcome::NotBefore(at) if showing.is_pulled() => {
            ledger.push(LedgerStep::new(now, "ready"));
            if !showing.record.text.is_empty() {
                showing.note_text();
            }
            let delay = match is_closed(world, &showing.record).await? {
                true => Duration::ZERO,
                false => at.since(now),
            };
            look_after_later(world, held, &showing.record, delay).await?;
        }
        DeliveryOutcome::NotBefore(at) => {
            // The next holder must know how long the platform wants us to wait.
            showing.save().await?;
            update(world, held, leave_to_the_platform).await?;
            return Ok(Left::Parked(Some(at.since(now))));
        }
        DeliveryOutcome::Never { code } => {
            integration_log::warn(world, &held.conversation.key.integration, "delivery_refused", &code).await;
            ledger.push(LedgerStep::new(now, "delivery_refused").code(code.clone()));
            let patience = showing.patience();
            if refused_answers::may_be_delivered_later(showing.bot, &showing.record, &code) {
                // First: after the messages have ended, no process comes back to this. If this one dies before, the next one forgets it, and is
                // refused too.
                let message = showing.record.message.clone();
                update(world, held, |conversation| conversation.keep_refused_answer(&message)).await?;
            }
            end_all(world, held, asked, MessageState::Failed, Some(code), ledger, patience).await?;
            return Ok(Left::Finished);
        }
    }
    let (state, reason) = fate(&showing.record);
    end_all(world, held, asked, state, reason, ledger, showing.patience()).await?;
    Ok(Left::Finished)
}

/// Parks the run until its platform is ready. That is no failed attempt.
fn leave_to_the_platform(conversation: &mut Conversation) {
    if let Some(run) = &mut conversation.run {
        run.phase = RunPhase::Delivering;
        // Not zero, which would mean that it was never started.
        run.attempt = run.attempt.saturating_sub(1).max(1);
    }
}

fn fate(record: &ReplyRecord) -> (MessageState, Option<String>) {
    match &record.outcome {
        Some(Outcome::Completed) | None => (MessageState::Answered, None),
        Some(Outcome::Failed(failure)) => (MessageState::Failed, Some(failure.code.clone())),
        Some(Outcome::Stopped) => (MessageState::Stopped, None),
        // Refused by the mapper, which named the person later: nothing else refuses a message in its run.
        Some(Outcome::Refused) => (MessageState::Refused, Some(message::UNKNOWN_PERSON.to_owned())),
        Some(Outcome::Commanded) => (MessageState::Commanded, None),
    }
}

/// Whether a poll was told meanwhile that there is nothing more to fetch: then the rest is pushed without waiting. Read after the
/// result is recorded, so that a poll that closes later than this sees the result, and causes the push itself.
async fn is_closed(world: &World, record: &ReplyRecord) -> Result<bool, RunError> {
    let found = reply::get(&world.store, &record.id, world.clock.now()).await?;
    Ok(found.is_some_and(|found| found.closed.is_some()))
}

/// Where the platform polls for the answer, sends a later wake-up that checks whether it did.
async fn look_after_later(
    world: &World,
    held: &LeasedConversation,
    record: &ReplyRecord,
    delay: Duration,
) -> Result<(), RunError> {
    let delivery = held.bound.as_ref().and_then(|bound| {
        let record = &bound.integration;
        let mode = world.connector(&record.platform)?.manifest().mode(record.mode)?;
        Some(mode.delivery_with(&record.endpoints))
    });
    if !matches!(delivery, Some(Delivery::Pull { push_after: true, .. })) {
        return Ok(());
    }
    let wake = WakeUpV1::of_reply(record.organization.clone(), held.id(), record.id.clone());
    let wake = wake.after_redrives(record.redrive);
    wakeups::send_watched(world, [(wake, delay)]).await?;
    Ok(())
}

async fn end_all(
    world: &World,
    held: &LeasedConversation,
    asked: &[Asked],
    state: MessageState,
    reason: Option<String>,
    ledger: Vec<LedgerStep>,
    mut patience: Patience,
) -> Result<(), RunError> {
    let now = world.clock.now();
    let session = request::session_of(held);
    follow_up::forget(world, asked).await?;
    let run_messages = match state {
        MessageState::Failed => answered_together(held, asked),
        _ => &[],
    };
    for it in asked {
        let mut steps = ledger.clone();
        steps.push(LedgerStep::new(now, state.as_str()));
        let ending = Ending {
            state,
            reason: reason.clone(),
            run: Some(held.run().id.clone()),
            session: Some((session.id.clone(), session.number)),
            steps,
        };
        // Written first, so that a failed message always has a dead letter.
        if state == MessageState::Failed {
            integration_log::dead_letter(world, &it.record, reason.as_deref().unwrap_or("failed")).await?;
        }
        let may_have_letter = state != MessageState::Failed && held.run().attempt > 1;
        let took = now.since(it.record.received_at);
        // It may be the only record of what the platform accepted: a holder that doesn't know that would send it again.
        let ended = loop {
            let ending = async {
                // An earlier attempt's. Before the message ends, after which no process comes back to it.
                if may_have_letter {
                    redrive::remove_letter(world, &it.record).await?;
                }
                end(world, held, it, &ending, run_messages).await
            };
            match ending.await {
                Err(error) => patience.wait(&it.record.id, error).await?,
                Ok(ended) => break ended,
            }
        };
        if ended {
            let platform = platform(held);
            world.metrics.message(platform, state);
            if state == MessageState::Answered {
                world.metrics.time(Metric::TimeToFinal, platform, took);
            }
        } else if state == MessageState::Failed {
            redrive::remove_letter_if_ended_otherwise(world, &it.record.id).await?;
        }
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        info!(
            account.id = %it.record.integration,
            chat.id = %Printable(it.message.target.chat.id.as_str()),
            event.key = %it.record.id,
            run = %held.run().id,
            duration_ms,
            reason,
            "message is {}",
            state.as_str()
        );
    }
    Ok(())
}

/// The run's messages up to the last one that is asked, whose reply shows the answer. None if it is the only one.
fn answered_together<'a>(held: &'a LeasedConversation, asked: &[Asked]) -> &'a [MessageId] {
    // Also those that an earlier holder has ended.
    let all = &held.run().messages;
    let is_last = |id: &MessageId| asked.last().is_some_and(|last| last.record.id == *id);
    match all.iter().position(is_last) {
        Some(at) if at > 0 => &all[..=at],
        _ => &[],
    }
}

async fn end(
    world: &World,
    held: &LeasedConversation,
    it: &Asked,
    ending: &Ending,
    run_messages: &[MessageId],
) -> Result<bool, StoreError> {
    let (store, id) = (&world.store, &it.record.id);
    match is_over(it, ending, held.run().first) {
        true => message::finish_and_forget(store, id, ending).await,
        false if run_messages.is_empty() => message::finish(store, id, ending).await,
        false => message::finish_with_run(store, id, ending, run_messages).await,
    }
}

/// Whether the message's event is no longer needed: its answer is in the chat, and no link to its files exists.
fn is_over(asked: &Asked, ending: &Ending, is_first: bool) -> bool {
    let quoted = asked.message.quoted.as_ref();
    ending.state == MessageState::Answered
        && ending.steps.iter().any(|step| step.step == "delivered")
        && asked.message.parts.is_empty()
        && quoted.is_none_or(|quoted| quoted.parts.is_empty())
        // Only the platform knows whether a quoted message has files.
        && asked.message.refers_to.is_none()
        && !(is_first && asked.message.topic_root.is_some())
}

/// The platform of a run's bot, for metrics.
pub(super) fn platform(held: &LeasedConversation) -> &str {
    held.bound.as_ref().map_or("none", |bound| &bound.integration.platform)
}

/// Ends messages of a run without a notice: their bot is deleted or another one now, or every attempt to send the notice failed.
pub(super) async fn give_up(
    world: &World,
    held: &LeasedConversation,
    asked: &[Asked],
    reason: &str,
) -> Result<(), RunError> {
    error!(run = %held.run().id, reason, "run is given up");
    let step = LedgerStep::new(world.clock.now(), "failed").code(reason);
    end_all(
        world,
        held,
        asked,
        MessageState::Failed,
        Some(reason.to_owned()),
        vec![step],
        Patience::new(None),
    )
    .await
}

/// Ends a message whose stored event can't be read.
pub(super) async fn park_unreadable(world: &World, record: &MessageRecord) -> Result<(), RunError> {
    error!(account.id = %record.integration, event.key = %record.id, "stored event can't be read");
    integration_log::dead_letter(world, record, "unreadable").await?;
    let step = LedgerStep::new(world.clock.now(), "failed").code("unreadable");
    let ending = Ending {
        state: MessageState::Failed,
        reason: Some("unreadable".into()),
        run: None,
        session: None,
        steps: vec![step],
    };
    if !message::finish(&world.store, &record.id, &ending).await? {
        redrive::remove_letter_if_ended_otherwise(world, &record.id).await?;
    }
    Ok(())
}

/// Closes the bubble of a message that ended while it was pending: the process that ended it may have died before doing so.
pub(super) async fn close_ended(
    world: &World,
    held: &LeasedConversation,
    record: &MessageRecord,
) -> Result<(), RunError> {
    let notice = match record.state {
        MessageState::Stopped => Notice::Stopped,
        MessageState::Dropped => Notice::NewSession,
        _ => return Ok(()),
    };
    let Some(bot) = held.open_bot(world)? else {
        return Ok(());
    };
    // Where replies are pushed, the chat shows nothing but a sign yet.
    match deliver::is_pulled(&bot) {
        true => {
            let recorded = notices::record_for(world, record, &held.id(), NoticeReply::stopped(notice)).await;
            held.until_key_is_lost(recorded.map(Some)).map(drop)
        }
        false => waiting_signs::remove(world, &bot, record, &held.id(), notice).await,
    }
}

/// Closes what the chat shows for merged messages: their answer is shown with the last of them.
pub(super) async fn close_merged(
    world: &World,
    held: &LeasedConversation,
    bot: &Bot,
    asked: &[Asked],
) -> Result<(), RunError> {
    let Some((last, merged)) = asked.split_last() else {
        return Ok(());
    };
    for it in merged {
        match deliver::mode(bot).merged {
            Merged::Nothing if held.run().may_be_signed => {
                waiting_signs::remove(world, bot, &it.record, &held.id(), Notice::AnsweredBelow).await?;
            }
            Merged::Nothing => {}
            Merged::Note => {
                notices::record_for(
                    world,
                    &it.record,
                    &held.id(),
                    NoticeReply::stopped(Notice::AnsweredBelow),
                )
                .await?;
            }
            Merged::SameAnswer if !deliver::is_pulled(bot) => {}
            Merged::SameAnswer => show_same(world, it.blank_reply(held), &last.record.reply).await?,
        }
    }
    Ok(())
}

/// Makes a reply show the answer of another one, unless it has an outcome of its own.
async fn show_same(world: &World, blank: ReplyRecord, other: &ReplyId) -> Result<(), StoreError> {
    let pointing = |record: ReplyRecord| ReplyRecord {
        same_as: Some(other.clone()),
        stage: Stage::Growing,
        ..record
    };
    let (id, now) = (blank.id.clone(), world.clock.now());
    match reply_writes::save(world, None, &mut pointing(blank), now).await {
        Err(StoreError::Conflict) => {}
        saved => return saved,
    }
    // An earlier holder wrote it, or its message failed once and was redriven.
    let found = reply::get(&world.store, &id, now).await?;
    let Some(before) = found.filter(|it| it.outcome.is_none() && it.same_as.is_none()) else {
        return Ok(());
    };
    reply_writes::save(world, Some(&before), &mut pointing(before.clone()), now).await
}

/// Stores the transcript turn for protocols that keep none.
pub(super) async fn remember_turn(
    world: &World,
    held: &LeasedConversation,
    asked: &[Asked],
    record: &ReplyRecord,
) -> Result<(), RunError> {
    let run = held.run();
    let user = request::words_of(asked);
    let turn = NewTurn {
        user: &user,
        assistant: &record.text,
    };
    let session = request::session_of(held);
    transcript::put(&world.store, &session.id, &run.id, run.started_at, turn).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
