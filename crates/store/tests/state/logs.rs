//! The log of an integration.

use tieline_core::ids::IntegrationId;
use tieline_store::log::{self, Level, LogEntry};

use crate::tables::{DAY, Fresh, NOW, at, fresh, integration};

fn entry(second: i64, level: Level) -> LogEntry {
    LogEntry {
        at: at(second),
        level,
        code: "code".into(),
        message: format!("message {second}"),
    }
}

async fn append(it: &Fresh, entry: &LogEntry) {
    let mut random = [0; 12];
    getrandom::fill(&mut random).unwrap();
    log::append(&it.store, &integration(), entry, random).await.unwrap();
}

async fn seconds(it: &Fresh, level: Level, limit: usize) -> Vec<i64> {
    let mut seconds = Vec::new();
    let mut cursor = None;
    loop {
        let page = log::list(&it.store, &integration(), level, cursor.as_deref(), limit, at(99))
            .await
            .unwrap();
        assert!(page.items.len() <= limit);
        seconds.extend(page.items.into_iter().map(|entry| entry.at.as_secs() - NOW.as_secs()));
        cursor = page.cursor;
        if cursor.is_none() {
            return seconds;
        }
    }
}

#[tokio::test]
async fn entries_are_listed_newest_first_from_a_level_on() {
    let it = fresh().await;
    for (second, level) in [(1, Level::Info), (2, Level::Error), (3, Level::Warn), (4, Level::Info)] {
        append(&it, &entry(second, level)).await;
    }
    for limit in [1, 2, 100] {
        assert_eq!(seconds(&it, Level::Info, limit).await, [4, 3, 2, 1]);
        assert_eq!(seconds(&it, Level::Warn, limit).await, [3, 2]);
        assert_eq!(seconds(&it, Level::Error, limit).await, [2]);
    }
}

#[tokio::test]
async fn pages_of_a_level_are_full_however_many_entries_are_between() {
    let it = fresh().await;
    for second in 1..=3 {
        append(&it, &entry(second, Level::Error)).await;
    }
    for second in 4..=60 {
        append(&it, &entry(second, Level::Info)).await;
    }
    for limit in [1, 2] {
        let page = log::list(&it.store, &integration(), Level::Error, None, limit, at(99)).await;
        assert_eq!(page.unwrap().items.len(), limit);
        assert_eq!(seconds(&it, Level::Error, limit).await, [3, 2, 1]);
    }
}

#[tokio::test]
async fn entries_of_the_same_millisecond_are_all_kept() {
    let it = fresh().await;
    for _ in 0..3 {
        append(&it, &entry(1, Level::Info)).await;
    }
    assert_eq!(seconds(&it, Level::Info, 9).await, [1, 1, 1]);
}

#[tokio::test]
async fn entries_expire_and_belong_to_their_integration() {
    let it = fresh().await;
    append(&it, &entry(1, Level::Error)).await;
    let page = log::list(&it.store, &integration(), Level::Info, None, 9, NOW)
        .await
        .unwrap();
    assert_eq!(page.items, [entry(1, Level::Error)]);
    let later = log::list(&it.store, &integration(), Level::Info, None, 9, at(1).after(DAY * 7)).await;
    assert_eq!(later.unwrap().items, []);
    let other = log::list(&it.store, &IntegrationId::new("int_2"), Level::Info, None, 9, NOW).await;
    assert_eq!(other.unwrap().items, []);
}
