//! Which integrations want a connection held open: started, connected over a long connection, named by an enabled trigger.
//!
//! One small item each in one partition, written together with what it follows from, so that a relay learns all it has to do
//! from one query.

use aws_sdk_dynamodb::types::ReturnValue;
use serde::{Deserialize, Serialize};
use tieline_core::connector::Unaddressed;
use tieline_core::ids::{IntegrationId, OrganizationId, digest};
use tieline_core::trigger::Trigger;
use tracing::warn;

use super::list;
use super::transaction::Transaction;
use crate::Store;
use crate::dynamo::{self, Reading};
use crate::error::StoreError;
use crate::item;
use crate::page::Page;
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

const LIVE: &str = "LIVE";
/// Sorts before the list and is no part of it.
const CHANGES: &str = "CHANGES";

/// All of them, a page at a time.
///
/// # Errors
/// [`StoreError`].
pub async fn list(store: &Store, cursor: Option<&str>, limit: usize) -> Result<Page<Live>, StoreError> {
    let page = list::page(store, LIVE, "INT#", cursor, limit).await?;
    let items = page.items.into_iter().map(read).collect::<Result<_, _>>()?;
    Ok(Page {
        items,
        cursor: page.cursor,
    })
}

/// How often what operators configure has changed, roughly: another number means that the list may be another.
///
/// # Errors
/// [`StoreError`].
pub async fn changes(store: &Store) -> Result<u64, StoreError> {
    let found = dynamo::get(
        &store.dynamo,
        &store.tables.config,
        (LIVE, CHANGES),
        Reading::Strong,
        &[],
    )
    .await?;
    Ok(found.and_then(|item| item::get_number(&item, "n")).unwrap_or_default())
}

/// Counts a change, after it was written.
///
/// Not in the same transaction, or any two changes would get in each other's way. If it fails the change is noticed later: a process that
/// follows the list also reads it now and then without being told.
pub(super) async fn count_change(store: &Store) {
    let mut change = Update::new();
    change.set("v", item::text("1"));
    change.add("n", 1);
    let (table, key) = (&store.tables.config, (LIVE, CHANGES));
    if let Err(error) = dynamo::update(&store.dynamo, table, key, change, ReturnValue::None).await {
        warn!(error = %error, "a change of the configuration is noticed late");
    }
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

/// Puts the integration on the list if it is `wanted`, or takes it off.
pub(super) fn set<L: Copy>(writes: &mut Transaction<L>, label: L, id: &IntegrationId, wanted: Option<Live>) {
    let Some(wanted) = wanted else {
        return remove(writes, label, id);
    };
    let stored = Stored::V1(StoredV1 {
        integration: wanted.integration,
        organization: wanted.organization,
        version: wanted.version,
        greeting: wanted.greeting,
    });
    let item = item::write("live integration", LIVE, &sk(id), &stored).expect("two ids and a number make an item");
    writes.put(label, item, Update::new());
}

/// Takes the integration off the list.
pub(super) fn remove<L: Copy>(writes: &mut Transaction<L>, label: L, id: &IntegrationId) {
    writes.delete(label, (LIVE, &sk(id)), Update::new());
}

fn sk(id: &IntegrationId) -> String {
    format!("INT#{id}")
}
