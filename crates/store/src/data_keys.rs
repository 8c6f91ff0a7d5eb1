//! The data keys, each wrapped, and unwrapped by a [`KeyOpener`]: items `KEYRING`/`{version}` of `config`.
//!
//! `wrapped` the wrapped key, `from` the time from which it seals (absent: always), `ret` whether it is retired. A process reads the keys
//! again every [`REFRESH`], so a new key starts to seal only when every process can open its values.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use futures_util::future::BoxFuture;
use tieline_core::timestamp::Timestamp;
use tokio::sync::Mutex;
use tracing::warn;

use crate::client::TableClient;
use crate::dynamo::{self, Query, Reading, Written};
use crate::error::StoreError;
use crate::item::{Item, get_number, get_text, number, text};
use crate::tables::{PK, SK, Tables};
use crate::update::Update;
use crate::{Keyring, Store};

/// How old the keys of a process may be before it reads them again.
pub const REFRESH: Duration = Duration::from_secs(30);
/// Most age of a process's keys: a process that can't read them processes nothing, for it may meet values that it can't open.
pub const MAX_AGE: Duration = Duration::from_secs(90);
/// A data key that is still unknown so long after it was used is lost: processes read new keys within seconds.
const KEY_KNOWN_WITHIN: Duration = Duration::from_hours(1);

pub(crate) const PARTITION: &str = "KEYRING";
const FIRST_VERSION: u8 = 1;
const WRAPPED: &str = "wrapped";
const FROM: &str = "from";
const RETIRED: &str = "ret";
/// Versions are digits, which sort before everything else in the partition.
const VERSIONS: (&str, &str) = ("0", ":");
const MAX_VERSIONS: usize = 256;

/// Why there is no usable data key.
#[derive(Debug, thiserror::Error)]
pub enum DataKeyError {
    /// The table that holds the wrapped keys failed.
    #[error("table is unavailable")]
    Store(#[from] StoreError),
    /// The service that wraps the keys failed, with its error.
    #[error("data key can't be unwrapped: {code}")]
    Wrapper {
        /// Its error code.
        code: String,
        /// Whether a retry may help.
        may_pass: bool,
    },
    /// The data key is not 32 bytes.
    #[error("data key is not 32 bytes long")]
    BadKey,
    /// There is none yet, and this process may not create one.
    #[error("there is no data key yet: the admin function creates it when it starts")]
    Missing,
    /// The data key was configured and is not stored in the table.
    #[error("the data key was given to this process and can't be rotated")]
    Given,
    /// Every version is in use.
    #[error("no version is left for another data key")]
    NoVersionLeft,
}

impl DataKeyError {
    /// Whether a retry may help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Store(StoreError::Unavailable { .. } | StoreError::Conflict) | Self::Missing => true,
            Self::Wrapper { may_pass, .. } => *may_pass,
            Self::Store(_) | Self::BadKey | Self::Given | Self::NoVersionLeft => false,
        }
    }
}

/// Unwraps data keys. They are wrapped so that access to the table alone opens nothing: by a key service, or as files beside the table.
pub trait KeyOpener: fmt::Debug + Send + Sync {
    /// Unwraps a data key.
    fn unwrap<'a>(&'a self, wrapped: &'a [u8]) -> BoxFuture<'a, Result<[u8; 32], DataKeyError>>;
}

/// Creates and destroys data keys: in the one program that rotates them.
pub trait KeyMaker: KeyOpener {
    /// Creates a data key and returns it wrapped. `is_first`: for a table that has none.
    fn make(&self, is_first: bool) -> BoxFuture<'_, Result<Vec<u8>, DataKeyError>>;

    /// Deletes what is stored of a retired key outside the table. Idempotent.
    fn destroy<'a>(&'a self, wrapped: &'a [u8]) -> BoxFuture<'a, Result<(), DataKeyError>>;

    /// How long after its creation a key starts to seal: until every process knows it. Zero where there is one process.
    fn delay(&self) -> Duration;
}

/// An unknown data key is an error until it counts as lost; then what it has sealed `age` ago is unreadable for good.
///
/// # Errors
/// That of `opened`, unless its key is lost.
pub fn unless_key_is_lost<T>(opened: Result<Option<T>, StoreError>, age: Duration) -> Result<Option<T>, StoreError> {
    match opened {
        Err(StoreError::UnknownKey) if age > KEY_KNOWN_WITHIN => Ok(None),
        opened => opened,
    }
}

/// The source of a store's keys, and when they were last read.
#[derive(Debug)]
pub(crate) struct Source {
    opener: Arc<dyn KeyOpener>,
    maker: Option<Arc<dyn KeyMaker>>,
    read_at_ms: AtomicI64,
    reading: Mutex<()>,
}

/// A data key as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyItem {
    pub(crate) version: u8,
    pub(crate) wrapped: Vec<u8>,
    pub(crate) seals_from: Timestamp,
    pub(crate) is_retired: bool,
}

impl Store {
    /// A store over these tables, with the data keys stored in them.
    ///
    /// # Errors
    /// [`DataKeyError::Missing`] if there is none yet; [`DataKeyError`].
    pub async fn open(
        client: impl Into<TableClient>,
        tables: Tables,
        opener: Arc<dyn KeyOpener>,
        now: Timestamp,
    ) -> Result<Self, DataKeyError> {
        let store = Self::with(client.into(), tables, Keyring::empty(), Some(Source::new(opener, None)));
        store.refresh_keys(now).await?;
        Ok(store)
    }

    /// [`Store::open`] in the program that rotates the keys: it creates the first one.
    ///
    /// # Errors
    /// [`DataKeyError`].
    pub async fn open_or_create(
        client: impl Into<TableClient>,
        tables: Tables,
        maker: Arc<dyn KeyMaker>,
        now: Timestamp,
    ) -> Result<Self, DataKeyError> {
        let opener: Arc<dyn KeyOpener> = maker.clone();
        let source = Source::new(opener, Some(maker.clone()));
        let store = Self::with(client.into(), tables, Keyring::empty(), Some(source));
        if list(&store).await?.is_empty() {
            // A conditional write lets only one process be first.
            put(&store, FIRST_VERSION, maker.make(true).await?, Timestamp::default()).await?;
        }
        store.refresh_keys(now).await?;
        Ok(store)
    }

    /// Reads the data keys again, unless they are fresh. If that fails, keys that are not too old stay in use.
    ///
    /// # Errors
    /// [`DataKeyError`], if the keys are older than [`MAX_AGE`].
    pub async fn refresh_keys(&self, now: Timestamp) -> Result<(), DataKeyError> {
        let Some(source) = &self.key_source else {
            return Ok(());
        };
        if source.age(now) < REFRESH {
            return Ok(());
        }
        let _one_at_a_time = source.reading.lock().await;
        if source.age(now) < REFRESH {
            return Ok(());
        }
        match self.read_keys(source, now).await {
            Err(error) if source.age(now) < MAX_AGE => {
                warn!(error = %error, "data keys can't be read again for the moment");
                Ok(())
            }
            done => done,
        }
    }

    /// Reads the data keys now.
    pub(crate) async fn read_keys(&self, source: &Source, now: Timestamp) -> Result<(), DataKeyError> {
        let found = list(self).await?;
        let kept: Vec<_> = found.iter().filter(|key| !key.is_retired).collect();
        let mut new = Vec::new();
        for key in kept.iter().filter(|key| !self.keyring.opens(key.version)) {
            new.push((key.version, source.opener.unwrap(&key.wrapped).await?));
        }
        let current = current(&found, now).ok_or(DataKeyError::Missing)?.version;
        let versions: Vec<_> = kept.iter().map(|key| key.version).collect();
        self.keyring.replace(current, &versions, new);
        source.read_at_ms.store(now.as_millis(), Ordering::Relaxed);
        Ok(())
    }
}

impl Source {
    fn new(opener: Arc<dyn KeyOpener>, maker: Option<Arc<dyn KeyMaker>>) -> Self {
        Self {
            opener,
            maker,
            read_at_ms: AtomicI64::new(i64::MIN),
            reading: Mutex::default(),
        }
    }

    /// The key maker. `None` in a program that doesn't rotate keys.
    pub(crate) fn maker(&self) -> Option<&dyn KeyMaker> {
        self.maker.as_deref()
    }

    /// Time since the keys were read. If the clock was set back, it counts as long.
    fn age(&self, now: Timestamp) -> Duration {
        let elapsed = now.as_millis().checked_sub(self.read_at_ms.load(Ordering::Relaxed));
        let millis = elapsed.and_then(|millis| u64::try_from(millis).ok());
        millis.map_or(Duration::MAX, Duration::from_millis)
    }
}

/// The key used for sealing at `now`.
pub(crate) fn current(keys: &[KeyItem], now: Timestamp) -> Option<&KeyItem> {
    let sealing = keys.iter().filter(|key| !key.is_retired && key.seals_from <= now);
    sealing.max_by_key(|key| key.seals_from)
}

/// The key that was created last.
pub(crate) fn newest(keys: &[KeyItem]) -> Option<&KeyItem> {
    keys.iter()
        .filter(|key| !key.is_retired)
        .max_by_key(|key| key.seals_from)
}

/// All data keys, also retired ones that are not deleted yet.
pub(crate) async fn list(store: &Store) -> Result<Vec<KeyItem>, StoreError> {
    let asked = Query {
        table: &store.tables.config,
        index: None,
        partition: PARTITION,
        range: VERSIONS,
        descending: false,
        reading: Reading::Strong,
        after: None,
        limit: MAX_VERSIONS,
    };
    let found = dynamo::query_all(&store.dynamo, asked).await?;
    found.iter().map(read).collect()
}

/// Creates a key that seals from `seals_from` on. If another process has created this version meanwhile, that one is returned.
pub(crate) async fn put(
    store: &Store,
    version: u8,
    wrapped: Vec<u8>,
    seals_from: Timestamp,
) -> Result<KeyItem, StoreError> {
    let sort = version.to_string();
    let item = Item::from([
        (PK.to_owned(), text(PARTITION)),
        (SK.to_owned(), text(sort)),
        (WRAPPED.to_owned(), AttributeValue::B(Blob::new(wrapped.clone()))),
        (FROM.to_owned(), number(seals_from.as_millis())),
    ]);
    let mut condition = Update::new();
    condition.require_absent(PK);
    match dynamo::put(&store.dynamo, &store.tables.config, item, condition).await? {
        Written::Done(_) => Ok(KeyItem {
            version,
            wrapped,
            seals_from,
            is_retired: false,
        }),
        Written::Refused(Some(item)) => read(&item),
        Written::Refused(None) => Err(StoreError::Conflict),
    }
}

/// The version of the next key: the one after the newest that is not in use.
pub(crate) fn next_version(keys: &[KeyItem]) -> Result<u8, DataKeyError> {
    let newest = newest(keys).map_or(0, |key| key.version);
    let used: BTreeMap<_, _> = keys.iter().map(|key| (key.version, ())).collect();
    let candidates = (1..=u8::MAX).map(|step| newest.wrapping_add(step));
    candidates
        .into_iter()
        .find(|version| *version != 0 && !used.contains_key(version))
        .ok_or(DataKeyError::NoVersionLeft)
}

/// Removes a key for good. It is marked first, so that its remains outside the table are deleted even if this process dies.
pub(crate) async fn retire(store: &Store, maker: &dyn KeyMaker, key: &KeyItem) -> Result<(), DataKeyError> {
    let (table, sort) = (&store.tables.config, key.version.to_string());
    let mut mark = Update::new();
    let pk = mark.path(PK);
    mark.set(RETIRED, AttributeValue::Bool(true))
        .require(format!("attribute_exists({pk})"));
    dynamo::update(&store.dynamo, table, (PARTITION, &sort), mark, ReturnValue::None).await?;
    maker.destroy(&key.wrapped).await?;
    Ok(dynamo::delete(&store.dynamo, table, (PARTITION, &sort), Update::new()).await?)
}

fn read(item: &Item) -> Result<KeyItem, StoreError> {
    let read = || {
        Some(KeyItem {
            version: get_text(item, SK)?.parse().ok()?,
            wrapped: item.get(WRAPPED)?.as_b().ok()?.clone().into_inner(),
            seals_from: Timestamp::from_millis(get_number(item, FROM).unwrap_or_default()),
            is_retired: item.contains_key(RETIRED),
        })
    };
    read().ok_or(StoreError::Unreadable { what: "wrapped key" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(version: u8, seals_from: i64) -> KeyItem {
        KeyItem {
            version,
            wrapped: Vec::new(),
            seals_from: Timestamp::from_secs(seals_from),
            is_retired: false,
        }
    }

    #[test]
    fn a_key_seals_from_its_time_on() {
        let keys = [key(1, 0), key(2, 100)];
        let at = |seconds| current(&keys, Timestamp::from_secs(seconds)).map(|key| key.version);
        assert_eq!((at(99), at(100)), (Some(1), Some(2)));
        assert_eq!(newest(&keys).unwrap().version, 2);
    }

    #[test]
    fn versions_wrap_around_and_none_is_used_twice() {
        assert_eq!(next_version(&[key(1, 0)]).unwrap(), 2);
        assert_eq!(next_version(&[key(255, 5), key(254, 0)]).unwrap(), 1);
        assert_eq!(next_version(&[key(255, 5), key(1, 0)]).unwrap(), 2);
        let all: Vec<_> = (1..=u8::MAX).map(|version| key(version, version.into())).collect();
        assert!(matches!(next_version(&all), Err(DataKeyError::NoVersionLeft)));
    }
    #[test]
    fn unknown_key_is_an_error_until_it_is_lost() {
        let opened = |minutes| unless_key_is_lost::<()>(Err(StoreError::UnknownKey), Duration::from_mins(minutes));
        assert!(matches!(opened(59), Err(StoreError::UnknownKey)));
        assert!(matches!(opened(61), Ok(None)));
        let other = unless_key_is_lost::<()>(Err(StoreError::Conflict), Duration::from_hours(2));
        assert!(matches!(other, Err(StoreError::Conflict)));
    }
}
