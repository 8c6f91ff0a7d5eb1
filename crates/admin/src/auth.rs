//! Authentication and authorization of operators.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::Method;
use axum::http::header::{AUTHORIZATION, COOKIE, HeaderName};
use axum::http::request::Parts;
use tieline_bridge::operator::session::GUARD_HEADER;
use tieline_bridge::operator::{self, Denied, Identity, Operator, Proofs};
use tieline_core::ids::OrganizationId;
use tieline_store::Store;
use tieline_store::config::organization;

use crate::audit::{self, Author, Change};
use crate::client_address::Client;
use crate::problem::Problem;
use crate::state::AdminState;
use crate::validation;

/// An operator with a valid token or session.
pub(crate) struct Caller(pub(crate) Identity);

impl FromRequestParts<AdminState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Problem> {
        if let Some(known) = parts.extensions.get::<Identity>() {
            return Ok(Self(known.clone()));
        }
        let identity = identify(state, parts).await?;
        operator::note_use(&state.world, &identity).await;
        parts.extensions.insert(identity.clone());
        Ok(Self(identity))
    }
}

/// The operator of a request.
pub(crate) async fn identify(state: &AdminState, parts: &Parts) -> Result<Identity, Denied> {
    let proofs = Proofs {
        authorization: header(parts, &AUTHORIZATION),
        cookie: header(parts, &COOKIE),
        is_guarded: parts.headers.contains_key(GUARD_HEADER),
        changes: changes(parts),
        address: Client::of(parts).0,
    };
    operator::identify(&state.world, &proofs).await
}

fn header<'a>(parts: &'a Parts, name: &HeaderName) -> Option<&'a str> {
    parts.headers.get(name)?.to_str().ok()
}

/// Whether a request's method changes something.
fn changes(parts: &Parts) -> bool {
    !matches!(parts.method, Method::GET | Method::HEAD)
}

/// The bearer token of a request.
pub(crate) fn bearer(parts: &Parts) -> Option<&str> {
    operator::bearer(header(parts, &AUTHORIZATION)?).filter(|token| !token.is_empty())
}

/// The operator of the whole deployment.
pub(crate) struct Root(pub(crate) Author);

impl FromRequestParts<AdminState> for Root {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Problem> {
        let identity = Caller::from_request_parts(parts, state).await?.0;
        match identity.operator {
            Operator::Root => Ok(Self(Author::of(&identity, Client::of(parts).0))),
            Operator::Member { .. } => Err(Problem::forbidden("this needs the root token")),
        }
    }
}

/// The organization in the path. The caller may read it, and write to it if the method changes something.
pub(crate) struct Scope {
    pub(crate) organization: OrganizationId,
    /// The caller.
    pub(crate) author: Author,
}

impl FromRequestParts<AdminState> for Scope {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Problem> {
        let identity = Caller::from_request_parts(parts, state).await?.0;
        let author = Author::of(&identity, Client::of(parts).0);
        let caller = identity.operator;
        let organization = organization_in_path(parts, state).await?;
        let seen = operator::may_read(&caller, &organization) && exists(state, &organization).await?;
        if !seen {
            return Err(no_organization());
        }
        if changes(parts) && !operator::may_write(&caller, &organization) {
            return Err(Problem::forbidden("this token is read-only"));
        }
        Ok(Self { organization, author })
    }
}

impl Scope {
    /// A store whose next transaction writes this change into the audit log.
    pub(crate) fn audited(&self, state: &AdminState, change: Change) -> Store {
        audit::store(state, &self.author, Some(&self.organization), change)
    }

    /// Writes a change that isn't a database transaction into the audit log, before it is made.
    pub(crate) async fn note(&self, state: &AdminState, change: Change) -> Result<(), Problem> {
        audit::note(state, &self.author, Some(&self.organization), change).await
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
