//! Quotas: however processes reserve sends, the platform never sees more than it allows.

use std::time::Duration;

use proptest::prelude::*;
use tieline_core::budget::{Calls, Quota, QuotaScope};
use tieline_core::ids::ChatId;
use tieline_core::timestamp::Timestamp;
use tieline_store::Store;
use tieline_store::quota::{self, Taken};

use crate::tables::{NOW, fresh, integration, race};

const fn quota(sends: u32, per: Duration) -> Quota {
    Quota {
        name: "messages",
        scope: QuotaScope::Account,
        sends,
        per,
        calls: Calls::All,
    }
}

async fn take(store: &Store, quota: &Quota, n: u32, now: Timestamp) -> Taken {
    quota::take(store, &integration(), quota, None, n, 0, now)
        .await
        .unwrap()
}

/// Most sends in any period of `per`.
fn busiest(sends: &[Timestamp], per: Duration) -> usize {
    let mut sends = sends.to_vec();
    sends.sort_unstable();
    let in_span = |first: &Timestamp| sends.iter().filter(|at| *at >= first && at.since(*first) < per).count();
    sends.iter().map(in_span).max().unwrap_or(0)
}

#[tokio::test]
async fn reserved_sends_run_out_and_become_available_again() {
    let it = fresh().await;
    let per_minute = quota(20, Duration::from_secs(60));
    let Taken::Granted { n, until } = take(&it.store, &per_minute, 100, NOW).await else {
        panic!("a fresh quota has sends");
    };
    assert_eq!((n, until), (5, NOW.after(Duration::from_secs(6))));
    let Taken::Wait(at) = take(&it.store, &per_minute, 1, NOW).await else {
        panic!("the burst is used up");
    };
    assert!(at > NOW && at < NOW.after(Duration::from_secs(5)), "{at}");
    assert!(matches!(
        take(&it.store, &per_minute, 1, at.before(Duration::from_millis(5))).await,
        Taken::Wait(_)
    ));
    assert!(matches!(
        take(&it.store, &per_minute, 3, at).await,
        Taken::Granted { n: 1, .. }
    ));
}

/// A machine whose clock was hours ahead has reserved sends that no other process could return.
#[tokio::test]
async fn a_clock_hours_ahead_does_not_block_sends() {
    let it = fresh().await;
    let per_minute = quota(20, Duration::from_secs(60));
    let ahead = NOW.after(Duration::from_hours(8));
    for n in [1, 4] {
        take(&it.store, &per_minute, n, ahead).await;
        let taken = take(&it.store, &per_minute, n, NOW).await;
        assert!(
            matches!(taken, Taken::Granted { n: granted, .. } if granted == n),
            "{taken:?}"
        );
    }
}

#[tokio::test]
async fn one_send_at_a_time_is_a_quota_too() {
    let it = fresh().await;
    let one = quota(1, Duration::from_secs(1));
    assert!(matches!(
        take(&it.store, &one, 9, NOW).await,
        Taken::Granted { n: 1, .. }
    ));
    let later = |millis| NOW.after(Duration::from_millis(millis));
    assert!(matches!(take(&it.store, &one, 1, later(1000)).await, Taken::Wait(_)));
    assert!(matches!(
        take(&it.store, &one, 1, later(1100)).await,
        Taken::Granted { n: 1, .. }
    ));
}

#[tokio::test]
async fn chats_and_quotas_do_not_share() {
    let it = fresh().await;
    let one = quota(1, Duration::from_secs(60));
    let other = Quota { name: "cards", ..one };
    let (a, b) = (ChatId::new("a"), ChatId::new("b"));
    for (quota, chat) in [(&one, None), (&one, Some(&a)), (&one, Some(&b)), (&other, None)] {
        let first = quota::take(&it.store, &integration(), quota, chat, 1, 0, NOW)
            .await
            .unwrap();
        assert!(matches!(first, Taken::Granted { .. }));
        let second = quota::take(&it.store, &integration(), quota, chat, 1, 0, NOW)
            .await
            .unwrap();
        assert!(matches!(second, Taken::Wait(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_processes_stay_within_the_quota() {
    let it = fresh().await;
    let per_minute = quota(40, Duration::from_secs(60));
    let takes = (0..30).map(|_| {
        let store = it.store.clone();
        async move { take(&store, &per_minute, 2, NOW).await }
    });
    let taken: u32 = race(takes)
        .await
        .into_iter()
        .map(|taken| match taken {
            Taken::Granted { n, .. } => n,
            Taken::Wait(_) => 0,
        })
        .sum();
    assert_eq!(taken, 10);
}

/// Reserves and sends with these pauses; each send is late by this part of the granted time.
async fn sends_stay_within(quota: Quota, steps: Vec<(u64, u32, u32)>) {
    let it = fresh().await;
    let mut now = NOW;
    let mut sends = Vec::new();
    for (pause, n, late) in steps {
        now = now.after(Duration::from_millis(pause));
        if let Taken::Granted { n, until } = take(&it.store, &quota, n, now).await {
            let lateness = until.since(now) * late / 100;
            sends.extend((0..n).map(|_| now.after(lateness)));
        }
    }
    let busiest = busiest(&sends, quota.per);
    assert!(busiest <= quota.sends as usize, "{busiest} of {quota:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_period_has_more_sends_than_the_quota(
        n_sends in 1..40_u32,
        per_ms in 500..60_000_u64,
        steps in proptest::collection::vec((0..4_000_u64, 1..12_u32, 0..100_u32), 1..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(sends_stay_within(quota(n_sends, Duration::from_millis(per_ms)), steps));
    }

    #[test]
    fn a_quota_counted_alone_equals_one_in_the_table(
        n_sends in 1..40_u32,
        per_ms in 500..60_000_u64,
        steps in proptest::collection::vec((0..4_000_u64, 0..2_u32), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(alone_as_with_the_table(quota(n_sends, Duration::from_millis(per_ms)), steps));
    }
}

async fn alone_as_with_the_table(quota: Quota, steps: Vec<(u64, u32)>) {
    let it = fresh().await;
    let (mut now, mut given_out) = (NOW, 0);
    for (wait_ms, reserve) in steps {
        now = now.after(Duration::from_millis(wait_ms));
        let taken = quota::take(&it.store, &integration(), &quota, None, 1, reserve, now).await;
        match (quota::take_alone(&quota, given_out, reserve, now), taken.unwrap()) {
            (Ok(next), Taken::Granted { n: 1, .. }) => given_out = next,
            (Err(alone), Taken::Wait(at)) => assert_eq!(alone, at),
            (alone, taken) => panic!("{alone:?} alone, {taken:?} with the table"),
        }
    }
}

#[tokio::test]
async fn steady_stream_gets_most_of_the_quota() {
    let it = fresh().await;
    let per_minute = quota(20, Duration::from_secs(60));
    let (mut now, mut sent) = (NOW, 0);
    while now < NOW.after(Duration::from_secs(600)) {
        match take(&it.store, &per_minute, 1, now).await {
            Taken::Granted { n, .. } => sent += n,
            Taken::Wait(at) => now = at,
        }
    }
    assert!((140..=200).contains(&sent), "{sent}");
}

/// Reserves like a caller that leaves one send to others.
async fn take_but_one(store: &Store, quota: &Quota, n: u32, now: Timestamp) -> Taken {
    quota::take(store, &integration(), quota, None, n, 1, now)
        .await
        .unwrap()
}

#[tokio::test]
async fn callers_with_a_reserve_leave_the_last_send() {
    let it = fresh().await;
    let per_minute = quota(20, Duration::from_secs(60));
    let taken = take_but_one(&it.store, &per_minute, 100, NOW).await;
    assert!(matches!(taken, Taken::Granted { n: 4, .. }), "{taken:?}");
    let Taken::Wait(at) = take_but_one(&it.store, &per_minute, 1, NOW).await else {
        panic!("only the reserve is left");
    };
    let last = take(&it.store, &per_minute, 9, NOW).await;
    assert!(matches!(last, Taken::Granted { n: 1, .. }), "{last:?}");
    assert!(matches!(
        take_but_one(&it.store, &per_minute, 1, at).await,
        Taken::Wait(_)
    ));
}

#[tokio::test]
async fn reserve_of_a_small_quota_is_kept_by_a_longer_wait() {
    let it = fresh().await;
    let per_second = quota(2, Duration::from_secs(1));
    let granted = |taken: &Taken| matches!(taken, Taken::Granted { n: 1, .. });
    assert!(granted(&take_but_one(&it.store, &per_second, 1, NOW).await));
    let Taken::Wait(at) = take_but_one(&it.store, &per_second, 1, NOW).await else {
        panic!("there is only one at a time");
    };
    let step = Duration::from_millis(550);
    let soon = NOW.after(step);
    assert!(at > soon, "{at}");
    assert!(matches!(
        take_but_one(&it.store, &per_second, 1, soon).await,
        Taken::Wait(_)
    ));
    assert!(granted(&take(&it.store, &per_second, 1, soon).await));
    assert!(granted(
        &take_but_one(&it.store, &per_second, 1, soon.after(step * 2)).await
    ));
}
