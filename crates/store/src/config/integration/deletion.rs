//! Deletion of integrations, and their restoration.

use tieline_core::ids::OrganizationId;
use tieline_core::timestamp::Timestamp;

use super::claims::{self, Rule, commit, give_back_name, held, take_account, take_name};
use super::{IntegrationError, IntegrationRecord, as_read, entry, stored};
use crate::Store;
use crate::config::integration_key::{BOUND, INT, pk};
use crate::config::transaction::{Transaction, absent};
use crate::config::trash::{self, Deleted};
use crate::config::{desired_connections, registration_due};
use crate::error::StoreError;
use crate::update::Update;

/// Deletes an integration, unless an enabled trigger uses it. It can be restored for [`trash::LIFETIME`].
///
/// # Errors
/// [`IntegrationError::InUse`]; [`StoreError::Conflict`] if it has changed since it was read.
pub async fn delete(store: &Store, before: &IntegrationRecord, now: Timestamp) -> Result<(), IntegrationError> {
    let mut writes = deletion(store, before).await?;
    trash::keep(&mut writes, Rule::AsRead, in_trash(before), stored::write(before)?, now);
    commit(store, writes).await
}

/// Deletes an integration that was just created. It can't be restored.
///
/// # Errors
/// As [`delete`].
pub async fn remove(store: &Store, made: &IntegrationRecord) -> Result<(), IntegrationError> {
    commit(store, deletion(store, made).await?).await
}

async fn deletion(store: &Store, before: &IntegrationRecord) -> Result<Transaction<Rule>, StoreError> {
    let pk = pk(&before.id);
    let mut writes = Transaction::new();
    writes.check(Rule::Unbound, (&pk, BOUND), absent());
    writes.delete(Rule::AsRead, (&pk, INT), as_read(before));
    writes.delete(
        Rule::AsRead,
        (&format!("ORG#{}", before.organization), &pk),
        Update::new(),
    );
    give_back_name(&mut writes, before);
    let held = held(store, before).await?;
    claims::give_back_own(&mut writes, before, held);
    claims::give_back_proved(&mut writes, before, held);
    if before.wants_connection() {
        desired_connections::remove(&mut writes, Rule::AsRead, &before.id);
    }
    registration_due::remove(&mut writes, Rule::AsRead, &before.id);
    Ok(writes)
}

/// Restores a deleted integration, with its credentials and its id.
///
/// # Errors
/// As [`super::create`]; [`StoreError::Conflict`] if it was restored or deleted again meanwhile.
pub async fn restore(
    store: &Store,
    deleted: &Deleted<IntegrationRecord>,
    now: Timestamp,
) -> Result<IntegrationRecord, IntegrationError> {
    let record = IntegrationRecord {
        updated_at: now,
        version: deleted.record.version + 1,
        ..deleted.record.clone()
    };
    let mut writes = Transaction::new();
    writes.put(Rule::AsRead, stored::write(&record)?, absent());
    writes.put(Rule::AsRead, entry(&record), absent());
    take_name(&mut writes, &record);
    take_account(&mut writes, &record);
    if record.enabled {
        registration_due::set(&mut writes, Rule::AsRead, (&record.id, record.version), now);
    }
    trash::take(&mut writes, Rule::AsRead, in_trash(&record), deleted.at);
    commit(store, writes).await?;
    Ok(record)
}

fn in_trash(record: &IntegrationRecord) -> (trash::Kind, &OrganizationId, &str) {
    (trash::Kind::Integration, &record.organization, record.id.as_str())
}
