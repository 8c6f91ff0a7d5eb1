//! Runs whose agent calls back: each wake-up applies the callbacks received since, and a watchdog checks the run every 15 minutes.

use std::time::Duration;

use tieline_agents::failure::is_timeout;
use tieline_agents::webhook::events;
use tieline_core::agent::{AgentEvent, AgentFailure, Draft, Resume};
use tieline_core::conversation::RunPhase;
use tieline_core::message_state::LedgerStep;
use tieline_core::notice::Notice;
use tieline_core::reply::Stage;
use tieline_store::reply::{self, Outcome, ReplyRecord};
use tieline_store::run;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::agent_refs::{AgentRefs, record_refs};
use super::callback_cursor::applied;
use super::execute::RunContext;
use super::lease_heartbeat::LeaseHeartbeat;
use super::outgoing_guard::OutgoingGuard;
use super::parked::{max_run, show};
use super::request::Asked;
use super::waiting_signs::Signing;
use super::{
    LAST_ATTEMPT, LeasedConversation, Left, MAX_ATTEMPTS, RunError, agent_stream, execute, finish, follow_up,
    incoming_guard, speakers, update,
};
use crate::deliver::ReplyDelivery;
use crate::media;
use crate::world::World;

/// How long an agent that has asked the person a question may take to complete the run.
const AFTER_QUESTION: Duration = Duration::from_secs(2);

/// Outcome of applying callbacks.
enum Applied {
    /// The run has ended.
    Ended(Outcome, Option<Notice>),
    /// It was stopped.
    Stopped,
    /// It continues, and should be checked again after this time at the latest.
    GoesOn(Option<Duration>),
}

/// Applies the callbacks received since the last wake-up.
pub(super) async fn resume(
    world: &World,
    held: &mut LeasedConversation,
    until: Option<Instant>,
) -> Result<Left, RunError> {
    held.working.pause();
    // Before any read, which may take longer than the lease.
    let keeper = LeaseHeartbeat::start(world, held);
    let mut asked = execute::load(world, held).await?;
    if asked.is_empty() {
        return Ok(Left::Finished);
    }
    if held.run().attempt > LAST_ATTEMPT {
        finish::give_up(world, held, &asked, "crashed").await?;
        return Ok(Left::Finished);
    }
    let Some(bot) = held.open_bot(world)? else {
        finish::give_up(world, held, &asked, "integration_gone").await?;
        return Ok(Left::Finished);
    };
    speakers::name_all(world, held, &bot, asked.iter_mut().map(Asked::unnamed)).await?;
    follow_up::find(world, held, &mut asked).await?;
    let Some(last) = asked.last() else {
        return Ok(Left::Finished);
    };
    let found = reply::get(&world.store, &last.record.reply, world.clock.now()).await?;
    let mut showing = ReplyDelivery::new(world, &bot, &last.message.target, found, || last.blank_reply(held))
        .under_lease(keeper.hold().clone(), held.fence)
        .in_process_until(until);
    let mut ledger = Vec::new();
    let mut cancelling = None;
    let is_recorded = showing.record.outcome.is_some();
    if !is_recorded {
        let (outcome, notice) = match apply_callbacks(world, held, &mut showing).await? {
            Applied::Ended(outcome, notice) => {
                let notice = incoming_guard::notice(held, &asked, &outcome, notice).await;
                if matches!(&outcome, Outcome::Failed(failure) if is_timeout(failure)) {
                    cancelling = Some(execute::cancel_request(held, &bot, last, None));
                }
                (outcome, notice)
            }
            Applied::Stopped => {
                cancelling = Some(execute::cancel_request(held, &bot, last, None));
                (Outcome::Stopped, Some(Notice::Stopped))
            }
            Applied::GoesOn(again) => return Ok(Left::Parked(again)),
        };
        let mut step = LedgerStep::new(world.clock.now(), "result");
        if let Outcome::Failed(failure) = &outcome {
            execute::log_failure(world, held, failure).await;
            step = step.code(failure.code.clone()).detail(&failure.message);
        }
        ledger.push(step);
        showing.conclude(outcome, notice);
        execute::record_final(&mut showing).await?;
    }
    run::close_run(&world.store, &held.run().id).await?;
    if is_recorded {
        // The process that recorded the end died before delivering it: there is nothing to apply any more.
        update(world, held, |it| execute::set_phase(it, RunPhase::Delivering)).await?;
    }
    let context = RunContext {
        world,
        bot: &bot,
        asked: &asked,
        until,
        memory: crate::agents::answer_memory(world, &held.conversation.key.organization),
    };
    context.end(held, showing, ledger, cancelling, Signing::none()).await
}

/// Applies the new events to the reply.
async fn apply_callbacks(
    world: &World,
    held: &mut LeasedConversation,
    showing: &mut ReplyDelivery<'_>,
) -> Result<Applied, RunError> {
    let guard = OutgoingGuard::of(held);
    if held.run().attempt > MAX_ATTEMPTS {
        // Applying or showing one of them ends each process, and would do so again.
        return Ok(match held.run().stop {
            Some(_) => stopped(&guard, showing).await,
            None => cut_off(&guard, showing, "crashed", "every process that worked on it ended").await,
        });
    }
    let mut draft = draft_of(&showing.record);
    let mut seq = applied(&showing.record);
    let mut terminal = None;
    let (mut waits_for_person, mut has_waited) = (false, false);
    let mut is_overdue = false;
    while terminal.is_none() {
        let before = seq;
        for (number, json) in run::events_after(&world.store, &held.run().id, seq).await? {
            seq = number;
            match events::read(&json) {
                Ok(Some(event)) => {
                    let event = media::keep(world, &held.conversation.key.organization, event).await?;
                    match guard.mask_long(&draft.held_back, &event) {
                        Some(masking) => masking.await.apply_to(&mut draft),
                        None => guard.apply(&mut draft, &event),
                    };
                    if let Some(refs) = refs_of(&event) {
                        record_refs(world, held, &refs).await?;
                    }
                    waits_for_person = match event {
                        AgentEvent::InputRequired { .. } => true,
                        AgentEvent::Progress { .. } | AgentEvent::Cursor(_) => waits_for_person,
                        _ => false,
                    };
                    terminal = event.is_terminal().then_some(event);
                }
                Ok(None) => {}
                Err(error) => warn!(run = %held.run().id, error = %error, "stored callback can't be read"),
            }
            if terminal.is_some() {
                break;
            }
        }
        if seq == before {
            if !is_overdue && world.clock.now().since(held.run().started_at) > max_run(world, held).await? {
                is_overdue = true;
                // Then whatever was accepted before is read: one of it may be the last event.
                run::close_run(&world.store, &held.run().id).await?;
                continue;
            }
            if !waits_for_person || has_waited {
                break;
            }
            // The agent may send its last event after the question; a run that has ended would reject it.
            has_waited = true;
            sleep(AFTER_QUESTION).await;
            continue;
        }
        keep(held, showing, &draft, seq);
        // The last event and the resulting end of the run are one write.
        if terminal.is_none() && !waits_for_person {
            showing.record.stage = Stage::Growing;
            showing.save().await?;
        }
    }
    if let Some(AgentEvent::Failed(failure)) = terminal {
        terminal = Some(AgentEvent::Failed(guard.failure(failure)));
    }
    // A question to the person ends the agent's turn: the answer to it is the next message, which would wait behind this run.
    if terminal.is_none() && waits_for_person {
        terminal = Some(AgentEvent::Completed { final_text: None });
    }
    if let Some(event) = terminal {
        let has_text = !draft.text.trim().is_empty();
        guard.log(world, held, &held.run().agent, &draft.held_back).await;
        let (outcome, notice) = ending(event, has_text, draft.is_blank());
        return Ok(Applied::Ended(outcome, notice));
    }
    if held.run().stop.is_some() {
        return Ok(stopped(&guard, showing).await);
    }
    if is_overdue {
        return Ok(cut_off(&guard, showing, "max_run", "no last event in time").await);
    }
    show(showing).await.map(Applied::GoesOn)
}

/// Ends a run that was stopped before its last event.
async fn stopped(guard: &OutgoingGuard, showing: &mut ReplyDelivery<'_>) -> Applied {
    guard.finish_reply(&mut showing.record).await;
    Applied::Stopped
}

/// Ends a run as failed before its last event.
async fn cut_off(guard: &OutgoingGuard, showing: &mut ReplyDelivery<'_>, code: &str, message: &str) -> Applied {
    let failure = AgentFailure {
        code: code.into(),
        message: message.into(),
        retryable: false,
    };
    let has_text = !showing.record.text.trim().is_empty();
    guard.finish_reply(&mut showing.record).await;
    let notice = agent_stream::apology(&failure, has_text);
    Applied::Ended(Outcome::Failed(failure), Some(notice))
}

/// The agent's ids in a start event.
fn refs_of(event: &AgentEvent) -> Option<AgentRefs> {
    let AgentEvent::Started {
        run_ref,
        conversation_ref,
    } = event
    else {
        return None;
    };
    Some(AgentRefs {
        run_ref: Some(run_ref.clone()),
        cursor: None,
        conversation_ref: conversation_ref.clone(),
    })
}

fn draft_of(record: &ReplyRecord) -> Draft {
    Draft {
        text: record.text.clone(),
        reasoning: record.reasoning.clone(),
        files: record.files.clone(),
        card: record.card.clone(),
        question: record.question.clone(),
        held_back: record.held_back.clone(),
        ..Draft::default()
    }
}

/// Text and cursor are stored in one record, so that they can't disagree.
fn keep(held: &LeasedConversation, showing: &mut ReplyDelivery<'_>, draft: &Draft, seq: u64) {
    showing.record.text.clone_from(&draft.text);
    showing.record.reasoning.clone_from(&draft.reasoning);
    showing.record.files.clone_from(&draft.files);
    showing.record.card.clone_from(&draft.card);
    showing.record.question.clone_from(&draft.question);
    showing.record.held_back.clone_from(&draft.held_back);
    showing.record.resume = Some(Resume {
        run_ref: held.run().id.to_string(),
        cursor: Some(seq.to_string()),
    });
}

fn ending(event: AgentEvent, has_text: bool, is_blank: bool) -> (Outcome, Option<Notice>) {
    match event {
        AgentEvent::Failed(failure) => {
            let notice = agent_stream::apology(&failure, has_text);
            (Outcome::Failed(failure), Some(notice))
        }
        AgentEvent::Cancelled => (Outcome::Stopped, Some(Notice::Stopped)),
        _ => (Outcome::Completed, is_blank.then_some(Notice::EmptyAnswer)),
    }
}
