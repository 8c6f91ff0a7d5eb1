//! Tokens of an organization's operators. Only their SHA-256 is stored.

use std::time::Duration;

use aws_sdk_dynamodb::types::ReturnValue;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tieline_core::ids::OrganizationId;
use tieline_core::timestamp::{Timestamp, millis};

use super::list;
use super::transaction::{Cancelled, Transaction, absent, present};
use crate::Store;
use crate::dynamo::{self, Reading};
use crate::error::StoreError;
use crate::item::{self, Item, number};
use crate::page::Page;
use crate::update::Update;

/// What a token permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything within the organization.
    Admin,
    /// Reading.
    Viewer,
}

/// A token as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Its id. Reveals nothing about the token.
    pub id: String,
    /// The organization to which it gives access.
    pub organization: OrganizationId,
    /// Its name.
    pub name: String,
    /// What it permits.
    pub role: Role,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it expires, if it does.
    pub expires_at: Option<Timestamp>,
    /// When it was used last, up to [`USE_INTERVAL`] late.
    pub last_used_at: Option<Timestamp>,
    digest: String,
}

/// A token to be created.
#[derive(Debug, Clone, Copy)]
pub struct NewToken<'a> {
    /// Its id.
    pub id: &'a str,
    /// The token itself, made of random bytes.
    pub token: &'a str,
    /// Its name.
    pub name: &'a str,
    /// What it permits.
    pub role: Role,
    /// When it expires, if it does.
    pub expires_at: Option<Timestamp>,
}

/// Shortest time between two writes of a token's last use.
pub const USE_INTERVAL: Duration = Duration::from_mins(10);

impl TokenRecord {
    /// Whether it is valid: it has not expired.
    #[must_use]
    pub fn is_alive(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }
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
    id: String,
    organization: OrganizationId,
    name: String,
    role: Role,
    #[serde(with = "millis")]
    created_at: Timestamp,
    #[serde(default, with = "millis::option", skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(default, with = "millis::option", skip_serializing_if = "Option::is_none")]
    last_used_at: Option<Timestamp>,
    digest: String,
}

/// Stores a token.
///
/// # Errors
/// [`StoreError::Conflict`] if the id or the token exists already.
pub async fn create(
    store: &Store,
    organization: &OrganizationId,
    new: NewToken<'_>,
    now: Timestamp,
) -> Result<TokenRecord, StoreError> {
    let record = TokenRecord {
        id: new.id.to_owned(),
        organization: organization.clone(),
        name: new.name.to_owned(),
        role: new.role,
        created_at: now,
        expires_at: new.expires_at,
        last_used_at: None,
        digest: digest(new.token),
    };
    let mut writes = Transaction::new();
    writes.put((), write(&record, &own_key(&record))?, absent());
    writes.put((), write(&record, &digest_key(&record.digest))?, absent());
    commit(store, writes).await?;
    Ok(record)
}

/// The record of a token that a caller presents. `None`: it is unknown, or has expired.
///
/// # Errors
/// [`StoreError`].
pub async fn find(store: &Store, token: &str, now: Timestamp) -> Result<Option<TokenRecord>, StoreError> {
    // Looked up by its digest, so that the timing reveals nothing about stored tokens.
    let found = get_by(store, digest_key(&digest(token))).await?;
    Ok(found.filter(|record| record.is_alive(now)))
}

/// Records that a token was used, unless a use was recorded within [`USE_INTERVAL`], or the token was deleted.
///
/// # Errors
/// [`StoreError`].
pub async fn note_use(
    store: &Store,
    organization: &OrganizationId,
    id: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut update = present();
    let earlier = update.path("lastUsedAt");
    let due = update.value(number(now.before(USE_INTERVAL).as_millis()));
    update
        .require(format!("(attribute_not_exists({earlier}) OR {earlier} <= {due})"))
        .set("lastUsedAt", number(now.as_millis()));
    let (pk, sk) = (format!("ORG#{organization}"), format!("TOK#{id}"));
    // The condition fails if another process has recorded a use, or the token was deleted.
    dynamo::update(
        &store.dynamo,
        &store.tables.config,
        (&pk, &sk),
        update,
        ReturnValue::None,
    )
    .await
    .map(drop)
}

/// A token of the organization, by its id.
///
/// # Errors
/// [`StoreError`].
pub async fn get(store: &Store, organization: &OrganizationId, id: &str) -> Result<Option<TokenRecord>, StoreError> {
    get_by(store, (format!("ORG#{organization}"), format!("TOK#{id}"))).await
}

async fn get_by(store: &Store, (pk, sk): (String, String)) -> Result<Option<TokenRecord>, StoreError> {
    let found = dynamo::get(&store.dynamo, &store.tables.config, (&pk, &sk), Reading::Strong, &[]).await?;
    found.map(read).transpose()
}

/// The tokens of an organization, by id.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    store: &Store,
    organization: &OrganizationId,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page<TokenRecord>, StoreError> {
    let page = list::page(store, &format!("ORG#{organization}"), "TOK#", cursor, limit).await?;
    let items = page.items.into_iter().map(read).collect::<Result<_, _>>()?;
    Ok(Page {
        items,
        cursor: page.cursor,
    })
}

/// Deletes a token: from now on it is rejected.
///
/// # Errors
/// [`StoreError::Conflict`] if it was deleted already.
pub async fn delete(store: &Store, record: &TokenRecord) -> Result<(), StoreError> {
    let (pk, sk) = own_key(record);
    let (digest_pk, digest_sk) = digest_key(&record.digest);
    let mut writes = Transaction::new();
    writes.delete((), (&pk, &sk), present());
    writes.delete((), (&digest_pk, &digest_sk), Update::new());
    commit(store, writes).await
}

async fn commit(store: &Store, writes: Transaction<()>) -> Result<(), StoreError> {
    match writes.commit(store).await {
        Ok(()) => Ok(()),
        Err(Cancelled::Store(error)) => Err(error),
        Err(Cancelled::Refused((), _)) => Err(StoreError::Conflict),
    }
}

fn digest(token: &str) -> String {
    let bytes = Sha256::digest(token.as_bytes());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn own_key(record: &TokenRecord) -> (String, String) {
    (format!("ORG#{}", record.organization), format!("TOK#{}", record.id))
}

fn digest_key(digest: &str) -> (String, String) {
    (format!("TOKEN#{digest}"), "TOKEN".to_owned())
}

fn write(record: &TokenRecord, (pk, sk): &(String, String)) -> Result<Item, StoreError> {
    let stored = Stored::V1(StoredV1 {
        id: record.id.clone(),
        organization: record.organization.clone(),
        name: record.name.clone(),
        role: record.role,
        created_at: record.created_at,
        expires_at: record.expires_at,
        last_used_at: record.last_used_at,
        digest: record.digest.clone(),
    });
    item::write("token", pk, sk, &stored)
}

fn read(item: Item) -> Result<TokenRecord, StoreError> {
    let Stored::V1(stored) = item::read("token", item)?;
    Ok(TokenRecord {
        id: stored.id,
        organization: stored.organization,
        name: stored.name,
        role: stored.role,
        created_at: stored.created_at,
        expires_at: stored.expires_at,
        last_used_at: stored.last_used_at,
        digest: stored.digest,
    })
}
