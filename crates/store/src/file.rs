//! Files that agents gave us by content, kept for whoever follows the link to them.
//!
//! Items `FILE#{id}`/`FILE` of `state` until they expire: name, MIME type and bytes, sealed.

use serde::{Deserialize, Serialize};
use tieline_core::timestamp::Timestamp;

use crate::Store;
use crate::body::{self, Body};
use crate::calls::{self, Reading};
use crate::error::StoreError;
use crate::item::{alive, expire, read, write};
use crate::update::Update;

const WHAT: &str = "file";
const SORT: &str = "FILE";

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Its MIME type.
    pub mime: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1 { h: Body, b: Body },
}

#[derive(Serialize, Deserialize)]
struct Head {
    name: String,
    mime: String,
}

/// Keeps a file under an id that nobody else has, until `expires_at`.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn put(store: &Store, id: &str, file: &File, expires_at: Timestamp) -> Result<(), StoreError> {
    let head = Head {
        name: file.name.clone(),
        mime: file.mime.clone(),
    };
    let head = serde_json::to_vec(&head).map_err(|_| StoreError::Unreadable { what: WHAT })?;
    let partition = partition(id);
    let stored = Stored::V1 {
        h: body::put(store, &subject(id, "head"), &head, None, expires_at).await?,
        b: body::put(store, &subject(id, "bytes"), &file.bytes, None, expires_at).await?,
    };
    let mut item = write(WHAT, &partition, SORT, &stored)?;
    expire(&mut item, expires_at);
    calls::put(&store.dynamo, &store.tables.state, item, Update::new())
        .await
        .map(drop)
}

/// Reads a file. `None` if there is none, or no more.
///
/// # Errors
/// [`StoreError::Unavailable`], [`StoreError::Unreadable`], or [`StoreError::Unsealable`].
pub async fn get(store: &Store, id: &str, now: Timestamp) -> Result<Option<File>, StoreError> {
    let key = partition(id);
    let found = calls::get(&store.dynamo, &store.tables.state, (&key, SORT), Reading::Strong, &[]).await?;
    let Some(item) = alive(found, now) else {
        return Ok(None);
    };
    let Stored::V1 { h, b } = read(WHAT, item)?;
    let head = body::get(store, &subject(id, "head"), &h).await?;
    let Head { name, mime } = serde_json::from_slice(&head).map_err(|_| StoreError::Unreadable { what: WHAT })?;
    let bytes = body::get(store, &subject(id, "bytes"), &b).await?;
    Ok(Some(File { name, mime, bytes }))
}

fn partition(id: &str) -> String {
    format!("FILE#{id}")
}

fn subject(id: &str, part: &str) -> String {
    format!("file {id} {part}")
}
