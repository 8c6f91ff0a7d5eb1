//! Run slots: a tenant with a limit has that many, across all processes.
//!
//! Item `CAP#{organization}`/`{number, 5 digits}` of `state` is a slot: `h` its holder, `x` when it expires, in
//! milliseconds. The slot of a holder that dies expires; there is no counter that could drift. The items stay, few as they are.

use std::collections::HashSet;

use aws_sdk_dynamodb::types::ReturnValue;
use tieline_core::ids::OrganizationId;
use tieline_core::timestamp::Timestamp;

use crate::Store;
use crate::dynamo::{self, Query, Reading, Written, query_all};
use crate::error::StoreError;
use crate::item::{self, get_number, get_text, text};
use crate::tables::SK;
use crate::update::Update;

/// Most slots of a tenant. Taking one reads them all.
pub const MAX_PLACES: u32 = 10_000;

/// A slot that was acquired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSlot {
    organization: OrganizationId,
    number: u32,
    holder: u64,
}

impl RunSlot {
    /// The tenant.
    #[must_use]
    pub const fn organization(&self) -> &OrganizationId {
        &self.organization
    }
}

/// Acquires one of the tenant's `limit` slots until `expires_at`, for a holder that is a random number, so that no two holders are the same
/// and concurrent ones start at different slots. `None`: all are in use.
///
/// # Errors
/// [`StoreError::Unavailable`]; a slot may be in use then until it expires.
pub async fn take(
    store: &Store,
    organization: &OrganizationId,
    limit: u32,
    holder: u64,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<Option<RunSlot>, StoreError> {
    let limit = limit.clamp(1, MAX_PLACES);
    let taken = taken(store, organization, limit, now).await?;
    let start = u32::try_from(holder % u64::from(limit)).unwrap_or(0);
    let free = (start..limit).chain(0..start).filter(|number| !taken.contains(number));
    for number in free {
        let place = RunSlot {
            organization: organization.clone(),
            number,
            holder,
        };
        let mut change = Update::new();
        let (until, clock) = (change.path("x"), change.value(item::number(now.as_millis())));
        change.require(format!("(attribute_not_exists({until}) OR {until} <= {clock})"));
        if let Written::Done(_) = write(store, &place, change, expires_at).await? {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// Renews a slot.
///
/// # Errors
/// [`StoreError::Conflict`] if it expired and another holder has it.
pub async fn prolong(store: &Store, place: &RunSlot, expires_at: Timestamp) -> Result<(), StoreError> {
    let mut change = Update::new();
    change.require_equal("h", item::number(place.holder));
    write(store, place, change, expires_at).await?.or_conflict().map(drop)
}

/// Releases a slot. One that another holder has acquired stays with that holder.
///
/// # Errors
/// [`StoreError::Unavailable`]; then it expires.
pub async fn give_back(store: &Store, place: &RunSlot) -> Result<(), StoreError> {
    let mut change = Update::new();
    change.require_equal("h", item::number(place.holder));
    write(store, place, change, Timestamp::from_millis(0)).await.map(drop)
}

/// How many of the tenant's `limit` slots are in use.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn count(
    store: &Store,
    organization: &OrganizationId,
    limit: u32,
    now: Timestamp,
) -> Result<usize, StoreError> {
    Ok(taken(store, organization, limit.clamp(1, MAX_PLACES), now).await?.len())
}

async fn taken(
    store: &Store,
    organization: &OrganizationId,
    limit: u32,
    now: Timestamp,
) -> Result<HashSet<u32>, StoreError> {
    let all = Query {
        table: &store.tables.state,
        index: None,
        partition: &partition(organization),
        range: (&name(0), &name(limit)),
        descending: false,
        reading: Reading::Strong,
        after: None,
        limit: MAX_PLACES as usize,
    };
    let items = query_all(&store.dynamo, all).await?;
    let held = items
        .iter()
        .filter(|item| get_number(item, "x").is_some_and(|until: i64| until > now.as_millis()));
    Ok(held.filter_map(|item| get_text(item, SK)?.parse().ok()).collect())
}

async fn write(
    store: &Store,
    place: &RunSlot,
    mut change: Update,
    expires_at: Timestamp,
) -> Result<Written, StoreError> {
    change
        .set("v", text("1"))
        .set("h", item::number(place.holder))
        .set("x", item::number(expires_at.as_millis()));
    let key = partition(&place.organization);
    let (table, key) = (&store.tables.state, (key.as_str(), &*name(place.number)));
    dynamo::update(&store.dynamo, table, key, change, ReturnValue::None).await
}

fn partition(organization: &OrganizationId) -> String {
    format!("CAP#{organization}")
}

fn name(number: u32) -> String {
    format!("{number:05}")
}
