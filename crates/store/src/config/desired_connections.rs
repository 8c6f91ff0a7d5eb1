//! Integrations that need a connection: started, in long-connection mode, bound by an enabled trigger.
//!
//! One small item each, written in the transaction that causes the change. `LIVE#{virtual shard}`/`INT#{id}` is the entry that relays read, each
//! relay those of its own virtual shards. `LIVE`/`CHANGES` counts the changes of each virtual shard's list, so that a relay learns from one
//! read of one item which lists to read again.
//!
//! Versions without virtual shards use one list of all integrations, the whole list: `LIVE`/`INT#{id}`. A total in the item of the counters
//! counts its changes. This version writes both entries in each transaction, so that a relay of an earlier version, which may still run during
//! an upgrade or run again after a rollback, misses no change. A change by a process of an earlier version makes the total exceed the sum of
//! the counters: relays then read the whole list until [`complete`] has reconciled the lists of the virtual shards with it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::types::ReturnValue;
use futures_util::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};
use tieline_core::connector::Unaddressed;
use tieline_core::ids::{IntegrationId, OrganizationId, digest};
use tieline_core::trigger::Trigger;
use tieline_core::virtual_shard::VirtualShard;
use tracing::{info, warn};

use super::list;
use super::transaction::{Cancelled, Transaction, absent, where_equal};
use crate::Store;
use crate::dynamo::{self, Reading};
use crate::error::StoreError;
use crate::item;
use crate::update::Update;

/// An integration that needs a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// The integration.
    pub integration: IntegrationId,
    /// The organization that owns it.
    pub organization: OrganizationId,
    /// The integration's version: a new one means changed settings, or a requested reconnect.
    pub version: u64,
    /// Digest of what the trigger asks of the connector, such as its welcome text: a new one means that it asks for something else.
    pub greeting: String,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1(StoredV1),
}

#[derive(Serialize, Deserialize)]
struct StoredV1 {
    integration: IntegrationId,
    organization: OrganizationId,
    version: u64,
    #[serde(default)]
    greeting: String,
}

/// Partition of the whole list, and of the change counters.
const LIVE: &str = "LIVE";
/// Sort key of the item of change counters, which sorts before the list and is not part of it.
const CHANGES: &str = "CHANGES";
/// Attribute of `CHANGES`: number of changes of all lists, by all versions.
const TOTAL: &str = "n";
/// Attribute of `CHANGES`: number of changes by versions without virtual shards that the lists of the virtual shards contain.
const COMPLETE: &str = "complete";
/// Entries of one page.
const PAGE: usize = 1000;
/// Lists read, and entries written, concurrently.
const AT_ONCE: usize = 8;

/// Approximate number of changes of each list: if it differs from an earlier one, the list may have changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    totals: Totals,
    of_shards: BTreeMap<VirtualShard, u64>,
    /// Sum of `of_shards`.
    attributed: u64,
}

/// What changes with every change of any list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Changes of all lists.
    total: u64,
    complete: Option<u64>,
}

impl Totals {
    fn of(item: &item::Item) -> Self {
        Self {
            total: item::get_number(item, TOTAL).unwrap_or_default(),
            complete: item::get_number(item, COMPLETE),
        }
    }
}

impl Changes {
    fn new(totals: Totals, of_shards: BTreeMap<VirtualShard, u64>) -> Self {
        Self {
            totals,
            attributed: of_shards.values().sum(),
            of_shards,
        }
    }

    /// Unchanged totals mean unchanged counters.
    #[must_use]
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// Number of changes of the whole list.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.totals.total
    }

    /// Number of changes of a virtual shard's list.
    #[must_use]
    pub fn of(&self, shard: VirtualShard) -> u64 {
        self.of_shards.get(&shard).copied().unwrap_or_default()
    }

    /// Whether the lists of the virtual shards contain all changes of the whole list. If not, only the whole list may be read.
    #[must_use]
    pub fn are_lists_complete(&self) -> bool {
        self.totals.complete == Some(self.unattributed())
    }

    /// Number of changes by versions without virtual shards.
    const fn unattributed(&self) -> u64 {
        self.totals.total.saturating_sub(self.attributed)
    }
}

/// Reads the change counters of all lists.
///
/// # Errors
/// [`StoreError`].
pub async fn changes(store: &Store) -> Result<Changes, StoreError> {
    let item = counters(store, &[]).await?;
    let counted = VirtualShard::all().filter_map(|shard| Some((shard, item::get_number(&item, &counter(shard))?)));
    Ok(Changes::new(Totals::of(&item), counted.collect()))
}

/// Reads only the totals, which takes a fraction of the time.
///
/// # Errors
/// [`StoreError`].
pub async fn totals(store: &Store) -> Result<Totals, StoreError> {
    Ok(Totals::of(&counters(store, &[TOTAL, COMPLETE]).await?))
}

async fn counters(store: &Store, only: &[&str]) -> Result<item::Item, StoreError> {
    let (table, key) = (&store.tables.config, (LIVE, CHANGES));
    let found = dynamo::get(&store.dynamo, table, key, Reading::Strong, only).await?;
    Ok(found.unwrap_or_default())
}

/// Lists the integrations of a virtual shard that need a connection.
///
/// # Errors
/// [`StoreError`].
pub async fn of_shard(store: &Store, shard: VirtualShard) -> Result<Vec<Live>, StoreError> {
    read_all(store, &partition(shard)).await
}

/// Lists all integrations that need a connection.
///
/// # Errors
/// [`StoreError`].
pub async fn whole(store: &Store) -> Result<Vec<Live>, StoreError> {
    read_all(store, LIVE).await
}

async fn read_all(store: &Store, partition: &str) -> Result<Vec<Live>, StoreError> {
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let page = list::page(store, partition, "INT#", cursor.as_deref(), PAGE).await?;
        for item in page.items {
            found.push(read(item)?);
        }
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(found);
        }
    }
}

/// Condition under which [`complete`] compares the lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// A version without virtual shards has counted a change.
    IfChanged,
    /// No condition: a process may die between a change and its count.
    Always,
}

/// Reconciles the lists of the virtual shards with the whole list. Returns the number of corrected entries.
///
/// Several processes may call it concurrently, and it may be cancelled at any point: each entry is written on condition that the whole list's
/// entry is unchanged since it was read, and the lists are marked as complete only after all entries were written. An entry that another
/// process changes in the meantime is left to the next call.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Conflict`] if an entry was changed in the meantime.
pub async fn complete(store: &Store, compare: Compare) -> Result<usize, StoreError> {
    // Read before the lists: a change that is counted after this read makes them incomplete again.
    let before = changes(store).await?;
    if compare == Compare::IfChanged && before.are_lists_complete() {
        return Ok(0);
    }
    let differences = differences(store).await?;
    let shards = differences
        .iter()
        .map(|found| VirtualShard::of(&found.integration))
        .collect();
    let writes = differences.into_iter().map(async |found| correct(store, found).await);
    let written: Vec<_> = stream::iter(writes).buffer_unordered(AT_ONCE).collect().await;
    let n_written = written.iter().filter(|written| written.is_ok()).count();
    if n_written > 0 {
        count_changes(store, &shards).await;
        info!(
            entries = n_written,
            "lists of desired connections reconciled with the whole list"
        );
    }
    written.into_iter().collect::<Result<(), _>>()?;
    if !before.are_lists_complete() {
        set_complete(store, &before).await?;
    }
    Ok(n_written)
}

async fn set_complete(store: &Store, before: &Changes) -> Result<(), StoreError> {
    let mut update = Update::new();
    update
        .set("v", item::text("1"))
        .set(COMPLETE, item::number(before.unattributed()));
    match before.totals.complete {
        Some(known) => update.require_equal(COMPLETE, item::number(known)),
        None => update.require_absent(COMPLETE),
    };
    let (table, key) = (&store.tables.config, (LIVE, CHANGES));
    dynamo::update(&store.dynamo, table, key, update, ReturnValue::None)
        .await?
        .or_conflict()
        .map(drop)
}

/// An entry that differs between the list of its virtual shard and the whole list.
struct Difference {
    integration: IntegrationId,
    /// The entry of the whole list, if it has one.
    wanted: Option<Live>,
}

async fn differences(store: &Store) -> Result<Vec<Difference>, StoreError> {
    let mut wanted: BTreeMap<VirtualShard, HashMap<IntegrationId, Live>> = BTreeMap::new();
    for live in whole(store).await? {
        let of_shard = wanted.entry(VirtualShard::of(&live.integration)).or_default();
        of_shard.insert(live.integration.clone(), live);
    }
    let reads = VirtualShard::all().map(async |shard| (shard, of_shard(store, shard).await));
    let mut reads = stream::iter(reads).buffer_unordered(AT_ONCE);
    let mut differences = Vec::new();
    while let Some((shard, listed)) = reads.next().await {
        let mut wanted = wanted.remove(&shard).unwrap_or_default();
        for listed in listed? {
            let wanted = wanted.remove(&listed.integration);
            if wanted.as_ref() != Some(&listed) {
                differences.push(Difference {
                    integration: listed.integration,
                    wanted,
                });
            }
        }
        differences.extend(wanted.into_iter().map(|(integration, live)| Difference {
            integration,
            wanted: Some(live),
        }));
    }
    Ok(differences)
}

/// Copies the entry of the whole list to the list of the virtual shard, or deletes it there, if the whole list is unchanged since it was read.
async fn correct(store: &Store, difference: Difference) -> Result<(), StoreError> {
    let id = &difference.integration;
    let mut writes = Transaction::new();
    let as_read = difference.wanted.as_ref().map_or_else(absent, same_entry);
    writes.check((), (LIVE, &sk(id)), as_read);
    let own = partition(VirtualShard::of(id));
    match &difference.wanted {
        Some(live) => writes.put((), write(&own, live), Update::new()),
        None => writes.delete((), (&own, &sk(id)), Update::new()),
    };
    match writes.commit(store).await {
        Ok(()) => Ok(()),
        Err(Cancelled::Refused((), _)) => Err(StoreError::Conflict),
        Err(Cancelled::Store(error)) => Err(error),
    }
}

/// Condition: the entry is unchanged since it was read.
fn same_entry(live: &Live) -> Update {
    let mut when = where_equal("version", item::number(live.version));
    let (path, value) = (when.path("greeting"), when.value(item::text(&live.greeting)));
    if live.greeting.is_empty() {
        // The first entries lack the attribute.
        when.require(format!("(attribute_not_exists({path}) OR {path} = {value})"));
    } else {
        when.require(format!("{path} = {value}"));
    }
    when
}

/// Commits the transaction, then counts a change of each list that it changes.
///
/// The count is not in the same transaction, or concurrent changes would conflict. If it fails, the change is noticed later: a process that
/// follows a list also reads it now and then without an announcement.
pub(super) async fn commit<L: Copy>(store: &Store, writes: Transaction<L>) -> Result<(), Cancelled<L>> {
    let shards = writes.lists.clone();
    writes.commit(store).await?;
    if !shards.is_empty() {
        count_changes(store, &shards).await;
    }
    Ok(())
}

async fn count_changes(store: &Store, shards: &BTreeSet<VirtualShard>) {
    let mut change = Update::new();
    change.set("v", item::text("1"));
    for shard in shards {
        change.add(&counter(*shard), 1);
    }
    // By the sum of the counters' increments: any excess counts as a change by a version without virtual shards.
    change.add(TOTAL, i64::try_from(shards.len()).unwrap_or(i64::MAX));
    let (table, key) = (&store.tables.config, (LIVE, CHANGES));
    if let Err(error) = dynamo::update(&store.dynamo, table, key, change, ReturnValue::None).await {
        warn!(error = %error, "a change of the configuration can't be announced; relays notice it late");
    }
}

/// Attribute of `CHANGES` that counts the changes of a virtual shard's list. Short, so that a read of the item
/// with all counters costs one unit.
fn counter(shard: VirtualShard) -> String {
    format!("s{}", shard.number())
}

fn partition(shard: VirtualShard) -> String {
    format!("{LIVE}#{}", shard.number())
}

fn read(item: item::Item) -> Result<Live, StoreError> {
    let Stored::V1(stored) = item::read("live integration", item)?;
    Ok(Live {
        integration: stored.integration,
        organization: stored.organization,
        version: stored.version,
        greeting: stored.greeting,
    })
}

/// Digest of what a trigger asks of the connector: its welcome text, and how unaddressed group messages are handled.
pub(super) fn greeting_of(trigger: &Trigger) -> String {
    let welcome = trigger.settings.welcome.as_deref();
    match trigger.settings.unaddressed() {
        Unaddressed::Ignored => welcome.map(|welcome| digest(&[welcome])).unwrap_or_default(),
        Unaddressed::Kept => digest(&[welcome.unwrap_or_default(), "groups kept"]),
        Unaddressed::Answered => digest(&[welcome.unwrap_or_default(), "groups answered"]),
    }
}

/// Adds the integration to the lists.
pub(super) fn set<L: Copy>(writes: &mut Transaction<L>, label: L, wanted: &Live) {
    let shard = VirtualShard::of(&wanted.integration);
    writes.lists.insert(shard);
    writes.put(label, write(&partition(shard), wanted), Update::new());
    writes.put(label, write(LIVE, wanted), Update::new());
}

/// Removes the integration from the lists.
pub(super) fn remove<L: Copy>(writes: &mut Transaction<L>, label: L, id: &IntegrationId) {
    let shard = VirtualShard::of(id);
    writes.lists.insert(shard);
    writes.delete(label, (&partition(shard), &sk(id)), Update::new());
    writes.delete(label, (LIVE, &sk(id)), Update::new());
}

fn write(partition: &str, live: &Live) -> item::Item {
    let stored = Stored::V1(StoredV1 {
        integration: live.integration.clone(),
        organization: live.organization.clone(),
        version: live.version,
        greeting: live.greeting.clone(),
    });
    let written = item::write("live integration", partition, &sk(&live.integration), &stored);
    written.expect("two ids and a number make an item")
}

fn sk(id: &IntegrationId) -> String {
    format!("INT#{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Maximum size of a number with this many digits, in bytes.
    ///
    /// See [Amazon DynamoDB Developer Guide/Item sizes and formats](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html).
    const fn number_bytes(n_digits: usize) -> usize {
        n_digits.div_ceil(2) + 2
    }

    #[test]
    fn a_read_of_all_change_counters_costs_one_unit_at_any_count() {
        let counters = VirtualShard::all().map(|shard| counter(shard).len() + number_bytes(20));
        let others = [TOTAL, COMPLETE].map(|name| name.len() + number_bytes(20));
        let keys = "pk".len() + LIVE.len() + "sk".len() + CHANGES.len() + "v1".len();
        let bytes = counters.sum::<usize>() + others.iter().sum::<usize>() + keys;
        assert!(bytes <= 4096, "{bytes}");
    }

    #[test]
    fn lists_are_complete_until_a_version_without_virtual_shards_counts_a_change() {
        let changes = |total, complete, n_shards| {
            let counted = VirtualShard::all().take(n_shards).map(|shard| (shard, 1));
            Changes::new(Totals { total, complete }, counted.collect())
        };
        assert!(!changes(0, None, 0).are_lists_complete());
        assert!(changes(0, Some(0), 0).are_lists_complete());
        assert!(changes(1, Some(0), 1).are_lists_complete());
        assert!(changes(3, Some(0), 3).are_lists_complete());
        assert!(!changes(4, Some(0), 3).are_lists_complete());
        assert!(changes(4, Some(1), 3).are_lists_complete());
    }
}
