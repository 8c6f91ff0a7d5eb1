//! Rotation of the data key over tables that hold every kind of sealed value.

use crate::sealed_items::{KINDS, check, fill};
use crate::tables::{self, Fresh, NOW, at, fresh};
use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tieline_core::conversation::task::TaskBook;
use tieline_core::timestamp::Timestamp;
use tieline_store::data_keys::{DataKeyError, KeyMaker, KeyOpener, MAX_AGE, REFRESH};
use tieline_store::rotation::{self, Phase, RETIRED_AFTER, RETIRED_AT_ONCE_AFTER, Rotation};
use tieline_store::{Store, StoreError, audit, conversation, deadletter, poll_cursor};

const DELAY: Duration = Duration::from_secs(180);
const PATIENCE: Duration = Duration::from_secs(60);

/// Keys of a test: a wrapped key is its index.
#[derive(Debug, Clone, Default)]
struct Wrapper {
    keys: Arc<Mutex<Vec<Option<[u8; 32]>>>>,
    fails: Arc<Mutex<bool>>,
}

impl KeyOpener for Wrapper {
    fn unwrap<'a>(&'a self, wrapped: &'a [u8]) -> BoxFuture<'a, Result<[u8; 32], DataKeyError>> {
        let found = self.keys.lock().unwrap()[usize::from(wrapped[0])];
        let fails = *self.fails.lock().unwrap();
        async move {
            let denied = || DataKeyError::Wrapper {
                code: "test".to_owned(),
                may_pass: true,
            };
            found.filter(|_| !fails).ok_or_else(denied)
        }
        .boxed()
    }
}

impl KeyMaker for Wrapper {
    fn make(&self, _is_first: bool) -> BoxFuture<'_, Result<Vec<u8>, DataKeyError>> {
        let mut keys = self.keys.lock().unwrap();
        let index = u8::try_from(keys.len()).unwrap();
        keys.push(Some([index + 10; 32]));
        async move { Ok(vec![index]) }.boxed()
    }

    fn destroy<'a>(&'a self, wrapped: &'a [u8]) -> BoxFuture<'a, Result<(), DataKeyError>> {
        self.keys.lock().unwrap()[usize::from(wrapped[0])] = None;
        async { Ok(()) }.boxed()
    }

    fn delay(&self) -> Duration {
        DELAY
    }
}

async fn open(it: &Fresh, wrapper: &Wrapper, now: Timestamp) -> Store {
    let maker = Arc::new(wrapper.clone());
    let opened = Store::open_or_create(it.client.clone(), it.tables.clone(), maker, now).await;
    opened.unwrap()
}

/// The first part of the key of each item with a value of `version`, found by its form and not by what the program knows of it.
async fn sealed_with(it: &Fresh, version: u8) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for table in [&it.tables.config, &it.tables.state] {
        let pages = it.client.scan().table_name(table).into_paginator().items().send();
        for item in pages.collect::<Result<Vec<_>, _>>().await.unwrap() {
            let pk = item["pk"].as_s().unwrap();
            if pk != "KEYRING" && item.values().any(|value| looks_sealed(value, version)) {
                let kind = pk.split('#').next().unwrap();
                let kind = if kind == "ORG" {
                    item["sk"].as_s().unwrap().split('#').next().unwrap()
                } else {
                    kind
                };
                found.insert(kind.to_owned());
            }
        }
    }
    found
}

/// Version byte, nonce, tag.
fn looks_sealed(value: &AttributeValue, version: u8) -> bool {
    let is_sealed = |bytes: &[u8]| bytes.len() >= 1 + 12 + 16 && bytes[0] == version;
    match value {
        AttributeValue::B(bytes) => is_sealed(bytes.as_ref()),
        AttributeValue::S(text) => STANDARD.decode(text).is_ok_and(|bytes| is_sealed(&bytes)),
        AttributeValue::L(all) => all.iter().any(|value| looks_sealed(value, version)),
        AttributeValue::M(all) => all.values().any(|value| looks_sealed(value, version)),
        _ => false,
    }
}

fn versions(rotation: &Rotation) -> Vec<u8> {
    rotation.keys.iter().map(|key| key.version).collect()
}

fn kinds() -> BTreeSet<String> {
    KINDS.iter().map(|kind| (*kind).to_owned()).collect()
}

/// The version with which a store seals.
fn seals_with(store: &Store) -> u8 {
    STANDARD.decode(store.keyring().seal(b"", "")).unwrap()[0]
}

#[tokio::test]
async fn everything_is_resealed_and_the_old_key_is_destroyed() {
    let it = fresh().await;
    let wrapper = Wrapper::default();
    let store = open(&it, &wrapper, NOW).await;
    let other = open(&it, &wrapper, NOW).await;
    fill(&store).await;
    assert_eq!(sealed_with(&it, 1).await, kinds());
    let begun = rotation::begin(&store, NOW).await.unwrap();
    assert_eq!((versions(&begun), begun.phase), (vec![2, 1], Phase::Announced));

    // Until every process knows the new key it seals nothing, and no second one is created.
    rotation::advance(&store, at(60), PATIENCE).await.unwrap();
    let again = rotation::begin(&store, at(60)).await.unwrap();
    assert_eq!((versions(&again), seals_with(&store)), (vec![2, 1], 1));
    other.refresh_keys(at(60)).await.unwrap();

    let sealing = NOW.after(DELAY);
    store.refresh_keys(sealing).await.unwrap();
    let later = NOW.after(2 * DELAY);
    assert_eq!((seals_with(&store), seals_with(&other)), (2, 1));
    // A process that hasn't read the keys again since then can open what others seal, and vice versa.
    let [new, old] = [&store, &other].map(|store| store.keyring().seal(b"x", "a"));
    assert!(other.keyring().open(&new, "a").is_ok() && store.keyring().open(&old, "a").is_ok());

    rotation::advance(&store, later, PATIENCE).await.unwrap();
    let done = rotation::status(&store, later).await.unwrap();
    assert_eq!((done.phase, done.n_unreadable), (Phase::Retiring, 0));
    assert!(done.n_resealed >= KINDS.len() as u64, "{done:?}");
    assert_eq!(sealed_with(&it, 1).await, BTreeSet::new());
    assert_eq!(sealed_with(&it, 2).await, kinds());
    assert!(
        store.keyring().open(&old, "a").is_ok(),
        "what is in queues and links still opens"
    );

    let end = sealing.after(RETIRED_AFTER);
    rotation::advance(&store, end.before(Duration::from_secs(1)), PATIENCE)
        .await
        .unwrap();
    assert!(wrapper.keys.lock().unwrap()[0].is_some());
    rotation::advance(&store, end, PATIENCE).await.unwrap();
    assert!(wrapper.keys.lock().unwrap()[0].is_none(), "the old key is destroyed");
    let last = rotation::status(&store, end).await.unwrap();
    assert_eq!((versions(&last), last.phase), (vec![2], Phase::Idle));
    assert!(matches!(store.keyring().open(&old, "a"), Err(StoreError::UnknownKey)));
    check(&open(&it, &wrapper, end).await).await;
}

#[tokio::test]
async fn a_leaked_key_is_destroyed_as_soon_as_the_tables_do_not_need_it() {
    // Declared at the start, or after everything was resealed.
    for is_told_at_once in [true, false] {
        let it = fresh().await;
        let wrapper = Wrapper::default();
        let store = open(&it, &wrapper, NOW).await;
        fill(&store).await;
        rotation::begin(&store, NOW).await.unwrap();
        let (sealing, later) = (NOW.after(DELAY), NOW.after(2 * DELAY));
        let retire = async |now| {
            for _ in 0..2 {
                let told = rotation::retire_at_once(&store, now).await.unwrap();
                let old = told.keys.last().unwrap();
                assert_eq!(old.retired_at, Some(sealing.after(RETIRED_AT_ONCE_AFTER)));
            }
        };
        if is_told_at_once {
            retire(NOW).await;
        }
        rotation::advance(&store, later, PATIENCE).await.unwrap();
        let done = rotation::status(&store, later).await.unwrap();
        assert_eq!(
            (done.phase, sealed_with(&it, 1).await),
            (Phase::Retiring, BTreeSet::new())
        );
        if !is_told_at_once {
            retire(later).await;
        }
        let same = rotation::begin(&store, later).await.unwrap();
        assert_eq!(versions(&same), vec![2, 1], "another key would put it off");
        let end = sealing.after(RETIRED_AT_ONCE_AFTER);
        rotation::advance(&store, end.before(Duration::from_secs(1)), PATIENCE)
            .await
            .unwrap();
        assert!(
            wrapper.keys.lock().unwrap()[0].is_some(),
            "what is in queues still opens"
        );
        rotation::advance(&store, end, PATIENCE).await.unwrap();
        assert!(wrapper.keys.lock().unwrap()[0].is_none(), "the old key is destroyed");
        let last = rotation::status(&store, end).await.unwrap();
        assert_eq!((versions(&last), last.phase), (vec![2], Phase::Idle));
        check(&open(&it, &wrapper, end).await).await;
        // The next rotation is not urgent because of that.
        let next = rotation::begin(&store, end).await.unwrap();
        let usual = end.after(DELAY).after(RETIRED_AFTER);
        assert_eq!(next.keys.last().unwrap().retired_at, Some(usual));
    }
}

#[tokio::test]
async fn lists_show_what_a_lost_key_has_sealed() {
    let it = fresh().await;
    let wrapper = Wrapper::default();
    let store = open(&it, &wrapper, NOW).await;
    fill(&store).await;
    rotation::begin(&store, NOW).await.unwrap();
    let lost = it.client.delete_item().table_name(&it.tables.config);
    let lost = lost.key("pk", AttributeValue::S("KEYRING".to_owned()));
    let lost = lost.key("sk", AttributeValue::S("1".to_owned()));
    lost.send().await.unwrap();
    let [young, old] = [59, 61].map(|minutes| NOW.after(Duration::from_mins(minutes)));
    store.refresh_keys(young).await.unwrap();

    let org = tables::organization();
    let entries = async |now| audit::list(&store, Some(&org), (None, None), (None, 9), now).await;
    let letters = async |now| deadletter::list(&store, &org, None, 9, now).await;
    let int = tables::integration();
    let talks = async |now| conversation::list(&store, &int, None, None, 9, now).await;
    assert!(matches!(entries(young).await, Err(StoreError::UnknownKey)));
    assert!(matches!(letters(young).await, Err(StoreError::UnknownKey)));
    assert!(matches!(talks(young).await, Err(StoreError::UnknownKey)));

    let entries = entries(old).await.unwrap().items;
    assert_eq!(
        (entries.len(), &*entries[0].action, entries[0].at),
        (1, "unreadable", NOW)
    );
    let letters = letters(old).await.unwrap().items;
    assert_eq!(
        (letters.len(), &*letters[0].reason, &letters[0].body),
        (1, "connect", &None)
    );
    let mut talk = talks(old).await.unwrap().items.remove(0);
    assert_eq!(talk.tasks, TaskBook::default());
    // It goes on.
    let before = talk.clone();
    talk.updated_at = old;
    conversation::save(&store, &before, &mut talk).await.unwrap();
}

#[tokio::test]
async fn a_rotation_continues_wherever_its_process_ended() {
    let it = fresh().await;
    let wrapper = Wrapper::default();
    let store = open(&it, &wrapper, NOW).await;
    fill(&store).await;
    rotation::begin(&store, NOW).await.unwrap();
    let later = NOW.after(2 * DELAY);
    // One page at a time, each by a new process, and between them one that uses older keys.
    let late = open(&it, &wrapper, NOW).await;
    let (mut n_steps, mut is_behind) = (0, false);
    while rotation::status(&store, later).await.unwrap().phase != Phase::Retiring {
        let next = open(&it, &wrapper, later).await;
        rotation::advance(&next, later, Duration::ZERO).await.unwrap();
        n_steps += 1;
        if !is_behind && !sealed_with(&it, 1).await.contains("CUR") {
            poll_cursor::save(&late, &tables::integration(), "token", 1, "cursor")
                .await
                .unwrap();
            assert!(sealed_with(&it, 1).await.contains("CUR"));
            is_behind = true;
        }
        assert!(n_steps < 20, "it ends");
    }
    assert!(n_steps >= 6, "three passes over two tables: {n_steps}");
    assert_eq!(sealed_with(&it, 1).await, BTreeSet::new());
    check(&open(&it, &wrapper, later).await).await;
    // The next one is another rotation.
    let next = rotation::begin(&store, later).await.unwrap();
    assert_eq!((versions(&next), next.phase), (vec![3, 2, 1], Phase::Announced));
}

#[tokio::test]
async fn a_process_that_cannot_read_the_keys_continues_for_a_while() {
    let it = fresh().await;
    let wrapper = Wrapper::default();
    let store = open(&it, &wrapper, NOW).await;
    rotation::begin(&open(&it, &wrapper, NOW).await, NOW).await.unwrap();
    *wrapper.fails.lock().unwrap() = true;
    store.refresh_keys(NOW.after(REFRESH)).await.unwrap();
    let refused = store.refresh_keys(NOW.after(MAX_AGE)).await;
    assert!(matches!(refused, Err(DataKeyError::Wrapper { .. })), "{refused:?}");
    *wrapper.fails.lock().unwrap() = false;
    store.refresh_keys(NOW.after(MAX_AGE)).await.unwrap();
    store.refresh_keys(NOW.after(DELAY)).await.unwrap();
    assert_eq!(seals_with(&store), 2);
}

#[tokio::test]
async fn one_of_two_concurrent_begins_creates_the_key() {
    let it = fresh().await;
    let wrapper = Wrapper::default();
    let stores = [open(&it, &wrapper, NOW).await, open(&it, &wrapper, NOW).await];
    let begun = tables::race(
        stores
            .clone()
            .map(|store| async move { rotation::begin(&store, NOW).await }),
    )
    .await;
    for rotation in begun {
        assert_eq!(versions(&rotation.unwrap()), [2, 1]);
    }
    let sealed = stores[0].keyring().seal(b"x", "a");
    assert!(stores[1].keyring().open(&sealed, "a").is_ok());
}

#[tokio::test]
async fn only_the_program_that_rotates_keys_creates_the_first() {
    let it = fresh().await;
    let wrapper = Wrapper::default();
    let opener = Arc::new(wrapper.clone());
    let missing = Store::open(it.client.clone(), it.tables.clone(), opener.clone(), NOW).await;
    assert!(matches!(missing, Err(DataKeyError::Missing)), "{missing:?}");
    let sealed = open(&it, &wrapper, NOW).await.keyring().seal(b"x", "a");
    let store = Store::open(it.client.clone(), it.tables.clone(), opener, NOW)
        .await
        .unwrap();
    assert_eq!(store.keyring().open(&sealed, "a").unwrap(), b"x");
    assert!(matches!(rotation::begin(&store, NOW).await, Err(DataKeyError::Given)));
}

#[tokio::test]
async fn a_configured_key_is_not_rotated() {
    let it = fresh().await;
    rotation::advance(&it.store, NOW, PATIENCE).await.unwrap();
    let refused = rotation::begin(&it.store, NOW).await;
    assert!(matches!(refused, Err(DataKeyError::Given)), "{refused:?}");
}
