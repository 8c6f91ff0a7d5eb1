//! Outcomes of calls that were sent to a bot's socket over the relay's queue, for the process that waits for them.
//!
//! Item `CALL#{call}`/`CALL` of `state`, for some minutes: `b`, the answer, sealed, for platforms quote personal text in it.

use serde::{Deserialize, Serialize};
use tieline_core::http_types::ApiAnswer;
use tieline_core::timestamp::Timestamp;

use crate::Store;
use crate::dynamo::{self, Reading};
use crate::error::StoreError;
use crate::item::{Blob, alive, expire, read, write};
use crate::update::Update;

const WHAT: &str = "answer of a relayed call";
const SORT: &str = "CALL";

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1 { b: Blob },
}

/// Records the outcome of a call, until `until`. The first outcome stays.
///
/// # Errors
/// [`StoreError::Unavailable`], or [`StoreError::TooLarge`].
pub async fn record(
    store: &Store,
    call: &str,
    answer: &ApiAnswer,
    until: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = partition(call);
    let plain = serde_json::to_vec(answer).map_err(|_| StoreError::Unreadable { what: WHAT })?;
    let stored = Stored::V1 {
        b: Blob(store.keyring.seal_bytes(&plain, &key)),
    };
    let mut item = write(WHAT, &key, SORT, &stored)?;
    expire(&mut item, until);
    let mut first = Update::new();
    first.require_gone(now);
    dynamo::put(&store.dynamo, &store.tables.state, item, first)
        .await
        .map(drop)
}

/// The outcome of a call, if recorded.
///
/// # Errors
/// [`StoreError::Unavailable`], [`StoreError::Unreadable`], or [`StoreError::Unsealable`].
pub async fn answer(store: &Store, call: &str, now: Timestamp) -> Result<Option<ApiAnswer>, StoreError> {
    let key = partition(call);
    let found = dynamo::get(&store.dynamo, &store.tables.state, (&key, SORT), Reading::Strong, &[]).await?;
    let Some(item) = alive(found, now) else {
        return Ok(None);
    };
    let Stored::V1 { b } = read(WHAT, item)?;
    let plain = store.keyring.open_bytes(&b.0, &key)?;
    serde_json::from_slice(&plain)
        .map(Some)
        .map_err(|_| StoreError::Unreadable { what: WHAT })
}

fn partition(call: &str) -> String {
    format!("CALL#{call}")
}
