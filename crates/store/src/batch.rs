//! Batch reads and writes. What the table leaves unprocessed is retried with backoff.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemInput;
use aws_sdk_dynamodb::types::{KeysAndAttributes, PutRequest, WriteRequest};

use crate::client::TableClient;
use crate::dynamo::Reading;
use crate::error::StoreError;
use crate::item::{Item, get_text, key};
use crate::tables::{PK, SK};

/// Most keys of one read, by the service.
///
/// See [Amazon DynamoDB API Reference/BatchGetItem](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html).
const MAX_KEYS: usize = 100;

/// Most items of one write, by the service.
///
/// See [Amazon DynamoDB API Reference/BatchWriteItem](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html).
const MAX_WRITES: usize = 25;

/// Most retries without any progress.
const MAX_TRIES: u32 = 8;

/// The first wait; it doubles with each retry.
const FIRST_WAIT: Duration = Duration::from_millis(25);

/// Reads items by their keys. Items that don't exist are left out; a key given twice is read once.
pub(crate) async fn get(
    client: &TableClient,
    table: &str,
    mut keys: Vec<(String, String)>,
    reading: Reading,
) -> Result<HashMap<(String, String), Item>, StoreError> {
    keys.sort_unstable();
    keys.dedup();
    let mut found = HashMap::with_capacity(keys.len());
    for chunk in keys.chunks(MAX_KEYS) {
        let mut rest: Vec<_> = chunk.iter().map(|(pk, sk)| key(pk, sk)).collect();
        let mut tries = 0;
        while !rest.is_empty() {
            let n_asked = rest.len();
            let (items, left) = get_some(client, table, rest, reading).await?;
            found.extend(items.into_iter().filter_map(|item| Some((key_of(&item)?, item))));
            pause(&mut tries, left.len() < n_asked, left.is_empty()).await?;
            rest = left;
        }
    }
    Ok(found)
}

async fn get_some(
    client: &TableClient,
    table: &str,
    keys: Vec<Item>,
    reading: Reading,
) -> Result<(Vec<Item>, Vec<Item>), StoreError> {
    let asked = KeysAndAttributes::builder()
        .set_keys(Some(keys))
        .consistent_read(reading == Reading::Strong)
        .build()
        .expect("keys are set");
    let call = BatchGetItemInput::builder().request_items(table, asked);
    let answer = client.batch_get_item(call).await?;
    let items = answer.responses.and_then(|mut tables| tables.remove(table));
    let left = answer.unprocessed_keys.and_then(|mut tables| tables.remove(table));
    Ok((
        items.unwrap_or_default(),
        left.map(|left| left.keys).unwrap_or_default(),
    ))
}

/// Writes whole items unconditionally: only for items that have no other writer.
pub(crate) async fn put(client: &TableClient, table: &str, items: Vec<Item>) -> Result<(), StoreError> {
    let mut items = items.into_iter().peekable();
    while items.peek().is_some() {
        let mut rest: Vec<_> = items.by_ref().take(MAX_WRITES).map(write_request).collect();
        let mut tries = 0;
        while !rest.is_empty() {
            let n_asked = rest.len();
            let answer = client.sdk.batch_write_item().request_items(table, rest).send().await?;
            let left = answer.unprocessed_items.and_then(|mut tables| tables.remove(table));
            let left = left.unwrap_or_default();
            pause(&mut tries, left.len() < n_asked, left.is_empty()).await?;
            rest = left;
        }
    }
    Ok(())
}

fn write_request(item: Item) -> WriteRequest {
    let put = PutRequest::builder().set_item(Some(item)).build().expect("item is set");
    WriteRequest::builder().put_request(put).build()
}

fn key_of(item: &Item) -> Option<(String, String)> {
    Some((get_text(item, PK)?.to_owned(), get_text(item, SK)?.to_owned()))
}

async fn pause(tries: &mut u32, headway: bool, done: bool) -> Result<(), StoreError> {
    if done {
        return Ok(());
    }
    *tries = if headway { 0 } else { *tries + 1 };
    if *tries >= MAX_TRIES {
        return Err(StoreError::throttled());
    }
    tokio::time::sleep(FIRST_WAIT * 2_u32.pow(*tries)).await;
    Ok(())
}
