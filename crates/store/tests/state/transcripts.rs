//! Transcripts.

use tieline_core::agent::Turn;
use tieline_core::ids::{RunId, SessionId};
use tieline_store::StoreError;
use tieline_store::transcript::{self, NewTurn};

use crate::tables::{DAY, Fresh, NOW, at, fresh, with_other_key};

fn turn(text: &str) -> Turn {
    Turn {
        user: format!("{text}?"),
        assistant: format!("{text}."),
    }
}

async fn put(it: &Fresh, session: &str, second: i64, turn: &Turn) {
    let (session, run) = (SessionId::new(session), RunId::new(format!("run_{second}")));
    let turn = NewTurn {
        user: &turn.user,
        assistant: &turn.assistant,
    };
    transcript::put(&it.store, &session, &run, at(second), turn)
        .await
        .unwrap();
}

async fn latest(it: &Fresh, session: &str, limit: usize) -> Vec<Turn> {
    transcript::latest(&it.store, &SessionId::new(session), limit, usize::MAX, at(99))
        .await
        .unwrap()
}

#[tokio::test]
async fn latest_turns_are_returned_oldest_first() {
    let it = fresh().await;
    for (session, second) in [("a", 3), ("a", 1), ("b", 2), ("a", 2)] {
        put(&it, session, second, &turn(&format!("{session}{second}"))).await;
    }
    assert_eq!(latest(&it, "a", 2).await, [turn("a2"), turn("a3")]);
    assert_eq!(latest(&it, "a", 9).await, [turn("a1"), turn("a2"), turn("a3")]);
    assert_eq!(latest(&it, "a", 0).await, []);
    assert_eq!(latest(&it, "c", 9).await, []);
}

#[tokio::test]
async fn turn_of_a_run_is_stored_once() {
    let it = fresh().await;
    put(&it, "a", 1, &turn("first")).await;
    put(&it, "a", 1, &turn("again")).await;
    assert_eq!(latest(&it, "a", 9).await, [turn("first")]);
}

#[tokio::test]
async fn long_turn_round_trips_and_expires() {
    let it = fresh().await;
    let long = turn(&"long ".repeat(200_000));
    put(&it, "a", 0, &long).await;
    assert_eq!(latest(&it, "a", 1).await, [long]);
    let later = transcript::latest(&it.store, &SessionId::new("a"), 1, usize::MAX, NOW.after(DAY * 30)).await;
    assert_eq!(later.unwrap(), []);
}

#[tokio::test]
async fn turns_beyond_the_byte_limit_are_not_read() {
    let it = fresh().await;
    put(&it, "a", 1, &turn("old")).await;
    put(&it, "a", 2, &turn(&"long ".repeat(100_000))).await;
    for second in 3..50 {
        put(&it, "a", second, &turn(&second.to_string())).await;
    }
    // A reader of the long one finds no pieces.
    let mut pieces = it
        .client
        .scan()
        .table_name(&it.tables.state)
        .into_paginator()
        .items()
        .send();
    while let Some(item) = pieces.next().await {
        let item = item.unwrap();
        if item["pk"].as_s().unwrap().starts_with("PIECE#") {
            let call = it.client.delete_item().table_name(&it.tables.state);
            let call = call.key("pk", item["pk"].clone()).key("sk", item["sk"].clone());
            call.send().await.unwrap();
        }
    }
    let bounded = |max_bytes| {
        let session = SessionId::new("a");
        let store = it.store.clone();
        async move {
            transcript::latest(&store, &session, 200, max_bytes, at(99))
                .await
                .unwrap()
        }
    };
    let all: Vec<Turn> = (3..50).map(|second| turn(&second.to_string())).collect();
    assert_eq!(bounded(100_000).await, all);
    let one = serde_json::to_vec(&turn("49")).unwrap().len();
    assert_eq!(bounded(2 * one).await, [turn("48"), turn("49")]);
    assert_eq!(bounded(one - 1).await, []);
}

#[tokio::test]
async fn turn_can_not_be_opened_with_another_key() {
    let it = fresh().await;
    put(&it, "a", 0, &turn("secret")).await;
    let other = transcript::latest(&with_other_key(&it), &SessionId::new("a"), 1, usize::MAX, NOW).await;
    assert!(matches!(other, Err(StoreError::Unsealable)));
}
