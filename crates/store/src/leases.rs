//! Leases of shards of bots. In the table `leases`, all in the one partition `RELAY`, so that one query reads the shard map.
//!
//! `TASK#{node}` is a process: `life`, `expires`, `leaving`. Only that item is renewed, so that a process costs one write per heartbeat
//! however many shards it holds. `SHARD#{number}` names its holder (`node`, `life`) and its fencing token, and is written only when
//! something about the holder changes: it is held as long as the holder's heartbeat is valid. A fencing token never shrinks, not even from
//! shard to shard, for it is at least the time of the acquisition: so the last holder's writes for a bot are older than the new holder's.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{ConditionCheck, ReturnValue, TransactWriteItem, Update as UpdateWrite};
use tieline_core::conversation::Owner;
use tieline_core::timestamp::Timestamp;

use crate::Store;
use crate::dynamo::{self, Query, Reading, end_of};
use crate::error::StoreError;
use crate::item::{Item, get_number, get_text, key, number, text};
use crate::tables::{PK, SK};
use crate::update::Update;

const PARTITION: &str = "RELAY";
const TASK: &str = "TASK#";
const SHARD: &str = "SHARD#";
/// How long connections may stay open at most after their shard was released, until the next holder's are up.
pub const LINGER: Duration = Duration::from_secs(30);
/// More items than there ever are.
const MOST_ITEMS: usize = 100_000;

/// Processes and shards at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShardMap {
    /// The processes, including dead ones, by node.
    pub tasks: BTreeMap<String, Task>,
    /// The shards that were ever acquired, by number.
    pub shards: BTreeMap<usize, Shard>,
}

/// A process that holds or may hold shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its identity.
    pub owner: Owner,
    /// When its heartbeat expires.
    pub expires_at: Timestamp,
    /// Whether it is about to end: it acquires no more shards.
    pub leaving: bool,
}

/// A shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Its holder, dead or alive. `None` if it was released.
    pub owner: Option<Owner>,
    /// The fencing token of the latest acquisition.
    pub fence: u64,
    /// Whether the holder has announced that its bots' connections are up, so that the previous holder may close its own.
    pub ready: bool,
    /// When it was released, if it was.
    pub given_at: Option<Timestamp>,
}

impl ShardMap {
    /// Whether the heartbeat of this owner is valid.
    #[must_use]
    pub fn is_alive(&self, owner: &Owner, now: Timestamp) -> bool {
        let task = self.tasks.get(&owner.node);
        task.is_some_and(|task| task.owner == *owner && task.expires_at > now)
    }

    /// The processes that are alive.
    pub fn living(&self, now: Timestamp) -> impl Iterator<Item = &Task> {
        self.tasks.values().filter(move |task| task.expires_at > now)
    }

    /// The living holder of a shard.
    #[must_use]
    pub fn holder(&self, shard: usize, now: Timestamp) -> Option<&Owner> {
        let owner = self.shards.get(&shard)?.owner.as_ref()?;
        self.is_alive(owner, now).then_some(owner)
    }

    /// Whether a process that claims to hold connections of a shard can have them: it holds the shard, or held it a moment ago and keeps
    /// them until the next holder's are up.
    #[must_use]
    pub fn may_connect(&self, node: &str, shard: usize, now: Timestamp) -> bool {
        let (Some(task), Some(shard)) = (self.tasks.get(node), self.shards.get(&shard)) else {
            return false;
        };
        if task.expires_at <= now {
            return false;
        }
        match &shard.owner {
            Some(owner) if owner.node == node => *owner == task.owner,
            Some(_) => !shard.ready && now.since(shard.taken_at()) < LINGER,
            None => shard.given_at.is_some_and(|at| now.since(at) < LINGER),
        }
    }
}

impl Shard {
    /// When it was last acquired, or a moment later: a fencing token isn't less than that time.
    fn taken_at(&self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.fence).unwrap_or(i64::MAX))
    }
}

/// Reads the shard map.
///
/// # Errors
/// [`StoreError`].
pub async fn shard_map(store: &Store) -> Result<ShardMap, StoreError> {
    let all = Query {
        table: &store.tables.leases,
        index: None,
        partition: PARTITION,
        range: (SHARD, &end_of(TASK)),
        descending: false,
        reading: Reading::Strong,
        after: None,
        limit: MOST_ITEMS,
    };
    let mut shard_map = ShardMap::default();
    for item in dynamo::query_all(&store.dynamo, all).await? {
        let name = get_text(&item, SK).unwrap_or_default();
        if let Some(node) = name.strip_prefix(TASK) {
            shard_map.tasks.insert(node.to_owned(), read_task(node, &item)?);
        } else if let Some(shard) = name.strip_prefix(SHARD).and_then(|shard| shard.parse().ok()) {
            shard_map.shards.insert(shard, read_shard(&item)?);
        }
    }
    Ok(shard_map)
}

/// Starts a new life of a node. The earlier process of that name is dead, or this one could not have the name.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn join(store: &Store, me: &Owner, expires_at: Timestamp) -> Result<(), StoreError> {
    write_task(store, me, expires_at, false, Update::new()).await
}

/// The heartbeat: this process is alive until `expires_at`.
///
/// # Errors
/// [`StoreError::Conflict`] if the node has another life by now, or none: then it holds no shards any more.
pub async fn beat(store: &Store, me: &Owner, expires_at: Timestamp, leaving: bool) -> Result<(), StoreError> {
    let mut change = Update::new();
    change.require_equal("life", text(&me.life));
    write_task(store, me, expires_at, leaving, change).await
}

async fn write_task(
    store: &Store,
    me: &Owner,
    expires_at: Timestamp,
    leaving: bool,
    mut change: Update,
) -> Result<(), StoreError> {
    change.set("v", text("1"));
    change.set("life", text(&me.life));
    change.set("expires", number(expires_at.as_millis()));
    change.set("leaving", number(u8::from(leaving)));
    write(store, &format!("{TASK}{}", me.node), change).await
}

/// Deletes the entry of a dead process.
///
/// # Errors
/// [`StoreError::Conflict`] if it has changed since it was read.
pub async fn forget(store: &Store, task: &Task) -> Result<(), StoreError> {
    let mut condition = Update::new();
    condition.require_equal("life", text(&task.owner.life));
    condition.require_equal("expires", number(task.expires_at.as_millis()));
    let name = format!("{TASK}{}", task.owner.node);
    dynamo::delete(&store.dynamo, &store.tables.leases, (PARTITION, &name), condition).await
}

/// Ends a life: shards that it still holds are free.
///
/// # Errors
/// [`StoreError::Conflict`] if the node has another life by now.
pub async fn leave(store: &Store, me: &Owner) -> Result<(), StoreError> {
    let mut condition = Update::new();
    condition.require_equal("life", text(&me.life));
    let name = format!("{TASK}{}", me.node);
    dynamo::delete(&store.dynamo, &store.tables.leases, (PARTITION, &name), condition).await
}

/// Acquires a shard that was read as having no living holder but this process. Returns the fencing token.
///
/// # Errors
/// [`StoreError::Conflict`] if another process acquired it first, or its holder's heartbeat is valid after all.
pub async fn acquire(
    store: &Store,
    shard: usize,
    seen: Option<&Shard>,
    me: &Owner,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let clock = u64::try_from(now.as_millis()).unwrap_or_default();
    let fence = seen.map_or(0, |seen| seen.fence + 1).max(clock);
    let mut change = Update::new();
    change.set("v", text("1"));
    change.set("node", text(&me.node));
    change.set("life", text(&me.life));
    change.set("fence", number(fence));
    change.remove("ready");
    change.remove("given");
    match seen {
        None => change.require_absent(PK),
        Some(seen) => change.require_equal("fence", number(seen.fence)),
    };
    let Some(before) = seen.and_then(|seen| seen.owner.as_ref()) else {
        change.require_absent("node");
        write(store, &shard_name(shard), change).await?;
        return Ok(fence);
    };
    change.require_equal("life", text(&before.life));
    if before == me {
        write(store, &shard_name(shard), change).await?;
        return Ok(fence);
    }
    let writes = vec![
        TransactWriteItem::builder()
            .condition_check(is_dead(store, before, now))
            .build(),
        TransactWriteItem::builder()
            .update(shard_update(store, shard, change))
            .build(),
    ];
    let call = store.dynamo.sdk.transact_write_items().set_transact_items(Some(writes));
    call.send().await?;
    Ok(fence)
}

fn is_dead(store: &Store, owner: &Owner, now: Timestamp) -> ConditionCheck {
    let mut when = Update::new();
    let (pk, expires, life) = (when.path(PK), when.path("expires"), when.path("life"));
    let (clock, seen) = (when.value(number(now.as_millis())), when.value(text(&owner.life)));
    when.require(format!(
        "attribute_not_exists({pk}) OR {expires} <= {clock} OR {life} <> {seen}"
    ));
    ConditionCheck::builder()
        .table_name(&store.tables.leases)
        .set_key(Some(key(PARTITION, &format!("{TASK}{}", owner.node))))
        .condition_expression(when.condition().unwrap_or_default())
        .set_expression_attribute_names(Some(when.names))
        .set_expression_attribute_values(Some(when.values))
        .build()
        .expect("table, key and condition are set")
}

fn shard_update(store: &Store, shard: usize, change: Update) -> UpdateWrite {
    UpdateWrite::builder()
        .table_name(&store.tables.leases)
        .set_key(Some(key(PARTITION, &shard_name(shard))))
        .update_expression(change.changes().unwrap_or_default())
        .set_condition_expression(change.condition())
        .set_expression_attribute_names(Some(change.names))
        .set_expression_attribute_values(Some(change.values))
        .build()
        .expect("table, key and expression are set")
}

/// Releases a shard.
///
/// # Errors
/// [`StoreError::Conflict`] if it has another holder by now.
pub async fn release(store: &Store, shard: usize, me: &Owner, fence: u64, now: Timestamp) -> Result<(), StoreError> {
    let mut change = mine(me, fence);
    change.remove("node");
    change.remove("life");
    change.remove("ready");
    change.set("given", number(now.as_millis()));
    write(store, &shard_name(shard), change).await
}

/// Announces that the connections of a shard's bots are up.
///
/// # Errors
/// [`StoreError::Conflict`] if it has another holder by now.
pub async fn ready(store: &Store, shard: usize, me: &Owner, fence: u64) -> Result<(), StoreError> {
    let mut change = mine(me, fence);
    change.set("ready", number(1));
    write(store, &shard_name(shard), change).await
}

fn mine(me: &Owner, fence: u64) -> Update {
    let mut change = Update::new();
    change.require_equal("node", text(&me.node));
    change.require_equal("life", text(&me.life));
    change.require_equal("fence", number(fence));
    change
}

async fn write(store: &Store, name: &str, change: Update) -> Result<(), StoreError> {
    let (table, key) = (&store.tables.leases, (PARTITION, name));
    let written = dynamo::update(&store.dynamo, table, key, change, ReturnValue::None).await?;
    written.or_conflict().map(drop)
}

fn shard_name(shard: usize) -> String {
    format!("{SHARD}{shard:05}")
}

fn read_task(node: &str, item: &Item) -> Result<Task, StoreError> {
    let (life, expires) = (get_text(item, "life"), get_number(item, "expires"));
    let (Some(life), Some(expires)) = (life, expires) else {
        return Err(StoreError::Unreadable { what: "relay process" });
    };
    Ok(Task {
        owner: Owner {
            node: node.to_owned(),
            life: life.to_owned(),
        },
        expires_at: Timestamp::from_millis(expires),
        leaving: get_number::<u8>(item, "leaving") == Some(1),
    })
}

fn read_shard(item: &Item) -> Result<Shard, StoreError> {
    let owner = get_text(item, "node").zip(get_text(item, "life"));
    Ok(Shard {
        owner: owner.map(|(node, life)| Owner {
            node: node.to_owned(),
            life: life.to_owned(),
        }),
        fence: get_number(item, "fence").ok_or(StoreError::Unreadable { what: "relay shard" })?,
        ready: item.contains_key("ready"),
        given_at: get_number(item, "given").map(Timestamp::from_millis),
    })
}
