//! Which integrations want a connection held open: started, connected over a long connection, named by an enabled trigger.
//!
//! One small item each, written together with what it follows from. `LIVE#{virtual shard}`/`INT#{id}` is the entry that relays read, each
//! relay those of its own virtual shards. `LIVE`/`CHANGES` counts the changes of each virtual shard's list, so that one read of one item tells
//! which lists to read again.
//!
//! Versions that know no virtual shards keep the list whole: `LIVE`/`INT#{id}`, counted in the same item by a total. This version writes both
//! entries in each transaction, so that a relay of such a version, which may still run or run again, misses nothing. What a process of
//! such a version has changed shows in a total that is more than the sum of the counters: until [`complete`] has brought the lists of
//! the virtual shards in line, relays read the whole one.

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

/// An integration that wants a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// The integration.
    pub integration: IntegrationId,
    /// Who owns it.
    pub organization: OrganizationId,
    /// The integration's version: another one means other settings, or a requested reconnect.
    pub version: u64,
    /// Digest of what the trigger wants of the connector, as its welcome text: another one means that it wants something else.
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

/// Partition of the whole list, and of the item that counts changes.
const LIVE: &str = "LIVE";
/// Sorts before the list and is no part of it.
const CHANGES: &str = "CHANGES";
/// Attribute of `CHANGES`: how often any list has changed, by whichever version.
const TOTAL: &str = "n";
/// Attribute of `CHANGES`: up to which number of changes of versions without virtual shards the lists of these are complete.
const COMPLETE: &str = "complete";
/// Entries of one page.
const PAGE: usize = 1000;
/// Lists read, and entries written, at the same time.
const AT_ONCE: usize = 8;

/// How often lists have changed, roughly: another number means that a list may be another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Of any list.
    total: u64,
    of_shards: BTreeMap<VirtualShard, u64>,
    complete: Option<u64>,
}

impl Changes {
    /// Of the whole list.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Of the list of a virtual shard.
    #[must_use]
    pub fn of(&self, shard: VirtualShard) -> u64 {
        self.of_shards.get(&shard).copied().unwrap_or_default()
    }

    /// Whether the lists of the virtual shards have all that the whole list has. If not, only the whole list is to be read.
    #[must_use]
    pub fn are_lists_complete(&self) -> bool {
        self.complete == Some(self.unattributed())
    }

    /// Changes by versions without virtual shards.
    fn unattributed(&self) -> u64 {
        self.total.saturating_sub(self.of_shards.values().sum())
    }
}

/// How often each list has changed.
///
/// # Errors
/// [`StoreError`].
pub async fn changes(store: &Store) -> Result<Changes, StoreError> {
    let key = (LIVE, CHANGES);
    let found = dynamo::get(&store.dynamo, &store.tables.config, key, Reading::Strong, &[]).await?;
    let item = found.unwrap_or_default();
    let counted = VirtualShard::all().filter_map(|shard| Some((shard, item::get_number(&item, &counter(shard))?)));
    Ok(Changes {
        of_shards: counted.collect(),
        total: item::get_number(&item, TOTAL).unwrap_or_default(),
        complete: item::get_number(&item, COMPLETE),
    })
}

/// The integrations of a virtual shard that want a connection.
///
/// # Errors
/// [`StoreError`].
pub async fn of_shard(store: &Store, shard: VirtualShard) -> Result<Vec<Live>, StoreError> {
    read_all(store, &partition(shard)).await
}

/// All integrations that want a connection.
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

/// When [`complete`] compares the lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// If a version without virtual shards has counted a change.
    IfChanged,
    /// In any case: the process that changes something may die before it counts the change.
    Always,
}

/// Brings the lists of the virtual shards in line with the whole list. Returns how many entries differed.
///
/// May be called by several processes at the same time, and may end anywhere: each entry is written on condition that the whole list still has
/// what was read of it, and the lists count as complete only after all of them were. An entry that another process changes meanwhile is
/// left to the next call.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Conflict`] if an entry was changed meanwhile.
pub async fn complete(store: &Store, compare: Compare) -> Result<usize, StoreError> {
    // Before the lists: a change that is counted after this read makes them incomplete again.
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
            "lists of desired connections were brought in line with the whole list"
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
    match before.complete {
        Some(known) => update.require_equal(COMPLETE, item::number(known)),
        None => update.require_absent(COMPLETE),
    };
    let (table, key) = (&store.tables.config, (LIVE, CHANGES));
    dynamo::update(&store.dynamo, table, key, update, ReturnValue::None)
        .await?
        .or_conflict()
        .map(drop)
}

/// An entry that the list of its virtual shard has otherwise than the whole list.
struct Difference {
    integration: IntegrationId,
    /// What the whole list has.
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

/// Writes what the whole list has of an integration, if it still has that, to the list of the virtual shard.
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

/// On condition that an entry is as it was read.
fn same_entry(live: &Live) -> Update {
    let mut when = where_equal("version", item::number(live.version));
    let (path, value) = (when.path("greeting"), when.value(item::text(&live.greeting)));
    if live.greeting.is_empty() {
        // The first entries had none.
        when.require(format!("(attribute_not_exists({path}) OR {path} = {value})"));
    } else {
        when.require(format!("{path} = {value}"));
    }
    when
}

/// Writes all of it, then counts a change of the lists that it changes.
///
/// The count is not in the same transaction, or any two changes would get in each other's way. If it fails the change is noticed later: a
/// process that follows a list also reads it now and then without being told.
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
    // By as much as all counters together, or it would look like a change by a version without virtual shards.
    change.add(TOTAL, i64::try_from(shards.len()).unwrap_or(i64::MAX));
    let (table, key) = (&store.tables.config, (LIVE, CHANGES));
    if let Err(error) = dynamo::update(&store.dynamo, table, key, change, ReturnValue::None).await {
        warn!(error = %error, "a change of the configuration is noticed late");
    }
}

/// Attribute of `CHANGES` that counts the changes of a virtual shard's list. Short: with all of them the item is to be read for one unit.
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

/// Digest of what a trigger wants of the connector: its welcome text for a person who opens the chat, and whether it hears groups.
pub(super) fn greeting_of(trigger: &Trigger) -> String {
    let welcome = trigger.settings.welcome.as_deref();
    match trigger.settings.unaddressed() {
        Unaddressed::Ignored => welcome.map(|welcome| digest(&[welcome])).unwrap_or_default(),
        Unaddressed::Kept => digest(&[welcome.unwrap_or_default(), "groups kept"]),
        Unaddressed::Answered => digest(&[welcome.unwrap_or_default(), "groups answered"]),
    }
}

/// Puts the integration on the lists.
pub(super) fn set<L: Copy>(writes: &mut Transaction<L>, label: L, wanted: &Live) {
    let shard = VirtualShard::of(&wanted.integration);
    writes.lists.insert(shard);
    writes.put(label, write(&partition(shard), wanted), Update::new());
    writes.put(label, write(LIVE, wanted), Update::new());
}

/// Takes the integration off the lists.
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

    /// Most bytes of a number with so many digits.
    ///
    /// See [Amazon DynamoDB Developer Guide/Item sizes and formats](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html).
    const fn number_bytes(n_digits: usize) -> usize {
        n_digits.div_ceil(2) + 2
    }

    #[test]
    fn item_that_counts_changes_is_read_for_one_unit_however_often_lists_change() {
        let counters = VirtualShard::all().map(|shard| counter(shard).len() + number_bytes(20));
        let others = [TOTAL, COMPLETE].map(|name| name.len() + number_bytes(20));
        let keys = "pk".len() + LIVE.len() + "sk".len() + CHANGES.len() + "v1".len();
        let bytes = counters.sum::<usize>() + others.iter().sum::<usize>() + keys;
        assert!(bytes <= 4096, "{bytes}");
    }

    #[test]
    fn lists_are_complete_until_a_version_without_virtual_shards_counts_a_change() {
        let mut changes = Changes::default();
        assert!(!changes.are_lists_complete());
        changes.complete = Some(0);
        assert!(changes.are_lists_complete());
        for shard in VirtualShard::all().take(3) {
            changes.total += 1;
            changes.of_shards.insert(shard, 1);
            assert!(changes.are_lists_complete());
        }
        changes.total += 1;
        assert!(!changes.are_lists_complete());
        changes.complete = Some(1);
        assert!(changes.are_lists_complete());
    }
}
