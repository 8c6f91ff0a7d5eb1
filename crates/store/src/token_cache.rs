//! Cache of access tokens, shared by all processes, because platforms limit how often new ones are issued.
//!
//! Item `ATK#{integration}`/`ATK` of `state`, until the token expires: `b` the sealed token, `x` its expiry, `h` digest of its source.

use serde::{Deserialize, Serialize};
use tieline_core::http_types::AccessToken;
use tieline_core::ids::IntegrationId;
use tieline_core::timestamp::Timestamp;

use crate::Store;
use crate::dynamo::{self, Reading};
use crate::error::StoreError;
use crate::item::{Blob, expire, number, read, text, write};
use crate::tables::PK;
use crate::update::Update;

const WHAT: &str = "access token";
const SORT: &str = "ATK";

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1 {
        b: Blob,
        #[serde(with = "tieline_core::timestamp::millis")]
        x: Timestamp,
        /// Absent in items of an earlier version, whose tokens are fetched again.
        #[serde(default)]
        h: String,
    },
}

/// The token of an integration, if there is one that is valid at `now` and was obtained from `source`.
///
/// # Errors
/// [`StoreError::Unavailable`], [`StoreError::Unreadable`], or [`StoreError::Unsealable`].
pub async fn get(
    store: &Store,
    integration: &IntegrationId,
    source: &str,
    now: Timestamp,
) -> Result<Option<AccessToken>, StoreError> {
    let key = partition(integration);
    let found = dynamo::get(&store.dynamo, &store.tables.state, (&key, SORT), Reading::Strong, &[]).await?;
    let Some(item) = found else {
        return Ok(None);
    };
    let Stored::V1 { b, x, h } = read(WHAT, item)?;
    if x <= now || h != source {
        return Ok(None);
    }
    let plain = store.keyring.open_bytes(&b.0, &bound_to(&key, source))?;
    serde_json::from_slice(&plain)
        .map(Some)
        .map_err(|_| StoreError::Unreadable { what: WHAT })
}

/// Stores a token obtained from `source`. Of the same source only one that expires later replaces another: of two that were fetched
/// concurrently, the newer stays.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn put(
    store: &Store,
    integration: &IntegrationId,
    source: &str,
    token: &AccessToken,
) -> Result<(), StoreError> {
    let key = partition(integration);
    let plain = serde_json::to_vec(token).map_err(|_| StoreError::Unreadable { what: WHAT })?;
    let stored = Stored::V1 {
        b: Blob(store.keyring.seal_bytes(&plain, &bound_to(&key, source))),
        x: token.expires_at,
        h: source.to_owned(),
    };
    let mut item = write(WHAT, &key, SORT, &stored)?;
    expire(&mut item, token.expires_at);
    let mut condition = Update::new();
    let (pk, expiry, had_with) = (condition.path(PK), condition.path("x"), condition.path("h"));
    let new = condition.value(number(token.expires_at.as_millis()));
    let source = condition.value(text(source));
    condition.require(format!(
        "(attribute_not_exists({pk}) OR attribute_not_exists({had_with}) OR {had_with} <> {source} OR {expiry} < {new})"
    ));
    dynamo::put(&store.dynamo, &store.tables.state, item, condition)
        .await
        .map(drop)
}

/// Evicts a token that the platform no longer accepts, unless another has replaced it.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn forget(store: &Store, integration: &IntegrationId, token: &AccessToken) -> Result<(), StoreError> {
    let mut condition = Update::new();
    condition.require_equal("x", number(token.expires_at.as_millis()));
    remove_if(store, integration, condition).await
}

/// Evicts any token, because the credentials have changed.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn remove(store: &Store, integration: &IntegrationId) -> Result<(), StoreError> {
    remove_if(store, integration, Update::new()).await
}

async fn remove_if(store: &Store, integration: &IntegrationId, condition: Update) -> Result<(), StoreError> {
    let (key, table) = (partition(integration), &store.tables.state);
    match dynamo::delete(&store.dynamo, table, (&key, SORT), condition).await {
        // Another token is stored now, or none: either is fine.
        Ok(()) | Err(StoreError::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Binds a sealed token to its item, and to its source.
pub(crate) fn bound_to(key: &str, source: &str) -> String {
    format!("{key}/{source}")
}

fn partition(integration: &IntegrationId) -> String {
    format!("ATK#{integration}")
}
