//! Runs that wait for their agent's callbacks: how they are parked, what their chat shows meanwhile, and for how long.

use std::time::Duration;

use tieline_agents::protocol::Protocol;
use tieline_core::conversation::RunPhase;
use tieline_core::reply::Stage;
use tieline_store::config::agent as agents;

use super::{LeasedConversation, RunError, update};
use crate::deliver::{DeliveryOutcome, ReplyDelivery, Snapshot};
use crate::world::World;

/// Most time for an agent whose settings can't be read any more.
const DEFAULT_MAX_RUN: Duration = Duration::from_secs(3600);
/// Shortest time between two attempts to show the draft, where the platform refuses it.
const BETWEEN_TRIES: Duration = Duration::from_secs(10);

/// Parks a run until its agent calls back. Returns the time after which to look again at the latest. A callback that arrived before this
/// woke no runner: the process that releases the lease looks for it.
pub(super) async fn park(
    world: &World,
    held: &mut LeasedConversation,
    showing: &mut ReplyDelivery<'_>,
) -> Result<Option<Duration>, RunError> {
    let until = held.run().started_at.after(max_run(world, held).await?);
    update(world, held, |it| {
        if let Some(run) = &mut it.run {
            (run.phase, run.deferred_until) = (RunPhase::Deferred, Some(until));
        }
    })
    .await?;
    show(showing).await
}

/// Shows the draft, if it is time. Returns the time after which to look again: by then there is something to show, or the
/// bubble that shows it expires, even one with nothing but the thinking sign.
pub(super) async fn show(showing: &mut ReplyDelivery<'_>) -> Result<Option<Duration>, RunError> {
    if showing.is_pulled() {
        return Ok(None);
    }
    let now = showing.world.clock.now();
    let rotates_at = showing.record.pace.rotates_at(showing.budget());
    let has_run_out = rotates_at.is_some_and(|at| at <= now);
    let stage = match showing.bot.account.streaming && !showing.record.text.is_empty() {
        true => Stage::Growing,
        false if has_run_out => Stage::Thinking,
        false => return Ok(rotates_at.map(|at| at.since(now))),
    };
    let Some(at) = showing.record.pace.next_at(showing.budget(), stage, now) else {
        return Ok(None);
    };
    if at > now {
        return Ok(Some(at.since(now)));
    }
    if has_run_out {
        showing.record.pace.rotated();
    }
    let (text, reasoning) = (showing.record.text.clone(), showing.record.reasoning.clone());
    let look = Snapshot {
        stage,
        text: &text,
        reasoning: &reasoning,
        notice: None,
        files: &[],
        buttons: &[],
    };
    let shown = showing.show(look).await?;
    showing.save_growth().await?;
    let again = match shown {
        DeliveryOutcome::NotBefore(at) => Some(at.max(now.after(BETWEEN_TRIES))),
        // A fading sign is not worth a wake-up every few seconds.
        DeliveryOutcome::Yes | DeliveryOutcome::Until(_) | DeliveryOutcome::Stopped | DeliveryOutcome::Never { .. } => {
            showing.record.pace.rotates_at(showing.budget())
        }
    };
    Ok(again.map(|at| at.since(showing.world.clock.now())))
}

/// How long the agent of a run may take.
pub(super) async fn max_run(world: &World, held: &LeasedConversation) -> Result<Duration, RunError> {
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
