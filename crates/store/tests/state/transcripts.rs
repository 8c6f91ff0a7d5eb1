//! Transcripts.

use tieline_core::agent::Turn;
use tieline_core::ids::{RunId, SessionId};
use tieline_store::{StoreError, transcript};

use crate::tables::{DAY, Fresh, NOW, at, fresh, with_other_key};

fn turn(text: &str) -> Turn {
    Turn {
        user: format!("{text}?"),
        assistant: format!("{text}."),
    }
}

async fn put(it: &Fresh, session: &str, second: i64, turn: &Turn) {
    let (session, run) = (SessionId::new(session), RunId::new(format!("run_{second}")));
    transcript::put(&it.store, &session, &run, at(second), turn)
        .await
        .unwrap();
}

async fn latest(it: &Fresh, session: &str, limit: usize) -> Vec<Turn> {
    transcript::latest(&it.store, &SessionId::new(session), limit, at(99))
        .await
        .unwrap()
}

#[tokio::test]
async fn latest_turns_come_oldest_first() {
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
async fn turn_of_a_run_is_kept_once() {
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
    let later = transcript::latest(&it.store, &SessionId::new("a"), 1, NOW.after(DAY * 30)).await;
    assert_eq!(later.unwrap(), []);
}

#[tokio::test]
async fn turn_can_not_be_read_with_another_key() {
    let it = fresh().await;
    put(&it, "a", 0, &turn("secret")).await;
    let other = transcript::latest(&with_other_key(&it), &SessionId::new("a"), 1, NOW).await;
    assert!(matches!(other, Err(StoreError::Unsealable)));
}
