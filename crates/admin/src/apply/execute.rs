//! Writes a plan, whole or not at all: what was written before a write is refused is taken back.

use std::time::Duration;

use axum::http::StatusCode;
use futures_util::{StreamExt as _, stream};
use tieline_core::agent::Agent;
use tieline_core::trigger::Trigger;
use tieline_store::StoreError;
use tieline_store::config::agent::{self, AgentRecord};
use tieline_store::config::integration::{self as store_integration, IntegrationRecord, IntegrationSettings};
use tieline_store::config::organization::{self, Organization};
use tieline_store::config::trigger::{self, Rival, TriggerRecord};
use tokio::time::timeout;
use tracing::{error, warn};

use super::change::Change;
use super::current;
use super::plan::{Plan, Write};
use crate::integrations::provision::{Before, provision};
use crate::problem::{Problem, chain};
use crate::state::AdminState;
use crate::{agents, integrations, triggers};

/// Platforms that are spoken to at the same time.
const CONCURRENCY: usize = 16;
/// Longest that applying waits for all platforms. What isn't known by then shows later, or in a test.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a write is taken back.
enum Undo {
    RemoveOrganization(Organization),
    RestoreOrganization {
        after: Organization,
        before: Organization,
    },
    RemoveAgent(AgentRecord),
    RestoreAgent {
        after: AgentRecord,
        before: AgentRecord,
    },
    RemoveIntegration(IntegrationRecord),
    RestoreIntegration {
        after: IntegrationRecord,
        before: IntegrationRecord,
    },
    RemoveTrigger(TriggerRecord),
    RestoreTrigger {
        after: TriggerRecord,
        before: Trigger,
    },
    RecreateTrigger(Trigger),
    RecreateAgent(Agent),
    /// A deleted integration stays deleted: what its platform told of it is gone.
    Impossible,
}

/// Writes a plan. Returns what was changed.
///
/// Deletions of integrations come last: they can't be taken back.
pub(super) async fn execute(state: &AdminState, plan: Plan) -> Result<Vec<Change>, Problem> {
    let mut done: Vec<(Undo, Change)> = Vec::new();
    let mut connected: Vec<(IntegrationRecord, Before)> = Vec::new();
    for (step, change) in plan.steps {
        match write(state, step, &mut connected).await {
            Ok(undo) => done.push((undo, change)),
            Err(problem) => return Err(take_back(state, done, &change, problem).await),
        }
    }
    let platforms = stream::iter(&connected).for_each_concurrent(CONCURRENCY, |(record, before)| async move {
        provision(state, record, *before).await;
    });
    if timeout(PATIENCE, platforms).await.is_err() {
        warn!("platforms have not answered in time whether the applied credentials work");
    }
    Ok(done.into_iter().map(|(_, change)| change).collect())
}

async fn write(
    state: &AdminState,
    step: Write,
    connected: &mut Vec<(IntegrationRecord, Before)>,
) -> Result<Undo, Problem> {
    let (store, now) = (&state.world.store, state.now());
    Ok(match step {
        Write::CreateOrganization { id, name, limits } => {
            let made = organization::create(store, &id, &name, limits, now).await?;
            let found = organization::get(store, &id, now).await?;
            match found.filter(|_| made) {
                Some(made) => Undo::RemoveOrganization(made),
                None => return Err(StoreError::Conflict.into()),
            }
        }
        Write::UpdateOrganization { before, name, limits } => {
            let after = organization::update(store, &before, &name, limits).await?;
            Undo::RestoreOrganization { after, before }
        }
        Write::CreateAgent(new) => Undo::RemoveAgent(agent::create(store, new, now).await.map_err(agents::plain)?),
        Write::UpdateAgent { before, after } => {
            let after = agent::update(store, &before, after, now).await.map_err(agents::plain)?;
            Undo::RestoreAgent { after, before }
        }
        Write::CreateIntegration { new, settings } => {
            let owner = new.organization.clone();
            let made = store_integration::create(store, new, settings, now).await;
            let made = integrations::explain(state, &owner, made).await?;
            connected.push((made.clone(), Before::Kept));
            Undo::RemoveIntegration(made)
        }
        Write::UpdateIntegration { before, settings } => {
            let known = what_is_known(&current::settings(state, &before)?, &settings);
            let changed = store_integration::update(store, &before, settings, now).await;
            let after = integrations::explain(state, &before.organization, changed).await?;
            connected.extend(known.map(|known| (after.clone(), known)));
            Undo::RestoreIntegration { after, before }
        }
        Write::CreateTrigger(new) => {
            let owner = new.organization.clone();
            let made = trigger::create(store, new, Rival::Respect, now).await;
            Undo::RemoveTrigger(triggers::explain(state, &owner, made).await?)
        }
        Write::UpdateTrigger { before, after } => {
            let owner = &before.trigger.organization;
            let changed = trigger::update(store, &before, after, Rival::Respect, now).await;
            let after = triggers::explain(state, owner, changed).await?;
            let before = before.trigger;
            Undo::RestoreTrigger { after, before }
        }
        Write::DeleteTrigger(record) => {
            triggers::remove(state, &record).await?;
            Undo::RecreateTrigger(record.trigger)
        }
        Write::DeleteIntegration(record) => {
            integrations::remove(state, &record).await?;
            Undo::Impossible
        }
        Write::DeleteAgent(record) => {
            agents::remove(state, &record).await?;
            Undo::RecreateAgent(record.agent)
        }
    })
}

/// Whether the platform is spoken to after a change, and what holds of what is known of it. A change of names or languages is none of its.
fn what_is_known(before: &IntegrationSettings, after: &IntegrationSettings) -> Option<Before> {
    let same_account =
        (before.mode, &before.credentials, &before.endpoints) == (after.mode, &after.credentials, &after.endpoints);
    match (same_account, before.enabled) {
        (false, _) => Some(Before::Outdated),
        (true, false) => Some(Before::Kept),
        (true, true) => None,
    }
}

/// Takes back what was written, the last write first, and tells what couldn't be.
async fn take_back(state: &AdminState, done: Vec<(Undo, Change)>, refused: &Change, problem: Problem) -> Problem {
    let mut left = Vec::new();
    for (step, change) in done.into_iter().rev() {
        if let Err(problem) = undo(state, step).await {
            error!(
                error = problem.detail(),
                "write of a file that was refused can't be taken back: {}",
                change.title()
            );
            left.push(change.title());
        }
    }
    if left.is_empty() {
        let detail = format!("{}: {}; nothing was changed", refused.title(), problem.detail());
        return problem.saying(detail);
    }
    left.reverse();
    let detail = format!(
        "{}: {}; the file is applied in part: {}. Apply it again when the cause is gone",
        refused.title(),
        problem.detail(),
        left.join(", ")
    );
    Problem::new(StatusCode::CONFLICT, "applied_in_part", detail)
        .with("cause", problem.code())
        .with("applied", left)
}

async fn undo(state: &AdminState, step: Undo) -> Result<(), Problem> {
    let (store, now) = (&state.world.store, state.now());
    match step {
        Undo::RemoveOrganization(made) => Ok(organization::remove(store, &made).await?),
        Undo::RestoreOrganization { after, before } => {
            organization::update(store, &after, &before.name, before.limits).await?;
            Ok(())
        }
        Undo::RemoveAgent(made) => agent::delete(store, &made).await.map_err(agents::plain),
        Undo::RestoreAgent { after, before } => {
            let restored = agent::update(store, &after, before.agent, now).await;
            restored.map(drop).map_err(agents::plain)
        }
        Undo::RemoveIntegration(made) => store_integration::delete(store, &made)
            .await
            .map_err(|error| unexplained(&error)),
        Undo::RestoreIntegration { after, before } => {
            let restored = store_integration::restore(store, &after, &before, now).await;
            restored.map(drop).map_err(|error| unexplained(&error))
        }
        Undo::RemoveTrigger(made) => triggers::remove(state, &made).await,
        Undo::RestoreTrigger { after, before } => {
            let restored = trigger::update(store, &after, before, Rival::Respect, now).await;
            restored.map(drop).map_err(|error| unexplained(&error))
        }
        Undo::RecreateTrigger(deleted) => {
            let made = trigger::create(store, deleted, Rival::Respect, now).await;
            made.map(drop).map_err(|error| unexplained(&error))
        }
        Undo::RecreateAgent(deleted) => agent::create(store, deleted, now)
            .await
            .map(drop)
            .map_err(agents::plain),
        Undo::Impossible => Err(Problem::conflict("deleted", "what is deleted can't be taken back")),
    }
}

fn unexplained(error: &dyn std::error::Error) -> Problem {
    Problem::conflict("conflict", chain(error))
}
