//! Triggers: which agent answers for which bot, and how.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use tieline_core::ids::{OrganizationId, TriggerId};
use tieline_core::trigger::Trigger;
use tieline_store::StoreError;
use tieline_store::config::agent;
use tieline_store::config::trigger::{self as store_trigger, Rival, TriggerError, TriggerRecord};
use utoipa::IntoParams;

use self::body::{NewTrigger, TriggerPatch, TriggerView};
use crate::auth::Scope;
use crate::body::{Body, Query};
use crate::integrations::impact;
use crate::page::{self, List, PageQuery};
use crate::path::Id;
use crate::problem::Problem;
use crate::retry::until_settled;
use crate::state::AdminState;

mod body;
pub(crate) mod welcome;

/// Whether an integration is taken from the trigger that has it.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TakeoverQuery {
    /// Whether another enabled trigger of the same integration is disabled. Otherwise it stands in the way.
    #[serde(default)]
    takeover: bool,
}

impl TakeoverQuery {
    fn rival(self) -> Rival {
        if self.takeover { Rival::Displace } else { Rival::Respect }
    }
}

/// Lists the triggers of an organization, the oldest first.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/triggers", tag = "triggers", params(PageQuery),
    responses((status = 200, body = List<TriggerView>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    scope: Scope,
    Query(query): Query<PageQuery>,
) -> Result<Json<List<TriggerView>>, Problem> {
    let limit = page::limit(query.limit)?;
    let cursor = page::cursor(query.cursor.as_deref());
    let page = store_trigger::list(&state.world.store, &scope.organization, cursor, limit).await?;
    Ok(Json(List::of(page, TriggerView::of)))
}

/// Creates a trigger. An integration has at most one that is enabled.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/triggers", tag = "triggers", params(TakeoverQuery),
    request_body = NewTrigger, responses((status = 201, body = TriggerView),
        (status = 404, body = Problem, description = "`integration_not_found`, `agent_not_found`"),
        (status = 409, body = Problem, description = "`integration_already_bound`, with `boundTo` and `impact`")))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    scope: Scope,
    Query(query): Query<TakeoverQuery>,
    Body(new): Body<NewTrigger>,
) -> Result<(StatusCode, Json<TriggerView>), Problem> {
    let trigger = read_new(state.fresh_trigger(), scope.organization.clone(), new)?;
    welcome::check(&state, &trigger).await?;
    let made = until_settled(|| async {
        let made = store_trigger::create(&state.world.store, trigger.clone(), query.rival(), state.now()).await;
        explain(&state, &scope.organization, made).await
    })
    .await?;
    Ok((StatusCode::CREATED, Json(TriggerView::of(made))))
}

/// A new trigger, checked.
pub(crate) fn read_new(id: TriggerId, organization: OrganizationId, new: NewTrigger) -> Result<Trigger, Problem> {
    new.read(id, organization)
}

/// A trigger with these changes, checked.
pub(crate) fn read_patch(before: Trigger, patch: &TriggerPatch) -> Result<Trigger, Problem> {
    patch.apply(before)
}

/// Shows a trigger.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/triggers/{id}", tag = "triggers",
    responses((status = 200, body = TriggerView)))]
pub(crate) async fn get(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
) -> Result<Json<TriggerView>, Problem> {
    find(&state, &scope, &id).await.map(TriggerView::of).map(Json)
}

/// Changes a trigger. What is absent stays. Enabling it asks again whether the integration is free.
#[utoipa::path(patch, path = "/api/v1/orgs/{org}/triggers/{id}", tag = "triggers", params(TakeoverQuery),
    request_body = TriggerPatch, responses((status = 200, body = TriggerView),
        (status = 404, body = Problem, description = "`trigger_not_found`, `integration_not_found`, `agent_not_found`"),
        (status = 409, body = Problem, description = "`integration_already_bound`, with `boundTo` and `impact`")))]
pub(crate) async fn patch(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    Query(query): Query<TakeoverQuery>,
    Body(patch): Body<TriggerPatch>,
) -> Result<Json<TriggerView>, Problem> {
    until_settled(|| async {
        let before = find(&state, &scope, &id).await?;
        let trigger = read_patch(before.trigger.clone(), &patch)?;
        let old = &before.trigger;
        // What was saved before there was a limit doesn't stand in the way of other changes.
        if old.settings.welcome != trigger.settings.welcome || old.integration != trigger.integration {
            welcome::check(&state, &trigger).await?;
        }
        let changed = store_trigger::update(&state.world.store, &before, trigger, query.rival(), state.now()).await;
        explain(&state, &scope.organization, changed)
            .await
            .map(TriggerView::of)
            .map(Json)
    })
    .await
}

/// Deletes a trigger.
#[utoipa::path(delete, path = "/api/v1/orgs/{org}/triggers/{id}", tag = "triggers", responses((status = 204)))]
pub(crate) async fn delete(State(state): State<AdminState>, scope: Scope, Id(id): Id) -> Result<StatusCode, Problem> {
    until_settled(|| async {
        let before = find(&state, &scope, &id).await?;
        remove(&state, &before).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes a trigger as it was read.
pub(crate) async fn remove(state: &AdminState, before: &TriggerRecord) -> Result<(), Problem> {
    let deleted = store_trigger::delete(&state.world.store, before).await;
    deleted.map_err(|error| match error {
        TriggerError::Store(error) => error.into(),
        // Deleting asks for nothing but the trigger as it was read.
        TriggerError::IntegrationNotFound | TriggerError::AgentNotFound | TriggerError::AlreadyBound(_) => {
            StoreError::Conflict.into()
        }
    })
}

async fn find(state: &AdminState, scope: &Scope, id: &str) -> Result<TriggerRecord, Problem> {
    let found = store_trigger::get(&state.world.store, &scope.organization, &TriggerId::new(id)).await?;
    found.ok_or_else(|| Problem::not_found("trigger_not_found", "trigger"))
}

/// Says why a trigger was not written, with who is concerned.
pub(crate) async fn explain<T>(
    state: &AdminState,
    organization: &OrganizationId,
    outcome: Result<T, TriggerError>,
) -> Result<T, Problem> {
    Err(match outcome {
        Ok(done) => return Ok(done),
        Err(TriggerError::IntegrationNotFound) => crate::integrations::missing().on("integrationId"),
        Err(TriggerError::AgentNotFound) => crate::agents::missing().on("agentId"),
        Err(TriggerError::AlreadyBound(holder)) => already_bound(state, organization, &holder).await?,
        Err(TriggerError::Store(error)) => error.into(),
    })
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
