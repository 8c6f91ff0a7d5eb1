//! Executes a plan, all or nothing: if one write is rejected, the writes before it are rolled back.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::StatusCode;
use futures_util::{StreamExt as _, stream};
use tieline_bridge::error_chain::chain;
use tieline_core::ids::{AgentId, IntegrationId, OrganizationId, TriggerId};
use tieline_core::notice::Language;
use tieline_core::trigger::Trigger;
use tieline_store::StoreError;
use tieline_store::config::agent::{self, AgentRecord};
use tieline_store::config::integration::{self as store_integration, IntegrationRecord, IntegrationSettings};
use tieline_store::config::notify::{self as store_notify, NotifyChannel, NotifySettings};
use tieline_store::config::organization::{self, Limits, Mapper, Organization};
use tieline_store::config::trigger::{self, Rival, TriggerRecord};
use tokio::time::timeout;
use tracing::{error, warn};

use super::change::Change;
use super::plan::{Plan, Write};
use crate::auth::Scope;
use crate::integrations::provision::{Before, provision};
use crate::problem::Problem;
use crate::state::AdminState;
use crate::{agents, integrations, mapper, notify, organizations, triggers};

/// Platforms called concurrently.
const CONCURRENCY: usize = 16;
/// Timeout for provisioning all platforms. Results that arrive later show in the status, or in a test.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a write is undone. A created resource is removed without keeping a copy to restore; a deleted resource is restored.
enum Undo {
    RemoveOrganization(Organization),
    RevertOrganization {
        after: Organization,
        before: Organization,
    },
    RevertMapper {
        after: Box<Organization>,
        before: Option<Mapper>,
    },
    RemoveAgent(AgentRecord),
    RevertAgent {
        after: AgentRecord,
        before: AgentRecord,
    },
    RestoreAgent(AgentId),
    RemoveIntegration(IntegrationRecord),
    RevertIntegration {
        after: IntegrationRecord,
        before: IntegrationRecord,
    },
    RestoreIntegration(IntegrationId),
    RemoveTrigger(TriggerRecord),
    RevertTrigger {
        after: TriggerRecord,
        before: Trigger,
    },
    RestoreTrigger(TriggerId),
    RevertNotify {
        after: NotifySettings,
        before: Option<NotifySettings>,
    },
}

/// The integrations that a plan has written.
#[derive(Default)]
struct Integrations {
    /// Those whose platform is called after the last write.
    connected: Vec<(IntegrationRecord, Before)>,
    /// Each as last changed: a plan may change one twice, and each write is on condition that it is as the one before has left it.
    newest: BTreeMap<IntegrationId, IntegrationRecord>,
}

/// Executes a plan, each write with its audit entry. Returns the changes made.
pub(super) async fn execute(state: &AdminState, scope: &Scope, plan: Plan) -> Result<Vec<Change>, Problem> {
    let mut done: Vec<(Undo, Change)> = Vec::new();
    let mut integrations = Integrations::default();
    for (step, change) in plan.steps {
        match write(state, scope, step, &mut integrations).await {
            Ok(undo) => done.push((undo, change)),
            Err(problem) => return Err(take_back(state, scope, done, &change, problem).await),
        }
    }
    let platforms =
        stream::iter(&integrations.connected).for_each_concurrent(CONCURRENCY, |(record, before)| async move {
            provision(state, record, *before).await;
        });
    if timeout(PATIENCE, platforms).await.is_err() {
        warn!("timeout while asking platforms whether the applied credentials work");
    }
    let changes = done.into_iter().map(|(_, change)| change);
    Ok(changes.filter(Change::is_shown).collect())
}

async fn write(state: &AdminState, scope: &Scope, step: Write, written: &mut Integrations) -> Result<Undo, Problem> {
    let now = state.now();
    Ok(match step {
        Write::CreateOrganization { id, name, limits } => {
            create_organization(state, scope, (&id, &name, limits)).await?
        }
        Write::UpdateOrganization { before, name, limits } => {
            let store = scope.audited(state, organizations::updated(&before, &name, limits));
            let after = organization::update(&store, &before, &name, limits).await?;
            Undo::RevertOrganization { after, before }
        }
        Write::SetMapper { version, after } => {
            let found = organization::get(&state.world.store, &scope.organization, now).await?;
            let before = found.filter(|found| found.mapper_version == version);
            let before = before.ok_or(StoreError::Conflict)?;
            let store = scope.audited(state, mapper::changed(&before, after.as_ref()));
            let after = organization::set_mapper(&store, &before, after).await?;
            Undo::RevertMapper {
                after: Box::new(after),
                before: before.mapper,
            }
        }
        Write::CreateAgent(new) => {
            let store = scope.audited(state, agents::created(&new));
            Undo::RemoveAgent(agent::create(&store, new, now).await.map_err(agents::plain)?)
        }
        Write::UpdateAgent { before, after } => {
            let store = scope.audited(state, agents::updated(&before.agent, &after));
            let changed = agent::update(&store, &before, after, now).await;
            let after = changed.map_err(agents::plain)?;
            Undo::RevertAgent { after, before }
        }
        Write::CreateIntegration { new, settings } => {
            let store = scope.audited(state, integrations::created(state, &new, &settings));
            let made = store_integration::create(&store, new, settings, now).await;
            let made = integrations::explain(state, &scope.organization, made).await?;
            written.connected.push((made.clone(), Before::Kept));
            Undo::RemoveIntegration(made)
        }
        Write::UpdateIntegration { before, settings } => {
            let before = written.newest.remove(&before.id).unwrap_or(before);
            let known = what_is_known(&before.settings(state.world.store.keyring())?, &settings);
            let store = scope.audited(state, integrations::updated(state, &before, &settings)?);
            let changed = store_integration::update(&store, &before, settings, now).await;
            let after = integrations::explain(state, &scope.organization, changed).await?;
            written.connected.extend(known.map(|known| (after.clone(), known)));
            written.newest.insert(after.id.clone(), after.clone());
            Undo::RevertIntegration { after, before }
        }
        Write::CreateTrigger(new) => {
            let store = scope.audited(state, triggers::created(&new));
            let made = trigger::create(&store, new.clone(), Rival::Respect, now).await;
            Undo::RemoveTrigger(triggers::explain(state, &new, made).await?)
        }
        Write::UpdateTrigger { before, after } => {
            let store = scope.audited(state, triggers::updated(&before.trigger, &after));
            let changed = trigger::update(&store, &before, Trigger::clone(&after), Rival::Respect, now).await;
            let after = triggers::explain(state, &after, changed).await?;
            let before = before.trigger;
            Undo::RevertTrigger { after, before }
        }
        Write::SaveNotify {
            before,
            channel,
            language,
        } => save_notify(state, scope, before, (channel, language)).await?,
        Write::DeleteTrigger(record) => {
            triggers::remove(state, scope, &record).await?;
            Undo::RestoreTrigger(record.trigger.id)
        }
        Write::DeleteIntegration(record) => {
            integrations::remove(state, scope, &record).await?;
            Undo::RestoreIntegration(record.id)
        }
        Write::DeleteAgent(record) => {
            agents::remove(state, scope, &record).await?;
            Undo::RestoreAgent(record.agent.id)
        }
    })
}

async fn save_notify(
    state: &AdminState,
    scope: &Scope,
    before: Option<NotifySettings>,
    (channel, language): (NotifyChannel, Language),
) -> Result<Undo, Problem> {
    let store = scope.audited(state, notify::updated(scope, before.as_ref(), (&channel, language)));
    let version = before.as_ref().map(|before| before.version);
    let after = store_notify::save(&store, version, &scope.organization, channel, language).await?;
    Ok(Undo::RevertNotify { after, before })
}

async fn create_organization(
    state: &AdminState,
    scope: &Scope,
    (id, name, limits): (&OrganizationId, &str, Limits),
) -> Result<Undo, Problem> {
    let (store, now) = (
        scope.audited(state, organizations::created(id, name, limits)),
        state.now(),
    );
    let made = organization::create(&store, id, name, limits, now).await?;
    let found = organization::get(&state.world.store, id, now).await?;
    match found.filter(|_| made) {
        Some(made) => Ok(Undo::RemoveOrganization(made)),
        None => Err(StoreError::Conflict.into()),
    }
}

/// Whether the platform must be called after a change, and whether cached knowledge about it is still valid. `None`: the change doesn't
/// concern the platform, as with names or languages.
fn what_is_known(before: &IntegrationSettings, after: &IntegrationSettings) -> Option<Before> {
    let same_account =
        (before.mode, &before.credentials, &before.endpoints) == (after.mode, &after.credentials, &after.endpoints);
    match (same_account, before.enabled) {
        (false, _) => Some(Before::Outdated),
        (true, false) => Some(Before::Kept),
        (true, true) => None,
    }
}

/// Rolls back the writes, last one first, and reports which of them couldn't be undone.
async fn take_back(
    state: &AdminState,
    scope: &Scope,
    done: Vec<(Undo, Change)>,
    refused: &Change,
    problem: Problem,
) -> Problem {
    let (mut left, mut newest) = (Vec::new(), BTreeMap::new());
    for (step, change) in done.into_iter().rev() {
        if let Err(problem) = undo(state, scope, step, &mut newest).await {
            error!(
                error = problem.detail(),
                "write of a rejected file can't be rolled back: {}",
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

async fn undo(
    state: &AdminState,
    scope: &Scope,
    step: Undo,
    // As in [`Integrations`].
    newest: &mut BTreeMap<IntegrationId, IntegrationRecord>,
) -> Result<(), Problem> {
    let now = state.now();
    match step {
        Undo::RemoveOrganization(made) => {
            let store = scope.audited(state, organizations::deleted(&made));
            Ok(organization::remove(&store, &made).await?)
        }
        Undo::RevertOrganization { after, before } => {
            let store = scope.audited(state, organizations::updated(&after, &before.name, before.limits));
            organization::update(&store, &after, &before.name, before.limits).await?;
            Ok(())
        }
        Undo::RevertMapper { after, before } => {
            let store = scope.audited(state, mapper::changed(&after, before.as_ref()));
            organization::set_mapper(&store, &after, before).await?;
            Ok(())
        }
        Undo::RemoveAgent(made) => {
            let store = scope.audited(state, agents::deleted(&made.agent));
            agent::remove(&store, &made).await.map_err(agents::plain)
        }
        Undo::RevertAgent { after, before } => {
            let store = scope.audited(state, agents::updated(&after.agent, &before.agent));
            let reverted = agent::update(&store, &after, before.agent, now).await;
            reverted.map(drop).map_err(agents::plain)
        }
        Undo::RemoveIntegration(made) => {
            let store = scope.audited(state, integrations::deleted(state, &made)?);
            let removed = store_integration::remove(&store, &made).await;
            removed.map_err(|error| unexplained(&error))
        }
        Undo::RevertIntegration { after, before } => {
            let after = newest.remove(&after.id).unwrap_or(after);
            let settings = before.settings(state.world.store.keyring())?;
            let store = scope.audited(state, integrations::updated(state, &after, &settings)?);
            let reverted = store_integration::revert(&store, &after, &before, now).await;
            let reverted = reverted.map_err(|error| unexplained(&error))?;
            newest.insert(reverted.id.clone(), reverted);
            Ok(())
        }
        Undo::RemoveTrigger(made) => {
            let store = scope.audited(state, triggers::deleted(&made.trigger));
            let removed = trigger::remove(&store, &made).await;
            removed.map_err(|error| unexplained(&error))
        }
        Undo::RevertTrigger { after, before } => {
            let store = scope.audited(state, triggers::updated(&after.trigger, &before));
            let reverted = trigger::update(&store, &after, before, Rival::Respect, now).await;
            reverted.map(drop).map_err(|error| unexplained(&error))
        }
        Undo::RevertNotify {
            after,
            before: Some(before),
        } => {
            let wanted = (&before.channel, before.language);
            let store = scope.audited(state, notify::updated(scope, Some(&after), wanted));
            let version = Some(after.version);
            store_notify::save(&store, version, &scope.organization, before.channel, before.language).await?;
            Ok(())
        }
        Undo::RevertNotify { after, before: None } => {
            let store = scope.audited(state, notify::deleted(scope, &after));
            Ok(store_notify::remove(&store, &after).await?)
        }
        Undo::RestoreTrigger(id) => restore_trigger(state, scope, &id).await,
        Undo::RestoreIntegration(id) => restore_integration(state, scope, &id).await,
        Undo::RestoreAgent(id) => restore_agent(state, scope, &id).await,
    }
}

async fn restore_trigger(state: &AdminState, scope: &Scope, id: &TriggerId) -> Result<(), Problem> {
    let now = state.now();
    let found = trigger::get_deleted(&state.world.store, &scope.organization, id, now).await?;
    let found = found.ok_or(StoreError::Conflict)?;
    let store = scope.audited(state, triggers::restored(&found.record.trigger));
    let restored = trigger::restore(&store, &found, Rival::Respect, now).await;
    restored.map(drop).map_err(|error| unexplained(&error))
}

async fn restore_integration(state: &AdminState, scope: &Scope, id: &IntegrationId) -> Result<(), Problem> {
    let now = state.now();
    let found = store_integration::get_deleted(&state.world.store, &scope.organization, id, now).await?;
    let found = found.ok_or(StoreError::Conflict)?;
    let store = scope.audited(state, integrations::restored(state, &found.record)?);
    let restored = store_integration::restore(&store, &found, now).await;
    restored.map(drop).map_err(|error| unexplained(&error))
}

async fn restore_agent(state: &AdminState, scope: &Scope, id: &AgentId) -> Result<(), Problem> {
    let now = state.now();
    let found = agent::get_deleted(&state.world.store, &scope.organization, id, now).await?;
    let found = found.ok_or(StoreError::Conflict)?;
    let store = scope.audited(state, agents::restored(&found.record.agent));
    let restored = agent::restore(&store, &found, now).await;
    restored.map(drop).map_err(agents::plain)
}

fn unexplained(error: &dyn std::error::Error) -> Problem {
    Problem::conflict("conflict", chain(error))
}
