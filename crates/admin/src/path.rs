//! Extractors of the ids in a request path.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use crate::problem::Problem;
use crate::validation;

/// The `{id}` in the path.
pub(crate) struct Id(pub(crate) String);

/// The `{org}` in the path, for handlers that don't use [`Scope`](crate::auth::Scope).
pub(crate) struct OrganizationInPath(pub(crate) String);

/// The `{conversationId}` in the path.
pub(crate) struct ConversationInPath(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        named("id", parts, state).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OrganizationInPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        named("org", parts, state).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ConversationInPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        named("conversationId", parts, state).await.map(Self)
    }
}

/// The `{runId}` in the path. Empty if it isn't valid UTF-8, so that it gets the answer of an unknown run.
pub(crate) struct RunInPath(pub(crate) String);

/// The `{token}` of a link in the path. Empty if it isn't valid UTF-8, so that it gets the answer of an unknown link.
pub(crate) struct TokenInPath(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for RunInPath {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self(segment("runId", parts, state).await.unwrap_or_default()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TokenInPath {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self(segment("token", parts, state).await.unwrap_or_default()))
    }
}

/// The id in a segment. One that isn't valid UTF-8 can't be the id of anything.
async fn named<S: Send + Sync>(name: &str, parts: &mut Parts, state: &S) -> Result<String, Problem> {
    let found = segment(name, parts, state).await;
    found
        .map(|value| validation::named_id(&value).to_owned())
        .ok_or_else(|| Problem::not_found("not_found", "address"))
}

/// The segment of the path that the route gives this name. `None` if it isn't valid UTF-8.
async fn segment<S: Send + Sync>(name: &str, parts: &mut Parts, state: &S) -> Option<String> {
    let params = RawPathParams::from_request_parts(parts, state).await.ok()?;
    let found = params.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| value.to_owned())
}
