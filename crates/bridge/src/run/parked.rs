//! Runs that wait for their agent's callbacks: how they are left, what their chat shows meanwhile, and for how long.

use std::time::Duration;

use tieline_agents::protocol::Protocol;
use tieline_core::conversation::RunPhase;
use tieline_core::reply::Stage;
use tieline_store::config::agent as agents;

use super::{LeasedConversation, RunError, update};
use crate::deliver::{DeliveryOutcome, ReplyDelivery, Snapshot};
use crate::world::World;

/// How long an agent may take if its settings can't be read any more.
const DEFAULT_MAX_RUN: Duration = Duration::from_secs(3600);
/// Shortest time between two tries to show what has come, where the platform doesn't take it.
const BETWEEN_TRIES: Duration = Duration::from_secs(10);

/// Leaves a run to its agent's callbacks. Gives the time after which to look again, if not before. A callback that has arrived by now
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

/// Shows what there is, if it is time. Gives the time after which to look again: until then there is something to show, or the
/// bubble that shows it runs out, as one does that shows no more than that we are at it.
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
        // A sign that fades is not worth a wake-up every few seconds.
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
