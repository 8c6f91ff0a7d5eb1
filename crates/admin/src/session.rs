//! The session of a caller: what the token that it shows may see and do.

use axum::Json;
use serde::Serialize;
use tieline_bridge::operator::Operator;
use tieline_store::config::token::Role;
use utoipa::ToSchema;

use crate::auth::Caller;

/// What a token may see and do.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Session)]
pub(crate) struct SessionView {
    /// `root`, `admin` or `viewer`.
    role: &'static str,
    /// The only organization that the token sees. Null: all.
    organization: Option<String>,
}

/// Shows what the token of the request may see and do.
#[utoipa::path(get, path = "/api/v1/session", tag = "tokens", responses((status = 200, body = SessionView)))]
pub(crate) async fn get(Caller(caller): Caller) -> Json<SessionView> {
    Json(match caller {
        Operator::Root => SessionView {
            role: "root",
            organization: None,
        },
        Operator::Member { organization, role } => SessionView {
            role: match role {
                Role::Admin => "admin",
                Role::Viewer => "viewer",
            },
            organization: Some(organization.to_string()),
        },
    })
}
