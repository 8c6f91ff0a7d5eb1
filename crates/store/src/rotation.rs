//! Rotation of the data key: a new key seals, all sealed values are resealed, the old key is retired.
//!
//! 1. [`begin`] adds a key. It starts to seal once every process knows it.
//! 2. [`advance`] scans both tables and reseals values of older keys, a page at a time, and stores its position in item
//!    `KEYRING`/`rotation` of `config`. It repeats that until a pass finds nothing: a writer may have used an older key.
//! 3. Queues and links contain values that can't be resealed. When the last of them has expired, [`advance`] retires the old key.
//!
//! Every step is one conditional write, and may be the last of its process: the next [`advance`] continues.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_core::timestamp::{Timestamp, millis};
use tokio::time::Instant;

use crate::Store;
use crate::data_keys::{self, DataKeyError, KeyItem, KeyMaker, PARTITION, Source};
use crate::dynamo::{self, Reading};
use crate::error::StoreError;
use crate::item::{Item, get_text, key, number, read, write};
use crate::reseal::{self, Resealed, Table};
use crate::tables::{PK, SK};
use crate::update::Update;

/// How long an old key can open values after its successor started to seal. Queues keep messages for 14 days, the ledger and dead letters keep them for 30
/// more with their events as they were sent, and links live no longer.
pub const RETIRED_AFTER: Duration = Duration::from_hours(45 * 24);

/// Like [`RETIRED_AFTER`], if the old key was leaked: messages that are older on queues, links and sessions are given up for that.
///
/// Longer than a relay's queue keeps messages, and than a process continues with keys that it can't read again.
pub const RETIRED_AT_ONCE_AFTER: Duration = Duration::from_mins(15);

/// Most attempts to write the progress beside a process that continues the rotation.
const MAX_ATTEMPTS: u32 = 10;
const SORT: &str = "rotation";
const WHAT: &str = "rotation";
/// Items read at a time.
const PAGE: i32 = 200;

/// State of a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// All data keys, the newest first.
    pub keys: Vec<DataKey>,
    /// Its current phase.
    pub phase: Phase,
    /// Values resealed with the newest key.
    pub n_resealed: u64,
    /// Values that could not be opened with any key in the latest pass.
    pub n_unreadable: u64,
}

/// A data key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataKey {
    /// The version that its values name.
    pub version: u8,
    /// When it started or will start to seal. `None`: from the first start.
    pub seals_from: Option<Timestamp>,
    /// When it is retired. `None`: it is the newest.
    pub retired_at: Option<Timestamp>,
}

/// Phase of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// None in progress: there is one key.
    Idle,
    /// The newest key doesn't seal yet, as not every process may know it.
    Announced,
    /// Values of older keys are being resealed.
    Resealing,
    /// No value in the tables needs an older key; messages on queues and links may.
    Retiring,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1(Progress),
}

/// Progress towards the newest key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Progress {
    /// The newest key.
    to: u8,
    /// The table being scanned: 0 `config`, 1 `state`, 2 neither, as nothing was found any more.
    t: u8,
    /// The key of the last item processed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<(String, String)>,
    /// Values resealed, in all passes.
    n: u64,
    /// Values resealed in this pass.
    np: u64,
    /// Values that could not be opened with any key, in this pass.
    nu: u64,
    /// Whether older keys are retired as soon as the tables don't need them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    now: bool,
    #[serde(with = "millis")]
    at: Timestamp,
    ver: u64,
}

const N_TABLES: u8 = 2;

/// Starts a rotation, or continues the unfinished one: there is at most one at a time.
///
/// # Errors
/// [`DataKeyError::Given`] if the key isn't stored in the table; [`DataKeyError`].
pub async fn begin(store: &Store, now: Timestamp) -> Result<Rotation, DataKeyError> {
    let (source, maker) = source(store)?;
    let keys = data_keys::list(store).await?;
    let progress = load(store).await?;
    let is_running = match data_keys::newest(&keys) {
        // If old keys are about to be retired at once, another key would delay that.
        Some(newest) if keys.len() > 1 => {
            let progress = progress.of(newest.version);
            progress.now || !progress.is_done(newest.version)
        }
        _ => false,
    };
    if !is_running {
        let version = data_keys::next_version(&keys)?;
        let wrapped = maker.make(false).await?;
        data_keys::put(store, version, wrapped, now.after(maker.delay())).await?;
        store.read_keys(source, now).await?;
    }
    status(store, now).await
}

/// Retires the older keys of a rotation [`RETIRED_AT_ONCE_AFTER`] the newest started to seal, instead of [`RETIRED_AFTER`]: one of them was
/// leaked. Does nothing if there is one key.
///
/// # Errors
/// As [`begin`].
pub async fn retire_at_once(store: &Store, now: Timestamp) -> Result<Rotation, DataKeyError> {
    source(store)?;
    for _ in 0..MAX_ATTEMPTS {
        let keys = data_keys::list(store).await?;
        let newest = data_keys::newest(&keys).ok_or(DataKeyError::Missing)?;
        let mut progress = load(store).await?.of(newest.version);
        let before = progress.ver;
        if keys.len() < 2 || progress.now {
            return status(store, now).await;
        }
        progress.now = true;
        if save(store, before, &mut progress).await? {
            return status(store, now).await;
        }
    }
    Err(StoreError::Conflict.into())
}

/// The state of the rotation.
///
/// # Errors
/// [`DataKeyError::Given`] if the key isn't stored in the table; [`DataKeyError::Store`].
pub async fn status(store: &Store, now: Timestamp) -> Result<Rotation, DataKeyError> {
    source(store)?;
    let mut keys = data_keys::list(store).await?;
    let progress = load(store).await?;
    keys.sort_by_key(|key| std::cmp::Reverse(key.seals_from));
    let newest = data_keys::newest(&keys).ok_or(DataKeyError::Missing)?.clone();
    let phase = match () {
        () if keys.len() == 1 => Phase::Idle,
        () if newest.seals_from > now => Phase::Announced,
        () if progress.is_done(newest.version) => Phase::Retiring,
        () => Phase::Resealing,
    };
    let is_current = progress.to == newest.version;
    let view = |key: &KeyItem| DataKey {
        version: key.version,
        seals_from: (key.seals_from > Timestamp::default()).then_some(key.seals_from),
        retired_at: (key.version != newest.version).then(|| progress.retired_at(&newest)),
    };
    Ok(Rotation {
        keys: keys.iter().map(view).collect(),
        phase,
        n_resealed: if is_current { progress.n } else { 0 },
        n_unreadable: if is_current { progress.nu } else { 0 },
    })
}

/// Continues a rotation for about `patience`. Does nothing if there is none.
///
/// # Errors
/// [`DataKeyError`]. Completed steps stay; the next call continues.
pub async fn advance(store: &Store, now: Timestamp, patience: Duration) -> Result<(), DataKeyError> {
    let (source, maker) = match source(store) {
        Ok(found) => found,
        Err(DataKeyError::Given) => return Ok(()),
        Err(error) => return Err(error),
    };
    let keys = data_keys::list(store).await?;
    let newest = match data_keys::newest(&keys) {
        Some(newest) if keys.len() > 1 => newest,
        _ => return Ok(()),
    };
    // A process may have sealed with keys that it read just before the newest started to seal.
    if newest.seals_from.after(maker.delay()) > now {
        return Ok(());
    }
    // With exactly these keys: those that this process has read may be older.
    store.read_keys(source, now).await?;
    let until = Instant::now() + patience;
    let mut progress = load(store).await?.of(newest.version);
    let retired_at = progress.retired_at(newest);
    // A last pass before the key is destroyed.
    let is_last_look = progress.is_done(newest.version) && now >= retired_at && progress.at < retired_at;
    if is_last_look {
        progress = Progress {
            n: progress.n,
            now: progress.now,
            ..Progress::begun(newest.version, progress.ver)
        };
    }
    while progress.t < N_TABLES {
        let before = progress.ver;
        page(store, &mut progress).await?;
        progress.at = now;
        if !save(store, before, &mut progress).await? || Instant::now() >= until {
            return Ok(());
        }
    }
    if now >= retired_at {
        for old in keys.iter().filter(|key| key.version != newest.version) {
            data_keys::retire(store, maker, old).await?;
        }
        store.read_keys(source, now).await?;
    }
    Ok(())
}

/// Reseals a page of items, and advances the position.
async fn page(store: &Store, progress: &mut Progress) -> Result<(), StoreError> {
    let (table, name) = match progress.t {
        0 => (Table::Config, &store.tables.config),
        _ => (Table::State, &store.tables.state),
    };
    let after = progress.after.take().map(|(pk, sk)| key(&pk, &sk));
    let (items, next) = dynamo::scan(&store.dynamo, name, after, PAGE).await?;
    let mut done = Resealed::default();
    for item in items.iter().filter(|item| get_text(item, PK) != Some(PARTITION)) {
        done = done.and(reseal::item(store, table, item).await?);
    }
    progress.n += done.n_changed;
    progress.np += done.n_changed;
    progress.nu += done.n_unreadable;
    let place = |key: &Item| Some((get_text(key, PK)?.to_owned(), get_text(key, SK)?.to_owned()));
    progress.after = next.as_ref().and_then(place);
    if progress.after.is_none() {
        progress.next_table();
    }
    Ok(())
}

impl Progress {
    fn begun(to: u8, ver: u64) -> Self {
        Self {
            to,
            ver,
            ..Self::default()
        }
    }

    /// The progress towards the newest key: this one, unless it belongs to an earlier rotation.
    fn of(self, newest: u8) -> Self {
        match self.to == newest {
            true => self,
            false => Self::begun(newest, self.ver),
        }
    }

    /// When the keys before `newest` are retired.
    fn retired_at(&self, newest: &KeyItem) -> Timestamp {
        let is_urgent = self.to == newest.version && self.now;
        newest.seals_from.after(match is_urgent {
            true => RETIRED_AT_ONCE_AFTER,
            false => RETIRED_AFTER,
        })
    }

    fn is_done(&self, newest: u8) -> bool {
        self.to == newest && self.t >= N_TABLES
    }

    /// After the last table starts at the first again, until a whole pass has found nothing.
    fn next_table(&mut self) {
        self.t += 1;
        if self.t == N_TABLES && self.np > 0 {
            self.t = 0;
            (self.np, self.nu) = (0, 0);
        }
    }
}

async fn load(store: &Store) -> Result<Progress, StoreError> {
    let at = (PARTITION, SORT);
    let found = dynamo::get(&store.dynamo, &store.tables.config, at, Reading::Strong, &[]).await?;
    let stored = found.map(|item| read(WHAT, item)).transpose()?;
    Ok(stored.map(|Stored::V1(progress)| progress).unwrap_or_default())
}

/// Saves the progress. Returns `false` if another process has saved its own meanwhile: then that one continues.
async fn save(store: &Store, before: u64, progress: &mut Progress) -> Result<bool, StoreError> {
    progress.ver = before + 1;
    let item = write(WHAT, PARTITION, SORT, &Stored::V1(progress.clone()))?;
    let mut condition = Update::new();
    match before {
        0 => condition.require_absent(PK),
        _ => condition.require_equal("ver", number(before)),
    };
    let written = dynamo::put(&store.dynamo, &store.tables.config, item, condition).await?;
    Ok(matches!(written, dynamo::Written::Done(_)))
}

fn source(store: &Store) -> Result<(&Source, &dyn KeyMaker), DataKeyError> {
    let source = store.key_source.as_deref();
    source
        .and_then(|source| Some((source, source.maker()?)))
        .ok_or(DataKeyError::Given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_scanned_until_a_pass_finds_nothing() {
        let mut progress = Progress {
            t: 1,
            np: 1,
            nu: 2,
            ..Progress::default()
        };
        progress.next_table();
        assert_eq!((progress.t, progress.np, progress.nu), (0, 0, 0));
        progress.next_table();
        progress.next_table();
        assert!(progress.is_done(0));
    }
}
