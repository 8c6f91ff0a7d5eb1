//! The log of an integration, for its operator.
//!
//! Items `LOG#{integration}`/`{time}#{random}` of `state`, 7 days: `l` level, `c` code, `m` message.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_core::ids::{IntegrationId, fresh};
use tieline_core::timestamp::Timestamp;

use crate::Store;
use crate::dynamo::{self, Query, Reading, query};
use crate::error::StoreError;
use crate::item::{Item, alive, expire, get_text, key, read, sortable, write};
use crate::page::{Page, TIMED, cursor, position};
use crate::tables::SK;
use crate::update::Update;

/// How long a log entry is kept.
const LIFETIME: Duration = Duration::from_hours(7 * 24);

const WHAT: &str = "log entry";

/// A log entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// The time.
    pub at: Timestamp,
    /// The level.
    pub level: Level,
    /// A stable code.
    pub code: String,
    /// What happened, without secrets and personal text.
    pub message: String,
}

/// Level of an entry, the lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As expected.
    Info,
    /// Handled; worth watching.
    Warn,
    /// An operator must act.
    Error,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1 {
        #[serde(with = "tieline_core::timestamp::millis")]
        at: Timestamp,
        l: Level,
        c: String,
        m: String,
    },
}

/// Adds an entry.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn append(
    store: &Store,
    integration: &IntegrationId,
    entry: &LogEntry,
    random: [u8; 12],
) -> Result<(), StoreError> {
    let item = item(integration, entry, random)?;
    // Unconditional: the key is new.
    dynamo::put(&store.dynamo, &store.tables.state, item, Update::new())
        .await
        .map(drop)
}

/// An entry as an item with a unique key.
pub(crate) fn item(integration: &IntegrationId, entry: &LogEntry, random: [u8; 12]) -> Result<Item, StoreError> {
    let stored = Stored::V1 {
        at: entry.at,
        l: entry.level,
        c: entry.code.clone(),
        m: entry.message.clone(),
    };
    let place = format!("{}#{}", sortable(entry.at), fresh("log", random));
    let mut item = write(WHAT, &partition(integration), &place, &stored)?;
    expire(&mut item, entry.at.after(LIFETIME));
    Ok(item)
}

/// Entries per read while a page of some levels is filled.
const READ_AT_A_TIME: usize = 200;
/// Most reads for one page: a level that almost no entry has yields a short page with a cursor.
const MAX_ROUNDS: usize = 50;

/// Lists the entries of `level` and above, the newest first.
///
/// # Errors
/// [`StoreError::Unavailable`], or [`StoreError::Unreadable`] for a cursor that isn't one.
pub async fn list(
    store: &Store,
    integration: &IntegrationId,
    level: Level,
    after: Option<&str>,
    limit: usize,
    now: Timestamp,
) -> Result<Page<LogEntry>, StoreError> {
    let partition = partition(integration);
    let mut last = position(after, TIMED)?;
    let mut page = Page::<LogEntry>::default();
    for _ in 0..MAX_ROUNDS {
        let missing = limit.max(1) - page.items.len();
        let asked = Query {
            table: &store.tables.state,
            index: None,
            partition: &partition,
            range: TIMED,
            descending: true,
            reading: Reading::Strong,
            after: last.take().map(|place| key(&partition, &place)),
            limit: if level > Level::Info { READ_AT_A_TIME } else { missing },
        };
        let (found, next) = query(&store.dynamo, asked).await?;
        last = next.and_then(|key| get_text(&key, SK).map(str::to_owned));
        let mut kept = None;
        for item in found.into_iter().filter_map(|item| alive(Some(item), now)) {
            let place = get_text(&item, SK).map(str::to_owned);
            let entry = from_item(item)?;
            if entry.level < level {
                continue;
            }
            if page.items.len() >= limit.max(1) {
                // More were read than the page holds: the next one starts with this entry.
                last = kept;
                break;
            }
            kept = place;
            page.items.push(entry);
        }
        if last.is_none() || page.items.len() >= limit {
            break;
        }
    }
    page.cursor = last.as_deref().map(cursor);
    Ok(page)
}

fn from_item(item: Item) -> Result<LogEntry, StoreError> {
    let Stored::V1 { at, l, c, m } = read(WHAT, item)?;
    Ok(LogEntry {
        at,
        level: l,
        code: c,
        message: m,
    })
}

fn partition(integration: &IntegrationId) -> String {
    format!("LOG#{integration}")
}
