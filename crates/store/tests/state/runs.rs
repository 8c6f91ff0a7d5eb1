//! Callbacks of deferred runs.

use tieline_core::ids::{ConversationId, RunId};
use tieline_store::run::{self, Appended, MAX_SEQ, RunRecord};
use tieline_store::{Store, StoreError};

use crate::tables::{DAY, NOW, fresh, integration, organization, race, with_other_key};

fn id() -> RunId {
    RunId::new("run_1")
}

fn record() -> RunRecord {
    RunRecord {
        id: id(),
        organization: organization(),
        integration: integration(),
        conversation: ConversationId::new("cnv_1"),
        started_at: NOW,
        closed: false,
        end: None,
    }
}

async fn append(store: &Store, seq: u64) -> Appended {
    run::append_event(store, &id(), seq, &format!("event {seq}"), false, NOW)
        .await
        .unwrap()
}

async fn end(store: &Store, seq: u64) -> Appended {
    run::append_event(store, &id(), seq, "end", true, NOW).await.unwrap()
}

async fn seqs(store: &Store, after: u64) -> Vec<u64> {
    let events = run::events_after(store, &id(), after).await.unwrap();
    events.into_iter().map(|(seq, _)| seq).collect()
}

#[tokio::test]
async fn run_round_trips_and_opening_again_changes_nothing() {
    let it = fresh().await;
    assert_eq!(run::get_run(&it.store, &id(), NOW).await.unwrap(), None);
    run::open_run(&it.store, &record()).await.unwrap();
    assert_eq!(run::get_run(&it.store, &id(), NOW).await.unwrap(), Some(record()));
    end(&it.store, 1).await;
    run::close_run(&it.store, &id()).await.unwrap();
    run::open_run(&it.store, &record()).await.unwrap();
    let found = run::get_run(&it.store, &id(), NOW).await.unwrap().unwrap();
    assert!(found.closed);
    assert_eq!(found.end, Some(1));
}

#[tokio::test]
async fn duplicates_are_ignored_and_gaps_wait() {
    let it = fresh().await;
    run::open_run(&it.store, &record()).await.unwrap();
    assert_eq!(append(&it.store, 1).await, Appended::New);
    assert_eq!(append(&it.store, 2).await, Appended::New);
    assert_eq!(append(&it.store, 4).await, Appended::New);
    let again = run::append_event(&it.store, &id(), 2, "other", false, NOW)
        .await
        .unwrap();
    assert_eq!(again, Appended::Duplicate);
    assert_eq!(seqs(&it.store, 0).await, [1, 2]);
    assert_eq!(run::last_seq(&it.store, &id(), 0).await.unwrap(), 2);
    assert_eq!(seqs(&it.store, 2).await, [0_u64; 0]);
    assert_eq!(run::last_seq(&it.store, &id(), 2).await.unwrap(), 2);
    assert_eq!(append(&it.store, 3).await, Appended::New);
    let events = run::events_after(&it.store, &id(), 1).await.unwrap();
    let expected = [2, 3, 4].map(|seq| (seq, format!("event {seq}")));
    assert_eq!(events, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_posts_of_an_event_is_kept() {
    let it = fresh().await;
    run::open_run(&it.store, &record()).await.unwrap();
    let posts = (0..20).map(|_| {
        let store = it.store.clone();
        async move { append(&store, 1).await }
    });
    let outcomes = race(posts).await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Appended::New).count(), 1);
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, Appended::New | Appended::Duplicate))
    );
}

#[tokio::test]
async fn nothing_is_taken_after_the_terminal_event_but_what_is_missing_before_it() {
    let it = fresh().await;
    run::open_run(&it.store, &record()).await.unwrap();
    assert_eq!(append(&it.store, 1).await, Appended::New);
    assert_eq!(end(&it.store, 3).await, Appended::New);
    assert_eq!(append(&it.store, 4).await, Appended::Closed);
    assert_eq!(end(&it.store, 3).await, Appended::Duplicate);
    assert_eq!(append(&it.store, 2).await, Appended::New);
    assert_eq!(seqs(&it.store, 0).await, [1, 2, 3]);
}

#[tokio::test]
async fn closed_run_takes_nothing_and_knows_what_it_had() {
    let it = fresh().await;
    run::open_run(&it.store, &record()).await.unwrap();
    append(&it.store, 1).await;
    run::close_run(&it.store, &id()).await.unwrap();
    run::close_run(&it.store, &id()).await.unwrap();
    assert_eq!(append(&it.store, 2).await, Appended::Closed);
    assert_eq!(append(&it.store, 1).await, Appended::Duplicate);
    assert_eq!(seqs(&it.store, 0).await, [1]);
}

#[tokio::test]
async fn unknown_and_expired_runs_take_nothing() {
    let it = fresh().await;
    assert_eq!(append(&it.store, 1).await, Appended::Unknown);
    run::close_run(&it.store, &id()).await.unwrap();
    assert_eq!(run::get_run(&it.store, &id(), NOW).await.unwrap(), None);
    run::open_run(&it.store, &record()).await.unwrap();
    let late = run::append_event(&it.store, &id(), 1, "e", false, NOW.after(DAY * 7))
        .await
        .unwrap();
    assert_eq!(late, Appended::Unknown);
}

#[tokio::test]
async fn long_events_and_many_events_round_trip() {
    let it = fresh().await;
    run::open_run(&it.store, &record()).await.unwrap();
    let long = "长".repeat(300_000);
    run::append_event(&it.store, &id(), 1, &long, false, NOW).await.unwrap();
    for seq in 2..=60 {
        let event = "x".repeat(50_000);
        run::append_event(&it.store, &id(), seq, &event, false, NOW)
            .await
            .unwrap();
    }
    let events = run::events_after(&it.store, &id(), 0).await.unwrap();
    assert_eq!(events.len(), 60);
    assert_eq!(events[0].1, long);
}

#[tokio::test]
async fn number_beyond_the_last_is_refused() {
    let it = fresh().await;
    run::open_run(&it.store, &record()).await.unwrap();
    assert_eq!(append(&it.store, MAX_SEQ).await, Appended::New);
    let beyond = run::append_event(&it.store, &id(), MAX_SEQ + 1, "e", false, NOW).await;
    assert!(matches!(beyond, Err(StoreError::TooLarge)));
    assert_eq!(seqs(&it.store, MAX_SEQ - 1).await, [MAX_SEQ]);
    assert_eq!(seqs(&it.store, u64::MAX).await, [0_u64; 0]);
}

#[tokio::test]
async fn events_can_not_be_read_with_another_key() {
    let it = fresh().await;
    run::open_run(&it.store, &record()).await.unwrap();
    append(&it.store, 1).await;
    let events = run::events_after(&with_other_key(&it), &id(), 0).await;
    assert!(matches!(events, Err(StoreError::Unsealable)));
}
