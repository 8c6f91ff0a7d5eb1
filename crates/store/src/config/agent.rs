//! Agents. Their settings are sealed as one value.

use serde::{Deserialize, Serialize};
use tieline_core::agent::{Agent, AgentConfig};
use tieline_core::ids::{AgentId, OrganizationId};
use tieline_core::timestamp::{Timestamp, millis};

use super::list;
use super::name::{self, Kind};
use super::transaction::{Cancelled, Transaction, absent, present, where_equal};
use super::trash::{self, Deleted};
use crate::dynamo::{self, Reading};
use crate::error::StoreError;
use crate::item::{self, Item, get_number, get_text, number, text};
use crate::page::Page;
use crate::update::Update;
use crate::{Keyring, Store};

/// An agent as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentRecord {
    /// The agent, its settings unsealed.
    pub agent: Agent,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Incremented with every change of the agent itself.
    pub version: u64,
}

/// Why an agent can't be written.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Another agent of the organization, with this id, has the name.
    #[error("the name is taken by {0}")]
    NameTaken(AgentId),
    /// An enabled trigger uses it.
    #[error("an enabled trigger names the agent")]
    InUse,
    /// The table failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1(StoredV1),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredV1 {
    id: AgentId,
    organization: OrganizationId,
    name: String,
    protocol: String,
    config: String,
    #[serde(with = "millis")]
    created_at: Timestamp,
    #[serde(with = "millis")]
    updated_at: Timestamp,
    version: u64,
}

/// Number of enabled triggers that use the agent. A separate attribute, since triggers change it, not the agent.
const BOUND_TRIGGERS: &str = "boundTriggers";

/// Creates an agent.
///
/// # Errors
/// [`AgentError::NameTaken`].
pub async fn create(store: &Store, agent: Agent, now: Timestamp) -> Result<AgentRecord, AgentError> {
    let record = AgentRecord {
        agent,
        created_at: now,
        updated_at: now,
        version: 1,
    };
    let mut item = write(store.keyring(), &record)?;
    item.insert(BOUND_TRIGGERS.into(), number(0));
    let mut writes = Transaction::new();
    writes.put(Rule::AsRead, item, absent());
    take_name(&mut writes, &record.agent);
    commit(store, writes).await?;
    Ok(record)
}

/// Changes name, protocol and settings of an agent.
///
/// # Errors
/// [`AgentError::NameTaken`]; [`StoreError::Conflict`] if it has changed since it was read.
pub async fn update(
    store: &Store,
    before: &AgentRecord,
    agent: Agent,
    now: Timestamp,
) -> Result<AgentRecord, AgentError> {
    let agent = Agent {
        id: before.agent.id.clone(),
        organization: before.agent.organization.clone(),
        ..agent
    };
    if agent == before.agent {
        return Ok(before.clone());
    }
    let after = AgentRecord {
        agent,
        created_at: before.created_at,
        updated_at: now,
        version: before.version + 1,
    };
    let mut update = Update::new();
    update
        .set("name", text(&*after.agent.name))
        .set("protocol", text(&*after.agent.protocol))
        .set("config", text(seal(store.keyring(), &after.agent)))
        .set("updatedAt", number(now.as_millis()))
        .set("version", number(after.version))
        .require_equal("version", number(before.version));
    let mut writes = Transaction::new();
    writes.change(
        Rule::AsRead,
        (&pk(&after.agent.organization), &sk(&after.agent.id)),
        update,
    );
    if after.agent.name != before.agent.name {
        take_name(&mut writes, &after.agent);
        give_back_name(&mut writes, &before.agent);
    }
    commit(store, writes).await?;
    Ok(after)
}

/// Deletes an agent, unless an enabled trigger uses it. It can be restored for [`super::trash::LIFETIME`].
///
/// # Errors
/// [`AgentError::InUse`]; [`StoreError::Conflict`] if it has changed since it was read.
pub async fn delete(store: &Store, before: &AgentRecord, now: Timestamp) -> Result<(), AgentError> {
    let mut writes = deletion(before);
    let item = write(store.keyring(), before)?;
    trash::keep(&mut writes, Rule::AsRead, in_trash(&before.agent), item, now);
    commit(store, writes).await
}

/// Deletes an agent that was just created. It can't be restored.
///
/// # Errors
/// As [`delete`].
pub async fn remove(store: &Store, made: &AgentRecord) -> Result<(), AgentError> {
    commit(store, deletion(made)).await
}

fn deletion(before: &AgentRecord) -> Transaction<Rule> {
    let mut unused = where_equal("version", number(before.version));
    unused.require_equal(BOUND_TRIGGERS, number(0));
    let mut writes = Transaction::new();
    writes.delete(
        Rule::Unused,
        (&pk(&before.agent.organization), &sk(&before.agent.id)),
        unused,
    );
    give_back_name(&mut writes, &before.agent);
    writes
}

/// Restores a deleted agent.
///
/// # Errors
/// [`AgentError::NameTaken`]; [`StoreError::Conflict`] if it was restored or deleted again meanwhile.
pub async fn restore(store: &Store, deleted: &Deleted<AgentRecord>, now: Timestamp) -> Result<AgentRecord, AgentError> {
    let record = AgentRecord {
        updated_at: now,
        version: deleted.record.version + 1,
        ..deleted.record.clone()
    };
    let mut item = write(store.keyring(), &record)?;
    item.insert(BOUND_TRIGGERS.into(), number(0));
    let mut writes = Transaction::new();
    writes.put(Rule::AsRead, item, absent());
    take_name(&mut writes, &record.agent);
    trash::take(&mut writes, Rule::AsRead, in_trash(&record.agent), deleted.at);
    commit(store, writes).await?;
    Ok(record)
}

/// A deleted agent of the organization.
///
/// # Errors
/// [`StoreError`].
pub async fn get_deleted(
    store: &Store,
    organization: &OrganizationId,
    id: &AgentId,
    now: Timestamp,
) -> Result<Option<Deleted<AgentRecord>>, StoreError> {
    let found = trash::get(store, (trash::Kind::Agent, organization, id.as_str()), now).await?;
    let read = |deleted: Deleted<Item>| deleted.read(|item| read(store.keyring(), item));
    found.map(read).transpose()
}

/// The deleted agents of an organization, by id.
///
/// # Errors
/// [`StoreError`].
pub async fn list_deleted(
    store: &Store,
    organization: &OrganizationId,
    page: (Option<&str>, usize),
    now: Timestamp,
) -> Result<Page<Deleted<AgentRecord>>, StoreError> {
    let page = trash::list(store, (trash::Kind::Agent, organization), page, now).await?;
    let read = |deleted: Deleted<Item>| deleted.read(|item| read(store.keyring(), item));
    Ok(Page {
        items: page.items.into_iter().map(read).collect::<Result<_, _>>()?,
        cursor: page.cursor,
    })
}

fn in_trash(agent: &Agent) -> (trash::Kind, &OrganizationId, &str) {
    (trash::Kind::Agent, &agent.organization, agent.id.as_str())
}

/// An agent of the organization.
///
/// # Errors
/// [`StoreError`].
pub async fn get(
    store: &Store,
    organization: &OrganizationId,
    id: &AgentId,
) -> Result<Option<AgentRecord>, StoreError> {
    read_as(store, organization, id, Reading::Strong).await
}

async fn read_as(
    store: &Store,
    organization: &OrganizationId,
    id: &AgentId,
    reading: Reading,
) -> Result<Option<AgentRecord>, StoreError> {
    let key = (&*pk(organization), &*sk(id));
    let found = dynamo::get(&store.dynamo, &store.tables.config, key, reading, &[]).await?;
    found.map(|item| read(store.keyring(), item)).transpose()
}

/// Like [`get`], from the cache or an eventually consistent read, so up to a second old and at a fraction of the price: for processing
/// messages. A new agent is found at once.
///
/// # Errors
/// [`StoreError`].
pub async fn look_up(
    store: &Store,
    organization: &OrganizationId,
    id: &AgentId,
    now: Timestamp,
) -> Result<Option<AgentRecord>, StoreError> {
    let key = (organization.clone(), id.clone());
    let begun = match store.recent.agents.get(&key, now) {
        Ok(agent) => return Ok(Some(agent)),
        Err(begun) => begun,
    };
    let found = match read_as(store, organization, id, Reading::Eventual).await? {
        None => get(store, organization, id).await?,
        found => found,
    };
    if let Some(found) = &found {
        store.recent.agents.keep(key, found.clone(), begun);
    }
    Ok(found)
}

/// The agents of an organization, by id.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    store: &Store,
    organization: &OrganizationId,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page<AgentRecord>, StoreError> {
    let page = list::page(store, &pk(organization), "AGT#", cursor, limit).await?;
    let items = page
        .items
        .into_iter()
        .map(|item| read(store.keyring(), item))
        .collect::<Result<_, _>>()?;
    Ok(Page {
        items,
        cursor: page.cursor,
    })
}

/// Counts enabled triggers that use the agent, on condition that it exists.
pub(super) fn count<L: Copy>(
    writes: &mut Transaction<L>,
    there: L,
    organization: &OrganizationId,
    id: &AgentId,
    change: i64,
) {
    let (pk, sk) = (pk(organization), sk(id));
    let mut update = present();
    if change == 0 {
        writes.check(there, (&pk, &sk), update);
    } else {
        update.add(BOUND_TRIGGERS, change);
        writes.change(there, (&pk, &sk), update);
    }
}

/// Meaning of a failed condition in a transaction.
#[derive(Debug, Clone, Copy)]
enum Rule {
    AsRead,
    FreeName,
    Unused,
}

async fn commit(store: &Store, writes: Transaction<Rule>) -> Result<(), AgentError> {
    match writes.commit(store).await {
        Ok(()) => Ok(()),
        Err(Cancelled::Store(error)) => Err(error.into()),
        Err(Cancelled::Refused(Rule::FreeName, Some(taken))) => {
            let holder = get_text(&taken, "id").ok_or(StoreError::Unreadable { what: "name" })?;
            Err(AgentError::NameTaken(AgentId::new(holder)))
        }
        Err(Cancelled::Refused(Rule::Unused, Some(item))) if is_bound(&item) => Err(AgentError::InUse),
        Err(Cancelled::Refused(Rule::AsRead | Rule::Unused | Rule::FreeName, _)) => Err(StoreError::Conflict.into()),
    }
}

fn is_bound(item: &Item) -> bool {
    get_number::<i64>(item, BOUND_TRIGGERS).is_some_and(|n| n > 0)
}

fn take_name(writes: &mut Transaction<Rule>, agent: &Agent) {
    name::take(
        writes,
        Rule::FreeName,
        Kind::Agent,
        &agent.organization,
        &agent.name,
        agent.id.as_str(),
    );
}

fn give_back_name(writes: &mut Transaction<Rule>, agent: &Agent) {
    name::give_back(
        writes,
        Rule::AsRead,
        Kind::Agent,
        &agent.organization,
        &agent.name,
        agent.id.as_str(),
    );
}

fn write(keyring: &Keyring, record: &AgentRecord) -> Result<Item, StoreError> {
    let agent = &record.agent;
    let stored = Stored::V1(StoredV1 {
        id: agent.id.clone(),
        organization: agent.organization.clone(),
        name: agent.name.clone(),
        protocol: agent.protocol.clone(),
        config: seal(keyring, agent),
        created_at: record.created_at,
        updated_at: record.updated_at,
        version: record.version,
    });
    item::write("agent", &pk(&agent.organization), &sk(&agent.id), &stored)
}

fn read(keyring: &Keyring, item: Item) -> Result<AgentRecord, StoreError> {
    let Stored::V1(stored) = item::read("agent", item)?;
    let plain = zeroize::Zeroizing::new(keyring.open(&stored.config, stored.id.as_str())?);
    let config: AgentConfig =
        serde_json::from_slice(&plain).map_err(|_| StoreError::Unreadable { what: "agent settings" })?;
    Ok(AgentRecord {
        agent: Agent {
            id: stored.id,
            organization: stored.organization,
            name: stored.name,
            protocol: stored.protocol,
            config,
        },
        created_at: stored.created_at,
        updated_at: stored.updated_at,
        version: stored.version,
    })
}

fn seal(keyring: &Keyring, agent: &Agent) -> String {
    let plain = serde_json::to_vec(&agent.config).expect("agent settings serialize as JSON");
    keyring.seal(&zeroize::Zeroizing::new(plain), agent.id.as_str())
}

fn pk(organization: &OrganizationId) -> String {
    format!("ORG#{organization}")
}

fn sk(id: &AgentId) -> String {
    format!("AGT#{id}")
}
