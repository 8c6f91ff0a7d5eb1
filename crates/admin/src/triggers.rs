//! Handlers of triggers: which agent answers for which bot, and how.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use tieline_core::ids::{AgentId, OrganizationId, TriggerId};
use tieline_core::trigger::Trigger;
use tieline_store::StoreError;
use tieline_store::config::agent;
use tieline_store::config::trigger::{self as store_trigger, Rival, TriggerError, TriggerRecord};
use utoipa::IntoParams;

use self::body::{NewTrigger, TriggerPatch, TriggerView};
use crate::audit::Change;
use crate::auth::Scope;
use crate::body::{Body, Query};
use crate::etag::{self, IfMatch, Tagged};
use crate::fresh::Fresh;
use crate::integrations::impact;
use crate::page::{self, KeptQuery, List};
use crate::path::Id;
use crate::problem::Problem;
use crate::retry::until_settled;
use crate::state::AdminState;

mod body;
pub(crate) mod platform_fit;
pub(crate) mod question_limits;
mod redaction;
mod routes;

/// Whether an integration is taken over from the trigger that binds it now.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TakeoverQuery {
    /// Whether another enabled trigger of the same integration is disabled. Otherwise it causes a conflict.
    #[serde(default)]
    takeover: bool,
}

impl TakeoverQuery {
    fn rival(self) -> Rival {
        if self.takeover { Rival::Displace } else { Rival::Respect }
    }
}

/// Lists the triggers of an organization, oldest first, or with `deleted=true` the deleted ones.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/triggers", tag = "triggers", params(KeptQuery),
    responses((status = 200, body = List<TriggerView>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    scope: Scope,
    Query(query): Query<KeptQuery>,
) -> Result<Json<List<TriggerView>>, Problem> {
    let limit = page::limit(query.limit)?;
    let cursor = page::cursor(query.cursor.as_deref());
    if query.deleted {
        let (store, now) = (&state.world.store, state.now());
        let page = store_trigger::list_deleted(store, &scope.organization, (cursor, limit), now).await?;
        return Ok(Json(List::of(page, |deleted| {
            TriggerView::of(deleted.record).deleted(deleted.at)
        })));
    }
    let page = store_trigger::list(&state.world.store, &scope.organization, cursor, limit).await?;
    Ok(Json(List::of(page, TriggerView::of)))
}

/// Creates a trigger. An integration has at most one enabled trigger.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/triggers", tag = "triggers", params(TakeoverQuery),
    request_body = NewTrigger, responses((status = 201, body = TriggerView),
        (status = 404, body = Problem, description = "`integration_not_found`, `agent_not_found`"),
        (status = 409, body = Problem, description = "`integration_already_bound`, with `boundTo` and `impact`; `agent_not_allowed`")))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    scope: Scope,
    Query(query): Query<TakeoverQuery>,
    fresh: Fresh,
    Body(new): Body<NewTrigger>,
) -> Result<Tagged<TriggerView>, Problem> {
    let trigger = read_new(fresh.trigger(), scope.organization.clone(), new)?;
    platform_fit::check(&state, &trigger).await?;
    let made = until_settled(|| async {
        if fresh.is_repeat()
            && let Some(made) = store_trigger::get(&state.world.store, &scope.organization, &trigger.id).await?
        {
            return Ok(made);
        }
        let store = scope.audited(&state, created(&trigger));
        let made = store_trigger::create(&store, trigger.clone(), query.rival(), state.now()).await;
        explain(&state, &trigger, made).await
    })
    .await?;
    Ok(Tagged::created(TriggerView::of(made)))
}

/// Validates a new trigger.
pub(crate) fn read_new(id: TriggerId, organization: OrganizationId, new: NewTrigger) -> Result<Trigger, Problem> {
    new.read(id, organization)
}

/// Validates the changes and returns the trigger with them applied.
pub(crate) fn read_patch(before: Trigger, patch: &TriggerPatch) -> Result<Trigger, Problem> {
    patch.apply(before)
}

/// Returns a trigger.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/triggers/{id}", tag = "triggers",
    responses((status = 200, body = TriggerView)))]
pub(crate) async fn get(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
) -> Result<Tagged<TriggerView>, Problem> {
    find(&state, &scope, &id).await.map(TriggerView::of).map(Tagged::ok)
}

/// Changes a trigger. Absent fields keep their values. Enabling it checks again whether the integration is free.
#[utoipa::path(patch, path = "/api/v1/orgs/{org}/triggers/{id}", tag = "triggers", params(TakeoverQuery),
    request_body = TriggerPatch, responses((status = 200, body = TriggerView),
        (status = 404, body = Problem, description = "`trigger_not_found`, `integration_not_found`, `agent_not_found`"),
        (status = 409, body = Problem, description = "`integration_already_bound`, with `boundTo` and `impact`; `agent_not_allowed`")))]
pub(crate) async fn patch(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    Query(query): Query<TakeoverQuery>,
    if_match: IfMatch,
    Body(patch): Body<TriggerPatch>,
) -> Result<Tagged<TriggerView>, Problem> {
    until_settled(|| async {
        let before = find(&state, &scope, &id).await?;
        if_match.check(&etag::of_version(before.version))?;
        let trigger = read_patch(before.trigger.clone(), &patch)?;
        let old = &before.trigger;
        if platform_fit::asks_more(old, &trigger) {
            platform_fit::check(&state, &trigger).await?;
        }
        let store = scope.audited(&state, updated(old, &trigger));
        let changed = store_trigger::update(&store, &before, trigger.clone(), query.rival(), state.now()).await;
        explain(&state, &trigger, changed)
            .await
            .map(TriggerView::of)
            .map(Tagged::ok)
    })
    .await
}

/// Deletes a trigger. It can be restored for 30 days.
#[utoipa::path(delete, path = "/api/v1/orgs/{org}/triggers/{id}", tag = "triggers", responses((status = 204)))]
pub(crate) async fn delete(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    until_settled(|| async {
        let before = find(&state, &scope, &id).await?;
        if_match.check(&etag::of_version(before.version))?;
        remove(&state, &scope, &before).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Restores a trigger that was deleted in the last 30 days, enabled if it was.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/triggers/{id}/restore", tag = "triggers", params(TakeoverQuery),
    responses((status = 200, body = TriggerView),
        (status = 404, body = Problem, description = "`trigger_not_found`, `integration_not_found`, `agent_not_found`"),
        (status = 409, body = Problem, description = "`integration_already_bound`, with `boundTo` and `impact`; `agent_not_allowed`")))]
pub(crate) async fn restore(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    Query(query): Query<TakeoverQuery>,
) -> Result<Tagged<TriggerView>, Problem> {
    until_settled(|| async {
        let (id, now) = (TriggerId::new(&*id), state.now());
        let found = store_trigger::get_deleted(&state.world.store, &scope.organization, &id, now).await?;
        let found = found.ok_or_else(missing)?;
        let store = scope.audited(&state, restored(&found.record.trigger));
        let restored = store_trigger::restore(&store, &found, query.rival(), now).await;
        explain(&state, &found.record.trigger, restored)
            .await
            .map(TriggerView::of)
            .map(Tagged::ok)
    })
    .await
}

/// Deletes a trigger on condition that it is unchanged since it was read.
pub(crate) async fn remove(state: &AdminState, scope: &Scope, before: &TriggerRecord) -> Result<(), Problem> {
    let store = scope.audited(state, deleted(&before.trigger));
    let deleted = store_trigger::delete(&store, before, state.now()).await;
    deleted.map_err(|error| match error {
        TriggerError::Store(error) => error.into(),
        // Deleting depends on nothing but the trigger itself.
        TriggerError::IntegrationNotFound
        | TriggerError::AgentNotFound
        | TriggerError::AgentNotAllowed(_)
        | TriggerError::AlreadyBound(_) => StoreError::Conflict.into(),
    })
}

async fn find(state: &AdminState, scope: &Scope, id: &str) -> Result<TriggerRecord, Problem> {
    let found = store_trigger::get(&state.world.store, &scope.organization, &TriggerId::new(id)).await?;
    found.ok_or_else(missing)
}

fn missing() -> Problem {
    Problem::not_found("trigger_not_found", "trigger")
}

/// Audit entry for creating a trigger, with a line in the log of its integration.
pub(crate) fn created(trigger: &Trigger) -> Change {
    let change = Change::of("trigger.create", target(trigger)).to(body::shown(trigger));
    lines(change, None, trigger)
}

/// Audit entry for changing a trigger, with lines in the logs of its integrations.
pub(crate) fn updated(before: &Trigger, after: &Trigger) -> Change {
    let change = Change::of("trigger.update", target(before)).between(&body::shown(before), &body::shown(after));
    lines(change, Some(before), after)
}

/// Audit entry for deleting a trigger, with a line in the log of its integration.
pub(crate) fn deleted(trigger: &Trigger) -> Change {
    let change = Change::of("trigger.delete", target(trigger)).from(body::shown(trigger));
    if !trigger.enabled {
        return change;
    }
    let what = format!("the trigger {} to the agent {} was deleted", trigger.id, trigger.agent);
    change.line(&trigger.integration, "trigger_deleted", what)
}

/// Audit entry for restoring a deleted trigger, with a line in the log of its integration.
pub(crate) fn restored(trigger: &Trigger) -> Change {
    let change = Change::of("trigger.restore", target(trigger)).to(body::shown(trigger));
    lines(change, None, trigger)
}

fn target(trigger: &Trigger) -> (&'static str, &str, Option<&str>) {
    ("trigger", trigger.id.as_str(), None)
}

/// Adds the log lines of the integrations that a write of a trigger concerns.
fn lines(change: Change, before: Option<&Trigger>, after: &Trigger) -> Change {
    let held = before.filter(|before| before.enabled);
    let (id, agent) = (&after.id, &after.agent);
    match (held, after.enabled) {
        (Some(held), true) if held.integration == after.integration && held.agent == after.agent => change,
        (Some(held), true) if held.integration == after.integration => {
            let what = format!("the integration was moved to the agent {agent} (trigger {id})");
            change.line(&after.integration, "trigger_moved", what)
        }
        (Some(held), true) => {
            let left = format!("the trigger {id} was moved to the integration {}", after.integration);
            let bound = format!("the integration was bound to the agent {agent} (trigger {id})");
            change
                .line(&held.integration, "trigger_moved", left)
                .line(&after.integration, "trigger_enabled", bound)
        }
        (None, true) => {
            let what = format!("the integration was bound to the agent {agent} (trigger {id})");
            change.line(&after.integration, "trigger_enabled", what)
        }
        (Some(held), false) => {
            let what = format!("the trigger {id} to the agent {} was disabled", held.agent);
            change.line(&held.integration, "trigger_disabled", what)
        }
        (None, false) => change,
    }
}

/// Maps a store error to the problem that the API reports, with who is affected.
pub(crate) async fn explain<T>(
    state: &AdminState,
    trigger: &Trigger,
    outcome: Result<T, TriggerError>,
) -> Result<T, Problem> {
    Err(match outcome {
        Ok(done) => return Ok(done),
        Err(TriggerError::IntegrationNotFound) => Problem::integration_not_found().on("integrationId"),
        Err(TriggerError::AgentNotFound) => {
            Problem::agent_not_found().on(routes::field_without_agent(state, trigger).await?)
        }
        Err(TriggerError::AgentNotAllowed(agent)) => not_allowed(trigger, &agent),
        Err(TriggerError::AlreadyBound(holder)) => already_bound(state, &trigger.organization, &holder).await?,
        Err(TriggerError::Store(error)) => error.into(),
    })
}

/// A trigger with an agent that its integration doesn't allow.
pub(crate) fn not_allowed(trigger: &Trigger, agent: &AgentId) -> Problem {
    let detail = format!(
        "`allowedAgents` of the integration {} doesn't name the agent {agent}; add it there first",
        trigger.integration
    );
    Problem::conflict("agent_not_allowed", detail).on(routes::field_of(trigger, agent))
}

async fn already_bound(
    state: &AdminState,
    organization: &OrganizationId,
    holder: &Trigger,
) -> Result<Problem, Problem> {
    let impact = impact::of(state, organization, &holder.integration).await?;
    let agent = agent::get(&state.world.store, organization, &holder.agent).await?;
    let bound_to = serde_json::json!({
        "triggerId": holder.id.as_str(),
        "agentId": holder.agent.as_str(),
        "agentName": agent.map(|record| record.agent.name),
    });
    let detail = "another enabled trigger has this integration; `takeover=true` disables that one";
    Ok(Problem::conflict("integration_already_bound", detail)
        .with("boundTo", bound_to)
        .with("impact", impact))
}
