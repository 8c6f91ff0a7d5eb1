//! Handlers of integrations (bot accounts): list, create, change, delete, restore and start them.

pub(crate) mod account;
pub(crate) mod allowed_agents;
pub(crate) mod callback_base;
pub(crate) mod conversations;
pub(crate) mod doctor;
pub(crate) mod health;
pub(crate) mod impact;
pub(crate) mod lifecycle;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod probe;
pub(crate) mod send_message;
pub(crate) mod status;

mod action;
mod effective_status;
mod facts;
pub(crate) mod input;
mod last_error;
mod obstacle;
pub(crate) mod overview;
pub(crate) mod provision;
pub(crate) mod registration;
mod remedy;
mod summary;
mod troubles;
pub(crate) mod view;

use std::sync::OnceLock;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use tieline_bridge::world::random;
use tieline_core::ids::{IntegrationId, OrganizationId};
use tieline_store::config::integration::{
    self as store_integration, IntegrationError, IntegrationRecord, IntegrationSettings, NewIntegration,
};
use tieline_store::config::trigger;
use tieline_store::login as login_store;
use tieline_store::poll_cursor;
use tieline_store::status::{self as status_store, ConnectionState};
use utoipa::IntoParams;

use self::input::{IntegrationPatch, NewIntegrationBody};
use self::overview::{Include, ListedIntegration, Wanted};
use self::provision::{Before, provisioned};
use self::summary::Summary;
use self::view::IntegrationView;
use crate::audit::Change;
use crate::auth::Scope;
use crate::body::{Body, Query};
use crate::etag::{self, IfMatch, Tagged};
use crate::force::ForceQuery;
use crate::fresh::Fresh;
use crate::page::{self, List};
use crate::path::Id;
use crate::problem::Problem;
use crate::retry::until_settled;
use crate::schema;
use crate::state::AdminState;
use crate::texts::InLanguage;

/// Filters of a list, and what is included for each integration.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct IntegrationQuery {
    /// What to include for each: `status`, `agent`, `counts`, separated by commas.
    include: Option<String>,
    /// Only integrations in this state.
    #[param(value_type = Option<schema::ConnectionState>)]
    state: Option<ConnectionState>,
    /// Substring of the name, the id or the platform.
    search: Option<String>,
    /// Lists those deleted in the last 30 days instead; `include` has no effect then.
    #[serde(default)]
    deleted: bool,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// Most items of the page: 1 to 200, 50 if absent.
    limit: Option<usize>,
}

/// Lists the integrations of an organization, oldest first.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/integrations", tag = "integrations", params(IntegrationQuery),
    responses((status = 200, body = List<ListedIntegration>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    scope: Scope,
    InLanguage(language): InLanguage,
    Query(query): Query<IntegrationQuery>,
) -> Result<Json<List<ListedIntegration>>, Problem> {
    let limit = page::limit(query.limit)?;
    let cursor = page::cursor(query.cursor.as_deref());
    let include = Include::parse(query.include.as_deref())?;
    let search = query.search.map(|search| search.trim().to_lowercase());
    let wanted = Wanted {
        state: query.state,
        search: search.as_deref().filter(|search| !search.is_empty()),
        language,
    };
    if query.deleted {
        let (items, next_cursor) =
            overview::deleted_page(&state, &scope.organization, &wanted, (cursor, limit)).await?;
        return Ok(Json(List { items, next_cursor }));
    }
    let (items, next_cursor) = overview::page(&state, &scope.organization, &wanted, include, (cursor, limit)).await?;
    Ok(Json(List { items, next_cursor }))
}

/// Summarizes an organization: what needs attention, and the last 24 hours.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/summary", tag = "organizations",
    responses((status = 200, body = Summary)))]
pub(crate) async fn summary(
    State(state): State<AdminState>,
    scope: Scope,
    InLanguage(language): InLanguage,
) -> Result<Json<Summary>, Problem> {
    Ok(Json(summary::summarize(&state, &scope.organization, language).await?))
}

/// Creates an integration. It is started unless `enabled` is false.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/integrations", tag = "integrations", request_body = NewIntegrationBody,
    responses((status = 201, body = IntegrationView),
        (status = 404, body = Problem, description = "`agent_not_found`"),
        (status = 409, body = Problem, description = "`name_taken`, `account_in_use`")))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    scope: Scope,
    fresh: Fresh,
    Body(body): Body<NewIntegrationBody>,
) -> Result<Tagged<IntegrationView>, Problem> {
    let (platform, settings) = input::read_new(&state, body)?;
    allowed_agents::check(&state, &scope.organization, None, &settings).await?;
    account::settle_rivals(&state, &scope.organization, &platform, &settings).await?;
    let made = until_settled(|| async {
        let new = NewIntegration {
            id: fresh.integration(),
            organization: scope.organization.clone(),
            platform: platform.clone(),
            id_key: random(),
        };
        if fresh.is_repeat()
            && let Some(made) = store_integration::get(&state.world.store, &new.id).await?
        {
            return Ok(made);
        }
        let store = scope.audited(&state, created(&state, &new, &settings));
        let made = store_integration::create(&store, new, settings.clone(), state.now()).await;
        explain(&state, &scope.organization, made).await
    })
    .await?;
    let made = provisioned(&state, made, Before::Kept).await;
    Ok(Tagged::created(view::of(&state, &made)?))
}

/// Returns an integration. Secrets are masked.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/integrations/{id}", tag = "integrations",
    responses((status = 200, body = IntegrationView)))]
pub(crate) async fn get(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
) -> Result<Tagged<IntegrationView>, Problem> {
    let record = find(&state, &scope, &id).await?;
    Ok(Tagged::ok(view::of(&state, &record)?))
}

/// Changes an integration. Absent fields keep their values, and so do secrets that are empty or `"***"`. Null removes a field. When an
/// endpoint moves to another origin, every secret must be given again in the same request, or removed.
#[utoipa::path(patch, path = "/api/v1/orgs/{org}/integrations/{id}", tag = "integrations", request_body = IntegrationPatch,
    responses((status = 200, body = IntegrationView),
        (status = 404, body = Problem, description = "`integration_not_found`, `agent_not_found`"),
        (status = 409, body = Problem, description = "`name_taken`, `account_in_use`, `agent_not_allowed`")))]
pub(crate) async fn patch(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    if_match: IfMatch,
    Body(patch): Body<IntegrationPatch>,
) -> Result<Tagged<IntegrationView>, Problem> {
    // The version at the first read: after a conflict, a later read may find our own write whose response was lost.
    let version = OnceLock::new();
    let changed = until_settled(|| async {
        let before = find(&state, &scope, &id).await?;
        version.get_or_init(|| before.version);
        if_match.check(&etag::of_version(before.version))?;
        let settings = input::read_patch(&state, &before, &patch)?;
        allowed_agents::check(&state, &scope.organization, before.allowed_agents.as_deref(), &settings).await?;
        if patch.touches_account() {
            account::settle_rivals(&state, &scope.organization, &before.platform, &settings).await?;
        }
        let store = scope.audited(&state, updated(&state, &before, &settings)?);
        let changed = store_integration::update(&store, &before, settings, state.now()).await;
        explain(&state, &scope.organization, changed).await
    })
    .await?;
    // Unchanged settings, as when a file is applied at every start, must not wait for the platform.
    let changed = if patch.touches_account() && version.get() != Some(&changed.version) {
        provisioned(&state, changed, Before::Outdated).await
    } else if patch.starts() {
        provisioned(&state, changed, Before::Kept).await
    } else {
        changed
    };
    Ok(Tagged::ok(view::of(&state, &changed)?))
}

/// Deletes an integration. It can be restored for 30 days.
#[utoipa::path(delete, path = "/api/v1/orgs/{org}/integrations/{id}", tag = "integrations", params(ForceQuery),
    responses((status = 204), (status = 409, body = Problem, description = "`in_use`, with `impact`")))]
pub(crate) async fn delete(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    if_match: IfMatch,
    Query(query): Query<ForceQuery>,
) -> Result<StatusCode, Problem> {
    until_settled(|| async {
        let before = find(&state, &scope, &id).await?;
        if_match.check(&etag::of_version(before.version))?;
        if query.force {
            let names = |trigger: &tieline_core::trigger::Trigger| trigger.enabled && trigger.integration == before.id;
            for bound in trigger::naming(&state.world.store, &scope.organization, names).await? {
                crate::triggers::remove(&state, &scope, &bound).await?;
            }
        }
        remove(&state, &scope, &before).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes an integration on condition that it is unchanged since it was read.
pub(crate) async fn remove(state: &AdminState, scope: &Scope, before: &IntegrationRecord) -> Result<(), Problem> {
    let store = scope.audited(state, deleted(state, before)?);
    let deleted = store_integration::delete(&store, before, state.now()).await;
    explain(state, &before.organization, deleted).await?;
    status_store::remove(&state.world.store, &before.id).await?;
    poll_cursor::remove(&state.world.store, &before.id).await?;
    login_store::remove(&state.world.store, &before.id).await?;
    Ok(())
}

/// Restores an integration that was deleted in the last 30 days, with its credentials and id.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/integrations/{id}/restore", tag = "integrations",
    responses((status = 200, body = IntegrationView),
        (status = 409, body = Problem, description = "`name_taken`, `account_in_use`")))]
pub(crate) async fn restore(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
) -> Result<Tagged<IntegrationView>, Problem> {
    let restored = until_settled(|| async {
        let (id, now) = (IntegrationId::new(&*id), state.now());
        let found = store_integration::get_deleted(&state.world.store, &scope.organization, &id, now).await?;
        let found = found.ok_or_else(Problem::integration_not_found)?;
        account::settle_rivals_of(&state, &found.record).await?;
        let store = scope.audited(&state, restored(&state, &found.record)?);
        let restored = store_integration::restore(&store, &found, now).await;
        explain(&state, &scope.organization, restored).await
    })
    .await?;
    let restored = provisioned(&state, restored, Before::Outdated).await;
    Ok(Tagged::ok(view::of(&state, &restored)?))
}

/// Audit entry and log line for creating an integration.
pub(crate) fn created(state: &AdminState, new: &NewIntegration, settings: &IntegrationSettings) -> Change {
    let target = ("integration", new.id.as_str(), Some(settings.name.as_str()));
    Change::of("integration.create", target)
        .to(view::shown(state, &new.platform, settings))
        .line(&new.id, "created", "the integration was created")
}

/// Audit entry and log line for changing an integration.
pub(crate) fn updated(
    state: &AdminState,
    before: &IntegrationRecord,
    settings: &IntegrationSettings,
) -> Result<Change, Problem> {
    let (old, new) = (
        view::shown_record(state, before)?,
        view::shown(state, &before.platform, settings),
    );
    let change = Change::of("integration.update", view::target(before)).between(&old, &new);
    Ok(match (before.enabled, settings.enabled) {
        (false, true) => change.line(&before.id, "started", "the integration was started"),
        (true, false) => change.line(&before.id, "stopped", "the integration was stopped"),
        _ => change,
    })
}

/// Audit entry and log line for deleting an integration.
pub(crate) fn deleted(state: &AdminState, record: &IntegrationRecord) -> Result<Change, Problem> {
    Ok(Change::of("integration.delete", view::target(record))
        .from(view::shown_record(state, record)?)
        .line(&record.id, "deleted", "the integration was deleted"))
}

/// Audit entry and log line for restoring a deleted integration.
pub(crate) fn restored(state: &AdminState, record: &IntegrationRecord) -> Result<Change, Problem> {
    Ok(Change::of("integration.restore", view::target(record))
        .to(view::shown_record(state, record)?)
        .line(&record.id, "restored", "the integration was restored"))
}

/// The integration with this id, if the organization owns it.
pub(crate) async fn find(state: &AdminState, scope: &Scope, id: &str) -> Result<IntegrationRecord, Problem> {
    let found = store_integration::get(&state.world.store, &IntegrationId::new(id)).await?;
    found
        .filter(|record| record.organization == scope.organization)
        .ok_or_else(Problem::integration_not_found)
}

/// Maps a store error to the problem that the API reports, with who is affected, as far as the organization may know.
pub(crate) async fn explain<T>(
    state: &AdminState,
    organization: &OrganizationId,
    outcome: Result<T, IntegrationError>,
) -> Result<T, Problem> {
    let error = match outcome {
        Ok(done) => return Ok(done),
        Err(error) => error,
    };
    Err(match error {
        IntegrationError::NameTaken(holder) => {
            let detail = format!("the integration {holder} has this name; choose another one");
            Problem::conflict("name_taken", detail).on("name").with("id", holder)
        }
        IntegrationError::AccountInUse {
            organization: owner,
            integration,
        } => {
            let problem = Problem::conflict("account_in_use", "this bot account is in another integration");
            if owner == *organization {
                let impact = impact::of(state, &owner, &integration).await?;
                problem
                    .with("boundTo", serde_json::json!({ "integrationId": integration.as_str() }))
                    .with("impact", impact)
            } else {
                problem.with("impact", impact::Impact::unknown())
            }
        }
        IntegrationError::InUse(trigger) => {
            let impact = impact::of(state, organization, &trigger.integration).await?;
            Problem::conflict("in_use", "an enabled trigger uses this integration").with("impact", impact)
        }
        IntegrationError::AgentNotAllowed { agent, trigger } => {
            allowed_agents::in_use(agent.as_str(), trigger.as_str())
        }
        IntegrationError::Store(error) => error.into(),
    })
}
