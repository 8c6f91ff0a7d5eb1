//! Handlers of pairing: pending requests of strangers, and codes with which people link themselves.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tieline_bridge::pairing::{self, Redeemed};
use tieline_core::ids::IntegrationId;
use tieline_core::pairing::PairingRequest;
use tieline_core::timestamp::Timestamp;
use tieline_store::config::{trigger, user};
use utoipa::ToSchema;

use crate::audit::{self, Change};
use crate::auth::Scope;
use crate::body::Body;
use crate::integrations;
use crate::page::List;
use crate::path::Id;
use crate::problem::Problem;
use crate::state::AdminState;
use crate::validation;

/// A stranger who asks to use a bot. Only that person knows the code.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Pairing)]
pub(crate) struct PairingView {
    id: String,
    integration_id: String,
    /// The platform's own id of the person.
    external_id: String,
    /// The person's name, if the platform provides it.
    name: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// A code that a stranger passed on to an operator.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PairingCode {
    integration_id: String,
    /// 8 characters; case, spaces and hyphens don't matter.
    code: String,
}

/// The person who was admitted.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PairingApproved {
    name: String,
}

/// The person a link code is for.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewLinkCode {
    /// The known person, in the operator's own words: what `linked` of the user becomes.
    linked: String,
}

/// A one-time code, shown once. The person sends `/link CODE` to a bot in a direct chat.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LinkCode {
    code: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Lists pending pairing requests: at most three for each integration whose trigger has `access.pairing`.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/pairings", tag = "users", responses((status = 200, body = List<PairingView>)))]
pub(crate) async fn list(State(state): State<AdminState>, scope: Scope) -> Result<Json<List<PairingView>>, Problem> {
    let mut items = Vec::new();
    for record in pairing_integrations(&state, &scope).await? {
        let waiting = pairing::pending(&state.world, &record).await?;
        items.extend(waiting.into_iter().map(|request| PairingView::of(&record, request)));
    }
    Ok(Json(List {
        items,
        next_cursor: None,
    }))
}

/// Approves a pairing request.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/pairings/{id}/approve", tag = "users", responses((status = 204)))]
pub(crate) async fn approve(State(state): State<AdminState>, scope: Scope, Id(id): Id) -> Result<StatusCode, Problem> {
    decide(&state, &scope, &id, true).await
}

/// Denies a pairing request: the code becomes invalid. The person may ask again.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/pairings/{id}/deny", tag = "users", responses((status = 204)))]
pub(crate) async fn deny(State(state): State<AdminState>, scope: Scope, Id(id): Id) -> Result<StatusCode, Problem> {
    decide(&state, &scope, &id, false).await
}

/// Approves the pairing request with this code. Wrong codes are rate-limited, and ten within an hour invalidate all pending codes.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/pairings/approve", tag = "users", request_body = PairingCode,
    responses((status = 200, body = PairingApproved),
        (status = 404, body = Problem, description = "`integration_not_found`, `pairing_not_found`"),
        (status = 429, body = Problem, description = "`too_many_guesses`")))]
pub(crate) async fn approve_code(
    State(state): State<AdminState>,
    scope: Scope,
    Body(body): Body<PairingCode>,
) -> Result<Json<PairingApproved>, Problem> {
    let found = integrations::find(&state, &scope, validation::named_id(&body.integration_id)).await;
    let record = found.map_err(|problem| problem.on("integrationId"))?;
    let store_for = |request: &PairingRequest| scope.audited(&state, approved(&record.id, request));
    match pairing::approve_code(&state.world, &record, &body.code, None, store_for).await? {
        Redeemed::Done(name) => Ok(Json(PairingApproved { name })),
        Redeemed::Wrong => Err(missing()),
        Redeemed::Wait(time) => {
            let seconds = time.as_secs().max(1);
            let detail = format!("too many wrong codes; allowed again in {seconds} s");
            Err(Problem::too_many("too_many_guesses", detail, seconds))
        }
    }
}

/// Creates a one-time code with which a person links themselves to a known person. It is valid for 24 h.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/link-codes", tag = "users", request_body = NewLinkCode,
    responses((status = 201, body = LinkCode)))]
pub(crate) async fn make_link(
    State(state): State<AdminState>,
    scope: Scope,
    Body(body): Body<NewLinkCode>,
) -> Result<(StatusCode, Json<LinkCode>), Problem> {
    let person = validation::known_person(&body.linked)?;
    let person = person.ok_or_else(|| Problem::invalid("linked", "is required"))?;
    scope.note(&state, Change::plain("link_code.create")).await?;
    let (code, expires_at) = pairing::make_link(&state.world, &scope.organization, &person).await?;
    let code = code.expose().to_owned();
    Ok((StatusCode::CREATED, Json(LinkCode { code, expires_at })))
}

async fn decide(state: &AdminState, scope: &Scope, id: &str, lets_in: bool) -> Result<StatusCode, Problem> {
    for integration in pairing_integrations(state, scope).await? {
        let waiting = pairing::pending(&state.world, &integration).await?;
        let Some(request) = waiting.iter().find(|request| request.id == id) else {
            continue;
        };
        if !lets_in {
            scope.note(state, denied(&integration, request)).await?;
        }
        let record = integrations::find(state, scope, integration.as_str()).await?;
        let store_for = |request: &PairingRequest| scope.audited(state, approved(&integration, request));
        if pairing::decide(&state.world, &record, id, lets_in, store_for).await? {
            return Ok(StatusCode::NO_CONTENT);
        }
    }
    Err(missing())
}

/// Audit entry for approving a request. People are named by their ids only.
fn approved(integration: &IntegrationId, request: &PairingRequest) -> Change {
    let user = user::id_of(integration, &request.sender);
    Change::of("pairing.approve", ("user", user.as_str(), None))
        .to(audit::shown(serde_json::json!({ "admitted": true })))
}

/// Audit entry for denying a request.
fn denied(integration: &IntegrationId, request: &PairingRequest) -> Change {
    let user = user::id_of(integration, &request.sender);
    Change::of("pairing.deny", ("user", user.as_str(), None))
}

/// The integrations whose trigger allows pairing.
async fn pairing_integrations(state: &AdminState, scope: &Scope) -> Result<Vec<IntegrationId>, Problem> {
    let pairs = |trigger: &tieline_core::trigger::Trigger| trigger.enabled && trigger.settings.access.pairing;
    let found = trigger::naming(&state.world.store, &scope.organization, pairs).await?;
    Ok(found.into_iter().map(|record| record.trigger.integration).collect())
}

fn missing() -> Problem {
    Problem::not_found("pairing_not_found", "pairing request: it may be decided or expired")
}

impl PairingView {
    fn of(integration: &IntegrationId, request: PairingRequest) -> Self {
        Self {
            integration_id: integration.to_string(),
            external_id: request.sender.to_string(),
            created_at: request.at,
            expires_at: request.expires_at(),
            id: request.id,
            name: request.name,
        }
    }
}
