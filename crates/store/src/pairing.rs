//! Pairing requests of an integration, and one-time codes with which people link themselves.
//!
//! Item `PAIR#{integration}`/`PAIR` of `state`, two hours from its last change: `b` the sealed [`PairingBook`], `n` version.
//! Item `LINK#{digest of organization and code}`/`LINK` of `state`, until the code expires: `b` the sealed name of the known person, `by` the
//! user who redeemed it. Item `GUESS#{user}`/`GUESS` of `state`: `b` that user's sealed [`Guesses`] of such codes, `n` version.

use std::time::Duration;

use aws_sdk_dynamodb::types::ReturnValue;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tieline_core::ids::{IntegrationId, OrganizationId, UserId, digest};
use tieline_core::pairing::{Guesses, PairingBook};
use tieline_core::timestamp::Timestamp;

use crate::Store;
use crate::dynamo::{self, Reading, Written};
use crate::error::StoreError;
use crate::item::{Item, alive, expire, number, read, text, write};
use crate::update::Update;

/// Longer than the lifetime of a code and the time for which guessing may be blocked.
const LIFETIME: Duration = Duration::from_secs(2 * 3600);

const WHAT: &str = "pairing";

#[derive(Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1 { b: String, n: u64 },
}

/// A value and the version of its item: 0 if there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    version: u64,
}

/// Reads the requests of an integration.
///
/// # Errors
/// [`StoreError`].
pub async fn load(
    store: &Store,
    integration: &IntegrationId,
    now: Timestamp,
) -> Result<Versioned<PairingBook>, StoreError> {
    load_sealed(store, &format!("PAIR#{integration}"), "PAIR", now).await
}

/// Saves the requests of an integration after a change.
///
/// # Errors
/// [`StoreError::Conflict`] if they have changed meanwhile: read and decide again.
pub async fn save(
    store: &Store,
    integration: &IntegrationId,
    book: &Versioned<PairingBook>,
    now: Timestamp,
) -> Result<(), StoreError> {
    save_sealed(store, &format!("PAIR#{integration}"), "PAIR", book, now).await
}

/// Reads a user's wrong guesses of link codes.
///
/// # Errors
/// [`StoreError`].
pub async fn load_guesses(store: &Store, user: &UserId, now: Timestamp) -> Result<Versioned<Guesses>, StoreError> {
    load_sealed(store, &format!("GUESS#{user}"), "GUESS", now).await
}

/// Saves a user's wrong guesses after a change.
///
/// # Errors
/// [`StoreError::Conflict`] if they have changed meanwhile.
pub async fn save_guesses(
    store: &Store,
    user: &UserId,
    guesses: &Versioned<Guesses>,
    now: Timestamp,
) -> Result<(), StoreError> {
    save_sealed(store, &format!("GUESS#{user}"), "GUESS", guesses, now).await
}

async fn load_sealed<T: DeserializeOwned + Default>(
    store: &Store,
    partition: &str,
    sort: &str,
    now: Timestamp,
) -> Result<Versioned<T>, StoreError> {
    let found = dynamo::get(
        &store.dynamo,
        &store.tables.state,
        (partition, sort),
        Reading::Strong,
        &[],
    )
    .await?;
    let Some(item) = alive(found, now) else {
        return Ok(Versioned {
            value: T::default(),
            version: 0,
        });
    };
    let Stored::V1 { b, n } = read(WHAT, item)?;
    let plain = store.keyring().open(&b, partition)?;
    let value = serde_json::from_slice(&plain).map_err(|_| StoreError::Unreadable { what: WHAT })?;
    Ok(Versioned { value, version: n })
}

async fn save_sealed<T: Serialize>(
    store: &Store,
    partition: &str,
    sort: &str,
    versioned: &Versioned<T>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let plain = serde_json::to_vec(&versioned.value).map_err(|_| StoreError::Unreadable { what: WHAT })?;
    let stored = Stored::V1 {
        b: store.keyring().seal(&plain, partition),
        n: versioned.version + 1,
    };
    let mut item = write(WHAT, partition, sort, &stored)?;
    expire(&mut item, now.after(LIFETIME));
    let mut condition = Update::new();
    match versioned.version {
        0 => condition.require_gone(now),
        version => condition.require_equal("n", number(version)),
    };
    dynamo::put(&store.dynamo, &store.tables.state, item, condition)
        .await?
        .or_conflict()
        .map(drop)
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "v")]
enum StoredLink {
    #[serde(rename = "1")]
    V1 {
        b: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<UserId>,
    },
}

/// Stores a one-time code that links its sender to `person`. Only the code's digest is stored.
///
/// # Errors
/// [`StoreError::Conflict`] if the code exists already.
pub async fn create_link(
    store: &Store,
    organization: &OrganizationId,
    code: &str,
    person: &str,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    let partition = link_partition(organization, code);
    let stored = StoredLink::V1 {
        b: store.keyring().seal(person.as_bytes(), &partition),
        by: None,
    };
    let mut item = write("link", &partition, "LINK", &stored)?;
    expire(&mut item, expires_at);
    let mut condition = Update::new();
    condition.require_gone(now);
    dynamo::put(&store.dynamo, &store.tables.state, item, condition)
        .await?
        .or_conflict()
        .map(drop)
}

/// Redeems a code for `user` and returns the known person. `None`: the code doesn't exist, or another user redeemed it. The same user may repeat it.
///
/// # Errors
/// [`StoreError`].
pub async fn take_link(
    store: &Store,
    organization: &OrganizationId,
    code: &str,
    user: &UserId,
    now: Timestamp,
) -> Result<Option<String>, StoreError> {
    let partition = link_partition(organization, code);
    let mut change = Update::new();
    change.set("by", text(user.as_str())).require_alive(now);
    let (by, me) = (change.path("by"), change.value(text(user.as_str())));
    change.require(format!("(attribute_not_exists({by}) OR {by} = {me})"));
    let key = (&*partition, "LINK");
    let written = dynamo::update(&store.dynamo, &store.tables.state, key, change, ReturnValue::AllNew).await?;
    let Written::Done(item) = written else {
        return Ok(None);
    };
    person_of(store, &partition, item).map(Some)
}

fn person_of(store: &Store, partition: &str, item: Item) -> Result<String, StoreError> {
    let StoredLink::V1 { b, .. } = read("link", item)?;
    let plain = store.keyring().open(&b, partition)?;
    String::from_utf8(plain).map_err(|_| StoreError::Unreadable { what: "link" })
}

fn link_partition(organization: &OrganizationId, code: &str) -> String {
    format!("LINK#{}", digest(&[organization.as_str(), code]))
}
