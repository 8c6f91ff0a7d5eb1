//! Audit log: changes by operators, and attempts to sign in.
//!
//! Items `AUDIT#{organization}`/`{time}#{id}` of `state`, 400 days, with a copy in the partition `AUDIT#` for the root operator: `b` the
//! sealed entry. A change that is one transaction writes its entry in that transaction (see [`Store::audited`]), so no crash separates
//! the two.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tieline_core::ids::{IntegrationId, OrganizationId, fresh};
use tieline_core::timestamp::{Timestamp, millis};

use crate::data_keys::unless_key_is_lost;
use crate::dynamo::{self, Query, Reading};
use crate::error::StoreError;
use crate::item::{Blob, Item, alive, expire, get_text, key, read, sortable, write};
use crate::log::{self, LogEntry};
use crate::page::{Page, TIMED, cursor, position};
use crate::tables::SK;
use crate::{Store, batch};

/// How long an entry is kept.
const LIFETIME: Duration = Duration::from_hours(400 * 24);

const WHAT: &str = "audit entry";
/// Action of an entry that can't be read.
const UNREADABLE: &str = "unreadable";

/// An audit entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// Its id.
    pub id: String,
    /// The time.
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// The organization that owns what was changed. `None`: the deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<OrganizationId>,
    /// The operator.
    pub actor: Actor,
    /// The operator's address, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The action, a stable name such as `agent.update`.
    pub action: String,
    /// What was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// The previous values of the changed fields. Secrets are masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The new values of the changed fields. Secrets are masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// The operator who made a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Actor {
    /// `root`, `admin`, `viewer`, or `unknown`.
    pub role: String,
    /// The organization's token, if one was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_name: Option<String>,
}

/// What was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The kind, such as `agent`.
    pub kind: String,
    /// The id.
    pub id: String,
    /// The name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// An entry, with lines for the logs of integrations that report the same change.
#[derive(Debug, Clone, PartialEq)]
pub struct Trail {
    /// The entry.
    pub entry: AuditEntry,
    /// The lines, each for one integration.
    pub lines: Vec<(IntegrationId, LogEntry)>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1 { id: String, b: Blob },
}

impl Store {
    /// This store, with a trail that its next transaction writes with the change.
    #[must_use]
    pub fn audited(&self, trail: Trail) -> Self {
        Self {
            trail: Some(Arc::new(trail)),
            ..self.clone()
        }
    }
}

/// Writes a trail, before a change that is no transaction.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn append(store: &Store, trail: &Trail) -> Result<(), StoreError> {
    let items = items(store, trail)?;
    batch::put(&store.dynamo, &store.tables.state, items).await
}

/// The items of a trail. Their keys are unique.
pub(crate) fn items(store: &Store, trail: &Trail) -> Result<Vec<Item>, StoreError> {
    let entry = &trail.entry;
    let organization = entry.organization.as_ref().map(OrganizationId::as_str);
    let mut items = vec![item(store, "", entry)?];
    if let Some(organization) = organization {
        items.push(item(store, organization, entry)?);
    }
    for (integration, line) in &trail.lines {
        items.push(log::item(integration, line, random())?);
    }
    Ok(items)
}

fn item(store: &Store, owner: &str, entry: &AuditEntry) -> Result<Item, StoreError> {
    let plain = serde_json::to_vec(entry).map_err(|_| StoreError::Unreadable { what: WHAT })?;
    let stored = Stored::V1 {
        id: entry.id.clone(),
        b: Blob(store.keyring().seal_bytes(&plain, about(&entry.id))),
    };
    let place = format!("{}#{}", sortable(entry.at), entry.id);
    let mut item = write(WHAT, &partition(owner), &place, &stored)?;
    expire(&mut item, entry.at.after(LIFETIME));
    Ok(item)
}

/// A random entry id.
#[must_use]
pub fn fresh_id() -> String {
    fresh("aud", random())
}

fn random() -> [u8; 12] {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    bytes
}

/// Lists the entries of an organization, or all entries, the newest first: those from `since` on and before `until`.
///
/// # Errors
/// [`StoreError::Unavailable`], or [`StoreError::Unreadable`] for a cursor that isn't one.
pub async fn list(
    store: &Store,
    organization: Option<&OrganizationId>,
    (since, until): (Option<Timestamp>, Option<Timestamp>),
    (after, limit): (Option<&str>, usize),
    now: Timestamp,
) -> Result<Page<AuditEntry>, StoreError> {
    let partition = partition(organization.map_or("", OrganizationId::as_str));
    let least = since.map_or_else(|| TIMED.0.to_owned(), sortable);
    let greatest = until.map_or_else(|| TIMED.1.to_owned(), sortable);
    let after = position(after, TIMED)?;
    if least > greatest || after.as_ref().is_some_and(|after| *after < least) {
        return Ok(Page::default());
    }
    let after = after.filter(|after| *after <= greatest);
    let asked = Query {
        table: &store.tables.state,
        index: None,
        partition: &partition,
        range: (&least, &greatest),
        descending: true,
        reading: Reading::Strong,
        after: after.map(|place| key(&partition, &place)),
        limit,
    };
    let (found, next) = dynamo::query(&store.dynamo, asked).await?;
    let alive = found.into_iter().filter_map(|item| alive(Some(item), now));
    Ok(Page {
        items: alive
            .map(|item| from_item(store, item, now))
            .collect::<Result<_, _>>()?,
        cursor: next.and_then(|key| Some(cursor(get_text(&key, SK)?))),
    })
}

fn from_item(store: &Store, item: Item, now: Timestamp) -> Result<AuditEntry, StoreError> {
    let at = get_text(&item, SK).and_then(|place| place.split('#').next()?.parse().ok());
    let at = Timestamp::from_millis(at.unwrap_or_default());
    let Stored::V1 { id, b } = read(WHAT, item)?;
    let opened = match store.keyring().open_bytes(&b.0, about(&id)) {
        Err(StoreError::Unsealable) => Ok(None),
        opened => opened.map(Some),
    };
    let plain = unless_key_is_lost(opened, now.since(at))?;
    let entry = plain.and_then(|plain| serde_json::from_slice(&plain).ok());
    Ok(entry.unwrap_or_else(|| unreadable(id, at)))
}

/// Stands for an entry that can't be read, so that the others can.
fn unreadable(id: String, at: Timestamp) -> AuditEntry {
    AuditEntry {
        id,
        at,
        organization: None,
        actor: Actor {
            role: "unknown".to_owned(),
            token_id: None,
            token_name: None,
        },
        address: None,
        action: UNREADABLE.to_owned(),
        target: None,
        before: None,
        after: None,
    }
}

/// Binds a sealed entry to its own id.
pub(crate) fn about(id: &str) -> &str {
    id
}

fn partition(organization: &str) -> String {
    format!("AUDIT#{organization}")
}
