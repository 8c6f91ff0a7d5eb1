//! What the platform says of a bot: facts, and credentials obtained by a login. Stored beside the operator's credentials.

use tieline_core::account::Credentials;
use tieline_core::timestamp::Timestamp;

use super::claims::{account_digest, prove};
use super::stored::{self, Unsealed};
use super::{IntegrationError, IntegrationRecord, beside, replace};
use crate::Store;

/// Stores facts that the platform reported of the bot, beside the credentials of the integration. Known facts are no change, and
/// new ones are no change by an operator: the time of the last change stays.
///
/// # Errors
/// [`StoreError::Conflict`](crate::StoreError::Conflict) if it has changed since it was read.
pub async fn learn(
    store: &Store,
    before: &IntegrationRecord,
    learned: &Credentials,
) -> Result<IntegrationRecord, IntegrationError> {
    let kept = before.open(store.keyring())?;
    let all = beside(learned, &kept.learned);
    if all == kept.learned {
        return Ok(before.clone());
    }
    let unsealed = Unsealed { learned: all, ..kept };
    let after = IntegrationRecord {
        credentials: stored::seal(store.keyring(), &before.id, unsealed),
        version: before.version + 1,
        ..before.clone()
    };
    replace(store, before, after, false).await
}

/// Stores the credentials obtained by a login, beside those of the operator, with the claim on the bot account. The same credentials
/// again are no change, but the integration reconnects.
///
/// # Errors
/// [`IntegrationError::AccountInUse`]; [`StoreError::Conflict`](crate::StoreError::Conflict) if the integration has changed since it was read.
pub async fn log_in(
    store: &Store,
    before: &IntegrationRecord,
    obtained: Credentials,
    account_key: Option<&str>,
    now: Timestamp,
) -> Result<IntegrationRecord, IntegrationError> {
    let unsealed = Unsealed {
        learned: obtained,
        ..before.open(store.keyring())?
    };
    let after = IntegrationRecord {
        credentials: stored::seal(store.keyring(), &before.id, unsealed),
        account: account_key.map(account_digest),
        updated_at: now,
        version: before.version + 1,
        ..before.clone()
    };
    let after = replace(store, before, after, true).await?;
    // The platform itself has proved which account it is.
    prove(store, &after).await?;
    Ok(after)
}
