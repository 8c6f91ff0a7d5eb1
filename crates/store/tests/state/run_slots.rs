//! Run slots: never more than the tenant's limit, and none lost for good.

use std::collections::BTreeSet;
use std::time::Duration;

use tieline_core::ids::OrganizationId;
use tieline_core::timestamp::Timestamp;
use tieline_store::run_slots::RunSlot;
use tieline_store::{Store, StoreError, run_slots};

use crate::tables::{NOW, fresh, organization, race};

const LEASE: Duration = Duration::from_secs(30);

/// Acquires the only slot.
async fn take(store: &Store, holder: u64, now: Timestamp) -> Option<RunSlot> {
    run_slots::take(store, &organization(), 1, holder, now, now.after(LEASE))
        .await
        .unwrap()
}

#[tokio::test]
async fn concurrent_runs_get_as_many_slots_as_there_are() {
    let it = fresh().await;
    let taken = race((0..40).map(|holder| {
        let store = it.store.clone();
        async move { run_slots::take(&store, &organization(), 7, holder, NOW, NOW.after(LEASE)).await }
    }))
    .await;
    let slots: Vec<_> = taken.into_iter().filter_map(|taken| taken.unwrap()).collect();
    let different: BTreeSet<_> = slots.iter().map(|slot| format!("{slot:?}")).collect();
    assert_eq!((slots.len(), different.len()), (7, 7));
    let other = OrganizationId::new("other");
    let other = run_slots::take(&it.store, &other, 7, 1, NOW, NOW.after(LEASE)).await;
    assert!(other.unwrap().is_some(), "another tenant has its own");
}

#[tokio::test]
async fn a_slot_is_free_again_when_it_is_released_or_has_expired() {
    let it = fresh().await;
    let first = take(&it.store, 1, NOW).await.unwrap();
    assert_eq!(take(&it.store, 2, NOW).await, None);
    run_slots::give_back(&it.store, &first).await.unwrap();
    let second = take(&it.store, 2, NOW).await.unwrap();
    assert_eq!(take(&it.store, 3, NOW.after(LEASE / 2)).await, None);
    let third = take(&it.store, 3, NOW.after(LEASE)).await;
    assert!(third.is_some(), "its holder is gone");
    let late = run_slots::prolong(&it.store, &second, NOW.after(LEASE * 2)).await;
    assert!(matches!(late, Err(StoreError::Conflict)), "another holder has it");
    run_slots::give_back(&it.store, &second).await.unwrap();
    assert_eq!(
        take(&it.store, 4, NOW.after(LEASE)).await,
        None,
        "it was not theirs to give"
    );
}

#[tokio::test]
async fn a_renewed_slot_stays() {
    let it = fresh().await;
    let first = take(&it.store, 1, NOW).await.unwrap();
    run_slots::prolong(&it.store, &first, NOW.after(LEASE * 2))
        .await
        .unwrap();
    assert_eq!(take(&it.store, 2, NOW.after(LEASE)).await, None);
    assert!(take(&it.store, 2, NOW.after(LEASE * 2)).await.is_some());
}
