//! Dead letters: messages that ended without an answer, for operators to inspect.
//!
//! Items `DLQ#{organization}`/`{receipt}#{message}` of `state`, 30 days from the failure. A message that could not be read and so belongs to
//! no organization is stored under the empty name, which no tenant can have.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_core::ids::{ConversationId, IntegrationId, MessageId, OrganizationId};
use tieline_core::timestamp::{CLOCKS_DIFFER, Timestamp};

use crate::Store;
use crate::data_keys::unless_key_is_lost;
use crate::dynamo::{self, Query, Reading, query};
use crate::error::StoreError;
use crate::item::{Item, alive, expire, get_text, key, number, read, sortable, write};
use crate::page::{Page, TIMED, cursor, position};
use crate::sealed_blob::{self, Body};
use crate::tables::{PK, SK};
use crate::update::Update;

/// How long a dead letter is kept.
const LIFETIME: Duration = Duration::from_hours(30 * 24);

const WHAT: &str = "dead letter";

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The message. For an unreadable one: the queue's own id.
    pub message: MessageId,
    /// The tenant.
    pub organization: OrganizationId,
    /// The bot, if known.
    pub integration: Option<IntegrationId>,
    /// The conversation, if known.
    pub conversation: Option<ConversationId>,
    /// When the message was received.
    pub received_at: Timestamp,
    /// When it was given up.
    pub failed_at: Timestamp,
    /// The reason: a word of ours or the other side's code.
    pub reason: String,
    /// The raw body of an unreadable message.
    pub body: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1(StoredV1),
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredV1 {
    m: MessageId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    i: Option<IntegrationId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    c: Option<ConversationId>,
    #[serde(with = "tieline_core::timestamp::millis")]
    at: Timestamp,
    #[serde(with = "tieline_core::timestamp::millis")]
    fa: Timestamp,
    why: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<Body>,
}

impl DeadLetter {
    /// Its id in the API: the same every time the message fails.
    #[must_use]
    pub fn id(&self) -> String {
        id_of(self.received_at, &self.message)
    }

    /// The cursor from which [`list`] continues after this letter, also when it is removed.
    #[must_use]
    pub fn cursor(&self) -> String {
        cursor(&place_of(self.received_at, &self.message))
    }
}

/// The [`DeadLetter::id`] of a message received at that time.
#[must_use]
pub fn id_of(received_at: Timestamp, message: &MessageId) -> String {
    format!("{}-{message}", sortable(received_at))
}

/// The sort key of a dead letter.
pub(crate) fn place_of(received_at: Timestamp, message: &MessageId) -> String {
    format!("{}#{message}", sortable(received_at))
}

/// Stores a dead letter. It replaces that of an earlier failure.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn put(store: &Store, letter: &DeadLetter) -> Result<(), StoreError> {
    let expires_at = letter.failed_at.after(LIFETIME);
    let body = match &letter.body {
        Some(body) => Some(sealed_blob::put(store, letter.message.as_str(), body.as_bytes(), None, expires_at).await?),
        None => None,
    };
    let stored = Stored::V1(StoredV1 {
        m: letter.message.clone(),
        i: letter.integration.clone(),
        c: letter.conversation.clone(),
        at: letter.received_at,
        fa: letter.failed_at,
        why: letter.reason.clone(),
        body,
    });
    let place = place(&letter.id()).ok_or(StoreError::Unreadable { what: WHAT })?;
    let mut item = write(WHAT, &partition(&letter.organization), &place, &stored)?;
    expire(&mut item, expires_at);
    let mut condition = Update::new();
    let (pk, failed_at) = (condition.path(PK), condition.path("fa"));
    let now = condition.value(number(letter.failed_at.as_millis()));
    // The earlier one may have been written by a machine whose clock is ahead.
    let late = condition.value(number(letter.failed_at.after(CLOCKS_DIFFER).as_millis()));
    condition.require(format!(
        "(attribute_not_exists({pk}) OR ({failed_at} <> {now} AND {failed_at} < {late}))"
    ));
    dynamo::put(&store.dynamo, &store.tables.state, item, condition)
        .await
        .map(drop)
}

/// Lists the dead letters of an organization, the newest message first.
///
/// # Errors
/// [`StoreError::Unavailable`], or [`StoreError::Unreadable`] for a cursor that isn't one.
pub async fn list(
    store: &Store,
    organization: &OrganizationId,
    after: Option<&str>,
    limit: usize,
    now: Timestamp,
) -> Result<Page<DeadLetter>, StoreError> {
    let partition = partition(organization);
    let after = position(after, TIMED)?.map(|place| key(&partition, &place));
    let asked = Query {
        table: &store.tables.state,
        index: None,
        partition: &partition,
        range: TIMED,
        descending: true,
        reading: Reading::Strong,
        after,
        limit,
    };
    let (found, next) = query(&store.dynamo, asked).await?;
    let mut items = Vec::with_capacity(found.len());
    for item in found.into_iter().filter_map(|item| alive(Some(item), now)) {
        items.push(from_item(store, organization, item, now).await?);
    }
    let cursor = next.and_then(|key| Some(cursor(get_text(&key, SK)?)));
    Ok(Page { items, cursor })
}

/// Reads a dead letter by its [`DeadLetter::id`].
///
/// # Errors
/// [`StoreError::Unavailable`], or [`StoreError::Unreadable`].
pub async fn get(
    store: &Store,
    organization: &OrganizationId,
    id: &str,
    now: Timestamp,
) -> Result<Option<DeadLetter>, StoreError> {
    let Some(place) = place(id) else {
        return Ok(None);
    };
    let key = partition(organization);
    let found = dynamo::get(&store.dynamo, &store.tables.state, (&key, &place), Reading::Strong, &[]).await?;
    match alive(found, now) {
        Some(item) => from_item(store, organization, item, now).await.map(Some),
        None => Ok(None),
    }
}

/// Removes a dead letter, unless it was replaced: then its message has failed again.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn remove(store: &Store, letter: &DeadLetter) -> Result<(), StoreError> {
    let Some(place) = place(&letter.id()) else {
        return Ok(());
    };
    let key = partition(&letter.organization);
    let mut condition = Update::new();
    condition.require_equal("fa", number(letter.failed_at.as_millis()));
    match dynamo::delete(&store.dynamo, &store.tables.state, (&key, &place), condition).await {
        // Deleted already, or replaced.
        Err(StoreError::Conflict) => Ok(()),
        done => done,
    }
}

async fn from_item(
    store: &Store,
    organization: &OrganizationId,
    item: Item,
    now: Timestamp,
) -> Result<DeadLetter, StoreError> {
    let Stored::V1(stored) = read(WHAT, item)?;
    let opened = match &stored.body {
        Some(body) => match sealed_blob::get(store, stored.m.as_str(), body).await {
            Err(StoreError::Unreadable { .. } | StoreError::Unsealable) => Ok(None),
            opened => opened.map(Some),
        },
        None => Ok(None),
    };
    // Without its body it can still be listed.
    let body = unless_key_is_lost(opened, now.since(stored.fa))?;
    let body = body.map(String::from_utf8).transpose();
    Ok(DeadLetter {
        body: body.map_err(|_| StoreError::Unreadable { what: WHAT })?,
        message: stored.m,
        organization: organization.clone(),
        integration: stored.i,
        conversation: stored.c,
        received_at: stored.at,
        failed_at: stored.fa,
        reason: stored.why,
    })
}

pub(crate) fn partition(organization: &OrganizationId) -> String {
    format!("DLQ#{organization}")
}

/// The sort key of an id, if the id is well-formed.
fn place(id: &str) -> Option<String> {
    let (millis, message) = id.split_once('-')?;
    let well_formed = millis.len() == 13 && millis.bytes().all(|digit| digit.is_ascii_digit()) && !message.is_empty();
    well_formed.then(|| format!("{millis}#{message}"))
}
