//! Scan-code login, for platforms whose credentials are had that way.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::find;
use crate::auth::Scope;
use crate::path::Id;
use crate::problem::Problem;
use crate::state::AdminState;

/// How a login is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Login {
    state: String,
    qr_url: Option<String>,
    expires_at: Option<String>,
}

/// Starts a scan-code login.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/integrations/{id}/login", tag = "integrations",
    responses((status = 200, body = Login),
        (status = 409, body = Problem, description = "`login_not_offered`: the platform's credentials are typed in")))]
pub(crate) async fn start(State(state): State<AdminState>, scope: Scope, Id(id): Id) -> Result<Json<Login>, Problem> {
    Err(not_offered(&state, &scope, &id).await?)
}

/// Tells how a scan-code login is.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/integrations/{id}/login", tag = "integrations",
    responses((status = 200, body = Login), (status = 409, body = Problem, description = "`login_not_offered`")))]
pub(crate) async fn get(State(state): State<AdminState>, scope: Scope, Id(id): Id) -> Result<Json<Login>, Problem> {
    Err(not_offered(&state, &scope, &id).await?)
}

async fn not_offered(state: &AdminState, scope: &Scope, id: &str) -> Result<Problem, Problem> {
    let record = find(state, scope, id).await?;
    let connector = state.world.connector(&record.platform);
    let mode = connector.and_then(|connector| connector.manifest().mode(record.mode));
    Ok(if mode.is_some_and(|mode| mode.login) {
        let detail = "this deployment can't log in to the platform yet";
        Problem::new(StatusCode::NOT_IMPLEMENTED, "not_implemented", detail)
    } else {
        let detail = "the credentials of this platform are typed in, not had by a login";
        Problem::conflict("login_not_offered", detail)
    })
}
