//! Deleted agents, integrations and triggers, which can be restored for 30 days.
//!
//! Items `TRASH#{organization}`/`{kind}#{id}` of `state`: `at` the time of deletion, `i` the deleted item. They are written and
//! removed in the transaction that deletes or restores.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use tieline_core::ids::OrganizationId;
use tieline_core::timestamp::Timestamp;

use super::transaction::{Transaction, where_equal};
use crate::Store;
use crate::dynamo::{self, Query, Reading, end_of};
use crate::error::StoreError;
use crate::item::{Item, alive, expire, get_number, get_text, key, number, text};
use crate::page::{Page, cursor, position};
use crate::tables::SK;
use crate::update::Update;

/// How long a deletion can be undone.
pub const LIFETIME: Duration = Duration::from_hours(30 * 24);

const WHAT: &str = "deleted item";

/// Kinds of deleted items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Agent,
    Integration,
    Trigger,
}

/// A deleted item that can be restored.
#[derive(Debug, Clone, PartialEq)]
pub struct Deleted<T> {
    /// The item at its deletion.
    pub record: T,
    /// When it was deleted.
    pub at: Timestamp,
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Agent => "agent#",
            Self::Integration => "integration#",
            Self::Trigger => "trigger#",
        }
    }
}

/// Stores a copy of an item that the same transaction deletes.
pub(super) fn keep<L: Copy>(
    writes: &mut Transaction<L>,
    label: L,
    (kind, organization, id): (Kind, &OrganizationId, &str),
    item: Item,
    now: Timestamp,
) {
    let mut kept = key(&partition(organization), &place(kind, id));
    kept.insert("v".into(), text("1"));
    kept.insert("at".into(), number(now.as_millis()));
    kept.insert("i".into(), AttributeValue::M(item));
    expire(&mut kept, now.after(LIFETIME));
    writes.put_state(label, kept, Update::new());
}

/// Removes a deleted item from the trash, on condition that it is unchanged since it was read.
pub(super) fn take<L: Copy>(
    writes: &mut Transaction<L>,
    label: L,
    (kind, organization, id): (Kind, &OrganizationId, &str),
    at: Timestamp,
) {
    let as_read = where_equal("at", number(at.as_millis()));
    writes.delete_state(label, (&partition(organization), &place(kind, id)), as_read);
}

/// A deleted item.
pub(super) async fn get(
    store: &Store,
    (kind, organization, id): (Kind, &OrganizationId, &str),
    now: Timestamp,
) -> Result<Option<Deleted<Item>>, StoreError> {
    let (pk, sk) = (partition(organization), place(kind, id));
    let found = dynamo::get(&store.dynamo, &store.tables.state, (&pk, &sk), Reading::Strong, &[]).await?;
    alive(found, now).map(open).transpose()
}

/// The deleted items of a kind, by id.
pub(super) async fn list(
    store: &Store,
    (kind, organization): (Kind, &OrganizationId),
    (after, limit): (Option<&str>, usize),
    now: Timestamp,
) -> Result<Page<Deleted<Item>>, StoreError> {
    let (partition, prefix) = (partition(organization), kind.prefix());
    let after = position(after, ("", &end_of("")))?;
    let asked = Query {
        table: &store.tables.state,
        index: None,
        partition: &partition,
        range: (prefix, &end_of(prefix)),
        descending: false,
        reading: Reading::Strong,
        after: after.map(|id| key(&partition, &place(kind, &id))),
        limit,
    };
    let (found, next) = dynamo::query(&store.dynamo, asked).await?;
    let alive = found.into_iter().filter_map(|item| alive(Some(item), now));
    let last = next.as_ref().and_then(|key| get_text(key, SK)?.strip_prefix(prefix));
    Ok(Page {
        items: alive.map(open).collect::<Result<_, _>>()?,
        cursor: last.map(cursor),
    })
}

fn open(mut kept: Item) -> Result<Deleted<Item>, StoreError> {
    let unreadable = || StoreError::Unreadable { what: WHAT };
    let at = get_number(&kept, "at")
        .map(Timestamp::from_millis)
        .ok_or_else(unreadable)?;
    match kept.remove("i") {
        Some(AttributeValue::M(record)) => Ok(Deleted { record, at }),
        _ => Err(unreadable()),
    }
}

impl<T> Deleted<T> {
    /// Converts the record.
    pub(super) fn read<U>(self, read: impl FnOnce(T) -> Result<U, StoreError>) -> Result<Deleted<U>, StoreError> {
        Ok(Deleted {
            record: read(self.record)?,
            at: self.at,
        })
    }
}

fn partition(organization: &OrganizationId) -> String {
    format!("TRASH#{organization}")
}

fn place(kind: Kind, id: &str) -> String {
    format!("{}{id}", kind.prefix())
}
