//! Old ids of groups to which their platform has given another one.
//!
//! Item `MOVED#{integration}#{digest of the group's id}`/`MOVED` of `state`: `from`, the old id. For 400 days, as conversations are kept; longer
//! for as long as it is read.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_core::ids::{ChatId, IntegrationId, digest};
use tieline_core::timestamp::Timestamp;

use crate::Store;
use crate::dynamo::{self, Reading};
use crate::error::StoreError;
use crate::item::{Item, alive, expire, get_number, read, write};
use crate::tables::TTL;
use crate::update::Update;

const WHAT: &str = "moved chat";
const SORT: &str = "MOVED";
/// How long it is kept after it was written, and how much of that is left when a read writes it again.
const LIFETIME: Duration = Duration::from_hours(400 * 24);
const RENEWED_WHEN_LEFT: Duration = Duration::from_hours(200 * 24);

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1 { from: ChatId },
}

/// Records the old id of a group. Writing it again changes nothing.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn put(
    store: &Store,
    integration: &IntegrationId,
    chat: &ChatId,
    from: &ChatId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let moved = Stored::V1 { from: from.clone() };
    let mut item = write(WHAT, &partition(integration, chat), SORT, &moved)?;
    expire(&mut item, now.after(LIFETIME));
    dynamo::put(&store.dynamo, &store.tables.state, item, Update::new())
        .await
        .map(drop)
}

/// The old id of a group. `None` if it never had another one.
///
/// # Errors
/// [`StoreError::Unavailable`] or [`StoreError::Unreadable`].
pub async fn old_id(
    store: &Store,
    integration: &IntegrationId,
    chat: &ChatId,
    now: Timestamp,
) -> Result<Option<ChatId>, StoreError> {
    let key = partition(integration, chat);
    let found = dynamo::get(&store.dynamo, &store.tables.state, (&key, SORT), Reading::Strong, &[]).await?;
    let Some(item) = alive(found, now) else {
        return Ok(None);
    };
    let expires_soon = expires_soon(&item, now);
    let Stored::V1 { from } = read(WHAT, item)?;
    if expires_soon {
        put(store, integration, chat, &from, now).await?;
    }
    Ok(Some(from))
}

fn expires_soon(item: &Item, now: Timestamp) -> bool {
    let expires_at = get_number(item, TTL).map(Timestamp::from_secs);
    expires_at.is_some_and(|at| at.since(now) < RENEWED_WHEN_LEFT)
}

fn partition(integration: &IntegrationId, chat: &ChatId) -> String {
    format!("MOVED#{integration}#{}", digest(&[chat.as_str()]))
}
