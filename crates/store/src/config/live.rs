//! Which integrations want a connection held open: started, connected over a long connection, named by an enabled trigger.
//!
//! One small item each in one partition, written together with what it follows from, so that a relay learns all it has to do
//! from one query.

use serde::{Deserialize, Serialize};
use tieline_core::ids::{IntegrationId, OrganizationId};

use super::integration::IntegrationRecord;
use super::list;
use super::transaction::Transaction;
use crate::Store;
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
    /// The integration's version: another one means other settings, or that somebody wants it to connect anew.
    pub version: u64,
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
}

const LIVE: &str = "LIVE";

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

fn read(item: item::Item) -> Result<Live, StoreError> {
    let Stored::V1(stored) = item::read("live integration", item)?;
    Ok(Live {
        integration: stored.integration,
        organization: stored.organization,
        version: stored.version,
    })
}

/// Puts the integration on the list, if it wants a connection and is bound, or takes it off.
pub(super) fn set<L: Copy>(writes: &mut Transaction<L>, label: L, record: &IntegrationRecord, bound: bool) {
    if !(bound && record.wants_connection()) {
        return remove(writes, label, &record.id);
    }
    let stored = Stored::V1(StoredV1 {
        integration: record.id.clone(),
        organization: record.organization.clone(),
        version: record.version,
    });
    let item =
        item::write("live integration", LIVE, &sk(&record.id), &stored).expect("two ids and a number make an item");
    writes.put(label, item, Update::new());
}

/// Takes the integration off the list.
pub(super) fn remove<L: Copy>(writes: &mut Transaction<L>, label: L, id: &IntegrationId) {
    writes.delete(label, (LIVE, &sk(id)), Update::new());
}

fn sk(id: &IntegrationId) -> String {
    format!("INT#{id}")
}
