//! Lists of an organization's items.

use crate::Store;
use crate::batch;
use crate::dynamo::{self, Query, Reading, end_of};
use crate::error::StoreError;
use crate::item::{Item, get_text};
use crate::page::{self, Page};
use crate::tables::SK;

/// One page of the items of a partition whose sort key starts with `prefix`, in order of the rest of the key.
pub(super) async fn page(
    store: &Store,
    partition: &str,
    prefix: &str,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page<Item>, StoreError> {
    // The cursor doesn't contain the prefix.
    let position = page::position(cursor, ("", &end_of("")))?;
    let after = position.map(|rest| crate::item::key(partition, &format!("{prefix}{rest}")));
    let (items, next) = dynamo::query(
        &store.dynamo,
        Query {
            table: &store.tables.config,
            index: None,
            partition,
            range: (prefix, &end_of(prefix)),
            descending: false,
            reading: Reading::Strong,
            after,
            limit,
        },
    )
    .await?;
    let last = next.as_ref().and_then(|key| get_text(key, SK)?.strip_prefix(prefix));
    Ok(Page {
        items,
        cursor: last.map(page::cursor),
    })
}

/// The items with these keys, in this order. Items that don't exist are left out.
pub(super) async fn in_order(store: &Store, keys: Vec<(String, String)>) -> Result<Vec<Item>, StoreError> {
    let mut found = batch::get(&store.dynamo, &store.tables.config, keys.clone(), Reading::Strong).await?;
    Ok(keys.iter().filter_map(|key| found.remove(key)).collect())
}
