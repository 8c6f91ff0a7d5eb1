//! Reads integrations.

use tieline_core::account::Endpoints;
use tieline_core::ids::{IntegrationId, OrganizationId};
use tieline_core::timestamp::Timestamp;

use super::claims::{account_digest, account_pk, claimant, own_sk, proved_sk};
use super::{Bound, IntegrationRecord, stored};
use crate::Store;
use crate::config::integration_key::{BOUND, INT, pk};
use crate::config::trash::{self, Deleted};
use crate::config::trigger_item::TriggerRecord;
use crate::config::{list as lists, trigger_item};
use crate::dynamo::{self, Query, Reading};
use crate::error::StoreError;
use crate::item::get_text;
use crate::page::Page;
use crate::tables::SK;

/// The integration.
///
/// # Errors
/// [`StoreError`].
pub async fn get(store: &Store, id: &IntegrationId) -> Result<Option<IntegrationRecord>, StoreError> {
    let pk = pk(id);
    let found = dynamo::get(&store.dynamo, &store.tables.config, (&pk, INT), Reading::Strong, &[]).await?;
    found.map(stored::read).transpose()
}

/// The integration, and its owner, whose claim on a bot account prevents `organization` from claiming it at these servers: one of
/// its own, or one with a proved claim of another organization.
///
/// # Errors
/// [`StoreError`].
pub async fn account_holder(
    store: &Store,
    organization: &OrganizationId,
    (platform, account_key): (&str, &str),
    endpoints: &Endpoints,
) -> Result<Option<(OrganizationId, IntegrationId)>, StoreError> {
    let pk = account_pk(platform, &account_digest(account_key));
    for sk in [own_sk(organization), proved_sk(endpoints)] {
        let claim = dynamo::get(&store.dynamo, &store.tables.config, (&pk, &sk), Reading::Strong, &[]).await?;
        if let Some(claim) = claim {
            return claimant(&claim).map(Some);
        }
    }
    Ok(None)
}

/// A deleted integration of the organization.
///
/// # Errors
/// [`StoreError`].
pub async fn get_deleted(
    store: &Store,
    organization: &OrganizationId,
    id: &IntegrationId,
    now: Timestamp,
) -> Result<Option<Deleted<IntegrationRecord>>, StoreError> {
    let found = trash::get(store, (trash::Kind::Integration, organization, id.as_str()), now).await?;
    found.map(|deleted| deleted.read(stored::read)).transpose()
}

/// The deleted integrations of an organization, by id.
///
/// # Errors
/// [`StoreError`].
pub async fn list_deleted(
    store: &Store,
    organization: &OrganizationId,
    page: (Option<&str>, usize),
    now: Timestamp,
) -> Result<Page<Deleted<IntegrationRecord>>, StoreError> {
    let page = trash::list(store, (trash::Kind::Integration, organization), page, now).await?;
    let items = page.items.into_iter().map(|deleted| deleted.read(stored::read));
    Ok(Page {
        items: items.collect::<Result<_, _>>()?,
        cursor: page.cursor,
    })
}

/// The integration with its enabled trigger: one query.
///
/// # Errors
/// [`StoreError`].
pub async fn load_bound(store: &Store, id: &IntegrationId) -> Result<Option<Bound>, StoreError> {
    query_bound(store, id, Reading::Strong).await
}

/// Like [`load_bound`], from the cache or an eventually consistent read, so up to a second old and at a fraction of the price: for processing
/// messages, where no conditional write depends on it. A new integration is found at once.
///
/// # Errors
/// [`StoreError`].
pub async fn look_up(store: &Store, id: &IntegrationId, now: Timestamp) -> Result<Option<Bound>, StoreError> {
    let begun = match store.recent.bound.get(id, now) {
        Ok(bound) => return Ok(Some(bound)),
        Err(begun) => begun,
    };
    let found = query_newest(store, id).await?;
    match &found {
        Some(found) => store.recent.bound.keep(id.clone(), found.clone(), begun),
        None => store.recent.bound.remove(id),
    }
    Ok(found)
}

/// The integration as last read by this process, up to a day ago: for accepting a message while the table can't be read. The dispatcher reads
/// the table again before it decides.
#[must_use]
pub fn last_known(store: &Store, id: &IntegrationId, now: Timestamp) -> Option<Bound> {
    store.recent.bound.stand_in(id, now)
}

async fn query_newest(store: &Store, id: &IntegrationId) -> Result<Option<Bound>, StoreError> {
    match query_bound(store, id, Reading::Eventual).await? {
        // A stopped or unbound integration would refuse the message, so that must be current.
        Some(found) if found.trigger.is_some() && found.integration.enabled => Ok(Some(found)),
        _ => load_bound(store, id).await,
    }
}

/// The copy of the integration's enabled trigger.
pub(super) async fn bound(store: &Store, id: &IntegrationId) -> Result<Option<TriggerRecord>, StoreError> {
    let key = (&*pk(id), BOUND);
    let found = dynamo::get(&store.dynamo, &store.tables.config, key, Reading::Strong, &[]).await?;
    found.map(trigger_item::read).transpose()
}

async fn query_bound(store: &Store, id: &IntegrationId, reading: Reading) -> Result<Option<Bound>, StoreError> {
    let query = Query {
        table: &store.tables.config,
        index: None,
        partition: &pk(id),
        range: (BOUND, INT),
        descending: false,
        reading,
        after: None,
        limit: 2,
    };
    let (mut integration, mut bound) = (None, None);
    for item in dynamo::query(&store.dynamo, query).await?.0 {
        match get_text(&item, SK) {
            Some(INT) => integration = Some(stored::read(item)?),
            _ => bound = Some(trigger_item::read(item)?.trigger),
        }
    }
    Ok(integration.map(|integration| Bound {
        integration,
        trigger: bound,
    }))
}

/// The integrations of an organization, oldest first if their ids are time-ordered.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    store: &Store,
    organization: &OrganizationId,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page<IntegrationRecord>, StoreError> {
    let entries = lists::page(store, &format!("ORG#{organization}"), "INT#", cursor, limit).await?;
    let pks = entries.items.iter().filter_map(|entry| get_text(entry, SK));
    let keys = pks.map(|pk| (pk.to_owned(), INT.to_owned())).collect();
    let items = lists::in_order(store, keys)
        .await?
        .into_iter()
        .map(stored::read)
        .collect::<Result<_, _>>()?;
    Ok(Page {
        items,
        cursor: entries.cursor,
    })
}
