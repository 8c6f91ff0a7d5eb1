//! Integrations that need a connection: started, in long-connection mode, bound by an enabled trigger.
//!
//! One small item each in one partition, written in the transaction that causes the change, so that a relay learns all it has to do
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

const LIVE: &str = "LIVE";
/// Sort key of the change counter, which sorts before the list and is not part of it.
const CHANGES: &str = "CHANGES";

/// Lists all of them, a page at a time.
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

/// Approximate number of configuration changes: if it differs from an earlier one, the list may have changed.
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
/// Not in the same transaction, or concurrent changes would conflict. If it fails, the change is noticed later: a process that
/// follows the list also reads it now and then without an announcement.
pub(super) async fn count_change(store: &Store) {
    let mut change = Update::new();
    change.set("v", item::text("1"));
    change.add("n", 1);
    let (table, key) = (&store.tables.config, (LIVE, CHANGES));
    if let Err(error) = dynamo::update(&store.dynamo, table, key, change, ReturnValue::None).await {
        warn!(error = %error, "a change of the configuration can't be announced; relays notice it late");
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

/// Digest of what a trigger asks of the connector: its welcome text, and how unaddressed group messages are handled.
pub(super) fn greeting_of(trigger: &Trigger) -> String {
    let welcome = trigger.settings.welcome.as_deref();
    match trigger.settings.unaddressed() {
        Unaddressed::Ignored => welcome.map(|welcome| digest(&[welcome])).unwrap_or_default(),
        Unaddressed::Kept => digest(&[welcome.unwrap_or_default(), "groups kept"]),
        Unaddressed::Answered => digest(&[welcome.unwrap_or_default(), "groups answered"]),
    }
}

/// Adds the integration to the list if it is `wanted`, or removes it.
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

/// Removes the integration from the list.
pub(super) fn remove<L: Copy>(writes: &mut Transaction<L>, label: L, id: &IntegrationId) {
    writes.delete(label, (LIVE, &sk(id)), Update::new());
}

fn sk(id: &IntegrationId) -> String {
    format!("INT#{id}")
}
