//! Organizations: the tenants.

use serde::{Deserialize, Serialize};
use tieline_core::ids::OrganizationId;
use tieline_core::mapper::UnknownPolicy;
use tieline_core::secret::Secret;
use tieline_core::timestamp::{Timestamp, millis};

use super::list;
use super::transaction::{Cancelled, Transaction, absent, present, where_equal};
use crate::Store;
use crate::dynamo::{self, Reading};
use crate::error::StoreError;
use crate::item::{self, get_text, number, text, value};
use crate::page::Page;
use crate::tables::SK;
use crate::update::Update;

const MAPPER_VERSION: &str = "mapperVersion";

/// The organization that exists from the start.
pub const DEFAULT: &str = "default";

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// Its id, chosen by the operator.
    pub id: OrganizationId,
    /// Its name.
    pub name: String,
    /// Its limits.
    pub limits: Limits,
    /// The endpoint that maps its users to known persons.
    pub mapper: Option<Mapper>,
    /// Incremented with every change of `mapper`.
    pub mapper_version: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// Incremented with every change of name and limits.
    pub version: u64,
}

/// An endpoint that maps an organization's users to known persons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapper {
    /// The address.
    pub url: String,
    /// The key of the signature.
    pub secret: Secret,
    /// How to handle the messages of people whom it doesn't know.
    pub unknown: UnknownPolicy,
}

/// What the processing of messages needs to know about an organization.
#[derive(Debug, Clone, Default)]
pub struct OrganizationFacts {
    /// Its limits.
    pub limits: Limits,
    /// Its mapper with the version of its settings.
    pub mapper: Option<(Mapper, u64)>,
}

/// Limits of an organization. `None`: the deployment's limit applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Most concurrent runs.
    pub max_concurrent_runs: Option<u32>,
    /// Most questions per minute, of all people to all its bots.
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mapper: Option<MapperV1>,
    #[serde(default)]
    mapper_version: u64,
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

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MapperV1 {
    url: String,
    sealed_secret: String,
    unknown: UnknownPolicy,
}

/// Creates an organization. `false` if its id is taken.
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
        mapper: None,
        mapper_version: 0,
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

/// Deletes an organization that was just created and has nothing yet.
///
/// # Errors
/// [`StoreError::Conflict`] if it has changed since it was created.
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

/// The organization. The default one is created when it is first read.
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

/// What the processing of messages needs to know about an organization, from the cache, so up to a second old.
///
/// # Errors
/// [`StoreError`].
pub async fn look_up(store: &Store, id: &OrganizationId, now: Timestamp) -> Result<OrganizationFacts, StoreError> {
    let begun = match store.recent.organizations.get(id, now) {
        Ok(facts) => return Ok(facts),
        Err(begun) => begun,
    };
    let found = find(store, id, Reading::Eventual).await?;
    let facts = found.map(OrganizationFacts::of).unwrap_or_default();
    store.recent.organizations.keep(id.clone(), facts.clone(), begun);
    Ok(facts)
}

impl OrganizationFacts {
    fn of(organization: Organization) -> Self {
        let version = organization.mapper_version;
        Self {
            limits: organization.limits,
            mapper: organization.mapper.map(|mapper| (mapper, version)),
        }
    }
}

async fn find(store: &Store, id: &OrganizationId, reading: Reading) -> Result<Option<Organization>, StoreError> {
    let pk = format!("ORG#{id}");
    let found = dynamo::get(&store.dynamo, &store.tables.config, (&pk, "ORG"), reading, &[]).await?;
    found.map(|item| read(store, item)).transpose()
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
        .map(|item| read(store, item))
        .collect::<Result<_, _>>()?;
    Ok(Page {
        items,
        cursor: entries.cursor,
    })
}

/// Changes name and limits of the organization.
///
/// # Errors
/// [`StoreError::Conflict`] if it has changed since it was read.
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

/// Sets or removes the mapper of the organization.
///
/// # Errors
/// [`StoreError::Conflict`] if its mapper has changed since it was read.
pub async fn set_mapper(
    store: &Store,
    before: &Organization,
    mapper: Option<Mapper>,
) -> Result<Organization, StoreError> {
    let version = before.mapper_version + 1;
    let mut update = present();
    update.set(MAPPER_VERSION, number(version));
    match before.mapper_version {
        // Written before mappers were supported.
        0 => {
            let (path, zero) = (update.path(MAPPER_VERSION), update.value(number(0)));
            update.require(format!("(attribute_not_exists({path}) OR {path} = {zero})"));
        }
        before => {
            update.require_equal(MAPPER_VERSION, number(before));
        }
    }
    match &mapper {
        Some(mapper) => {
            let stored = MapperV1 {
                url: mapper.url.clone(),
                sealed_secret: store
                    .keyring
                    .seal(mapper.secret.expose().as_bytes(), &bound_to(&before.id)),
                unknown: mapper.unknown,
            };
            update.set("mapper", value("organization", &stored)?)
        }
        None => update.remove("mapper"),
    };
    let pk = format!("ORG#{}", before.id);
    let mut writes = Transaction::new();
    writes.change((), (&pk, "ORG"), update);
    let written = writes.commit(store).await;
    match written {
        Ok(()) => Ok(Organization {
            mapper,
            mapper_version: version,
            ..before.clone()
        }),
        Err(Cancelled::Refused((), _)) => Err(StoreError::Conflict),
        Err(Cancelled::Store(error)) => Err(error),
    }
}

/// Binds a sealed secret to the organization that it was entered for.
pub(super) fn bound_to(id: &OrganizationId) -> String {
    format!("ORG#{id}/mapper/secret")
}

/// The item of a new organization, which has no mapper yet.
fn write(organization: &Organization) -> Result<item::Item, StoreError> {
    let stored = Stored::V1(StoredV1 {
        id: organization.id.clone(),
        name: organization.name.clone(),
        limits: organization.limits.into(),
        mapper: None,
        mapper_version: organization.mapper_version,
        created_at: organization.created_at,
        version: organization.version,
    });
    item::write("organization", &format!("ORG#{}", organization.id), "ORG", &stored)
}

fn read(store: &Store, item: item::Item) -> Result<Organization, StoreError> {
    let Stored::V1(stored) = item::read("organization", item)?;
    let mapper = stored
        .mapper
        .map(|mapper| open(store, &stored.id, mapper))
        .transpose()?;
    Ok(Organization {
        id: stored.id,
        name: stored.name,
        limits: Limits {
            max_concurrent_runs: stored.limits.max_concurrent_runs,
            max_messages_per_minute: stored.limits.max_messages_per_minute,
        },
        mapper,
        mapper_version: stored.mapper_version,
        created_at: stored.created_at,
        version: stored.version,
    })
}

fn open(store: &Store, id: &OrganizationId, stored: MapperV1) -> Result<Mapper, StoreError> {
    let secret = store.keyring.open(&stored.sealed_secret, &bound_to(id))?;
    let secret = String::from_utf8(secret).map_err(|_| StoreError::Unreadable { what: "organization" })?;
    Ok(Mapper {
        url: stored.url,
        secret: Secret::new(secret),
        unknown: stored.unknown,
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
