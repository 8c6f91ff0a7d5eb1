//! Who asks, and what they may.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::Method;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use tieline_bridge::operator::{self, Operator};
use tieline_core::ids::OrganizationId;
use tieline_store::config::organization;

use crate::problem::Problem;
use crate::state::AdminState;
use crate::validation;

/// Somebody with a token that is known.
pub(crate) struct Caller(pub(crate) Operator);

impl FromRequestParts<AdminState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Problem> {
        let token = bearer(parts).ok_or_else(Problem::unauthorized)?;
        let found = operator::recognize(&state.world, token).await?;
        found.map(Self).ok_or_else(Problem::unauthorized)
    }
}

/// The bearer token of a request.
pub(crate) fn bearer(parts: &Parts) -> Option<&str> {
    let header = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
    operator::bearer(header).filter(|token| !token.is_empty())
}

/// The operator of the whole deployment.
pub(crate) struct Root;

impl FromRequestParts<AdminState> for Root {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Problem> {
        match Caller::from_request_parts(parts, state).await?.0 {
            Operator::Root => Ok(Self),
            Operator::Member { .. } => Err(Problem::forbidden("this needs the root token")),
        }
    }
}

/// The organization in the address, which the caller may see, and change if the method changes something.
pub(crate) struct Scope {
    pub(crate) organization: OrganizationId,
}

impl FromRequestParts<AdminState> for Scope {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Problem> {
        let Caller(caller) = Caller::from_request_parts(parts, state).await?;
        let organization = organization_in_path(parts, state).await?;
        let seen = operator::may_read(&caller, &organization) && exists(state, &organization).await?;
        if !seen {
            return Err(no_organization());
        }
        let looks = matches!(parts.method, Method::GET | Method::HEAD);
        if !looks && !operator::may_write(&caller, &organization) {
            return Err(Problem::forbidden("this token may only look"));
        }
        Ok(Self { organization })
    }
}

pub(crate) fn no_organization() -> Problem {
    Problem::not_found("organization_not_found", "organization")
}

async fn organization_in_path(parts: &mut Parts, state: &AdminState) -> Result<OrganizationId, Problem> {
    let params = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| no_organization())?;
    let found = params
        .iter()
        .find(|(name, _)| *name == "org")
        .map(|(_, value)| OrganizationId::new(validation::named_id(value)));
    found.ok_or_else(no_organization)
}

async fn exists(state: &AdminState, organization: &OrganizationId) -> Result<bool, Problem> {
    Ok(organization::get(&state.world.store, organization, state.now())
        .await?
        .is_some())
}
