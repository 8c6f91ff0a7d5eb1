//! Organizations: the tenants.

use serde::{Deserialize, Serialize};
use tieline_core::ids::OrganizationId;
use tieline_core::timestamp::{Timestamp, millis};

use super::list;
use super::transaction::{Cancelled, Transaction, absent, where_equal};
use crate::Store;
use crate::dynamo::{self, Reading};
use crate::error::StoreError;
use crate::item::{self, get_text, number, text, value};
use crate::page::Page;
use crate::tables::SK;
use crate::update::Update;

/// The organization that exists from the start.
pub const DEFAULT: &str = "default";

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// Its id, chosen by the operator.
    pub id: OrganizationId,
    /// Its name.
    pub name: String,
    /// What it may use.
    pub limits: Limits,
    /// When it was made.
    pub created_at: Timestamp,
    /// Grows with every change.
    pub version: u64,
}

/// What an organization may use. `None`: as the deployment has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Most runs at a time.
    pub max_concurrent_runs: Option<u32>,
    /// Most questions in a minute, of all people to all its bots.
    pub max_messages_per_minute: Option<u32>,
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
    id: OrganizationId,
    name: String,
    #[serde(default)]
    limits: LimitsV1,
    #[serde(with = "millis")]
    created_at: Timestamp,
    version: u64,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LimitsV1 {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_concurrent_runs: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_messages_per_minute: Option<u32>,
}

/// Creates an organization. `false` if there is one of that id.
///
/// # Errors
/// [`StoreError`].
pub async fn create(
    store: &Store,
    id: &OrganizationId,
    name: &str,
    limits: Limits,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let organization = Organization {
        id: id.clone(),
        name: name.to_owned(),
        limits,
        created_at: now,
        version: 1,
    };
    let mut writes = Transaction::new();
    writes.put((), write(&organization)?, absent());
    let mut entry = item::key("ORGS", &format!("ORG#{id}"));
    entry.insert("v".into(), text("1"));
    writes.put((), entry, Update::new());
    match writes.commit(store).await {
        Ok(()) => Ok(true),
        Err(Cancelled::Refused((), _)) => Ok(false),
        Err(Cancelled::Store(error)) => Err(error),
    }
}

/// Deletes an organization as it was made, which has nothing yet.
///
/// # Errors
/// [`StoreError::Conflict`] if it isn't as it was made any more.
pub async fn remove(store: &Store, made: &Organization) -> Result<(), StoreError> {
    let key = format!("ORG#{}", made.id);
    let mut writes = Transaction::new();
    writes.delete((), (&key, "ORG"), where_equal("version", number(made.version)));
    writes.delete((), ("ORGS", &key), Update::new());
    let removed = writes.commit(store).await;
    store.recent.forget();
    match removed {
        Ok(()) => Ok(()),
        Err(Cancelled::Refused((), _)) => Err(StoreError::Conflict),
        Err(Cancelled::Store(error)) => Err(error),
    }
}

/// The organization. The default one is made when it is first asked for.
///
/// # Errors
/// [`StoreError`].
pub async fn get(store: &Store, id: &OrganizationId, now: Timestamp) -> Result<Option<Organization>, StoreError> {
    let found = find(store, id, Reading::Strong).await?;
    if found.is_some() || id.as_str() != DEFAULT {
        return Ok(found);
    }
    create(store, id, "Default", Limits::default(), now).await?;
    find(store, id, Reading::Strong).await
}

/// The limits of an organization from the cache, so up to a second old: for processing messages.
///
/// # Errors
/// [`StoreError`].
pub async fn look_up_limits(store: &Store, id: &OrganizationId, now: Timestamp) -> Result<Limits, StoreError> {
    let begun = match store.recent.limits.get(id, now) {
        Ok(limits) => return Ok(limits),
        Err(begun) => begun,
    };
    let found = find(store, id, Reading::Eventual).await?;
    let limits = found.map(|found| found.limits).unwrap_or_default();
    store.recent.limits.keep(id.clone(), limits, begun);
    Ok(limits)
}

async fn find(store: &Store, id: &OrganizationId, reading: Reading) -> Result<Option<Organization>, StoreError> {
    let pk = format!("ORG#{id}");
    let found = dynamo::get(&store.dynamo, &store.tables.config, (&pk, "ORG"), reading, &[]).await?;
    found.map(read).transpose()
}

/// All organizations, by id.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    store: &Store,
    cursor: Option<&str>,
    limit: usize,
    now: Timestamp,
) -> Result<Page<Organization>, StoreError> {
    get(store, &OrganizationId::new(DEFAULT), now).await?;
    let entries = list::page(store, "ORGS", "ORG#", cursor, limit).await?;
    let keys: Vec<_> = entries
        .items
        .iter()
        .filter_map(|entry| Some((get_text(entry, SK)?.to_owned(), "ORG".to_owned())))
        .collect();
    let items = list::in_order(store, keys)
        .await?
        .into_iter()
        .map(read)
        .collect::<Result<_, _>>()?;
    Ok(Page {
        items,
        cursor: entries.cursor,
    })
}

/// Changes name and limits of the organization as it was read.
///
/// # Errors
/// [`StoreError::Conflict`] if it isn't as it was read any more.
pub async fn update(
    store: &Store,
    before: &Organization,
    name: &str,
    limits: Limits,
) -> Result<Organization, StoreError> {
    let mut update = Update::new();
    update
        .set("name", text(name))
        .set("limits", value("organization", &LimitsV1::from(limits))?)
        .set("version", number(before.version + 1))
        .require_equal("version", number(before.version));
    let pk = format!("ORG#{}", before.id);
    let mut writes = Transaction::new();
    writes.change((), (&pk, "ORG"), update);
    match writes.commit(store).await {
        Ok(()) => Ok(Organization {
            name: name.to_owned(),
            limits,
            version: before.version + 1,
            ..before.clone()
        }),
        Err(Cancelled::Refused((), _)) => Err(StoreError::Conflict),
        Err(Cancelled::Store(error)) => Err(error),
    }
}

fn write(organization: &Organization) -> Result<item::Item, StoreError> {
    let stored = Stored::V1(StoredV1 {
        id: organization.id.clone(),
        name: organization.name.clone(),
        limits: organization.limits.into(),
        created_at: organization.created_at,
        version: organization.version,
    });
    item::write("organization", &format!("ORG#{}", organization.id), "ORG", &stored)
}

fn read(item: item::Item) -> Result<Organization, StoreError> {
    let Stored::V1(stored) = item::read("organization", item)?;
    Ok(Organization {
        id: stored.id,
        name: stored.name,
        limits: Limits {
            max_concurrent_runs: stored.limits.max_concurrent_runs,
            max_messages_per_minute: stored.limits.max_messages_per_minute,
        },
        created_at: stored.created_at,
        version: stored.version,
    })
}

impl From<Limits> for LimitsV1 {
    fn from(limits: Limits) -> Self {
        Self {
            max_concurrent_runs: limits.max_concurrent_runs,
            max_messages_per_minute: limits.max_messages_per_minute,
        }
    }
}
