//! Authentication of operators and agents, by tokens that Tieline issues.
//!
//! An operator authenticates with a bearer token, or with the cookie of a session that a token opened (`session`).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tieline_core::connector::Proof;
use tieline_core::http_types::WebhookAnswer;
use tieline_core::ids::{ConversationId, OrganizationId, RunId};
use tieline_core::secret::Secret;
use tieline_core::timestamp::Timestamp;
use tieline_store::StoreError;
use tieline_store::config::token::{self, Role, TokenRecord};
use tracing::warn;

use crate::world::World;

pub mod session;
mod strength;
mod wrong_token;

pub use session::SessionName;
pub use strength::{MIN_TOKEN_BITS, bits};

/// A caller with a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operator {
    /// May access everything.
    Root,
    /// May access one organization.
    Member {
        /// The organization.
        organization: OrganizationId,
        /// The role in it.
        role: Role,
    },
}

impl Operator {
    /// The organization's id; empty for the root operator.
    #[must_use]
    pub fn owner(&self) -> &str {
        match self {
            Self::Root => "",
            Self::Member { organization, .. } => organization.as_str(),
        }
    }
}

/// An operator, and the token that authenticated it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What the operator may access.
    pub operator: Operator,
    /// The organization's token. `None`: the root token.
    pub token: Option<TokenName>,
    /// The session, if a cookie authenticated it.
    pub session: Option<SessionName>,
}

/// A token as audit entries and sessions name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenName {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

/// The credentials of a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Proofs<'a> {
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
    /// The `Cookie` header.
    pub cookie: Option<&'a str>,
    /// Whether the request has the header [`session::GUARD_HEADER`], which no form of another site can send.
    pub is_guarded: bool,
    /// Whether the request may change something.
    pub changes: bool,
    /// The client's address, if known.
    pub address: Option<IpAddr>,
}

/// Why a request is not authenticated.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// No credentials, or a session that has ended.
    #[error("no valid token or session")]
    Unproved,
    /// A wrong token.
    #[error("no valid token or session")]
    WrongToken,
    /// A wrong token, after too many wrong ones.
    #[error("too many wrong tokens; try again in {retry_after_seconds} s")]
    TooManyGuesses {
        /// After this the next attempt is checked as before.
        retry_after_seconds: u64,
    },
    /// A session's cookie without the header that a form of another site can't send.
    #[error("a change with the session cookie needs the header `X-Tieline-Request`")]
    Unguarded,
    /// The table failed: the token may be valid.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Authenticates the operator of a request. A bearer token takes precedence over a cookie. Wrong tokens are counted per address and
/// audited.
///
/// # Errors
/// [`Denied`].
pub async fn identify(world: &World, proofs: &Proofs<'_>) -> Result<Identity, Denied> {
    if let Some(token) = proofs.authorization.and_then(bearer).filter(|token| !token.is_empty()) {
        return with_token(world, token, proofs.address).await;
    }
    let Some(cookie) = proofs.cookie.and_then(session::in_cookies) else {
        return Err(Denied::Unproved);
    };
    let found = session::recognize(world, cookie).await?.ok_or(Denied::Unproved)?;
    if proofs.changes && !proofs.is_guarded {
        return Err(Denied::Unguarded);
    }
    Ok(found)
}

/// Authenticates a token. A wrong one is counted against the address, and audited.
///
/// # Errors
/// [`Denied`].
pub async fn with_token(world: &World, token: &str, address: Option<IpAddr>) -> Result<Identity, Denied> {
    match recognize(world, token).await? {
        Some(known) => Ok(known),
        None => Err(wrong_token::refuse(world, address).await),
    }
}

async fn recognize(world: &World, token: &str) -> Result<Option<Identity>, StoreError> {
    if is_root(world, token) {
        return Ok(Some(Identity {
            operator: Operator::Root,
            token: None,
            session: None,
        }));
    }
    let found = token::find(&world.store, token, world.clock.now()).await?;
    Ok(found.map(|record| of_token(record, None)))
}

fn is_root(world: &World, token: &str) -> bool {
    let root = world.settings.root_token.as_ref();
    root.is_some_and(|root| root.matches(token))
}

fn of_token(record: TokenRecord, session: Option<SessionName>) -> Identity {
    Identity {
        operator: Operator::Member {
            organization: record.organization,
            role: record.role,
        },
        token: Some(TokenName {
            id: record.id,
            name: record.name,
            expires_at: record.expires_at,
        }),
        session,
    }
}

/// Records that an organization's token was used, at most every ten minutes. On failure only the displayed time of last use is outdated.
pub async fn note_use(world: &World, identity: &Identity) {
    let (Operator::Member { organization, .. }, Some(token)) = (&identity.operator, &identity.token) else {
        return;
    };
    let now = world.clock.now();
    if !world.token_uses.is_due(&token.id, now) {
        return;
    }
    if let Err(error) = token::note_use(&world.store, organization, &token.id, now).await {
        warn!(token.id = %token.id, error = %error, "last use of a token can't be written");
    }
}

/// Authenticates the operator of a request to our own channel. `None`: the request has none, or the path belongs to another platform,
/// whose requests are verified in another way.
///
/// # Errors
/// The response while the table fails, and after too many wrong tokens.
pub async fn signed_in(world: &World, platform: &str, proofs: &Proofs<'_>) -> Result<Option<Operator>, WebhookAnswer> {
    let connector = world.connector(platform);
    if !connector.is_some_and(|connector| connector.manifest().proof == Proof::Operator) {
        return Ok(None);
    }
    reader(world, proofs).await
}

/// Authenticates the operator of a request that follows a reply of our own channel.
///
/// # Errors
/// As [`signed_in`].
pub async fn reader(world: &World, proofs: &Proofs<'_>) -> Result<Option<Operator>, WebhookAnswer> {
    match identify(world, proofs).await {
        Ok(identity) => Ok(Some(identity.operator)),
        Err(Denied::Unproved | Denied::WrongToken | Denied::Unguarded) => Ok(None),
        Err(denied @ Denied::TooManyGuesses { .. }) => Err(WebhookAnswer::problem(
            429,
            "too_many_wrong_tokens",
            &denied.to_string(),
        )),
        Err(Denied::Store(error)) => {
            warn!(error = %error, "a token can't be looked up");
            Err(WebhookAnswer::problem(
                503,
                "unavailable",
                "the store can't be reached; try again",
            ))
        }
    }
}

/// The bearer token in an `Authorization` header.
#[must_use]
pub fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Whether a request's `Authorization` header has the root token. A wrong token is counted against the address.
///
/// # Errors
/// [`Denied::TooManyGuesses`] and [`Denied::Store`].
pub async fn has_root_token(world: &World, header: Option<&str>, address: Option<IpAddr>) -> Result<bool, Denied> {
    let Some(token) = header.and_then(bearer).filter(|token| !token.is_empty()) else {
        return Ok(false);
    };
    match with_token(world, token, address).await {
        Ok(identity) => Ok(identity.operator == Operator::Root),
        Err(denied @ (Denied::TooManyGuesses { .. } | Denied::Store(_))) => Err(denied),
        Err(Denied::Unproved | Denied::WrongToken | Denied::Unguarded) => Ok(false),
    }
}

/// Whether an operator may read an organization's data.
#[must_use]
pub fn may_read(operator: &Operator, organization: &OrganizationId) -> bool {
    match operator {
        Operator::Root => true,
        Operator::Member { organization: own, .. } => own == organization,
    }
}

/// Whether an operator may change an organization's data, or act for it.
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

/// What a run's token permits: reporting events of this run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunGrant {
    /// The run.
    pub run: RunId,
    /// Its conversation.
    pub conversation: ConversationId,
    /// The tenant.
    pub organization: OrganizationId,
    /// When it expires.
    #[serde(with = "tieline_core::timestamp::millis")]
    pub expires_at: Timestamp,
}

/// Purpose of sealed run tokens, so that no other sealed text is accepted as one.
const RUN_TOKEN: &str = "run token";

/// The token of a run. It is self-contained, so nothing is stored for it.
///
/// # Panics
/// Never: a grant serializes.
#[must_use]
pub fn run_token(world: &World, grant: &RunGrant) -> Secret {
    let json = serde_json::to_vec(grant).expect("a grant serializes as JSON");
    Secret::new(world.store.keyring().seal_url(&json, RUN_TOKEN))
}

/// The grant in a token, if it is ours and has not expired.
#[must_use]
pub fn open_run_token(world: &World, token: &str) -> Option<RunGrant> {
    let json = world.store.keyring().open_url(token, RUN_TOKEN).ok()?;
    let grant: RunGrant = serde_json::from_slice(&json).ok()?;
    (grant.expires_at > world.clock.now()).then_some(grant)
}
