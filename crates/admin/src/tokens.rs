//! Handlers of the tokens of an organization's operators.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tieline_core::timestamp::Timestamp;
use tieline_store::StoreError;
use tieline_store::config::token::{self, Role, TokenRecord};
use utoipa::ToSchema;

use crate::audit::{self, Change, Shown};
use crate::auth::Scope;
use crate::body::{Body, Query};
use crate::fresh::Fresh;
use crate::page::{self, List, PageQuery};
use crate::path::Id;
use crate::problem::Problem;
use crate::state::AdminState;
use crate::{schema, validation};

/// A token, without the secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Token)]
pub(crate) struct TokenView {
    id: String,
    name: String,
    #[schema(value_type = schema::Role)]
    role: Role,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it expires. Null: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// When it was last used; up to ten minutes late. Null: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
}

/// A new token.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewToken {
    name: String,
    #[schema(value_type = schema::Role)]
    role: Role,
    /// When it expires: in the future. Default: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// A new token. This is the only response that contains the secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MadeToken {
    #[serde(flatten)]
    view: TokenView,
    token: String,
}

/// Lists the tokens of an organization.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/tokens", tag = "tokens", params(PageQuery),
    responses((status = 200, body = List<TokenView>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    scope: Scope,
    Query(query): Query<PageQuery>,
) -> Result<Json<List<TokenView>>, Problem> {
    let limit = page::limit(query.limit)?;
    let cursor = page::cursor(query.cursor.as_deref());
    let page = token::list(&state.world.store, &scope.organization, cursor, limit).await?;
    Ok(Json(List::of(page, TokenView::of)))
}

/// Creates a token. Only this response contains the secret.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/tokens", tag = "tokens", request_body = NewToken,
    responses((status = 201, body = MadeToken)))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    scope: Scope,
    fresh: Fresh,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, Json<MadeToken>), Problem> {
    let name = validation::name(&new.name)?;
    let (secret, id) = (fresh.token(), fresh.id("tok"));
    let now = state.now();
    if new.expires_at.is_some_and(|at| at <= now) {
        return Err(Problem::invalid("expiresAt", "must be in the future"));
    }
    let token = token::NewToken {
        id: &id,
        token: &secret,
        name: &name,
        role: new.role,
        expires_at: new.expires_at,
    };
    let known = match fresh.is_repeat() {
        true => token::get(&state.world.store, &scope.organization, &id).await?,
        false => None,
    };
    let change = Change::of("token.create", ("token", &id, Some(&name))).to(shown(new.role, new.expires_at));
    let store = scope.audited(&state, change);
    let made = match known {
        Some(made) => made,
        None => token::create(&store, &scope.organization, token, now).await?,
    };
    Ok((
        StatusCode::CREATED,
        Json(MadeToken {
            view: TokenView::of(made),
            token: secret,
        }),
    ))
}

/// Deletes a token. It is invalid from now on.
#[utoipa::path(delete, path = "/api/v1/orgs/{org}/tokens/{id}", tag = "tokens", responses((status = 204)))]
pub(crate) async fn delete(State(state): State<AdminState>, scope: Scope, Id(id): Id) -> Result<StatusCode, Problem> {
    let missing = || Problem::not_found("token_not_found", "token");
    let found = token::get(&state.world.store, &scope.organization, &id)
        .await?
        .ok_or_else(missing)?;
    let change =
        Change::of("token.delete", ("token", &id, Some(&found.name))).from(shown(found.role, found.expires_at));
    match token::delete(&scope.audited(&state, change), &found).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(StoreError::Conflict) => Err(missing()),
        Err(error) => Err(error.into()),
    }
}

/// Role and expiry of a token, for the audit log.
fn shown(role: Role, expires_at: Option<Timestamp>) -> Shown {
    audit::shown(serde_json::json!({ "role": role, "expiresAt": expires_at }))
}

impl TokenView {
    fn of(record: TokenRecord) -> Self {
        Self {
            id: record.id,
            name: record.name,
            role: record.role,
            created_at: record.created_at,
            expires_at: record.expires_at,
            last_used_at: record.last_used_at,
        }
    }
}
