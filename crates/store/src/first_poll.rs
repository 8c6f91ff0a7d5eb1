//! The time of the first poll of a reply without a record, so that its polling ends in time.
//!
//! Item `RPL#{reply}`/`POLL` of `state`, for an hour: `at`.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use tieline_core::ids::ReplyId;
use tieline_core::timestamp::{Timestamp, millis};

use crate::Store;
use crate::dynamo::{self, Reading};
use crate::error::StoreError;
use crate::item::{alive, expire, read, write};
use crate::update::Update;

const WHAT: &str = "first poll";
const SORT: &str = "POLL";
/// Longer than any platform polls.
const LIFETIME: Duration = Duration::from_hours(1);

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1 {
        #[serde(with = "millis")]
        at: Timestamp,
    },
}

/// Records a poll at `now` unless there was an earlier one. Returns when the first one was.
///
/// # Errors
/// [`StoreError::Unavailable`] or [`StoreError::Unreadable`].
pub async fn note(store: &Store, reply: &ReplyId, now: Timestamp) -> Result<Timestamp, StoreError> {
    let key = format!("RPL#{reply}");
    let found = dynamo::get(&store.dynamo, &store.tables.state, (&key, SORT), Reading::Strong, &[]).await?;
    if let Some(item) = alive(found, now) {
        let Stored::V1 { at } = read(WHAT, item)?;
        return Ok(at);
    }
    let mut item = write(WHAT, &key, SORT, &Stored::V1 { at: now })?;
    expire(&mut item, now.after(LIFETIME));
    let mut first = Update::new();
    first.require_gone(now);
    // A concurrent poll recorded it first.
    dynamo::put(&store.dynamo, &store.tables.state, item, first).await?;
    Ok(now)
}
