//! Transactions: several writes that are applied together or not at all.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    CancellationReason, ConditionCheck, Delete, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
    Update as UpdateWrite,
};
use tieline_core::virtual_shard::VirtualShard;

use crate::dynamo::put_in_transaction as put;
use crate::error::StoreError;
use crate::item::{Item, key};
use crate::update::Update;
use crate::{Store, Tables, audit};

/// A transaction on the table `config`, and on some items of `state`.
///
/// Each write has a label that says what a failed condition means. If several fail, the first one counts.
#[derive(Debug)]
pub(super) struct Transaction<L> {
    writes: Vec<(L, Write)>,
    /// Virtual shards whose list of desired connections the transaction changes.
    pub(super) lists: BTreeSet<VirtualShard>,
}

#[derive(Debug)]
enum Write {
    Put(Item, Update),
    Delete(Item, Update),
    PutState(Item, Update),
    DeleteState(Item, Update),
    Change(Item, Update),
    Check(Item, Update),
}

/// Why nothing was written.
#[derive(Debug)]
pub(super) enum Cancelled<L> {
    /// The condition of the write with this label failed. With the current item, if there is one.
    Refused(L, Option<Item>),
    /// The table failed.
    Store(StoreError),
}

impl<L: Copy> Transaction<L> {
    /// An empty transaction.
    pub(super) const fn new() -> Self {
        Self {
            writes: Vec::new(),
            lists: BTreeSet::new(),
        }
    }

    /// Writes a whole item, under the conditions of `when`.
    pub(super) fn put(&mut self, label: L, item: Item, when: Update) -> &mut Self {
        self.add(label, Write::Put(item, when))
    }

    /// Deletes an item.
    pub(super) fn delete(&mut self, label: L, (pk, sk): (&str, &str), when: Update) -> &mut Self {
        self.add(label, Write::Delete(key(pk, sk), when))
    }

    /// Writes a whole item of the table `state`.
    pub(super) fn put_state(&mut self, label: L, item: Item, when: Update) -> &mut Self {
        self.add(label, Write::PutState(item, when))
    }

    /// Deletes an item of the table `state`.
    pub(super) fn delete_state(&mut self, label: L, (pk, sk): (&str, &str), when: Update) -> &mut Self {
        self.add(label, Write::DeleteState(key(pk, sk), when))
    }

    /// Changes an item.
    pub(super) fn change(&mut self, label: L, (pk, sk): (&str, &str), update: Update) -> &mut Self {
        self.add(label, Write::Change(key(pk, sk), update))
    }

    /// Only checks a condition on an item.
    pub(super) fn check(&mut self, label: L, (pk, sk): (&str, &str), when: Update) -> &mut Self {
        self.add(label, Write::Check(key(pk, sk), when))
    }

    fn add(&mut self, label: L, write: Write) -> &mut Self {
        self.writes.push((label, write));
        self
    }

    /// Commits the transaction.
    pub(super) async fn commit(self, store: &Store) -> Result<(), Cancelled<L>> {
        let (labels, writes): (Vec<_>, Vec<_>) = self.writes.into_iter().unzip();
        let mut items: Vec<_> = writes.into_iter().map(|write| write.into_item(&store.tables)).collect();
        // After the labelled ones: these writes are never refused.
        items.extend(trail(store).map_err(Cancelled::Store)?);
        let sent = store
            .dynamo
            .sdk
            .transact_write_items()
            .set_transact_items(Some(items))
            .send()
            .await;
        // Also after a failure: it is unknown what was written.
        store.recent.forget();
        match sent {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(failed)) => Err(read_failure(failed.into_err(), &labels)),
            Err(other) => Err(Cancelled::Store(other.into())),
        }
    }
}

/// The writes of the audit log that belong to the transaction.
fn trail(store: &Store) -> Result<Vec<TransactWriteItem>, StoreError> {
    let Some(trail) = &store.trail else {
        return Ok(Vec::new());
    };
    let items = audit::items(store, trail)?.into_iter();
    let written = items.map(|item| put(&store.tables.state, item, Update::new()));
    Ok(written
        .map(|put| TransactWriteItem::builder().put(put).build())
        .collect())
}

fn read_failure<L: Copy>(failure: TransactWriteItemsError, labels: &[L]) -> Cancelled<L> {
    if let TransactWriteItemsError::TransactionCanceledException(cancelled) = &failure {
        let reasons = cancelled.cancellation_reasons().iter().zip(labels);
        if let Some((reason, label)) = reasons.into_iter().find(|(reason, _)| is_refusal(reason)) {
            return Cancelled::Refused(*label, reason.item.clone());
        }
    }
    Cancelled::Store(aws_sdk_dynamodb::Error::from(failure).into())
}

fn is_refusal(reason: &CancellationReason) -> bool {
    reason.code() == Some("ConditionalCheckFailed")
}

const BACK: ReturnValuesOnConditionCheckFailure = ReturnValuesOnConditionCheckFailure::AllOld;

impl Write {
    fn into_item(self, tables: &Tables) -> TransactWriteItem {
        let item = TransactWriteItem::builder();
        let table = tables.config.as_str();
        match self {
            Self::Put(whole, when) => item.put(put(table, whole, when)),
            Self::Delete(key, when) => item.delete(delete(table, key, when)),
            Self::PutState(whole, when) => item.put(put(&tables.state, whole, when)),
            Self::DeleteState(key, when) => item.delete(delete(&tables.state, key, when)),
            Self::Change(key, update) => item.update(change(table, key, update)),
            Self::Check(key, when) => item.condition_check(check(table, key, when)),
        }
        .build()
    }
}

fn delete(table: &str, key: Item, when: Update) -> Delete {
    Delete::builder()
        .table_name(table)
        .set_key(Some(key))
        .set_condition_expression(when.condition())
        .set_expression_attribute_names((!when.names.is_empty()).then_some(when.names))
        .set_expression_attribute_values((!when.values.is_empty()).then_some(when.values))
        .return_values_on_condition_check_failure(BACK)
        .build()
        .expect("table and key are set")
}

fn change(table: &str, key: Item, update: Update) -> UpdateWrite {
    UpdateWrite::builder()
        .table_name(table)
        .set_key(Some(key))
        .update_expression(update.changes().unwrap_or_default())
        .set_condition_expression(update.condition())
        .set_expression_attribute_names((!update.names.is_empty()).then_some(update.names))
        .set_expression_attribute_values((!update.values.is_empty()).then_some(update.values))
        .return_values_on_condition_check_failure(BACK)
        .build()
        .expect("table, key and expression are set")
}

fn check(table: &str, key: Item, when: Update) -> ConditionCheck {
    ConditionCheck::builder()
        .table_name(table)
        .set_key(Some(key))
        .condition_expression(when.condition().unwrap_or_default())
        .set_expression_attribute_names((!when.names.is_empty()).then_some(when.names))
        .set_expression_attribute_values((!when.values.is_empty()).then_some(when.values))
        .return_values_on_condition_check_failure(BACK)
        .build()
        .expect("table, key and condition are set")
}

/// Condition: the item does not exist.
pub(super) fn absent() -> Update {
    let mut when = Update::new();
    when.require_absent(crate::tables::PK);
    when
}

/// Condition: the item exists.
pub(super) fn present() -> Update {
    let mut when = Update::new();
    let pk = when.path(crate::tables::PK);
    when.require(format!("attribute_exists({pk})"));
    when
}

/// Condition: an attribute has this value.
pub(super) fn where_equal(path: &str, value: aws_sdk_dynamodb::types::AttributeValue) -> Update {
    let mut when = Update::new();
    when.require_equal(path, value);
    when
}
