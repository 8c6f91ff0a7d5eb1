//! Deferred runs: where an agent's callbacks wait for the runner.
//!
//! Items of `state`, 7 days from the run's beginning: `RUN#{run}`/`RUN` (`o` organization, `i` integration, `c` conversation, `at`
//! beginning, `closed`, `end` number of the terminal event) and, for each event, `RUN#{run}`/`EV#{number, 10 digits}` with its
//! sealed JSON `b`. Events are kept in whatever order they come; reading gives them in order and stops at the first gap.

use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use serde::{Deserialize, Serialize};
use tieline_core::ids::{ConversationId, IntegrationId, OrganizationId, RunId};
use tieline_core::timestamp::Timestamp;

use crate::Store;
use crate::body::{self, Body};
use crate::calls::{self, Query, Reading, Written, query_all};
use crate::error::StoreError;
use crate::item::{Item, alive, expire, get_text, number, read, write};
use crate::tables::{PK, SK};
use crate::update::Update;

/// How long a run's callbacks are kept. No run lasts as long.
const LIFETIME: Duration = Duration::from_hours(7 * 24);

/// The greatest number of an event: what fits in ten digits.
pub const MAX_SEQ: u64 = 9_999_999_999;

const WHAT: &str = "run";
const HEAD: &str = "RUN";

/// A run whose agent calls back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    /// The run.
    pub id: RunId,
    /// The tenant.
    pub organization: OrganizationId,
    /// The bot.
    pub integration: IntegrationId,
    /// The conversation.
    pub conversation: ConversationId,
    /// When it began.
    pub started_at: Timestamp,
    /// Whether it takes no more events, as the runner has ended it.
    pub closed: bool,
    /// The number of the terminal event, if it has come: nothing after it is taken.
    pub end: Option<u64>,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is kept.
    New,
    /// An event of this number was kept before, and stays.
    Duplicate,
    /// The run is over.
    Closed,
    /// There is no such run.
    Unknown,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1(StoredV1),
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredV1 {
    o: OrganizationId,
    i: IntegrationId,
    c: ConversationId,
    #[serde(with = "tieline_core::timestamp::millis")]
    at: Timestamp,
    #[serde(default)]
    closed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "v")]
enum StoredEvent {
    #[serde(rename = "1")]
    V1 { b: Body },
}

/// Makes a run ready for callbacks. Doing it again changes nothing.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn open_run(store: &Store, run: &RunRecord) -> Result<(), StoreError> {
    let stored = Stored::V1(StoredV1 {
        o: run.organization.clone(),
        i: run.integration.clone(),
        c: run.conversation.clone(),
        at: run.started_at,
        closed: run.closed,
        end: run.end,
    });
    let mut item = write(WHAT, &partition(&run.id), HEAD, &stored)?;
    expire(&mut item, run.started_at.after(LIFETIME));
    let mut condition = Update::new();
    condition.require_gone(run.started_at);
    calls::put(&store.dynamo, &store.tables.state, item, condition)
        .await
        .map(drop)
}

/// Reads a run.
///
/// # Errors
/// [`StoreError::Unavailable`], or [`StoreError::Unreadable`].
pub async fn get_run(store: &Store, run: &RunId, now: Timestamp) -> Result<Option<RunRecord>, StoreError> {
    let key = partition(run);
    let found = calls::get(&store.dynamo, &store.tables.state, (&key, HEAD), Reading::Strong, &[]).await?;
    let Some(item) = alive(found, now) else {
        return Ok(None);
    };
    let Stored::V1(stored) = read(WHAT, item)?;
    Ok(Some(RunRecord {
        id: run.clone(),
        organization: stored.o,
        integration: stored.i,
        conversation: stored.c,
        started_at: stored.at,
        closed: stored.closed,
        end: stored.end,
    }))
}

/// Keeps an event that an agent called back with. `ends` says that it is a terminal one. Numbers begin at 1.
///
/// # Errors
/// [`StoreError::TooLarge`] for a number beyond [`MAX_SEQ`], or [`StoreError::Unavailable`].
pub async fn append_event(
    store: &Store,
    run: &RunId,
    seq: u64,
    event_json: &str,
    ends: bool,
    now: Timestamp,
) -> Result<Appended, StoreError> {
    if seq > MAX_SEQ {
        return Err(StoreError::TooLarge);
    }
    let Some(head) = get_run(store, run, now).await? else {
        return Ok(Appended::Unknown);
    };
    if head.closed || head.end.is_some_and(|end| seq > end) {
        return was_kept(store, run, seq).await;
    }
    let kept = keep_event(store, &head, seq, event_json).await?;
    // Also when it was kept before: whoever kept it may have died before saying that it is the end.
    if ends && head.end.is_none() {
        let mut change = Update::new();
        // The first of two terminal events is the end.
        change.set_once("end", number(seq));
        write_head(store, run, change).await?;
    }
    Ok(kept)
}

/// The events after `seq`, in order, up to the first that is missing.
///
/// # Errors
/// [`StoreError::Unavailable`], [`StoreError::Unreadable`], or [`StoreError::Unsealable`].
pub async fn events_after(store: &Store, run: &RunId, seq: u64) -> Result<Vec<(u64, String)>, StoreError> {
    let mut events = Vec::new();
    for (item, seq) in contiguous(stored_after(store, run, seq).await?, seq) {
        events.push((seq, open_event(store, run, seq, item).await?));
    }
    Ok(events)
}

/// The number of the last event that [`events_after`] would give, `seq` if there is none.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn last_seq(store: &Store, run: &RunId, seq: u64) -> Result<u64, StoreError> {
    let found = stored_after(store, run, seq).await?;
    Ok(contiguous(found, seq).last().map_or(seq, |(_, last)| last))
}

/// Ends a run: no more events are taken. Doing it again, or for a run that isn't there, changes nothing.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn close_run(store: &Store, run: &RunId) -> Result<(), StoreError> {
    let mut change = Update::new();
    change.set("closed", AttributeValue::Bool(true));
    write_head(store, run, change).await
}

async fn write_head(store: &Store, run: &RunId, mut change: Update) -> Result<(), StoreError> {
    let pk = change.path(PK);
    change.require(format!("attribute_exists({pk})"));
    let (key, table) = (partition(run), &store.tables.state);
    let written = calls::update(&store.dynamo, table, (&key, HEAD), change, ReturnValue::None);
    written.await.map(drop)
}

async fn was_kept(store: &Store, run: &RunId, seq: u64) -> Result<Appended, StoreError> {
    let (pk, sk) = (partition(run), place(seq));
    let found = calls::get(&store.dynamo, &store.tables.state, (&pk, &sk), Reading::Strong, &[SK]).await?;
    Ok(match found {
        Some(_) => Appended::Duplicate,
        None => Appended::Closed,
    })
}

async fn keep_event(store: &Store, run: &RunRecord, seq: u64, json: &str) -> Result<Appended, StoreError> {
    let expires_at = run.started_at.after(LIFETIME);
    let body = body::put(store, &subject(&run.id, seq), json.as_bytes(), None, expires_at).await?;
    let mut item = write(WHAT, &partition(&run.id), &place(seq), &StoredEvent::V1 { b: body })?;
    expire(&mut item, expires_at);
    let mut condition = Update::new();
    condition.require_absent(SK);
    Ok(
        match calls::put(&store.dynamo, &store.tables.state, item, condition).await? {
            Written::Done(_) => Appended::New,
            Written::Refused(_) => Appended::Duplicate,
        },
    )
}

async fn stored_after(store: &Store, run: &RunId, seq: u64) -> Result<Vec<Item>, StoreError> {
    if seq >= MAX_SEQ {
        return Ok(Vec::new());
    }
    let asked = Query {
        table: &store.tables.state,
        index: None,
        partition: &partition(run),
        range: (&place(seq + 1), &place(MAX_SEQ)),
        descending: false,
        reading: Reading::Strong,
        after: None,
        limit: usize::MAX,
    };
    query_all(&store.dynamo, asked).await
}

fn contiguous(found: Vec<Item>, after: u64) -> impl Iterator<Item = (Item, u64)> {
    let numbered = found.into_iter().zip(after.saturating_add(1)..);
    numbered.take_while(|(item, seq)| get_text(item, SK) == Some(&place(*seq)))
}

async fn open_event(store: &Store, run: &RunId, seq: u64, item: Item) -> Result<String, StoreError> {
    let StoredEvent::V1 { b } = read(WHAT, item)?;
    let plain = body::get(store, &subject(run, seq), &b).await?;
    String::from_utf8(plain).map_err(|_| StoreError::Unreadable { what: WHAT })
}

fn partition(run: &RunId) -> String {
    format!("RUN#{run}")
}

fn place(seq: u64) -> String {
    format!("EV#{seq:010}")
}

fn subject(run: &RunId, seq: u64) -> String {
    format!("{run} {seq}")
}
