//! Integrations whose registration at their platform is due: our callback address, commands and menus.
//!
//! One small item each, `REGISTRATION`/`INT#{id}`, written in the transaction that makes the registration necessary, and deleted once the
//! platform has accepted it, or with what made it necessary. So no crash and no outage of the platform loses a registration.

use std::time::Duration;

use aws_sdk_dynamodb::types::ReturnValue;
use serde::{Deserialize, Serialize};
use tieline_core::ids::IntegrationId;
use tieline_core::timestamp::{Timestamp, millis};

use super::list;
use super::transaction::Transaction;
use crate::Store;
use crate::dynamo::{self, Reading};
use crate::error::StoreError;
use crate::item::{self, number, text};
use crate::update::Update;

const WHAT: &str = "due registration";
/// Partition of the list.
const REGISTRATION: &str = "REGISTRATION";
/// Most entries that are read. Further ones follow when these are done or given up.
const MOST: usize = 1000;
/// Until then, the request that made the registration necessary makes it itself.
const FIRST_WAIT: Duration = Duration::from_secs(30);

/// A registration that is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// The integration.
    pub integration: IntegrationId,
    /// The integration's version that made it necessary.
    pub version: u64,
    /// Since when it is necessary.
    #[serde(with = "millis")]
    pub since: Timestamp,
    /// When it is repeated.
    #[serde(with = "millis")]
    pub due_at: Timestamp,
    /// How often it was repeated.
    #[serde(default)]
    pub attempts: u32,
    /// The failed call and its code, as of the latest attempt. `None`: no attempt has failed yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1(Due),
}

/// The integration's registration, if it is due.
///
/// # Errors
/// [`StoreError`].
pub async fn get(store: &Store, id: &IntegrationId) -> Result<Option<Due>, StoreError> {
    let key = (REGISTRATION, &*sk(id));
    let found = dynamo::get(&store.dynamo, &store.tables.config, key, Reading::Strong, &[]).await?;
    found.map(read).transpose()
}

/// All that are due at `now`, those that wait longest first.
///
/// # Errors
/// [`StoreError`].
pub async fn list(store: &Store, now: Timestamp) -> Result<Vec<Due>, StoreError> {
    let page = list::page(store, REGISTRATION, "INT#", None, MOST).await?;
    let mut found = page.items.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    found.retain(|due| due.due_at <= now);
    found.sort_by_key(|due| due.due_at);
    Ok(found)
}

/// Claims the next attempt, and postpones the one after it to `next_at`: if this process dies, another one makes that one.
///
/// # Errors
/// [`StoreError::Conflict`] if another process has claimed it, or if it is no longer due.
pub async fn claim(store: &Store, due: &Due, next_at: Timestamp) -> Result<(), StoreError> {
    let mut update = Update::new();
    update
        .set("attempts", number(due.attempts.saturating_add(1)))
        .set("due_at", number(next_at.as_millis()))
        .require_equal("version", number(due.version))
        .require_equal("due_at", number(due.due_at.as_millis()));
    change(store, &due.integration, update).await
}

/// Records that an attempt for this version of the integration failed.
///
/// # Errors
/// [`StoreError::Conflict`] if it is no longer due, or due for a newer version.
pub async fn set_failure(store: &Store, id: &IntegrationId, version: u64, failure: &str) -> Result<(), StoreError> {
    let mut update = up_to(version);
    update.set("failure", text(failure));
    change(store, id, update).await
}

/// Deletes the entry, after this version of the integration was registered or deleted.
///
/// # Errors
/// [`StoreError::Conflict`] if it is no longer due, or due for a newer version.
pub async fn clear(store: &Store, id: &IntegrationId, version: u64) -> Result<(), StoreError> {
    let key = (REGISTRATION, &*sk(id));
    dynamo::delete(&store.dynamo, &store.tables.config, key, up_to(version)).await
}

/// Makes the registration of this version of the integration due at once, unless that of a newer one is due.
///
/// # Errors
/// [`StoreError`].
pub async fn mark(store: &Store, id: &IntegrationId, version: u64, now: Timestamp) -> Result<(), StoreError> {
    let mut when = Update::new();
    let (path, value) = (when.path("version"), when.value(number(version)));
    when.require(format!("(attribute_not_exists({path}) OR {path} <= {value})"));
    let written = write(id, version, (now, now))?;
    dynamo::put(&store.dynamo, &store.tables.config, written, when)
        .await
        .map(drop)
}

async fn change(store: &Store, id: &IntegrationId, update: Update) -> Result<(), StoreError> {
    let key = (REGISTRATION, &*sk(id));
    let written = dynamo::update(&store.dynamo, &store.tables.config, key, update, ReturnValue::None).await?;
    written.or_conflict().map(drop)
}

/// Condition: it exists, and is due for no newer version.
fn up_to(version: u64) -> Update {
    let mut when = Update::new();
    let (path, value) = (when.path("version"), when.value(number(version)));
    when.require(format!("{path} <= {value}"));
    when
}

/// Adds it to the list.
pub(super) fn set<L: Copy>(
    writes: &mut Transaction<L>,
    label: L,
    (id, version): (&IntegrationId, u64),
    now: Timestamp,
) {
    let written = write(id, version, (now, now.after(FIRST_WAIT))).expect("an id and numbers make an item");
    writes.put(label, written, Update::new());
}

/// The item of a registration without an attempt, necessary since the first of two times and due at the second.
fn write(id: &IntegrationId, version: u64, (since, due_at): (Timestamp, Timestamp)) -> Result<item::Item, StoreError> {
    let due = Stored::V1(Due {
        integration: id.clone(),
        version,
        since,
        due_at,
        attempts: 0,
        failure: None,
    });
    item::write(WHAT, REGISTRATION, &sk(id), &due)
}

/// Removes it from the list.
pub(super) fn remove<L: Copy>(writes: &mut Transaction<L>, label: L, id: &IntegrationId) {
    writes.delete(label, (REGISTRATION, &sk(id)), Update::new());
}

fn read(item: item::Item) -> Result<Due, StoreError> {
    item::read(WHAT, item).map(|Stored::V1(due)| due)
}

fn sk(id: &IntegrationId) -> String {
    format!("INT#{id}")
}
