//! Who an operator is, and what an agent may do: tokens of our own making.

use serde::{Deserialize, Serialize};
use tieline_core::http_types::WebhookAnswer;
use tieline_core::ids::{ConversationId, OrganizationId, RunId};
use tieline_core::secret::Secret;
use tieline_core::timestamp::Timestamp;
use tieline_store::StoreError;
use tieline_store::config::token::{self, Role};
use tracing::warn;

use crate::world::World;

/// A caller with a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operator {
    /// Sees all.
    Root,
    /// Sees one organization.
    Member {
        /// Which.
        organization: OrganizationId,
        /// What they may do in it.
        role: Role,
    },
}

/// The caller behind a bearer token. `None`: the token is unknown.
///
/// # Errors
/// The table's.
pub async fn recognize(world: &World, bearer: &str) -> Result<Option<Operator>, StoreError> {
    if world
        .settings
        .root_token
        .as_ref()
        .is_some_and(|root| root.matches(bearer))
    {
        return Ok(Some(Operator::Root));
    }
    let found = token::find(&world.store, bearer).await?;
    Ok(found.map(|(organization, role)| Operator::Member { organization, role }))
}

/// The caller behind an `Authorization` header. `None`: the token is unknown.
///
/// # Errors
/// What is answered while the table can't tell: the token may be as good as ever.
pub async fn signed_in(world: &World, authorization: Option<&str>) -> Result<Option<Operator>, WebhookAnswer> {
    let Some(token) = authorization.and_then(bearer) else {
        return Ok(None);
    };
    recognize(world, token).await.map_err(|error| {
        warn!(error = %error, "can't tell whose token it is");
        WebhookAnswer::problem(503, "unavailable", "the store can't be reached; try again")
    })
}

/// The bearer token in an `Authorization` header.
#[must_use]
pub fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Whether an operator may see what belongs to an organization.
#[must_use]
pub fn may_read(operator: &Operator, organization: &OrganizationId) -> bool {
    match operator {
        Operator::Root => true,
        Operator::Member { organization: own, .. } => own == organization,
    }
}

/// Whether an operator may change, or speak for, what belongs to an organization.
#[must_use]
pub fn may_write(operator: &Operator, organization: &OrganizationId) -> bool {
    match operator {
        Operator::Root => true,
        Operator::Member {
            organization: own,
            role,
        } => own == organization && *role == Role::Admin,
    }
}

/// What a run's token allows: to report the events of this run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunGrant {
    /// The run.
    pub run: RunId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// The tenant.
    pub organization: OrganizationId,
    /// Until when.
    #[serde(with = "tieline_core::timestamp::millis")]
    pub expires_at: Timestamp,
}

/// What sealed run tokens are about, so that no other sealed text passes for one.
const RUN_TOKEN: &str = "run token";

/// The token of a run. It carries its own proof, so nothing is stored for it.
///
/// # Panics
/// Never: a grant serializes.
#[must_use]
pub fn run_token(world: &World, grant: &RunGrant) -> Secret {
    let json = serde_json::to_vec(grant).expect("a grant serializes as JSON");
    Secret::new(world.store.keyring().seal_url(&json, RUN_TOKEN))
}

/// What a token allows, if we made it and its time is not over.
#[must_use]
pub fn open_run_token(world: &World, token: &str) -> Option<RunGrant> {
    let json = world.store.keyring().open_url(token, RUN_TOKEN).ok()?;
    let grant: RunGrant = serde_json::from_slice(&json).ok()?;
    (grant.expires_at > world.clock.now()).then_some(grant)
}
