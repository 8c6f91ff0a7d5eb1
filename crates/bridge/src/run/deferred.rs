//! Runs whose agent calls back: each wake-up takes in what has arrived, and the watchdog keeps the time.

use std::time::Duration;

use tieline_agents::protocol::{CancelRequest, Protocol};
use tieline_agents::webhook::events;
use tieline_core::agent::{AgentEvent, AgentFailure, Draft, Resume};
use tieline_core::fate::LedgerStep;
use tieline_core::notice::Notice;
use tieline_core::reply::Stage;
use tieline_store::config::agent as agents;
use tieline_store::config::user;
use tieline_store::reply::{self, Outcome, ReplyRecord};
use tieline_store::run;
use tracing::{info, warn};

use super::request::Asked;
use super::{Held, Left, RunError, ask, finish, talk};
use crate::accounts::Bot;
use crate::deliver::{DeliverError, Look, Showing};
use crate::media;
use crate::world::World;

/// How long an agent may take if its settings can't be read any more.
const DEFAULT_MAX_RUN: Duration = Duration::from_secs(3600);

/// Takes in what has arrived since the last wake-up.
pub(super) async fn go_on(world: &World, held: &mut Held) -> Result<Left, RunError> {
    let asked = ask::load(world, held).await?;
    let Some(last) = asked.last() else {
        return Ok(Left::Finished);
    };
    let Some(bot) = ask::open_bot(world, held) else {
        finish::give_up(world, held, &asked, "integration_gone").await?;
        return Ok(Left::Finished);
    };
    let found = reply::get(&world.store, &last.record.reply, world.clock.now()).await?;
    let mut showing = Showing::new(world, &bot, &last.message.target, found, || ask::blank(held, last));
    let mut ledger = Vec::new();
    if showing.record.outcome.is_none() {
        let Some((outcome, notice)) = take_in(world, held, &asked, &bot, &mut showing).await? else {
            return Ok(Left::Parked(None));
        };
        ledger.push(LedgerStep::new(world.clock.now(), "result"));
        showing.record.stage = Stage::Final;
        showing.record.outcome = Some(outcome);
        showing.record.notice = notice;
        showing.record.resume = None;
        showing.save().await.map_err(lost)?;
    }
    run::close_run(&world.store, &held.run().id).await?;
    finish::deliver(world, held, &asked, showing, None, ledger).await
}

/// Folds the new events into the reply. `Some` if the run has ended.
async fn take_in(
    world: &World,
    held: &Held,
    asked: &[Asked],
    bot: &Bot,
    showing: &mut Showing<'_>,
) -> Result<Option<(Outcome, Option<Notice>)>, RunError> {
    let applied = applied(&showing.record);
    let mut draft = draft_of(&showing.record);
    let mut seq = applied;
    let mut terminal = None;
    for (number, json) in run::events_after(&world.store, &held.run().id, applied).await? {
        // A gap waits for what is missing.
        if number != seq + 1 {
            break;
        }
        seq = number;
        match events::read(&json) {
            Ok(Some(event)) => {
                let event = media::keep(world, event).await?;
                draft.apply(&event);
                terminal = event.is_terminal().then_some(event);
            }
            Ok(None) => {}
            Err(error) => warn!(run = %held.run().id, error = %error, "stored callback can't be read"),
        }
        if terminal.is_some() {
            break;
        }
    }
    let has_text = !draft.text.is_empty();
    keep(held, showing, draft, seq);
    if let Some(event) = terminal {
        return Ok(Some(ending(event, has_text, !showing.record.files.is_empty())));
    }
    if held.run().stop.is_some() {
        cancel(world, held, asked, bot).await;
        return Ok(Some((Outcome::Stopped, Some(Notice::Stopped))));
    }
    if world.clock.now().since(held.run().started_at) > max_run(world, held).await? {
        let failure = AgentFailure {
            code: "max_run".into(),
            message: "no last event in time".into(),
            retryable: false,
        };
        let notice = talk::apology(&failure, has_text);
        return Ok(Some((Outcome::Failed(failure), Some(notice))));
    }
    if seq > applied {
        show(showing).await?;
    }
    Ok(None)
}

fn applied(record: &ReplyRecord) -> u64 {
    let cursor = record.resume.as_ref().and_then(|resume| resume.cursor.as_deref());
    cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(0)
}

fn draft_of(record: &ReplyRecord) -> Draft {
    Draft {
        text: record.text.clone(),
        reasoning: record.reasoning.clone(),
        files: record.files.clone(),
        ..Draft::default()
    }
}

/// Text and cursor go into one record, so that they can't disagree.
fn keep(held: &Held, showing: &mut Showing<'_>, draft: Draft, seq: u64) {
    showing.record.text = draft.text;
    showing.record.reasoning = draft.reasoning;
    showing.record.files = draft.files;
    showing.record.resume = Some(Resume {
        run_ref: held.run().id.to_string(),
        cursor: Some(seq.to_string()),
    });
}

async fn show(showing: &mut Showing<'_>) -> Result<(), RunError> {
    showing.record.stage = Stage::Growing;
    showing.save().await.map_err(lost)?;
    let now = showing.world.clock.now();
    let due = showing
        .record
        .pace
        .next_at(showing.budget(), Stage::Growing, now)
        .is_some_and(|at| at <= now);
    if showing.is_pulled() || !due || !showing.bot.account.streaming {
        return Ok(());
    }
    let (text, reasoning) = (showing.record.text.clone(), showing.record.reasoning.clone());
    let look = Look {
        stage: Stage::Growing,
        text: &text,
        reasoning: &reasoning,
        notice: None,
        files: &[],
    };
    showing.show(look).await.map_err(lost)?;
    Ok(())
}

fn ending(event: AgentEvent, has_text: bool, has_files: bool) -> (Outcome, Option<Notice>) {
    match event {
        AgentEvent::Failed(failure) => {
            let notice = talk::apology(&failure, has_text);
            (Outcome::Failed(failure), Some(notice))
        }
        AgentEvent::Cancelled => (Outcome::Stopped, Some(Notice::Stopped)),
        _ => (
            Outcome::Completed,
            (!has_text && !has_files).then_some(Notice::EmptyAnswer),
        ),
    }
}

async fn max_run(world: &World, held: &Held) -> Result<Duration, RunError> {
    let found = agents::look_up(
        &world.store,
        &held.conversation.key.organization,
        &held.run().agent,
        world.clock.now(),
    )
    .await?;
    let adapter = found.and_then(|it| Protocol::parse(&it.agent.protocol, &it.agent.config).ok());
    Ok(adapter.map_or(DEFAULT_MAX_RUN, |adapter| adapter.max_run()))
}

async fn cancel(world: &World, held: &Held, asked: &[Asked], bot: &Bot) {
    let organization = &held.conversation.key.organization;
    let Ok(Some(found)) = agents::look_up(&world.store, organization, &held.run().agent, world.clock.now()).await
    else {
        return;
    };
    let Ok(adapter) = Protocol::parse(&found.agent.protocol, &found.agent.config) else {
        return;
    };
    let Some(last) = asked.last() else { return };
    let cancel = CancelRequest {
        run: held.run().id.clone(),
        run_ref: held.run().run_ref.clone(),
        conversation_ref: None,
        organization: organization.clone(),
        user: user::id_of(&bot.account.integration, &last.message.sender.id),
    };
    match adapter.cancel(&cancel, &crate::agents::agent_world(world)).await {
        Ok(()) => info!(run = %cancel.run, "agent was told to stop"),
        Err(failure) => warn!(run = %cancel.run, error = %failure.code, "agent could not be told to stop"),
    }
}

fn lost(DeliverError::Store(error): DeliverError) -> RunError {
    error.into()
}
