//! Calls to the tables, with their shared options.

use aws_sdk_dynamodb::Error;
use aws_sdk_dynamodb::operation::get_item::GetItemInput;
use aws_sdk_dynamodb::operation::put_item::PutItemInput;
use aws_sdk_dynamodb::operation::query::QueryInput;
use aws_sdk_dynamodb::operation::query::builders::QueryInputBuilder;
use aws_sdk_dynamodb::operation::update_item::UpdateItemInput;
use aws_sdk_dynamodb::types::{Put, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem};

use crate::client::TableClient;
use crate::error::StoreError;
use crate::item::{Item, key, text};
use crate::tables::{IndexDefinition, PK, SK};
use crate::update::Update;

/// Outcome of a conditional write.
#[derive(Debug)]
pub(crate) enum Written {
    /// It was applied. With the attributes that were requested.
    Done(Item),
    /// Its condition failed. With the current item, if there is one.
    Refused(Option<Item>),
}

impl Written {
    /// Turns a failed condition into a conflict.
    pub(crate) fn or_conflict(self) -> Result<Item, StoreError> {
        match self {
            Self::Done(item) => Ok(item),
            Self::Refused(_) => Err(StoreError::Conflict),
        }
    }
}

/// Consistency of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Sees every write that was acknowledged.
    Strong,
    /// Eventually consistent: may be a moment old, for half the price.
    Eventual,
}

/// Reads an item. `only` names the attributes to read, all if empty.
pub(crate) async fn get(
    client: &TableClient,
    table: &str,
    (pk, sk): (&str, &str),
    reading: Reading,
    only: &[&str],
) -> Result<Option<Item>, StoreError> {
    let mut projection = Update::new();
    let paths: Vec<_> = only.iter().map(|path| projection.path(path)).collect();
    let call = GetItemInput::builder()
        .table_name(table)
        .set_key(Some(key(pk, sk)))
        .consistent_read(reading == Reading::Strong);
    let call = if paths.is_empty() {
        call
    } else {
        call.projection_expression(paths.join(", "))
            .set_expression_attribute_names(Some(projection.names))
    };
    Ok(client.get_item(call).await?.item)
}

/// Writes a whole item, under the conditions of `update`, whose changes are ignored.
pub(crate) async fn put(client: &TableClient, table: &str, item: Item, update: Update) -> Result<Written, StoreError> {
    let condition = update.condition();
    let call = PutItemInput::builder()
        .table_name(table)
        .set_item(Some(item))
        .set_condition_expression(condition)
        .set_expression_attribute_names(not_empty(update.names))
        .set_expression_attribute_values(not_empty(update.values))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    match client.put_item(call).await {
        Ok(_) => Ok(Written::Done(Item::new())),
        Err(Error::ConditionalCheckFailedException(refused)) => Ok(Written::Refused(refused.item)),
        Err(other) => Err(other.into()),
    }
}

/// Writes whole items of a table together or not at all, each under its own condition.
///
/// The client repeats a transaction with the same token, so that a repetition after a lost answer writes nothing: of what another process has deleted
/// meanwhile, none comes back.
///
/// # Errors
/// [`StoreError::Conflict`] if a condition failed, or another transaction is writing one of the items.
pub(crate) async fn put_together(
    client: &TableClient,
    table: &str,
    items: impl IntoIterator<Item = (Item, Update)>,
) -> Result<(), StoreError> {
    let puts = items
        .into_iter()
        .map(|(item, when)| put_in_transaction(table, item, when));
    let writes = puts.map(|put| TransactWriteItem::builder().put(put).build()).collect();
    let call = client.sdk.transact_write_items().set_transact_items(Some(writes));
    call.send().await?;
    Ok(())
}

/// One write of a transaction: of a whole item, under these conditions.
pub(crate) fn put_in_transaction(table: &str, item: Item, when: Update) -> Put {
    Put::builder()
        .table_name(table)
        .set_item(Some(item))
        .set_condition_expression(when.condition())
        .set_expression_attribute_names(not_empty(when.names))
        .set_expression_attribute_values(not_empty(when.values))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .build()
        .expect("table and item are set")
}

/// Changes an item, under conditions. `back` says which attributes are returned.
pub(crate) async fn update(
    client: &TableClient,
    table: &str,
    (pk, sk): (&str, &str),
    update: Update,
    back: ReturnValue,
) -> Result<Written, StoreError> {
    let call = UpdateItemInput::builder()
        .table_name(table)
        .set_key(Some(key(pk, sk)))
        .set_update_expression(update.changes())
        .set_condition_expression(update.condition())
        .set_expression_attribute_names(not_empty(update.names))
        .set_expression_attribute_values(not_empty(update.values))
        .return_values(back)
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    match client.update_item(call).await {
        Ok(done) => Ok(Written::Done(done.attributes.unwrap_or_default())),
        Err(Error::ConditionalCheckFailedException(refused)) => Ok(Written::Refused(refused.item)),
        Err(other) => Err(other.into()),
    }
}

/// Deletes an item, under the conditions of `update`, whose changes are ignored. An item that doesn't exist counts as deleted.
pub(crate) async fn delete(
    client: &TableClient,
    table: &str,
    (pk, sk): (&str, &str),
    update: Update,
) -> Result<(), StoreError> {
    let call = client.sdk.delete_item();
    call.table_name(table)
        .set_key(Some(key(pk, sk)))
        .set_condition_expression(update.condition())
        .set_expression_attribute_names(not_empty(update.names))
        .set_expression_attribute_values(not_empty(update.values))
        .send()
        .await?;
    Ok(())
}

/// A range of a partition, in order of the sort key.
#[derive(Debug, Clone)]
pub(crate) struct Query<'a> {
    /// The table.
    pub(crate) table: &'a str,
    /// The index, unless the table itself is queried.
    pub(crate) index: Option<IndexDefinition>,
    /// The partition.
    pub(crate) partition: &'a str,
    /// The lowest and the highest sort key.
    pub(crate) range: (&'a str, &'a str),
    /// Whether the order is descending.
    pub(crate) descending: bool,
    /// Consistency. An index is never more than [`Reading::Eventual`].
    pub(crate) reading: Reading,
    /// The key after which to start, from the last page.
    pub(crate) after: Option<Item>,
    /// Most items.
    pub(crate) limit: usize,
}

/// The highest sort key that starts with `prefix`, approximately: no key of ours sorts after it.
pub(crate) fn end_of(prefix: &str) -> String {
    format!("{prefix}\u{10FFFF}")
}

/// Queries one page. The key is that of the last item, if there may be more.
pub(crate) async fn query(client: &TableClient, query: Query<'_>) -> Result<(Vec<Item>, Option<Item>), StoreError> {
    let answer = client.query(ask(query)).await?;
    Ok((answer.items.unwrap_or_default(), answer.last_evaluated_key))
}

/// Queries one page of sort keys only: no other attributes are transferred.
pub(crate) async fn query_keys(client: &TableClient, query: Query<'_>) -> Result<Vec<Item>, StoreError> {
    let answer = client.query(ask(query).projection_expression("#s")).await?;
    Ok(answer.items.unwrap_or_default())
}

fn ask(query: Query<'_>) -> QueryInputBuilder {
    let (partition, sort) = query.index.map_or((PK, SK), |index| (index.partition, index.sort));
    let (least, greatest) = query.range;
    QueryInput::builder()
        .table_name(query.table)
        .set_index_name(query.index.map(|index| index.name.to_owned()))
        .key_condition_expression("#p = :p AND #s BETWEEN :least AND :greatest")
        .expression_attribute_names("#p", partition)
        .expression_attribute_names("#s", sort)
        .expression_attribute_values(":p", text(query.partition))
        .expression_attribute_values(":least", text(least))
        .expression_attribute_values(":greatest", text(greatest))
        .scan_index_forward(!query.descending)
        .consistent_read(query.reading == Reading::Strong)
        .set_exclusive_start_key(query.after)
        .limit(i32::try_from(query.limit).unwrap_or(i32::MAX))
}

/// Scans a page of a whole table. The key is that of the last item, if there may be more.
pub(crate) async fn scan(
    client: &TableClient,
    table: &str,
    after: Option<Item>,
    limit: i32,
) -> Result<(Vec<Item>, Option<Item>), StoreError> {
    let call = client.sdk.scan().table_name(table).consistent_read(true).limit(limit);
    let answer = call.set_exclusive_start_key(after).send().await?;
    Ok((answer.items.unwrap_or_default(), answer.last_evaluated_key))
}

/// Queries all pages, up to the query's limit in total.
pub(crate) async fn query_all(client: &TableClient, mut asked: Query<'_>) -> Result<Vec<Item>, StoreError> {
    let mut found = Vec::new();
    loop {
        let left = asked.limit.saturating_sub(found.len());
        let page = Query {
            limit: left,
            ..asked.clone()
        };
        let (items, next) = query(client, page).await?;
        found.extend(items);
        match next {
            Some(key) if found.len() < asked.limit => asked.after = Some(key),
            _ => return Ok(found),
        }
    }
}

// The service refuses an empty map.
fn not_empty<V>(map: std::collections::HashMap<String, V>) -> Option<std::collections::HashMap<String, V>> {
    (!map.is_empty()).then_some(map)
}
