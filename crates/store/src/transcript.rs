//! Transcripts of sessions, for agents that keep none themselves.
//!
//! Items `SES#{session}`/`TURN#{start of the run}#{run}` of `state`, 30 days: the turn, sealed.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_core::agent::Turn;
use tieline_core::ids::{RunId, SessionId};
use tieline_core::timestamp::Timestamp;

use crate::Store;
use crate::dynamo::{self, Query, Reading, end_of};
use crate::error::StoreError;
use crate::item::{Item, alive, expire, get_text, read, sortable, write};
use crate::sealed_blob::{self, Body};
use crate::tables::SK;
use crate::update::Update;

/// How long a turn is kept.
const LIFETIME: Duration = Duration::from_hours(30 * 24);

/// How many turns are read at once. Most fit into their items, which have at most 64 KiB.
const PAGE: usize = 20;

const WHAT: &str = "turn";
const PREFIX: &str = "TURN#";

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1 { b: Body },
}

/// A [`Turn`] to be stored. Borrowed, for an answer may be long.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct NewTurn<'a> {
    /// The question.
    pub user: &'a str,
    /// The answer.
    pub assistant: &'a str,
}

/// Stores the turn of a run that started at `started_at`. The first one stored stays.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn put(
    store: &Store,
    session: &SessionId,
    run: &RunId,
    started_at: Timestamp,
    turn: NewTurn<'_>,
) -> Result<(), StoreError> {
    let expires_at = started_at.after(LIFETIME);
    let plain = sealed_blob::json(WHAT, &turn, turn.user.len() + turn.assistant.len())?;
    let place = place(started_at, run);
    let b = sealed_blob::put(store, &subject(session, &place), &plain, None, expires_at).await?;
    let mut item = write(WHAT, &partition(session), &place, &Stored::V1 { b })?;
    expire(&mut item, expires_at);
    let mut condition = Update::new();
    condition.require_gone(started_at);
    dynamo::put(&store.dynamo, &store.tables.state, item, condition)
        .await
        .map(drop)
}

/// The latest turns of a session, the oldest first: at most `limit` of them, with at most `max_bytes` in total.
///
/// Read from the newest on, a page at a time, up to the first that doesn't fit: if that one is long, it is not read at all.
///
/// # Errors
/// [`StoreError::Unavailable`], [`StoreError::Unreadable`], or [`StoreError::Unsealable`].
pub async fn latest(
    store: &Store,
    session: &SessionId,
    limit: usize,
    max_bytes: usize,
    now: Timestamp,
) -> Result<Vec<Turn>, StoreError> {
    let partition = partition(session);
    let mut asked = Query {
        table: &store.tables.state,
        index: None,
        partition: &partition,
        range: (PREFIX, &end_of(PREFIX)),
        descending: true,
        reading: Reading::Strong,
        after: None,
        limit: PAGE,
    };
    let mut turns = Vec::new();
    let mut bytes_left = max_bytes;
    'pages: while turns.len() < limit {
        let (found, next) = dynamo::query(&store.dynamo, asked.clone()).await?;
        for item in found.into_iter().filter_map(|item| alive(Some(item), now)) {
            match open(store, session, item, bytes_left).await? {
                Some((turn, n_bytes)) if turns.len() < limit => {
                    bytes_left -= n_bytes;
                    turns.push(turn);
                }
                _ => break 'pages,
            }
        }
        match next {
            Some(key) => asked.after = Some(key),
            None => break,
        }
    }
    turns.reverse();
    Ok(turns)
}

/// The turn and its stored length. `None` if it has more than `max_bytes`.
async fn open(
    store: &Store,
    session: &SessionId,
    item: Item,
    max_bytes: usize,
) -> Result<Option<(Turn, usize)>, StoreError> {
    let place = get_text(&item, SK).unwrap_or_default().to_owned();
    let Stored::V1 { b } = read(WHAT, item)?;
    if b.least_bytes() > max_bytes {
        return Ok(None);
    }
    let plain = sealed_blob::get(store, &subject(session, &place), &b).await?;
    if plain.len() > max_bytes {
        return Ok(None);
    }
    let turn = serde_json::from_slice(&plain).map_err(|_| StoreError::Unreadable { what: WHAT })?;
    Ok(Some((turn, plain.len())))
}

fn partition(session: &SessionId) -> String {
    format!("SES#{session}")
}

fn place(started_at: Timestamp, run: &RunId) -> String {
    format!("{PREFIX}{}#{run}", sortable(started_at))
}

/// What the turn of a session at this sort key is bound to. `None`: it is not the key of a turn.
pub(crate) fn turn_subject(session: &str, sort: &str) -> Option<String> {
    let is_turn = sort.starts_with(PREFIX);
    is_turn.then(|| subject(&SessionId::new(session), sort))
}

fn subject(session: &SessionId, place: &str) -> String {
    format!("{session} {place}")
}
