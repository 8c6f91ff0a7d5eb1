//! Sessions of the console: a cookie in place of a token.
//!
//! The cookie is a sealed value that names the token, so any process can read it and nothing is stored for an open session. The
//! token's item is read with every request: deleting the token ends its sessions. A session that was ended early is stored as
//! ended until it would have expired.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_core::ids::{OrganizationId, digest, fresh};
use tieline_core::timestamp::Timestamp;
use tieline_store::config::token;
use tieline_store::{StoreError, ended_session};

use super::{Identity, Operator, of_token};
use crate::world::{World, random};

/// The cookie's name.
pub const COOKIE: &str = "tieline_session";
/// The header that a request with the cookie needs to change something (CSRF protection). A form can't send it, and a script of another site may not.
pub const GUARD_HEADER: &str = "x-tieline-request";
/// How long a session lasts.
pub const LIFETIME: Duration = Duration::from_hours(12);

/// Purpose of sealed sessions, so that no other sealed text is accepted as one.
const ABOUT: &str = "operator session";

/// Identifies a session to be ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionName {
    /// Its id.
    pub id: String,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// A session that was just opened.
#[derive(Debug)]
pub struct OpenedSession {
    /// The cookie's value.
    pub cookie: String,
    /// When it expires.
    pub expires_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Grant {
    id: String,
    holder: Holder,
    #[serde(with = "tieline_core::timestamp::millis")]
    expires_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Holder {
    /// The digest of the root token: changing the root token ends the session.
    Root(String),
    Token {
        organization: OrganizationId,
        id: String,
    },
}

/// Opens a session for an operator who has just authenticated with a token. `None` if no root token is set in this process.
///
/// # Panics
/// Never: a grant serializes.
#[must_use]
pub fn open(world: &World, identity: &Identity) -> Option<OpenedSession> {
    let holder = match (&identity.operator, &identity.token) {
        (Operator::Member { organization, .. }, Some(token)) => Holder::Token {
            organization: organization.clone(),
            id: token.id.clone(),
        },
        _ => Holder::Root(root_digest(world)?),
    };
    let end = world.clock.now().after(LIFETIME);
    let token_end = identity.token.as_ref().and_then(|token| token.expires_at);
    let expires_at = token_end.map_or(end, |token_end| token_end.min(end));
    let grant = Grant {
        id: fresh("ses", random()),
        holder,
        expires_at,
    };
    let json = serde_json::to_vec(&grant).expect("a grant serializes as JSON");
    Some(OpenedSession {
        cookie: world.store.keyring().seal_url(&json, ABOUT),
        expires_at,
    })
}

/// Authenticates a session's cookie. `None`: it is invalid or expired, was ended, or its token is no longer valid.
///
/// # Errors
/// The table's.
pub async fn recognize(world: &World, cookie: &str) -> Result<Option<Identity>, StoreError> {
    let Some(grant) = read(world, cookie) else {
        return Ok(None);
    };
    let now = world.clock.now();
    if grant.expires_at <= now || ended_session::is_ended(&world.store, &grant.id, now).await? {
        return Ok(None);
    }
    let session = Some(SessionName {
        id: grant.id,
        expires_at: grant.expires_at,
    });
    match grant.holder {
        Holder::Root(digest) => Ok((root_digest(world) == Some(digest)).then_some(Identity {
            operator: Operator::Root,
            token: None,
            session,
        })),
        Holder::Token { organization, id } => {
            let found = token::get(&world.store, &organization, &id).await?;
            let alive = found.filter(|record| record.is_alive(now));
            Ok(alive.map(|record| of_token(record, session)))
        }
    }
}

fn read(world: &World, cookie: &str) -> Option<Grant> {
    let json = world.store.keyring().open_url(cookie, ABOUT).ok()?;
    serde_json::from_slice(&json).ok()
}

fn root_digest(world: &World) -> Option<String> {
    let root = world.settings.root_token.as_ref()?;
    Some(digest(&[ABOUT, root.expose()]))
}

/// Ends a session before it expires.
///
/// # Errors
/// The table's.
pub async fn end(world: &World, session: &SessionName) -> Result<(), StoreError> {
    ended_session::put(&world.store, &session.id, session.expires_at).await
}

/// The session's value in a `Cookie` header.
pub(super) fn in_cookies(header: &str) -> Option<&str> {
    let mut cookies = header.split(';').filter_map(|cookie| cookie.trim().split_once('='));
    cookies.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_found_among_other_cookies() {
        assert_eq!(in_cookies("a=b; tieline_session=xyz; c=d"), Some("xyz"));
        assert_eq!(in_cookies("tieline_session=x"), Some("x"));
        assert_eq!(in_cookies("not_tieline_session=x; b"), None);
    }
}
