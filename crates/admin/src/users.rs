//! People, known from their first message on.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tieline_bridge::forget::{self, Forgotten};
use tieline_core::ids::UserId;
use tieline_core::timestamp::Timestamp;
use tieline_store::config::user::{self, User, UserChange};
use utoipa::ToSchema;

use crate::auth::Scope;
use crate::body::{Body, Query, nullable};
use crate::page::{self, List, PageQuery};
use crate::path::Id;
use crate::problem::Problem;
use crate::state::AdminState;
use crate::validation;

/// A person, known by one platform account.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = User)]
pub(crate) struct UserView {
    id: String,
    platform: String,
    integration_id: String,
    /// The platform's own id of the person.
    external_id: String,
    name: String,
    email: String,
    /// Where the person comes from: the platform.
    source: String,
    /// The known person behind the account, if an operator has said so.
    linked: Option<String>,
    /// Whether the person was let in by pairing.
    admitted: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// Changes of a person. What is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct UserPatch {
    name: Option<String>,
    email: Option<String>,
    /// The known person behind the account, in the operator's own words. Null undoes the link.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    linked: Option<Option<String>>,
    /// Whether the person is let in where a trigger has `access.pairing`.
    admitted: Option<bool>,
}

/// Lists the people of an organization.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/users", tag = "users", params(PageQuery),
    responses((status = 200, body = List<UserView>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    scope: Scope,
    Query(query): Query<PageQuery>,
) -> Result<Json<List<UserView>>, Problem> {
    let limit = page::limit(query.limit)?;
    let cursor = page::cursor(query.cursor.as_deref());
    let page = user::list(&state.world.store, &scope.organization, cursor, limit).await?;
    Ok(Json(List::of(page, UserView::of)))
}

/// Shows a person.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/users/{id}", tag = "users", responses((status = 200, body = UserView)))]
pub(crate) async fn get(State(state): State<AdminState>, scope: Scope, Id(id): Id) -> Result<Json<UserView>, Problem> {
    let found = user::get(&state.world.store, &scope.organization, &UserId::new(id)).await?;
    found.map(UserView::of).map(Json).ok_or_else(missing)
}

/// Changes what is known of a person, or links them to a known one.
#[utoipa::path(patch, path = "/api/v1/orgs/{org}/users/{id}", tag = "users", request_body = UserPatch,
    responses((status = 200, body = UserView)))]
pub(crate) async fn patch(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    Body(patch): Body<UserPatch>,
) -> Result<Json<UserView>, Problem> {
    let change = UserChange {
        name: patch.name.as_deref().map(validation::name).transpose()?,
        email: patch.email.map(email).transpose()?,
        linked: patch.linked.map(validation::optional_text),
        admitted: patch.admitted,
    };
    let changed = user::change(&state.world.store, &scope.organization, &UserId::new(id), change).await?;
    changed.map(UserView::of).map(Json).ok_or_else(missing)
}

/// Forgets a person: their messages and the answers, transcripts, tasks and names. At the next contact they are a stranger.
///
/// A large ledger takes a while; if the call is cut off, the same call again goes on where it ended.
#[utoipa::path(delete, path = "/api/v1/orgs/{org}/users/{id}", tag = "users", responses((status = 204),
    (status = 409, body = Problem, description = "`user_busy`: an answer to the person has not stopped within 10 s")))]
pub(crate) async fn delete(State(state): State<AdminState>, scope: Scope, Id(id): Id) -> Result<StatusCode, Problem> {
    match forget::forget(&state.world, &scope.organization, &UserId::new(id)).await? {
        Forgotten::Done => Ok(StatusCode::NO_CONTENT),
        Forgotten::Unknown => Err(missing()),
        Forgotten::Busy => {
            let detail = "an answer to this person is still being written; try again when it has ended";
            Err(Problem::conflict("user_busy", detail))
        }
    }
}

fn missing() -> Problem {
    Problem::not_found("user_not_found", "user")
}

fn email(text: String) -> Result<String, Problem> {
    let looks_right = text.len() <= 254
        && text
            .split_once('@')
            .is_some_and(|(who, host)| !who.is_empty() && !host.is_empty());
    if looks_right && !text.contains(char::is_whitespace) {
        Ok(text)
    } else {
        Err(Problem::invalid("email", "must be a mail address"))
    }
}

impl UserView {
    fn of(user: User) -> Self {
        Self {
            id: user.id.to_string(),
            platform: user.platform,
            integration_id: user.integration.to_string(),
            external_id: user.external_id,
            name: user.name,
            email: user.email,
            source: user.source,
            linked: user.linked,
            admitted: user.admitted,
            created_at: user.created_at,
        }
    }
}
