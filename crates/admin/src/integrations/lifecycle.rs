//! Starts, stops and restarts an integration.

use axum::extract::State;
use tieline_store::config::integration::{self as store_integration};

use super::provision::{Before, provisioned};
use super::view::{self, IntegrationView};
use super::{explain, find};
use crate::audit::Change;
use crate::auth::Scope;
use crate::etag::Tagged;
use crate::path::Id;
use crate::problem::Problem;
use crate::retry::until_settled;
use crate::state::AdminState;

/// Starts an integration. If it is already started, nothing changes.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/integrations/{id}/start", tag = "integrations",
    responses((status = 200, body = IntegrationView)))]
pub(crate) async fn start(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
) -> Result<Tagged<IntegrationView>, Problem> {
    set(&state, &scope, &id, true, Again::Leave).await
}

/// Stops an integration. It keeps its settings.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/integrations/{id}/stop", tag = "integrations",
    responses((status = 200, body = IntegrationView)))]
pub(crate) async fn stop(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
) -> Result<Tagged<IntegrationView>, Problem> {
    set(&state, &scope, &id, false, Again::Leave).await
}

/// Restarts an integration: a long connection is opened again, even after the platform has kicked it.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/integrations/{id}/restart", tag = "integrations",
    responses((status = 200, body = IntegrationView)))]
pub(crate) async fn restart(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
) -> Result<Tagged<IntegrationView>, Problem> {
    set(&state, &scope, &id, true, Again::Renew).await
}

/// What to do if the integration already is in the wanted state.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    Leave,
    Renew,
}

async fn set(
    state: &AdminState,
    scope: &Scope,
    id: &str,
    enabled: bool,
    again: Again,
) -> Result<Tagged<IntegrationView>, Problem> {
    let after = until_settled(|| async {
        let before = find(state, scope, id).await?;
        if before.enabled == enabled && again == Again::Leave {
            return Ok(before);
        }
        let (action, code, what) = match (enabled, before.enabled) {
            (true, true) => ("integration.restart", "restarted", "the integration was restarted"),
            (true, false) => ("integration.start", "started", "the integration was started"),
            (false, _) => ("integration.stop", "stopped", "the integration was stopped"),
        };
        let change = Change::of(action, view::target(&before)).line(&before.id, code, what);
        let store = scope.audited(state, change);
        let changed = store_integration::set_enabled(&store, &before, enabled, state.now()).await;
        explain(state, &scope.organization, changed).await
    })
    .await?;
    let after = match (enabled, again) {
        (true, Again::Leave) => provisioned(state, after, Before::Kept).await,
        (true, Again::Renew) => provisioned(state, after, Before::Doubted).await,
        (false, _) => after,
    };
    Ok(Tagged::ok(view::of(state, &after)?))
}
