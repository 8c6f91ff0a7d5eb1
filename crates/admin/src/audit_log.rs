//! Handlers that list the audit log.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tieline_core::ids::OrganizationId;
use tieline_core::timestamp::Timestamp;
use tieline_store::audit::{self, AuditEntry};
use utoipa::{IntoParams, ToSchema};

use crate::auth::{Root, Scope};
use crate::body::Query;
use crate::page::{self, List};
use crate::problem::Problem;
use crate::state::AdminState;

/// An entry of the audit log.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditEntry)]
pub(crate) struct AuditView {
    id: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Null for actions on the whole deployment.
    organization: Option<String>,
    actor: ActorView,
    /// The client's address. Null: unknown.
    address: Option<String>,
    /// The action: a stable code such as `agent.update` or `session.open`.
    action: String,
    /// The resource. Null if the action has none.
    target: Option<TargetView>,
    /// The changed fields with their old values; all fields of a deleted resource. Secrets are `"***"`.
    #[schema(value_type = Option<Object>)]
    before: Option<Value>,
    /// The changed fields with their new values; all fields of a created resource. Secrets are `"***"`.
    #[schema(value_type = Option<Object>)]
    after: Option<Value>,
}

/// The author.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditActor)]
pub(crate) struct ActorView {
    /// `root`, `admin`, `viewer`, or `unknown` for a wrong token.
    role: String,
    /// Null: the root token, or no valid token.
    token_id: Option<String>,
    token_name: Option<String>,
}

/// The changed resource.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditTarget)]
pub(crate) struct TargetView {
    kind: String,
    id: String,
    name: Option<String>,
}

/// Filters of a list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditQuery {
    /// From this time on.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// Most items of the page: 1 to 200, 50 if absent.
    limit: Option<usize>,
}

/// Lists what operators changed in an organization, newest first. Entries are kept for 400 days.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/audit", tag = "audit", params(AuditQuery),
    responses((status = 200, body = List<AuditView>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    scope: Scope,
    Query(query): Query<AuditQuery>,
) -> Result<Json<List<AuditView>>, Problem> {
    listed(&state, Some(&scope.organization), &query).await
}

/// Lists what operators changed in all organizations, sign-ins, and wrong tokens, newest first. Needs the root token.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", params(AuditQuery),
    responses((status = 200, body = List<AuditView>),
        (status = 403, body = Problem, description = "`forbidden`: this needs the root token")))]
pub(crate) async fn list_all(
    State(state): State<AdminState>,
    _: Root,
    Query(query): Query<AuditQuery>,
) -> Result<Json<List<AuditView>>, Problem> {
    listed(&state, None, &query).await
}

async fn listed(
    state: &AdminState,
    organization: Option<&OrganizationId>,
    query: &AuditQuery,
) -> Result<Json<List<AuditView>>, Problem> {
    let limit = page::limit(query.limit)?;
    let cursor = page::cursor(query.cursor.as_deref());
    let range = (query.since, query.until);
    let page = audit::list(&state.world.store, organization, range, (cursor, limit), state.now()).await?;
    Ok(Json(List::of(page, AuditView::of)))
}

impl AuditView {
    fn of(entry: AuditEntry) -> Self {
        Self {
            id: entry.id,
            at: entry.at,
            organization: entry.organization.map(|id| id.to_string()),
            actor: ActorView {
                role: entry.actor.role,
                token_id: entry.actor.token_id,
                token_name: entry.actor.token_name,
            },
            address: entry.address,
            action: entry.action,
            target: entry.target.map(|target| TargetView {
                kind: target.kind,
                id: target.id,
                name: target.name,
            }),
            before: entry.before,
            after: entry.after,
        }
    }
}
