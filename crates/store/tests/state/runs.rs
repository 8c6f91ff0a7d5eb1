//! Callbacks of deferred runs.

use tieline_core::agent::MAX_ANSWER_BYTES;
use tieline_core::ids::{ConversationId, RunId};
use tieline_store::run::{self, Appended, Excess, MAX_AHEAD, MAX_EVENTS, NewEvent, RunRecord};
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
        n_events: 0,
        n_bytes: 0,
        last_seq: 0,
    }
}

async fn head(store: &Store) -> Option<RunRecord> {
    run::get_run(store, &id(), NOW).await.unwrap()
}

async fn post(store: &Store, seq: u64, json: &str, ends: bool) -> Appended {
    let mut head = head(store).await.expect("the run is open");
    let event = NewEvent { seq, json, ends };
    run::append_event(store, &mut head, &event).await.unwrap()
}

async fn append(store: &Store, seq: u64) -> Appended {
    post(store, seq, &format!("event {seq}"), false).await
}

async fn end(store: &Store, seq: u64) -> Appended {
    post(store, seq, "end", true).await
}

async fn last(store: &Store) -> u64 {
    let mut head = head(store).await.expect("the run is open");
    run::last_seq(store, &mut head).await.unwrap()
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
async fn duplicates_are_ignored_and_reading_stops_at_gaps() {
    let it = fresh().await;
    run::open_run(&it.store, &record()).await.unwrap();
    assert_eq!(append(&it.store, 1).await, Appended::New);
    assert_eq!(append(&it.store, 2).await, Appended::New);
    assert_eq!(append(&it.store, 4).await, Appended::New);
    assert_eq!(post(&it.store, 2, "other", false).await, Appended::Duplicate);
    assert_eq!(seqs(&it.store, 0).await, [1, 2]);
    assert_eq!(last(&it.store).await, 2);
    assert_eq!(seqs(&it.store, 2).await, [0_u64; 0]);
    assert_eq!(append(&it.store, 3).await, Appended::New);
    let events = run::events_after(&it.store, &id(), 1).await.unwrap();
    let expected = [2, 3, 4].map(|seq| (seq, format!("event {seq}")));
    assert_eq!(events, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_posts_of_an_event_is_stored() {
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
async fn after_the_terminal_event_only_missing_earlier_events_are_accepted() {
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
async fn a_terminal_event_with_a_used_number_does_not_end_the_run() {
    let it = fresh().await;
    run::open_run(&it.store, &record()).await.unwrap();
    assert_eq!(append(&it.store, 1).await, Appended::New);
    assert_eq!(append(&it.store, 2).await, Appended::New);
    assert_eq!(end(&it.store, 2).await, Appended::Duplicate);
    assert_eq!(append(&it.store, 3).await, Appended::New);
    assert_eq!(end(&it.store, 4).await, Appended::New);
    assert_eq!(head(&it.store).await.unwrap().end, Some(4));
    assert_eq!(seqs(&it.store, 0).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn closed_run_accepts_nothing_and_recognizes_its_events() {
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
async fn unknown_and_expired_runs_accept_nothing() {
    let it = fresh().await;
    run::close_run(&it.store, &id()).await.unwrap();
    assert_eq!(head(&it.store).await, None);
    let event = NewEvent {
        seq: 1,
        json: "e",
        ends: false,
    };
    let gone = run::append_event(&it.store, &mut record(), &event).await.unwrap();
    assert_eq!(gone, Appended::Closed);
    run::open_run(&it.store, &record()).await.unwrap();
    let late = run::get_run(&it.store, &id(), NOW.after(DAY * 7)).await.unwrap();
    assert_eq!(late, None);
}

#[tokio::test]
async fn long_events_and_many_events_are_read_in_pages() {
    let it = fresh().await;
    run::open_run(&it.store, &record()).await.unwrap();
    let long = "长".repeat(300_000);
    post(&it.store, 1, &long, false).await;
    for seq in 2..=60 {
        post(&it.store, seq, &"x".repeat(50_000), false).await;
    }
    let (mut read, mut pages) = (0, 0);
    loop {
        let page = run::events_after(&it.store, &id(), read).await.unwrap();
        let Some((last, _)) = page.last() else { break };
        assert!(page.iter().map(|(_, event)| event.len()).sum::<usize>() < 2 * 1024 * 1024);
        (read, pages) = (*last, pages + 1);
    }
    assert_eq!(read, 60);
    assert!(pages >= 3, "{pages}");
}

#[tokio::test]
async fn page_ends_after_two_hundred_events() {
    let it = fresh().await;
    run::open_run(&it.store, &record()).await.unwrap();
    for seq in 1..=250 {
        append(&it.store, seq).await;
    }
    assert_eq!(seqs(&it.store, 0).await.len(), 200);
    assert_eq!(seqs(&it.store, 200).await.len(), 50);
    assert_eq!(last(&it.store).await, 250);
    assert_eq!(head(&it.store).await.unwrap().last_seq, 250);
    assert_eq!(append(&it.store, 3).await, Appended::Duplicate);
}

#[tokio::test]
async fn event_too_far_ahead_of_a_gap_is_refused() {
    let it = fresh().await;
    run::open_run(&it.store, &record()).await.unwrap();
    let too_far = Appended::Refused(Excess::Gap);
    assert_eq!(append(&it.store, MAX_AHEAD + 1).await, too_far);
    assert_eq!(append(&it.store, u64::MAX).await, too_far);
    assert_eq!(append(&it.store, MAX_AHEAD).await, Appended::New);
    append(&it.store, 1).await;
    assert_eq!(append(&it.store, MAX_AHEAD + 1).await, Appended::New);
    assert_eq!(seqs(&it.store, u64::MAX).await, [0_u64; 0]);
}

#[tokio::test]
async fn full_run_accepts_only_its_terminal_event() {
    let it = fresh().await;
    let full = RunRecord {
        n_events: MAX_EVENTS - 1,
        ..record()
    };
    run::open_run(&it.store, &full).await.unwrap();
    assert_eq!(append(&it.store, 1).await, Appended::New);
    // An event that is stored already uses no capacity.
    assert_eq!(append(&it.store, 1).await, Appended::Duplicate);
    assert_eq!(append(&it.store, 2).await, Appended::Refused(Excess::Events));
    assert_eq!(end(&it.store, 2).await, Appended::New);
    assert_eq!(end(&it.store, 2).await, Appended::Duplicate);
    assert_eq!(seqs(&it.store, 0).await, [1, 2]);
}

#[tokio::test]
async fn run_accepts_no_more_bytes_than_an_answer_may_have() {
    let it = fresh().await;
    let nearly_full = RunRecord {
        n_bytes: MAX_ANSWER_BYTES as u64 - 10,
        ..record()
    };
    run::open_run(&it.store, &nearly_full).await.unwrap();
    let too_long = Appended::Refused(Excess::Bytes);
    assert_eq!(post(&it.store, 1, "12345678901", false).await, too_long);
    assert_eq!(post(&it.store, 1, "1234567890", false).await, Appended::New);
    assert_eq!(post(&it.store, 2, "1", false).await, too_long);
    let longest = "x".repeat(MAX_ANSWER_BYTES + 1024 * 1024);
    assert_eq!(post(&it.store, 2, &longest, true).await, too_long);
    assert_eq!(end(&it.store, 2).await, Appended::New);
}

#[tokio::test]
async fn repetitions_use_no_capacity() {
    let it = fresh().await;
    run::open_run(&it.store, &record()).await.unwrap();
    for _ in 0..5 {
        append(&it.store, 2).await;
    }
    let head = head(&it.store).await.unwrap();
    assert_eq!((head.n_events, head.n_bytes), (1, "event 2".len() as u64));
}

#[tokio::test]
async fn events_can_not_be_read_with_another_key() {
    let it = fresh().await;
    run::open_run(&it.store, &record()).await.unwrap();
    append(&it.store, 1).await;
    let events = run::events_after(&with_other_key(&it), &id(), 0).await;
    assert!(matches!(events, Err(StoreError::Unsealable)));
}
