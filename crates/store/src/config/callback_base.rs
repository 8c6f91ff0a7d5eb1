//! The base of all callback addresses, as platforms were told it last.
//!
//! One item, `REGISTRATION`/`BASE`. A program that is started with another base finds here that platforms still call the old one.

use serde::{Deserialize, Serialize};
use tieline_core::timestamp::{Timestamp, millis};

use crate::Store;
use crate::dynamo::{self, Reading};
use crate::error::StoreError;
use crate::item::{self, text};
use crate::update::Update;

const WHAT: &str = "callback base";
const KEY: (&str, &str) = ("REGISTRATION", "BASE");

/// The base of all callback addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallbackBase {
    /// A URL without a slash at its end.
    pub base: String,
    /// When it replaced another one. `None`: no other one is known.
    #[serde(default, with = "millis::option", skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1(CallbackBase),
}

/// The current base. `None`: no program with a public address has run yet.
///
/// # Errors
/// [`StoreError`].
pub async fn get(store: &Store) -> Result<Option<CallbackBase>, StoreError> {
    let found = dynamo::get(&store.dynamo, &store.tables.config, KEY, Reading::Strong, &[]).await?;
    let found = found.map(|item| item::read(WHAT, item)).transpose()?;
    Ok(found.map(|Stored::V1(base)| base))
}

/// Replaces the base `before`.
///
/// # Errors
/// [`StoreError::Conflict`] if another process has replaced it.
pub async fn set(store: &Store, before: Option<&CallbackBase>, after: CallbackBase) -> Result<(), StoreError> {
    let mut when = Update::new();
    match before {
        Some(before) => when.require_equal("base", text(&before.base)),
        None => when.require_absent("base"),
    };
    let written = item::write(WHAT, KEY.0, KEY.1, &Stored::V1(after))?;
    let written = dynamo::put(&store.dynamo, &store.tables.config, written, when).await?;
    written.or_conflict().map(drop)
}
