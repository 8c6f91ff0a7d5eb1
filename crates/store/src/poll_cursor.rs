//! Cursors of long polls: where the next poll of a bot continues.
//!
//! Item `CUR#{integration}`/`CUR` of `state`: `f` the fencing token of the bot's newest holder, `h` the credentials that the cursor belongs
//! to (a keyed digest), `b` the sealed cursor. Every write is conditional on the fencing token, so that a holder that has lost the bot can't
//! reset the cursor.

use aws_sdk_dynamodb::primitives::Blob as Bytes;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use serde::Deserialize;
use tieline_core::ids::IntegrationId;

use crate::Store;
use crate::dynamo;
use crate::error::StoreError;
use crate::item::{Blob, number, read, text};
use crate::update::Update;

const WHAT: &str = "poll cursor";
const SORT: &str = "CUR";

#[derive(Debug, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1 {
        /// Absent until the first cursor is saved.
        #[serde(default)]
        b: Option<Blob>,
        #[serde(default)]
        h: String,
    },
}

/// Takes the cursor over for the holder with this fencing token, and reads it. `None`: there is none for the credentials `source`.
///
/// From now on no holder with a lower token can save one.
///
/// # Errors
/// [`StoreError::Conflict`] if a newer holder has taken it over; [`StoreError::Unreadable`], [`StoreError::Unsealable`].
pub async fn take_over(
    store: &Store,
    integration: &IntegrationId,
    source: &str,
    fence: u64,
) -> Result<Option<String>, StoreError> {
    let key = partition(integration);
    let item = write(store, &key, under(fence), ReturnValue::AllNew).await?;
    let Stored::V1 { b: Some(blob), h } = read(WHAT, item)? else {
        return Ok(None);
    };
    if h != source {
        return Ok(None);
    }
    let plain = store.keyring.open_bytes(&blob.0, &bound_to(&key, source))?;
    String::from_utf8(plain)
        .map(Some)
        .map_err(|_| StoreError::Unreadable { what: WHAT })
}

/// Saves the cursor, for the holder with this fencing token.
///
/// # Errors
/// [`StoreError::Conflict`] if a newer holder has taken it over.
pub async fn save(
    store: &Store,
    integration: &IntegrationId,
    source: &str,
    fence: u64,
    cursor: &str,
) -> Result<(), StoreError> {
    let key = partition(integration);
    let sealed = store.keyring.seal_bytes(cursor.as_bytes(), &bound_to(&key, source));
    let mut change = under(fence);
    change.set("h", text(source));
    change.set("b", AttributeValue::B(Bytes::new(sealed)));
    write(store, &key, change, ReturnValue::None).await.map(drop)
}

/// Deletes the cursor, with its integration.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn remove(store: &Store, integration: &IntegrationId) -> Result<(), StoreError> {
    let key = partition(integration);
    dynamo::delete(&store.dynamo, &store.tables.state, (&key, SORT), Update::new()).await
}

/// An update on condition that no holder has a higher fencing token.
fn under(fence: u64) -> Update {
    let mut change = Update::new();
    let (path, mine) = (change.path("f"), change.value(number(fence)));
    change.require(format!("(attribute_not_exists({path}) OR {path} <= {mine})"));
    change.set("f", number(fence));
    change.set("v", text("1"));
    change
}

async fn write(store: &Store, key: &str, change: Update, back: ReturnValue) -> Result<crate::item::Item, StoreError> {
    let table = &store.tables.state;
    let written = dynamo::update(&store.dynamo, table, (key, SORT), change, back).await?;
    written.or_conflict()
}

/// Binds a sealed cursor to the bot and the credentials that it was saved for.
pub(crate) fn bound_to(key: &str, source: &str) -> String {
    format!("{key}/{source}")
}

fn partition(integration: &IntegrationId) -> String {
    format!("CUR#{integration}")
}
