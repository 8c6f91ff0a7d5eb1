//! Reads messages by their ids.

use tieline_core::ids::MessageId;
use tieline_core::timestamp::Timestamp;

use super::{MessageRecord, SORT, from_item, partition};
use crate::dynamo::{self, Reading};
use crate::error::StoreError;
use crate::item::alive;
use crate::{Store, batch};

/// Reads a message.
///
/// # Errors
/// [`StoreError::Unavailable`], or [`StoreError::Unreadable`].
pub async fn get(store: &Store, id: &MessageId, now: Timestamp) -> Result<Option<MessageRecord>, StoreError> {
    let found = dynamo::get(
        &store.dynamo,
        &store.tables.state,
        (&partition(id), SORT),
        Reading::Strong,
        &[],
    )
    .await?;
    match alive(found, now) {
        Some(item) => from_item(store, item, now).await.map(Some),
        None => Ok(None),
    }
}

/// Reads messages, in the order of `ids`. Those that don't exist are left out.
///
/// # Errors
/// [`StoreError::Unavailable`], or [`StoreError::Unreadable`].
pub async fn get_many(store: &Store, ids: &[MessageId], now: Timestamp) -> Result<Vec<MessageRecord>, StoreError> {
    read_many(store, ids, Reading::Strong, now).await
}

/// Like [`get_many`], for a caller who knows that all of them exist and are pending: eventually consistent, for half the price, if that read
/// shows them so; else strongly consistent.
///
/// # Errors
/// As [`get_many`].
pub async fn get_waiting(store: &Store, ids: &[MessageId], now: Timestamp) -> Result<Vec<MessageRecord>, StoreError> {
    let recent = read_many(store, ids, Reading::Eventual, now).await?;
    let waits = |record: &MessageRecord| !record.state.is_terminal() && !record.event.is_empty();
    match recent.len() == ids.len() && recent.iter().all(waits) {
        true => Ok(recent),
        false => get_many(store, ids, now).await,
    }
}

async fn read_many(
    store: &Store,
    ids: &[MessageId],
    reading: Reading,
    now: Timestamp,
) -> Result<Vec<MessageRecord>, StoreError> {
    let key = |id| (partition(id), SORT.to_owned());
    let keys = ids.iter().map(key).collect();
    let found = batch::get(&store.dynamo, &store.tables.state, keys, reading).await?;
    let mut records = Vec::with_capacity(ids.len());
    for id in ids {
        if let Some(item) = alive(found.get(&key(id)).cloned(), now) {
            records.push(from_item(store, item, now).await?);
        }
    }
    Ok(records)
}
