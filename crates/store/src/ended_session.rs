//! Operators' sessions that were ended early.
//!
//! Items `SESSION#{id}`/`ENDED` of `state`, until the session would have expired.

use tieline_core::timestamp::Timestamp;

use crate::Store;
use crate::dynamo::{self, Reading};
use crate::error::StoreError;
use crate::item::{alive, expire, key, text};
use crate::update::Update;

const SORT: &str = "ENDED";

/// Marks a session as ended.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn put(store: &Store, id: &str, expires_at: Timestamp) -> Result<(), StoreError> {
    let mut item = key(&partition(id), SORT);
    item.insert("v".into(), text("1"));
    expire(&mut item, expires_at);
    // Unconditional: ending a session twice has the same effect.
    let written = dynamo::put(&store.dynamo, &store.tables.state, item, Update::new()).await;
    written.map(drop)
}

/// Whether a session was ended.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn is_ended(store: &Store, id: &str, now: Timestamp) -> Result<bool, StoreError> {
    let place = partition(id);
    let found = dynamo::get(&store.dynamo, &store.tables.state, (&place, SORT), Reading::Strong, &[]).await?;
    Ok(alive(found, now).is_some())
}

fn partition(id: &str) -> String {
    format!("SESSION#{id}")
}
