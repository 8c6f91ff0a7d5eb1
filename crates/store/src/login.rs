//! QR code logins: the state of an integration's login, shared by all processes.
//!
//! Item `LOGIN#{integration}`/`LOGIN` of `state`, until a day after its code has expired: `st` the state, `s` the sealed code (the person who
//! scans it owns the bot), `n` the version that every write is conditional on, `pu` until when a process polls the platform.

use serde::{Deserialize, Serialize};
use tieline_core::ids::IntegrationId;
use tieline_core::timestamp::{Timestamp, millis};

use crate::Store;
use crate::dynamo::{self, Reading};
use crate::error::StoreError;
use crate::item::{Blob, alive, expire, number, read, write};
use crate::update::Update;

const WHAT: &str = "login";
const SORT: &str = "LOGIN";
/// How long the outcome of a login can be read after its code has expired.
const KEPT: std::time::Duration = std::time::Duration::from_hours(24);

/// State of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginState {
    /// The code is waiting to be scanned.
    Waiting,
    /// Scanned; the person has yet to confirm.
    Scanned,
    /// The app shows digits that the operator has to type.
    VerifyCodeNeeded,
    /// Logged in.
    Confirmed,
    /// The code has expired.
    Expired,
    /// The platform refuses.
    Refused,
}

impl LoginState {
    /// The name used in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Scanned => "scanned",
            Self::VerifyCodeNeeded => "verify_code_needed",
            Self::Confirmed => "confirmed",
            Self::Expired => "expired",
            Self::Refused => "refused",
        }
    }

    /// Whether it has ended.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Confirmed | Self::Expired | Self::Refused)
    }
}

/// A login.
#[derive(Clone, PartialEq, Eq)]
pub struct LoginRecord {
    /// Its state.
    pub state: LoginState,
    /// Why it was refused.
    pub code: Option<String>,
    /// The text of the QR code. The person who scans it owns the bot.
    pub qr_url: String,
    /// What the connector needs to poll the code's state.
    pub ticket: String,
    /// When the code expires.
    pub expires_at: Timestamp,
    /// Until when one process polls the platform; the others don't.
    pub polled_until: Option<Timestamp>,
    /// Incremented with every change. 0: not written yet.
    pub version: u64,
}

impl std::fmt::Debug for LoginRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginRecord")
            .field("state", &self.state)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1 {
        st: LoginState,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        c: Option<String>,
        s: Blob,
        #[serde(with = "millis")]
        x: Timestamp,
        #[serde(with = "millis::option", default)]
        pu: Option<Timestamp>,
        n: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    qr_url: String,
    ticket: String,
}

/// The latest login of an integration, if there is one.
///
/// # Errors
/// [`StoreError::Unavailable`], [`StoreError::Unreadable`], or [`StoreError::Unsealable`].
pub async fn get(
    store: &Store,
    integration: &IntegrationId,
    now: Timestamp,
) -> Result<Option<LoginRecord>, StoreError> {
    let key = partition(integration);
    let found = dynamo::get(&store.dynamo, &store.tables.state, (&key, SORT), Reading::Strong, &[]).await?;
    let Some(item) = alive(found, now) else {
        return Ok(None);
    };
    let Stored::V1 { st, c, s, x, pu, n } = read(WHAT, item)?;
    let plain = store.keyring.open_bytes(&s.0, &key)?;
    let sealed: Sealed = serde_json::from_slice(&plain).map_err(|_| StoreError::Unreadable { what: WHAT })?;
    Ok(Some(LoginRecord {
        state: st,
        code: c,
        qr_url: sealed.qr_url,
        ticket: sealed.ticket,
        expires_at: x,
        polled_until: pu,
        version: n,
    }))
}

/// Writes a login in place of version `login.version`, and sets its next version.
///
/// # Errors
/// [`StoreError::Conflict`] if another was written since it was read.
pub async fn put(
    store: &Store,
    integration: &IntegrationId,
    login: &mut LoginRecord,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = partition(integration);
    let sealed = Sealed {
        qr_url: login.qr_url.clone(),
        ticket: login.ticket.clone(),
    };
    let plain = serde_json::to_vec(&sealed).map_err(|_| StoreError::Unreadable { what: WHAT })?;
    let stored = Stored::V1 {
        st: login.state,
        c: login.code.clone(),
        s: Blob(store.keyring.seal_bytes(&plain, &key)),
        x: login.expires_at,
        pu: login.polled_until,
        n: login.version + 1,
    };
    let mut item = write(WHAT, &key, SORT, &stored)?;
    expire(&mut item, login.expires_at.after(KEPT));
    let mut condition = Update::new();
    match login.version {
        0 => condition.require_gone(now),
        version => condition.require_equal("n", number(version)),
    };
    let written = dynamo::put(&store.dynamo, &store.tables.state, item, condition).await?;
    written.or_conflict()?;
    login.version += 1;
    Ok(())
}

/// Deletes the login, with its integration.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn remove(store: &Store, integration: &IntegrationId) -> Result<(), StoreError> {
    let key = partition(integration);
    dynamo::delete(&store.dynamo, &store.tables.state, (&key, SORT), Update::new()).await
}

fn partition(integration: &IntegrationId) -> String {
    format!("LOGIN#{integration}")
}
