//! The data key as a key service has wrapped it: item `KEYRING`/`1` of `config`.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::dynamo::{self, Reading, Written};
use crate::error::StoreError;
use crate::item::{Item, text};
use crate::tables::{PK, SK, Tables};
use crate::update::Update;

const PARTITION: &str = "KEYRING";
const SORT: &str = "1";
const WRAPPED: &str = "wrapped";

/// The wrapped key, if there is one.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn get(client: &Client, tables: &Tables) -> Result<Option<Vec<u8>>, StoreError> {
    let found = dynamo::get(client, &tables.config, (PARTITION, SORT), Reading::Strong, &[]).await?;
    found.map(|item| wrapped(&item)).transpose()
}

/// Keeps `fresh`, unless a key is there already. Gives the key that is there then.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn put_first(client: &Client, tables: &Tables, fresh: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    let item = Item::from([
        (PK.to_owned(), text(PARTITION)),
        (SK.to_owned(), text(SORT)),
        (WRAPPED.to_owned(), AttributeValue::B(Blob::new(fresh.clone()))),
    ]);
    let mut condition = Update::new();
    condition.require_absent(PK);
    match dynamo::put(client, &tables.config, item, condition).await? {
        Written::Done(_) => Ok(fresh),
        Written::Refused(Some(item)) => wrapped(&item),
        Written::Refused(None) => Err(StoreError::Conflict),
    }
}

fn wrapped(item: &Item) -> Result<Vec<u8>, StoreError> {
    let value = item.get(WRAPPED).and_then(|value| value.as_b().ok());
    value
        .map(|blob| blob.clone().into_inner())
        .ok_or(StoreError::Unreadable { what: "wrapped key" })
}
