//! Conversations: mailbox, session, run and lease, in one item and guarded by its version.
//!
//! Item `CNV#{conversation}`/`CNV` of `state`, 400 days from its last change. Attributes: `key`, `n` version, `gn` generation, `ses` session, `lvg` sessions that are left, `tb` the sealed tasks, `pend`
//! the mailbox, `clos` messages that left it and are to be ended, `run`, `lease` (`o` node, `l` life, `f` fence, `x` expiry), `hd` until when the group was heard, `at` last change. Session, mailbox and run are stored in
//! the serialized form of their core types, whose new fields have defaults. An erased conversation leaves an expired item without attributes
//! ([`crate::erase::conversation`]).
//!
//! Every writer of a conversation reads it, changes it in memory and saves it on condition that its version is unchanged
//! (compare-and-swap), so that dispatcher and runner never undo each other. Only heartbeats keep the version, so that they conflict with no other write.

mod lease;
mod list;

use std::time::Duration;

use aws_sdk_dynamodb::types::ReturnValue;
use serde::{Deserialize, Serialize};
use tieline_core::conversation::task::TaskBook;
use tieline_core::conversation::{Closing, Conversation, ConversationKey, Owner, RunState, StopCause};
use tieline_core::ids::{ConversationId, MessageId, RunId};
use tieline_core::mailbox::Pending;
use tieline_core::session::Session;
use tieline_core::timestamp::Timestamp;

use self::lease::{LeaseWrite, StoredLease};
use crate::Store;
use crate::data_keys::unless_key_is_lost;
use crate::dynamo::{self, Reading, Written};
use crate::error::StoreError;
use crate::item::{Item, alive, expire, number, read, text, value, write};
use crate::tables::{BY_INTEGRATION, TTL};
use crate::update::Update;

pub use list::{get_many, list};

/// How long a conversation is kept after its last change: longer than a session may be idle. Sessions are numbered in it. A person who
/// returns later, or after being erased, gets a conversation of another generation, and so no session that agents know from before.
const LIFETIME: Duration = Duration::from_hours(400 * 24);

const WHAT: &str = "conversation";
const SORT: &str = "CNV";

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1(StoredV1),
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredV1 {
    key: ConversationKey,
    n: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ses: Option<Session>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tb: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lvg: Vec<Session>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pend: Vec<Pending>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    clos: Vec<Closing>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<RunState>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<StoredLease>,
    #[serde(
        with = "tieline_core::timestamp::millis::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    hd: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ra: Vec<MessageId>,
    #[serde(with = "tieline_core::timestamp::millis")]
    at: Timestamp,
}

/// What a lease holder polls while its agent writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// The fencing token of the newest holder. If it isn't ours, we have lost the lease.
    pub fence: u64,
    /// The current run.
    pub run: Option<RunId>,
    /// Whether and why it is to be stopped.
    pub stop: Option<StopCause>,
    /// Messages pending behind it, in order.
    pub waiting: Vec<MessageId>,
}

fn behind_run(pending: &[Pending]) -> Vec<MessageId> {
    let behind = pending.iter().filter(|waiting| waiting.behind_run);
    behind.map(|waiting| waiting.message.clone()).collect()
}

/// Reads a conversation, strongly consistent.
///
/// A released lease is returned too, as one that has long expired: its fencing token must not be reused.
///
/// # Errors
/// [`StoreError::Unavailable`], or [`StoreError::Unreadable`].
pub async fn load(store: &Store, id: &ConversationId, now: Timestamp) -> Result<Option<Conversation>, StoreError> {
    read_as(store, id, Reading::Strong, now).await
}

/// Like [`load`], eventually consistent, for half the price: only for changes that end with [`save`], which refuses outdated ones.
///
/// # Errors
/// As [`load`].
pub async fn load_eventual(
    store: &Store,
    id: &ConversationId,
    now: Timestamp,
) -> Result<Option<Conversation>, StoreError> {
    read_as(store, id, Reading::Eventual, now).await
}

async fn read_as(
    store: &Store,
    id: &ConversationId,
    reading: Reading,
    now: Timestamp,
) -> Result<Option<Conversation>, StoreError> {
    let key = partition(id);
    let found = dynamo::get(&store.dynamo, &store.tables.state, (&key, SORT), reading, &[]).await?;
    present(found, now).map(|item| from_item(store, item, now)).transpose()
}

/// The item of a conversation that is neither expired nor erased. An erased one may look alive to a clock that is behind.
fn present(item: Option<Item>, now: Timestamp) -> Option<Item> {
    alive(item, now).filter(|item| item.contains_key("key"))
}

/// Saves a conversation: only what differs from `before`, which is as loaded (or [`Conversation::new`], of version 0).
///
/// The lease is written according to its change:
/// - same holder, same or earlier expiry, as in every save of the dispatcher: it is not written. The version
///   is guard enough, for a new holder changes it. A concurrent heartbeat stays in force.
/// - same holder, later expiry: it is renewed, and never shortened if the holder's own heartbeat has renewed it further.
/// - another fencing token: it is acquired, if no heartbeat has touched it since it was read. The token must grow.
/// - no lease: it is released. Its fencing token is kept.
///
/// On success `after` has the new version, and the lease as [`load`] would return it.
///
/// # Errors
/// [`StoreError::Conflict`] if the conversation has changed since it was loaded; load it and decide again.
pub async fn save(store: &Store, before: &Conversation, after: &mut Conversation) -> Result<(), StoreError> {
    let lease = LeaseWrite::between(before.lease.as_ref(), after.lease.as_ref())?;
    let kept = match change(store, before, after, lease).await? {
        Written::Done(_) => lease.result(before.lease.as_ref(), after.lease.as_ref()),
        Written::Refused(found) => {
            // Our own heartbeat has renewed it further meanwhile: nothing else conflicts, so save without renewing.
            let further = found
                .and_then(|found| without_tasks(found).ok())
                .map(|(found, _)| found)
                .filter(|found| found.version == before.version && lease.is_exceeded_by(found.lease.as_ref()));
            let Some(further) = further else {
                return Err(StoreError::Conflict);
            };
            change(store, before, after, LeaseWrite::Keep).await?.or_conflict()?;
            further.lease
        }
    };
    after.lease = kept;
    after.version = match before.version {
        0 => after.first_version(),
        version => version + 1,
    };
    Ok(())
}

/// Renews a lease and changes nothing else, not even the version. Returns what the holder should know.
///
/// # Errors
/// [`StoreError::Conflict`] if this owner no longer holds the lease: it must stop at once.
pub async fn heartbeat(
    store: &Store,
    id: &ConversationId,
    owner: &Owner,
    fence: u64,
    expires_at: Timestamp,
) -> Result<Watch, StoreError> {
    let mut change = Update::new();
    change
        .set("lease.x", number(expires_at.as_millis()))
        .require_equal("lease.f", number(fence))
        .require_equal("lease.o", text(&owner.node))
        .require_equal("lease.l", text(&owner.life));
    let key = partition(id);
    let written = dynamo::update(
        &store.dynamo,
        &store.tables.state,
        (&key, SORT),
        change,
        ReturnValue::AllNew,
    );
    let (conversation, _) = without_tasks(written.await?.or_conflict()?)?;
    let (run, stop) = conversation.run.map(|run| (run.id, run.stop)).unzip();
    Ok(Watch {
        fence,
        run,
        stop: stop.flatten(),
        waiting: behind_run(&conversation.pending),
    })
}

/// What the holder should know, eventually consistent. `None` if there is no such conversation.
///
/// # Errors
/// [`StoreError::Unavailable`], or [`StoreError::Unreadable`].
pub async fn watch(store: &Store, id: &ConversationId) -> Result<Option<Watch>, StoreError> {
    let key = partition(id);
    let only = ["run.id", "run.stop", "lease.f", "pend"];
    let found = dynamo::get(
        &store.dynamo,
        &store.tables.state,
        (&key, SORT),
        Reading::Eventual,
        &only,
    );
    found
        .await?
        .map(|item| read::<StoredWatch>(WHAT, item).map(Watch::from))
        .transpose()
}

#[derive(Debug, Deserialize)]
struct StoredWatch {
    #[serde(default)]
    run: Option<StoredRunWatch>,
    #[serde(default)]
    lease: Option<StoredFence>,
    #[serde(default)]
    pend: Vec<Pending>,
}

#[derive(Debug, Deserialize)]
struct StoredRunWatch {
    id: RunId,
    #[serde(default)]
    stop: Option<StopCause>,
}

#[derive(Debug, Deserialize)]
struct StoredFence {
    f: u64,
}

impl From<StoredWatch> for Watch {
    fn from(stored: StoredWatch) -> Self {
        let (run, stop) = stored.run.map(|run| (run.id, run.stop)).unzip();
        Self {
            fence: stored.lease.map_or(0, |lease| lease.f),
            run,
            stop: stop.flatten(),
            waiting: behind_run(&stored.pend),
        }
    }
}

async fn change(
    store: &Store,
    before: &Conversation,
    after: &Conversation,
    lease: LeaseWrite<'_>,
) -> Result<Written, StoreError> {
    let mut change = Update::new();
    if before.version == 0 {
        change.require_gone(after.updated_at);
        let item = to_item(store, after)?;
        return dynamo::put(&store.dynamo, &store.tables.state, item, change).await;
    }
    change
        .set("n", number(before.version + 1))
        .set("at", number(after.updated_at.as_millis()))
        .set(TTL, number(after.updated_at.after(LIFETIME).as_secs()))
        .require_equal("n", number(before.version));
    if after.session != before.session {
        set_or_remove(&mut change, "ses", after.session.as_ref())?;
    }
    if after.leaving != before.leaving {
        let leaving = Some(&after.leaving).filter(|leaving| !leaving.is_empty());
        set_or_remove(&mut change, "lvg", leaving)?;
    }
    if after.tasks != before.tasks {
        set_or_remove(&mut change, "tb", seal_tasks(store, after)?.as_ref())?;
    }
    if after.pending != before.pending {
        let pending = Some(&after.pending).filter(|pending| !pending.is_empty());
        set_or_remove(&mut change, "pend", pending)?;
    }
    if after.closing != before.closing {
        let closing = Some(&after.closing).filter(|closing| !closing.is_empty());
        set_or_remove(&mut change, "clos", closing)?;
    }
    if after.run != before.run {
        set_or_remove(&mut change, "run", after.run.as_ref())?;
    }
    if after.heard_until != before.heard_until {
        match after.heard_until {
            Some(until) => change.set("hd", number(until.as_millis())),
            None => change.remove("hd"),
        };
    }
    if after.refused_answers != before.refused_answers {
        let refused = Some(&after.refused_answers).filter(|refused| !refused.is_empty());
        set_or_remove(&mut change, "ra", refused)?;
    }
    lease.apply(&mut change)?;
    let key = partition(&after.key.id());
    let table = &store.tables.state;
    dynamo::update(&store.dynamo, table, (&key, SORT), change, ReturnValue::None).await
}

fn set_or_remove<T: Serialize>(change: &mut Update, path: &str, new: Option<&T>) -> Result<(), StoreError> {
    match new {
        Some(new) => change.set(path, value(WHAT, new)?),
        None => change.remove(path),
    };
    Ok(())
}

/// The sealed tasks: their names are personal. `None` if there are none.
fn seal_tasks(store: &Store, conversation: &Conversation) -> Result<Option<String>, StoreError> {
    if conversation.tasks == TaskBook::default() {
        return Ok(None);
    }
    let plain = serde_json::to_vec(&conversation.tasks).map_err(|_| StoreError::Unreadable { what: WHAT })?;
    Ok(Some(
        store.keyring().seal(&plain, &tasks_subject(&conversation.key.id())),
    ))
}

fn open_tasks(store: &Store, id: &ConversationId, sealed: &str) -> Result<TaskBook, StoreError> {
    let plain = store.keyring().open(sealed, &tasks_subject(id))?;
    serde_json::from_slice(&plain).map_err(|_| StoreError::Unreadable { what: WHAT })
}

pub(crate) fn tasks_subject(id: &ConversationId) -> String {
    format!("tasks of {id}")
}

fn partition(id: &ConversationId) -> String {
    format!("CNV#{id}")
}

fn to_item(store: &Store, conversation: &Conversation) -> Result<Item, StoreError> {
    let partition = partition(&conversation.key.id());
    let stored = Stored::V1(StoredV1 {
        key: conversation.key.clone(),
        n: conversation.first_version(),
        gn: conversation.generation.clone(),
        ses: conversation.session.clone(),
        tb: seal_tasks(store, conversation)?,
        lvg: conversation.leaving.clone(),
        pend: conversation.pending.clone(),
        clos: conversation.closing.clone(),
        run: conversation.run.clone(),
        lease: conversation.lease.as_ref().map(StoredLease::held),
        hd: conversation.heard_until,
        ra: conversation.refused_answers.clone(),
        at: conversation.updated_at,
    });
    let mut item = write(WHAT, &partition, SORT, &stored)?;
    let integration = format!("INT#{}", conversation.key.integration);
    item.insert(BY_INTEGRATION.partition.to_owned(), text(integration));
    item.insert(BY_INTEGRATION.sort.to_owned(), text(partition));
    expire(&mut item, conversation.updated_at.after(LIFETIME));
    Ok(item)
}

/// A conversation as stored. One whose tasks' data key is lost goes on without them.
fn from_item(store: &Store, item: Item, now: Timestamp) -> Result<Conversation, StoreError> {
    let (mut conversation, sealed) = without_tasks(item)?;
    if let Some(sealed) = sealed {
        let opened = open_tasks(store, &conversation.key.id(), &sealed).map(Some);
        let age = now.since(conversation.updated_at);
        conversation.tasks = unless_key_is_lost(opened, age)?.unwrap_or_default();
    }
    Ok(conversation)
}

/// A conversation without its tasks, and those sealed.
fn without_tasks(item: Item) -> Result<(Conversation, Option<String>), StoreError> {
    let Stored::V1(stored) = read(WHAT, item)?;
    let conversation = Conversation {
        tasks: TaskBook::default(),
        key: stored.key,
        version: stored.n,
        generation: stored.gn,
        session: stored.ses,
        leaving: stored.lvg,
        pending: stored.pend,
        closing: stored.clos,
        run: stored.run,
        lease: stored.lease.map(Into::into),
        heard_until: stored.hd,
        refused_answers: stored.ra,
        updated_at: stored.at,
    };
    Ok((conversation, stored.tb))
}
