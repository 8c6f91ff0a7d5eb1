//! Idempotency keys of operators' requests: the request sent under a key, and its response.
//!
//! Items `IDEM#{owner}`/`{key}` of `state`, 24 h from the first request: `f` a digest of the request, `s` the sealed seed of everything
//! random in its processing, `at` when it was claimed, `l` until when a process is expected to answer, `a` the sealed answer. A request is
//! claimed before it is processed. If its process dies, the next one repeats it with the same seed, and so creates the same ids.

use std::time::Duration;

use aws_sdk_dynamodb::types::ReturnValue;
use serde::{Deserialize, Serialize};
use tieline_core::ids::digest;
use tieline_core::timestamp::{Timestamp, millis};

use crate::Store;
use crate::dynamo::{self, Written};
use crate::error::StoreError;
use crate::item::{Blob, Item, expire, number, read, value, write};
use crate::sealed_blob::{self, Body};
use crate::update::Update;

/// How long a key is remembered.
pub const LIFETIME: Duration = Duration::from_hours(24);
/// How long a process may take to answer. After that another one may process the request.
pub const LEASE: Duration = Duration::from_secs(90);

const WHAT: &str = "idempotency key";

/// Random bytes from which all ids and tokens of a request are derived.
pub type Seed = [u8; 64];

/// A response as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The HTTP status.
    #[serde(rename = "st")]
    pub status: u16,
    /// Headers by name.
    #[serde(rename = "h")]
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(rename = "b")]
    pub body: String,
}

/// A request claimed by this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    owner: String,
    key: String,
    lease_until: Timestamp,
    /// The seed of its ids.
    pub seed: Seed,
    /// When it was claimed first.
    pub at: Timestamp,
    /// Whether another process has started on it before.
    pub is_repeat: bool,
}

/// State of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It is new, or its process died: this process must answer.
    Mine(Claimed),
    /// The answer.
    Answered(Answer),
    /// Another process is working on it.
    Running,
    /// Another request was sent with this key.
    Reused,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1(StoredV1),
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredV1 {
    f: String,
    s: Blob,
    #[serde(with = "millis")]
    at: Timestamp,
    #[serde(with = "millis")]
    l: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    a: Option<Body>,
}

/// Claims a request that `owner` sent under `key`. `request` identifies its content; `seed` must be fresh random bytes.
///
/// # Errors
/// [`StoreError`].
pub async fn claim(
    store: &Store,
    (owner, key): (&str, &str),
    request: &[&str],
    seed: Seed,
    now: Timestamp,
) -> Result<Claim, StoreError> {
    let fingerprint = digest(request);
    let mine = Claimed {
        owner: owner.to_owned(),
        key: key.to_owned(),
        lease_until: now.after(LEASE),
        seed,
        at: now,
        is_repeat: false,
    };
    let stored = Stored::V1(StoredV1 {
        f: fingerprint.clone(),
        s: Blob(store.keyring().seal_bytes(&seed, &mine.about())),
        at: now,
        l: mine.lease_until,
        a: None,
    });
    let (pk, sk) = mine.place();
    let mut item = write(WHAT, &pk, &sk, &stored)?;
    expire(&mut item, now.after(LIFETIME));
    let mut when = Update::new();
    when.require_gone(now);
    match dynamo::put(&store.dynamo, &store.tables.state, item, when).await? {
        Written::Done(_) => Ok(Claim::Mine(mine)),
        Written::Refused(Some(item)) => known(store, mine, &fingerprint, item, now).await,
        Written::Refused(None) => Err(StoreError::Conflict),
    }
}

async fn known(
    store: &Store,
    mine: Claimed,
    fingerprint: &str,
    item: Item,
    now: Timestamp,
) -> Result<Claim, StoreError> {
    let Stored::V1(stored) = read(WHAT, item)?;
    if stored.f != fingerprint {
        return Ok(Claim::Reused);
    }
    if let Some(body) = &stored.a {
        let plain = zeroize::Zeroizing::new(sealed_blob::get(store, &mine.about(), body).await?);
        let answer = serde_json::from_slice(&plain).map_err(|_| StoreError::Unreadable { what: WHAT })?;
        return Ok(Claim::Answered(answer));
    }
    if stored.l > now {
        return Ok(Claim::Running);
    }
    let seed = store.keyring().open_bytes(&stored.s.0, &mine.about())?;
    let claimed = Claimed {
        seed: seed.try_into().map_err(|_| StoreError::Unreadable { what: WHAT })?,
        at: stored.at,
        is_repeat: true,
        ..mine
    };
    take_over(store, claimed, stored.l).await
}

async fn take_over(store: &Store, claimed: Claimed, lease_until: Timestamp) -> Result<Claim, StoreError> {
    let mut update = Update::new();
    update
        .set("l", number(claimed.lease_until.as_millis()))
        .require_equal("l", number(lease_until.as_millis()))
        .require_absent("a");
    let (pk, sk) = claimed.place();
    let written = dynamo::update(
        &store.dynamo,
        &store.tables.state,
        (&pk, &sk),
        update,
        ReturnValue::None,
    )
    .await?;
    Ok(match written {
        Written::Done(_) => Claim::Mine(claimed),
        Written::Refused(_) => Claim::Running,
    })
}

/// Stores the response to a claimed request, unless another process has answered meanwhile.
///
/// # Errors
/// [`StoreError`].
pub async fn answer(store: &Store, claimed: &Claimed, answer: &Answer) -> Result<(), StoreError> {
    let plain = serde_json::to_vec(answer).map_err(|_| StoreError::Unreadable { what: WHAT })?;
    let plain = zeroize::Zeroizing::new(plain);
    let body = sealed_blob::put(store, &claimed.about(), &plain, None, claimed.at.after(LIFETIME)).await?;
    let mut update = Update::new();
    update
        .set("a", value(WHAT, &body)?)
        .require_equal("l", number(claimed.lease_until.as_millis()))
        .require_absent("a");
    claimed.update(store, update).await
}

/// Releases a claimed request that could not be processed for a transient reason: it may be repeated at once, with the same seed.
///
/// # Errors
/// [`StoreError`].
pub async fn release(store: &Store, claimed: &Claimed) -> Result<(), StoreError> {
    let mut update = Update::new();
    update
        .set("l", number(0))
        .require_equal("l", number(claimed.lease_until.as_millis()));
    claimed.update(store, update).await
}

impl Claimed {
    async fn update(&self, store: &Store, change: Update) -> Result<(), StoreError> {
        let (pk, sk) = self.place();
        let table = &store.tables.state;
        dynamo::update(&store.dynamo, table, (&pk, &sk), change, ReturnValue::None)
            .await
            .map(drop)
    }

    fn place(&self) -> (String, String) {
        (format!("IDEM#{}", self.owner), digest(&[&self.key]))
    }

    /// What its sealed parts are bound to.
    fn about(&self) -> String {
        let (pk, sk) = self.place();
        format!("{pk} {sk}")
    }
}
