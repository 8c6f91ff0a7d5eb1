//! Messages that a bot sends at a later time, or to many people.
//!
//! Item `SCHED#{organization}`/`{id}` of `state`, until 30 days after its time: the message, its content sealed, and its state; `who` a
//! digest of its only recipient, by which it can be erased if its data key is lost. Item
//! `DUE`/`{time}#{organization}#{id}` of `state`: a pointer to it until it has ended. Both are written together, and the pointer is deleted
//! last, so that a process that dies in between leaves one too many, which points nowhere, and never one too few.

use std::time::Duration;

use aws_sdk_dynamodb::types::ReturnValue;
use serde::{Deserialize, Serialize};
use tieline_core::card::Card;
use tieline_core::ids::{ChatId, IntegrationId, OrganizationId, SenderId, digest};
use tieline_core::timestamp::{Timestamp, millis};

use crate::Store;
use crate::data_keys::unless_key_is_lost;
use crate::dynamo::{self, Query, Reading, end_of};
use crate::error::StoreError;
use crate::item::{Blob, Item, alive, expire, get_text, key, number, read, sortable, text, value, write};
use crate::page::{self, Page};
use crate::tables::SK;
use crate::update::Update;

/// How long the outcome of a message can be read.
const KEPT: Duration = Duration::from_hours(30 * 24);

const WHAT: &str = "scheduled message";
const DUE: &str = "DUE";

/// A scheduled message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// Its id.
    pub id: String,
    /// The organization that owns it.
    pub organization: OrganizationId,
    /// The bot.
    pub integration: IntegrationId,
    /// When it is sent.
    pub at: Timestamp,
    /// The recipients.
    pub to: Audience,
    /// The content.
    pub content: Content,
    /// Its state.
    pub state: State,
    /// To how many people it was sent.
    pub n_said: u32,
    /// Where the next page of people starts, if it is sent to many.
    pub cursor: Option<String>,
    /// Whether a process has begun to send it to its recipient, or to the people of this page.
    pub begun: bool,
    /// When an operator created it.
    pub created_at: Timestamp,
    /// Incremented with every change. 0: not stored yet.
    pub version: u64,
}

impl Scheduled {
    /// Whether it is too late to cancel it: it has ended, or is being sent to its only recipient.
    #[must_use]
    pub fn is_past_cancelling(&self) -> bool {
        self.state != State::Waiting || (self.begun && self.to != Audience::Linked)
    }
}

/// The recipients of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// A chat, by the platform's id.
    Chat(ChatId),
    /// A person, by the platform's id.
    Person(SenderId),
    /// Everyone who has written to the bot and is linked to a known person.
    Linked,
}

/// The content of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Markdown.
    Text(String),
    /// A card.
    Card(Card),
}

/// State of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is not due yet, or is being sent to many.
    Waiting,
    /// It was sent to all.
    Said,
    /// An operator has cancelled it.
    Cancelled,
    /// It can't be sent, for this reason.
    Failed(String),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1(StoredV1),
}

#[derive(Serialize, Deserialize)]
struct StoredV1 {
    id: String,
    org: OrganizationId,
    int: IntegrationId,
    #[serde(with = "millis")]
    at: Timestamp,
    /// Sealed: [`Audience`] and [`Content`].
    b: Blob,
    st: State,
    #[serde(default)]
    said: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cur: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    bg: bool,
    /// A digest of the recipient: see [`Kept::is_to`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    who: Option<String>,
    #[serde(with = "millis")]
    made: Timestamp,
    n: u64,
}

/// A stored message, not opened: one whose data key is lost can still be found and deleted.
pub struct Kept(StoredV1);

impl Kept {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The bot.
    #[must_use]
    pub const fn integration(&self) -> &IntegrationId {
        &self.0.int
    }

    /// When an operator created it.
    #[must_use]
    pub const fn created_at(&self) -> Timestamp {
        self.0.made
    }

    /// Whether it is sent to this person or chat alone. `None`: its clear part doesn't say, because an earlier version has written it.
    #[must_use]
    pub fn is_to(&self, recipient: &str) -> Option<bool> {
        let who = self.0.who.as_ref()?;
        Some(*who == digest(&[self.0.int.as_str(), recipient]))
    }

    /// When it is sent.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.0.at
    }

    /// Its state.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.0.st
    }

    /// To how many people it was sent.
    #[must_use]
    pub const fn n_said(&self) -> u32 {
        self.0.said
    }

    /// Incremented with every change.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.0.n
    }

    /// The whole message. `None` if it can't be read: a data key that is unknown `age` after it was used is lost.
    ///
    /// # Errors
    /// [`StoreError::UnknownKey`] if its key may be known soon.
    pub fn open(&self, store: &Store, age: Duration) -> Result<Option<Scheduled>, StoreError> {
        let opened = match self.unseal(store) {
            Err(StoreError::Unsealable | StoreError::Unreadable { .. }) => Ok(None),
            opened => opened.map(Some),
        };
        unless_key_is_lost(opened, age)
    }

    fn unseal(&self, store: &Store) -> Result<Scheduled, StoreError> {
        let stored = &self.0;
        let plain = store.keyring().open_bytes(&stored.b.0, &stored.id)?;
        let (to, content) = serde_json::from_slice(&plain).map_err(|_| StoreError::Unreadable { what: WHAT })?;
        Ok(Scheduled {
            id: stored.id.clone(),
            organization: stored.org.clone(),
            integration: stored.int.clone(),
            at: stored.at,
            to,
            content,
            state: stored.st.clone(),
            n_said: stored.said,
            cursor: stored.cur.clone(),
            begun: stored.bg,
            created_at: stored.made,
            version: stored.n,
        })
    }
}

/// A pointer to a message that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Who owns the message.
    pub organization: OrganizationId,
    /// The message.
    pub id: String,
    /// When it is due.
    pub at: Timestamp,
}

impl Due {
    /// Its sort key.
    fn place(&self) -> String {
        place(self.at, &self.organization, &self.id)
    }
}

/// Stores a new message. Idempotent for the same id.
///
/// # Errors
/// [`StoreError::Unavailable`]; [`StoreError::Conflict`] if another process is storing or deleting it.
pub async fn create(store: &Store, message: &Scheduled) -> Result<(), StoreError> {
    let mut pointer = key(DUE, &place(message.at, &message.organization, &message.id));
    pointer.insert("v".into(), text("1"));
    expire(&mut pointer, message.at.after(KEPT));
    let mut absent = Update::new();
    absent.require_absent("n");
    let items = [(pointer, Update::new()), (to_item(store, message, 1)?, absent)];
    let (client, table) = (&store.dynamo, &store.tables.state);
    match dynamo::put_together(client, table, items).await {
        Err(StoreError::Conflict) => {
            let key = (&*partition(&message.organization), &*message.id);
            let stored = dynamo::get(client, table, key, Reading::Strong, &["n"]).await?;
            stored.map(drop).ok_or(StoreError::Conflict)
        }
        created => created,
    }
}

/// A message of an organization.
///
/// # Errors
/// [`StoreError`].
pub async fn get(
    store: &Store,
    organization: &OrganizationId,
    id: &str,
    now: Timestamp,
) -> Result<Option<Kept>, StoreError> {
    let partition = partition(organization);
    let found = dynamo::get(
        &store.dynamo,
        &store.tables.state,
        (&partition, id),
        Reading::Strong,
        &[],
    );
    alive(found.await?, now).map(kept).transpose()
}

/// The messages of an organization, in order of creation.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    store: &Store,
    organization: &OrganizationId,
    cursor: Option<&str>,
    limit: usize,
    now: Timestamp,
) -> Result<Page<Kept>, StoreError> {
    let (partition, range) = (partition(organization), ("sch_", &*end_of("sch_")));
    let position = page::position(cursor, range)?;
    let asked = Query {
        table: &store.tables.state,
        index: None,
        partition: &partition,
        range,
        descending: false,
        reading: Reading::Strong,
        after: position.map(|place| key(&partition, &place)),
        limit,
    };
    let (items, next) = dynamo::query(&store.dynamo, asked).await?;
    let items = items.into_iter().filter_map(|item| alive(Some(item), now));
    Ok(Page {
        items: items.map(kept).collect::<Result<_, _>>()?,
        cursor: next.as_ref().and_then(|key| get_text(key, SK)).map(page::cursor),
    })
}

/// Saves a message after a change.
///
/// # Errors
/// [`StoreError::Conflict`] if it has changed since it was read.
pub async fn save(store: &Store, message: &mut Scheduled) -> Result<(), StoreError> {
    let mut condition = Update::new();
    condition.require_equal("n", number(message.version));
    let item = to_item(store, message, message.version + 1)?;
    let written = dynamo::put(&store.dynamo, &store.tables.state, item, condition).await?;
    written.or_conflict()?;
    message.version += 1;
    Ok(())
}

/// Ends a message without opening it: this works if its data key is lost, too.
///
/// # Errors
/// [`StoreError::Conflict`] if it has changed since it was read.
pub async fn end(store: &Store, Kept(message): &Kept, state: &State) -> Result<(), StoreError> {
    let mut change = Update::new();
    change
        .set("st", value(WHAT, state)?)
        .set("n", number(message.n + 1))
        .require_equal("n", number(message.n));
    let key = (&*partition(&message.org), &*message.id);
    let written = dynamo::update(&store.dynamo, &store.tables.state, key, change, ReturnValue::None);
    written.await?.or_conflict().map(drop)
}

/// Deletes a message. Before its pointer, which means nothing without it.
///
/// # Errors
/// [`StoreError::Conflict`] if it has changed since it was read.
pub async fn delete(store: &Store, Kept(message): &Kept) -> Result<(), StoreError> {
    let mut condition = Update::new();
    condition.require_equal("n", number(message.n));
    let partition = partition(&message.org);
    dynamo::delete(&store.dynamo, &store.tables.state, (&partition, &message.id), condition).await?;
    let due = Due {
        organization: message.org.clone(),
        id: message.id.clone(),
        at: message.at,
    };
    settle(store, &due).await
}

/// Messages that are due, the oldest first.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn due(store: &Store, limit: usize, now: Timestamp) -> Result<Vec<Due>, StoreError> {
    let until = format!("{}~", sortable(now));
    let asked = Query {
        table: &store.tables.state,
        index: None,
        partition: DUE,
        range: ("0", &until),
        descending: false,
        reading: Reading::Strong,
        after: None,
        limit,
    };
    let (items, _) = dynamo::query(&store.dynamo, asked).await?;
    let pointer = |item: &Item| {
        let mut parts = get_text(item, SK)?.splitn(3, '#');
        let at = Timestamp::from_millis(parts.next()?.parse().ok()?);
        let organization = OrganizationId::new(parts.next()?);
        let id = parts.next()?.to_owned();
        Some(Due { organization, id, at })
    };
    Ok(items.iter().filter_map(pointer).collect())
}

/// Deletes a pointer: its message has ended, or was never stored.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn settle(store: &Store, due: &Due) -> Result<(), StoreError> {
    dynamo::delete(&store.dynamo, &store.tables.state, (DUE, &due.place()), Update::new()).await
}

fn partition(organization: &OrganizationId) -> String {
    format!("SCHED#{organization}")
}

fn place(at: Timestamp, organization: &OrganizationId, id: &str) -> String {
    format!("{}#{organization}#{id}", sortable(at))
}

fn to_item(store: &Store, message: &Scheduled, version: u64) -> Result<Item, StoreError> {
    let plain =
        serde_json::to_vec(&(&message.to, &message.content)).map_err(|_| StoreError::Unreadable { what: WHAT })?;
    let stored = Stored::V1(StoredV1 {
        id: message.id.clone(),
        org: message.organization.clone(),
        int: message.integration.clone(),
        at: message.at,
        b: Blob(store.keyring().seal_bytes(&plain, &message.id)),
        st: message.state.clone(),
        said: message.n_said,
        cur: message.cursor.clone(),
        bg: message.begun,
        who: match &message.to {
            Audience::Chat(chat) => Some(digest(&[message.integration.as_str(), chat.as_str()])),
            Audience::Person(person) => Some(digest(&[message.integration.as_str(), person.as_str()])),
            Audience::Linked => None,
        },
        made: message.created_at,
        n: version,
    });
    let mut item = write(WHAT, &partition(&message.organization), &message.id, &stored)?;
    expire(&mut item, message.at.after(KEPT));
    Ok(item)
}

fn kept(item: Item) -> Result<Kept, StoreError> {
    let Stored::V1(stored) = read(WHAT, item)?;
    Ok(Kept(stored))
}
