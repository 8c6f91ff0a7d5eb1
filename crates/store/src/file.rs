//! Files served behind signed links: those that agents gave by content, and attachments that platforms delete soon.
//!
//! Items `FILE#{id}`/`FILE` of `state` until they expire: name, MIME type and bytes, sealed; `n` number of bytes.

use serde::{Deserialize, Serialize};
use tieline_core::timestamp::Timestamp;

use crate::Store;
use crate::dynamo::{self, Reading};
use crate::error::StoreError;
use crate::item::{alive, expire, get_number, read, write};
use crate::sealed_blob::{self, Body};
use crate::tables::TTL;
use crate::update::Update;

const WHAT: &str = "file";
const SORT: &str = "FILE";
const N: &str = "n";

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name, if known.
    pub name: Option<String>,
    /// Its MIME type.
    pub mime: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1 {
        h: Body,
        b: Body,
        #[serde(default)]
        n: usize,
    },
}

#[derive(Serialize, Deserialize)]
struct Head {
    #[serde(default)]
    name: Option<String>,
    mime: String,
}

/// Stores a file under a unique id, until `expires_at`.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn put(
    store: &Store,
    id: &str,
    (name, mime): (Option<&str>, &str),
    bytes: &[u8],
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    let head = Head {
        name: name.map(str::to_owned),
        mime: mime.to_owned(),
    };
    let head = serde_json::to_vec(&head).map_err(|_| StoreError::Unreadable { what: WHAT })?;
    let partition = partition(id);
    let stored = Stored::V1 {
        h: sealed_blob::put(store, &subject(id, "head"), &head, None, expires_at).await?,
        b: sealed_blob::put(store, &subject(id, "bytes"), bytes, None, expires_at).await?,
        n: bytes.len(),
    };
    let mut item = write(WHAT, &partition, SORT, &stored)?;
    expire(&mut item, expires_at);
    dynamo::put(&store.dynamo, &store.tables.state, item, Update::new())
        .await
        .map(drop)
}

/// The size of a file in bytes. `None` if it doesn't exist or has expired. 0 may also mean that it was not recorded.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn size(store: &Store, id: &str, now: Timestamp) -> Result<Option<usize>, StoreError> {
    let (key, only) = (partition(id), [N, TTL]);
    let found = dynamo::get(&store.dynamo, &store.tables.state, (&key, SORT), Reading::Strong, &only).await?;
    Ok(alive(found, now).map(|item| get_number(&item, N).unwrap_or_default()))
}

/// Name and MIME type of a file. `None` if it doesn't exist or has expired.
///
/// # Errors
/// [`StoreError::Unavailable`], [`StoreError::Unreadable`], or [`StoreError::Unsealable`].
pub async fn label(store: &Store, id: &str, now: Timestamp) -> Result<Option<(Option<String>, String)>, StoreError> {
    let key = partition(id);
    let found = dynamo::get(&store.dynamo, &store.tables.state, (&key, SORT), Reading::Strong, &[]).await?;
    let Some(item) = alive(found, now) else {
        return Ok(None);
    };
    let Stored::V1 { h, .. } = read(WHAT, item)?;
    let Head { name, mime } = head(store, id, &h).await?;
    Ok(Some((name, mime)))
}

async fn head(store: &Store, id: &str, sealed: &Body) -> Result<Head, StoreError> {
    let head = sealed_blob::get(store, &subject(id, "head"), sealed).await?;
    serde_json::from_slice(&head).map_err(|_| StoreError::Unreadable { what: WHAT })
}

/// Reads a file. `None` if it doesn't exist or has expired.
///
/// # Errors
/// [`StoreError::Unavailable`], [`StoreError::Unreadable`], or [`StoreError::Unsealable`].
pub async fn get(store: &Store, id: &str, now: Timestamp) -> Result<Option<File>, StoreError> {
    let key = partition(id);
    let found = dynamo::get(&store.dynamo, &store.tables.state, (&key, SORT), Reading::Strong, &[]).await?;
    let Some(item) = alive(found, now) else {
        return Ok(None);
    };
    let Stored::V1 { h, b, .. } = read(WHAT, item)?;
    let Head { name, mime } = head(store, id, &h).await?;
    let bytes = sealed_blob::get(store, &subject(id, "bytes"), &b).await?;
    Ok(Some(File { name, mime, bytes }))
}

fn partition(id: &str) -> String {
    format!("FILE#{id}")
}

pub(crate) fn subject(id: &str, part: &str) -> String {
    format!("file {id} {part}")
}
