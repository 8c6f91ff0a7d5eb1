//! Deferred runs: stores an agent's callbacks for the runner.
//!
//! Items of `state`, 7 days from the run's start: `RUN#{run}`/`RUN` (`o` organization, `i` integration, `c` conversation, `at`
//! start, `closed`, `end` number of the terminal event, `n` and `by` how many events and bytes were accepted, `last` a number before
//! which none is missing) and, for each event, `RUN#{run}`/`EV#{number, 10 digits}` with its sealed JSON `b`, and `e` if it is a
//! terminal one. Events are stored in any order of arrival; reading returns them in order and stops at the first gap.
//!
//! A run stores a bounded amount: the holder of its token is not trusted. Bytes are counted on the head before an event is written, so
//! that the count is never less than what is stored; a process that dies between the two leaves it a little too high.

use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use serde::{Deserialize, Serialize};
use tieline_core::agent::MAX_ANSWER_BYTES;
use tieline_core::ids::{ConversationId, IntegrationId, OrganizationId, RunId};
use tieline_core::timestamp::Timestamp;

use crate::Store;
use crate::dynamo::{self, Query, Reading, Written};
use crate::error::StoreError;
use crate::item::{Item, alive, expire, get_text, number, read, write};
use crate::sealed_blob::{self, Body};
use crate::tables::{PK, SK};
use crate::update::Update;

/// How long a run's callbacks are kept. No run lasts that long.
const LIFETIME: Duration = Duration::from_hours(7 * 24);

/// Most events of a run.
pub const MAX_EVENTS: u64 = 20_000;
/// How far an event may be ahead of the first missing one.
pub const MAX_AHEAD: u64 = 1000;
/// Most events, and about how many bytes, returned by [`events_after`] at once.
const PAGE_EVENTS: usize = 200;
const PAGE_BYTES: usize = 1024 * 1024;

/// Capacity reserved for the terminal event of a full run: its agent must still be able to end it.
const LAST_EVENTS: u64 = 1;
const LAST_BYTES: u64 = 64 * 1024;

/// How many keys are read at once in the search for a gap, and how far it must advance before that is worth a write.
const STRIDE: u64 = 100;

/// The highest event number: ten digits.
const MAX_SEQ: u64 = 9_999_999_999;

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
    /// When it started.
    pub started_at: Timestamp,
    /// Whether it accepts no more events, as the runner has ended it.
    pub closed: bool,
    /// The number of the terminal event, if received: nothing after it is accepted.
    pub end: Option<u64>,
    /// How many events were accepted.
    pub n_events: u64,
    /// Their total length.
    pub n_bytes: u64,
    /// A number up to which no event is missing. The actual number may be higher: see [`last_seq`].
    pub last_seq: u64,
}

/// An event of a callback.
#[derive(Debug, Clone, Copy)]
pub struct NewEvent<'a> {
    /// Its number, from 1.
    pub seq: u64,
    /// Its JSON.
    pub json: &'a str,
    /// Whether it is a terminal one.
    pub ends: bool,
}

/// Which limit of a run an agent's callbacks exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// Events: more than [`MAX_EVENTS`].
    Events,
    /// Bytes: more than [`MAX_ANSWER_BYTES`] in sum.
    Bytes,
    /// The gap: further ahead than [`MAX_AHEAD`].
    Gap,
}

/// Outcome of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is stored.
    New,
    /// An event of this number was stored before, and stays.
    Duplicate,
    /// The run has ended.
    Closed,
    /// It exceeds a limit of the run.
    Refused(Excess),
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
    #[serde(default)]
    n: u64,
    #[serde(default)]
    by: u64,
    #[serde(default)]
    last: u64,
}

impl StoredV1 {
    fn of(run: &RunRecord) -> Self {
        Self {
            o: run.organization.clone(),
            i: run.integration.clone(),
            c: run.conversation.clone(),
            at: run.started_at,
            closed: run.closed,
            end: run.end,
            n: run.n_events,
            by: run.n_bytes,
            last: run.last_seq,
        }
    }

    fn record(self, id: RunId) -> RunRecord {
        RunRecord {
            id,
            organization: self.o,
            integration: self.i,
            conversation: self.c,
            started_at: self.at,
            closed: self.closed,
            end: self.end,
            n_events: self.n,
            n_bytes: self.by,
            last_seq: self.last,
        }
    }
}

impl RunRecord {
    /// Whether no event of this number is accepted any more.
    fn is_over(&self, seq: u64) -> bool {
        self.closed || self.end.is_some_and(|end| seq > end)
    }

    fn excess(&self, event: &NewEvent<'_>) -> Excess {
        match self.n_events < max_events(event) {
            true => Excess::Bytes,
            false => Excess::Events,
        }
    }
}

const fn max_events(event: &NewEvent<'_>) -> u64 {
    MAX_EVENTS + if event.ends { LAST_EVENTS } else { 0 }
}

const fn max_bytes(event: &NewEvent<'_>) -> u64 {
    MAX_ANSWER_BYTES as u64 + if event.ends { LAST_BYTES } else { 0 }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "v")]
enum StoredEvent {
    #[serde(rename = "1")]
    V1 {
        b: Body,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        e: bool,
    },
}

/// The attribute that marks an event as terminal.
const ENDS: &str = "e";

/// Opens a run for callbacks. Idempotent.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn open_run(store: &Store, run: &RunRecord) -> Result<(), StoreError> {
    let stored = Stored::V1(StoredV1::of(run));
    let mut item = write(WHAT, &partition(&run.id), HEAD, &stored)?;
    expire(&mut item, run.started_at.after(LIFETIME));
    let mut condition = Update::new();
    condition.require_gone(run.started_at);
    dynamo::put(&store.dynamo, &store.tables.state, item, condition)
        .await
        .map(drop)
}

/// Reads a run.
///
/// # Errors
/// [`StoreError::Unavailable`], or [`StoreError::Unreadable`].
pub async fn get_run(store: &Store, run: &RunId, now: Timestamp) -> Result<Option<RunRecord>, StoreError> {
    match find(store, run, Reading::Strong, now).await? {
        Some(item) => read_head(run, item).map(Some),
        None => Ok(None),
    }
}

/// Whether an agent has called back for a run, eventually consistent: for half the price, for callers that look again anyway.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn is_heard_eventual(store: &Store, run: &RunId, now: Timestamp) -> Result<bool, StoreError> {
    Ok(find(store, run, Reading::Eventual, now).await?.is_some())
}

async fn find(store: &Store, run: &RunId, reading: Reading, now: Timestamp) -> Result<Option<Item>, StoreError> {
    let key = partition(run);
    let found = dynamo::get(&store.dynamo, &store.tables.state, (&key, HEAD), reading, &[]).await?;
    Ok(alive(found, now))
}

fn read_head(run: &RunId, item: Item) -> Result<RunRecord, StoreError> {
    let Stored::V1(stored) = read(WHAT, item)?;
    Ok(stored.record(run.clone()))
}

/// Stores an event of a callback. `head` is the run, and is updated.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn append_event(store: &Store, head: &mut RunRecord, event: &NewEvent<'_>) -> Result<Appended, StoreError> {
    let taken = take(store, head, event).await?;
    let may_end = event.ends && !head.closed && head.end.is_none();
    if may_end && is_end(store, head, event.seq, taken).await? {
        let mut change = Update::new();
        // Of two terminal events the first is the end.
        change.set_once("end", number(event.seq));
        write_head(store, &head.id, change).await?;
        head.end = Some(event.seq);
    }
    Ok(taken)
}

/// Whether the event stored under this number is terminal, after a terminal one was `taken` in.
///
/// Also if it was stored before: the process that stored it may have died before recording that it is the end. But an agent that uses a number
/// twice may have sent another event the first time, and that one counts.
async fn is_end(store: &Store, head: &RunRecord, seq: u64, taken: Appended) -> Result<bool, StoreError> {
    match taken {
        Appended::New => Ok(true),
        Appended::Duplicate => {
            let (pk, sk) = (partition(&head.id), place(seq));
            let kept = dynamo::get(&store.dynamo, &store.tables.state, (&pk, &sk), Reading::Strong, &[ENDS]).await?;
            Ok(kept.is_some_and(|kept| kept.get(ENDS) == Some(&AttributeValue::Bool(true))))
        }
        Appended::Closed | Appended::Refused(_) => Ok(false),
    }
}

/// The events after `seq`, in order, up to the first missing one: one page, and there may be more.
///
/// Empty only if there are none. After applying a page and recording its last number the caller calls again with that.
///
/// # Errors
/// [`StoreError::Unavailable`], [`StoreError::Unreadable`], or [`StoreError::Unsealable`].
pub async fn events_after(store: &Store, run: &RunId, seq: u64) -> Result<Vec<(u64, String)>, StoreError> {
    if seq >= MAX_SEQ {
        return Ok(Vec::new());
    }
    let (pk, least, greatest) = (partition(run), place(seq + 1), place(MAX_SEQ));
    let asked = stored_after(&store.tables.state, &pk, (&least, &greatest), PAGE_EVENTS);
    let (found, _) = dynamo::query(&store.dynamo, asked).await?;
    let mut events = Vec::new();
    let mut n_bytes = 0;
    for (item, seq) in contiguous(found, seq) {
        let event = open_event(store, run, seq, item).await?;
        n_bytes += event.len();
        events.push((seq, event));
        if n_bytes >= PAGE_BYTES {
            break;
        }
    }
    Ok(events)
}

/// The number of the last event up to which none is missing, 0 if there is none. Updates `head`.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn last_seq(store: &Store, head: &mut RunRecord) -> Result<u64, StoreError> {
    let known = head.last_seq;
    let pk = partition(&head.id);
    while head.last_seq < MAX_SEQ {
        let (least, greatest) = (place(head.last_seq + 1), place(head.last_seq + STRIDE));
        let asked = stored_after(&store.tables.state, &pk, (&least, &greatest), STRIDE as usize);
        let found = dynamo::query_keys(&store.dynamo, asked).await?;
        let Some((_, last)) = contiguous(found, head.last_seq).last() else {
            break;
        };
        head.last_seq = last;
    }
    if head.last_seq >= known + STRIDE {
        note_last(store, head).await?;
    }
    Ok(head.last_seq)
}

/// Records where the next search can start. Only forwards: another process may have got further.
async fn note_last(store: &Store, head: &RunRecord) -> Result<(), StoreError> {
    let mut change = Update::new();
    change.set("last", number(head.last_seq));
    let (last, value) = (change.path("last"), change.value(number(head.last_seq)));
    change.require(format!("(attribute_not_exists({last}) OR {last} < {value})"));
    write_head(store, &head.id, change).await
}

/// Ends a run: no more events are accepted. Idempotent; does nothing for a run that doesn't exist.
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
    let written = dynamo::update(&store.dynamo, table, (&key, HEAD), change, ReturnValue::None);
    written.await.map(drop)
}

async fn take(store: &Store, head: &mut RunRecord, event: &NewEvent<'_>) -> Result<Appended, StoreError> {
    if event.seq <= head.last_seq {
        return Ok(Appended::Duplicate);
    }
    if head.is_over(event.seq) {
        return kept_or(store, head, event, Appended::Closed).await;
    }
    if event.seq > head.last_seq + MAX_AHEAD && event.seq > last_seq(store, head).await? + MAX_AHEAD {
        return Ok(Appended::Refused(Excess::Gap));
    }
    if !reserve(store, head, event).await? {
        let why = match head.is_over(event.seq) {
            true => Appended::Closed,
            false => Appended::Refused(head.excess(event)),
        };
        return kept_or(store, head, event, why).await;
    }
    let kept = keep_event(store, head, event).await?;
    if kept == Appended::Duplicate {
        give_back(store, head, event).await?;
    }
    Ok(kept)
}

/// Counts the event on the head, if the limits allow it. In one write, so that no two posts use the same capacity.
async fn reserve(store: &Store, head: &mut RunRecord, event: &NewEvent<'_>) -> Result<bool, StoreError> {
    let length = event.json.len() as u64;
    let Some(before) = max_bytes(event).checked_sub(length) else {
        return Ok(false);
    };
    let mut change = count(1, event);
    change.require_equal("closed", AttributeValue::Bool(false));
    let (n, max_n) = (change.path("n"), change.value(number(max_events(event))));
    let (by, max_by) = (change.path("by"), change.value(number(before)));
    let (end, seq) = (change.path("end"), change.value(number(event.seq)));
    change
        .require(format!("(attribute_not_exists({n}) OR {n} < {max_n})"))
        .require(format!("(attribute_not_exists({by}) OR {by} <= {max_by})"))
        .require(format!("(attribute_not_exists({end}) OR {end} >= {seq})"));
    let (key, table) = (partition(&head.id), &store.tables.state);
    let (is_done, found) = match dynamo::update(&store.dynamo, table, (&key, HEAD), change, ReturnValue::AllNew).await?
    {
        Written::Done(item) => (true, Some(item)),
        Written::Refused(item) => (false, item),
    };
    match found {
        Some(item) => {
            // The known numbers may be ahead of the recorded ones.
            let last_seq = head.last_seq;
            *head = read_head(&head.id, item)?;
            head.last_seq = head.last_seq.max(last_seq);
        }
        None => head.closed = true,
    }
    Ok(is_done)
}

async fn give_back(store: &Store, head: &RunRecord, event: &NewEvent<'_>) -> Result<(), StoreError> {
    write_head(store, &head.id, count(-1, event)).await
}

fn count(sign: i64, event: &NewEvent<'_>) -> Update {
    let length = i64::try_from(event.json.len()).unwrap_or(i64::MAX);
    let mut change = Update::new();
    change.add("n", sign).add("by", sign.saturating_mul(length));
    change
}

async fn kept_or(
    store: &Store,
    head: &RunRecord,
    event: &NewEvent<'_>,
    otherwise: Appended,
) -> Result<Appended, StoreError> {
    let (pk, sk) = (partition(&head.id), place(event.seq));
    let found = dynamo::get(&store.dynamo, &store.tables.state, (&pk, &sk), Reading::Strong, &[SK]).await?;
    Ok(match found {
        Some(_) => Appended::Duplicate,
        None => otherwise,
    })
}

async fn keep_event(store: &Store, run: &RunRecord, event: &NewEvent<'_>) -> Result<Appended, StoreError> {
    let NewEvent { seq, json, ends } = *event;
    let expires_at = run.started_at.after(LIFETIME);
    let body = sealed_blob::put(store, &subject(&run.id, seq), json.as_bytes(), None, expires_at).await?;
    let mut item = write(
        WHAT,
        &partition(&run.id),
        &place(seq),
        &StoredEvent::V1 { b: body, e: ends },
    )?;
    expire(&mut item, expires_at);
    let mut condition = Update::new();
    condition.require_absent(SK);
    Ok(
        match dynamo::put(&store.dynamo, &store.tables.state, item, condition).await? {
            Written::Done(_) => Appended::New,
            Written::Refused(_) => Appended::Duplicate,
        },
    )
}

fn stored_after<'a>(table: &'a str, pk: &'a str, range: (&'a str, &'a str), limit: usize) -> Query<'a> {
    Query {
        table,
        index: None,
        partition: pk,
        range,
        descending: false,
        reading: Reading::Strong,
        after: None,
        limit,
    }
}

fn contiguous(found: Vec<Item>, after: u64) -> impl Iterator<Item = (Item, u64)> {
    let numbered = found.into_iter().zip(after.saturating_add(1)..);
    numbered.take_while(|(item, seq)| get_text(item, SK) == Some(&place(*seq)))
}

async fn open_event(store: &Store, run: &RunId, seq: u64, item: Item) -> Result<String, StoreError> {
    let StoredEvent::V1 { b, .. } = read(WHAT, item)?;
    let plain = sealed_blob::get(store, &subject(run, seq), &b).await?;
    String::from_utf8(plain).map_err(|_| StoreError::Unreadable { what: WHAT })
}

fn partition(run: &RunId) -> String {
    format!("RUN#{run}")
}

fn place(seq: u64) -> String {
    format!("EV#{seq:010}")
}

/// What the event of a run at this sort key is bound to. `None`: it is not the key of an event.
pub(crate) fn event_subject(run: &str, sort: &str) -> Option<String> {
    let seq = sort.strip_prefix("EV#")?.parse().ok()?;
    Some(subject(&RunId::new(run), seq))
}

fn subject(run: &RunId, seq: u64) -> String {
    format!("{run} {seq}")
}
