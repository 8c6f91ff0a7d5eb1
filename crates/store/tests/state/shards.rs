//! Leases of shards: one holder each, who keeps them by its heartbeat.

use std::time::Duration;

use tieline_core::conversation::Owner;
use tieline_core::http_types::ApiAnswer;
use tieline_core::timestamp::Timestamp;
use tieline_store::leases::{self, LINGER, Shard, ShardMap};
use tieline_store::status::{self, ConnectionState, StatusChange};
use tieline_store::{Store, StoreError, relay_answers};

use crate::tables::{at, fresh, integration, race};

fn owner(node: &str) -> Owner {
    Owner {
        node: node.to_owned(),
        life: format!("{node}-1"),
    }
}

async fn picture(store: &Store) -> ShardMap {
    leases::shard_map(store).await.unwrap()
}

async fn take(store: &Store, name: &str, now: Timestamp) -> Result<u64, StoreError> {
    let seen: Option<Shard> = picture(store).await.shards.get(&3).cloned();
    leases::acquire(store, 3, seen.as_ref(), &owner(name), now).await
}

#[tokio::test]
async fn a_free_shard_is_acquired_by_one_of_many() {
    let it = fresh().await;
    let contenders = (0..20).map(|n| {
        let store = it.store.clone();
        async move { leases::acquire(&store, 3, None, &owner(&format!("n{n}")), at(0)).await }
    });
    let won = race(contenders).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(won, 1);
}

#[tokio::test]
async fn a_shard_is_held_as_long_as_its_holders_heartbeat() {
    let it = fresh().await;
    leases::join(&it.store, &owner("a"), at(10)).await.unwrap();
    let first = take(&it.store, "a", at(0)).await.unwrap();
    assert_eq!(picture(&it.store).await.holder(3, at(9)), Some(&owner("a")));
    assert!(matches!(take(&it.store, "b", at(9)).await, Err(StoreError::Conflict)));
    // A heartbeat between the read and the acquisition keeps it.
    leases::beat(&it.store, &owner("a"), at(20), false).await.unwrap();
    assert!(matches!(take(&it.store, "b", at(15)).await, Err(StoreError::Conflict)));
    assert_eq!(picture(&it.store).await.holder(3, at(20)), None);
    let second = take(&it.store, "b", at(20)).await.unwrap();
    assert!(second > first);
    // The old holder can't release what it no longer holds.
    let given = leases::release(&it.store, 3, &owner("a"), first, at(1)).await;
    assert!(matches!(given, Err(StoreError::Conflict)));
}

#[tokio::test]
async fn another_life_of_the_node_frees_the_shards_of_the_last_one() {
    let it = fresh().await;
    leases::join(&it.store, &owner("a"), at(10)).await.unwrap();
    take(&it.store, "a", at(0)).await.unwrap();
    let reborn = Owner {
        life: "a-2".into(),
        ..owner("a")
    };
    leases::join(&it.store, &reborn, at(12)).await.unwrap();
    let old = leases::beat(&it.store, &owner("a"), at(30), false).await;
    assert!(matches!(old, Err(StoreError::Conflict)));
    let seen = picture(&it.store).await;
    assert_eq!(seen.holder(3, at(1)), None);
    leases::acquire(&it.store, 3, seen.shards.get(&3), &reborn, at(1))
        .await
        .unwrap();
    assert_eq!(picture(&it.store).await.holder(3, at(1)), Some(&reborn));
}

#[tokio::test]
async fn a_released_shard_is_free_and_its_fencing_token_keeps_growing() {
    let it = fresh().await;
    leases::join(&it.store, &owner("a"), at(10)).await.unwrap();
    let first = take(&it.store, "a", at(0)).await.unwrap();
    leases::ready(&it.store, 3, &owner("a"), first).await.unwrap();
    assert!(picture(&it.store).await.shards[&3].ready);
    leases::release(&it.store, 3, &owner("a"), first, at(1)).await.unwrap();
    let free = picture(&it.store).await;
    assert_eq!((free.holder(3, at(1)), free.shards[&3].ready), (None, false));
    assert_eq!(free.shards[&3].given_at, Some(at(1)));
    assert!(take(&it.store, "b", at(0)).await.unwrap() > first);
}

#[tokio::test]
async fn processes_that_left_or_were_deleted_hold_nothing() {
    let it = fresh().await;
    for name in ["a", "b"] {
        leases::join(&it.store, &owner(name), at(10)).await.unwrap();
    }
    leases::leave(&it.store, &owner("a")).await.unwrap();
    let seen = picture(&it.store).await;
    assert_eq!(seen.living(at(1)).count(), 1);
    let b = seen.tasks["b"].clone();
    leases::beat(&it.store, &owner("b"), at(11), true).await.unwrap();
    assert!(matches!(leases::forget(&it.store, &b).await, Err(StoreError::Conflict)));
    assert!(picture(&it.store).await.tasks["b"].leaving);
}

#[tokio::test]
async fn a_dead_holders_connection_is_not_shown_as_one() {
    let it = fresh().await;
    leases::join(&it.store, &owner("a"), at(10)).await.unwrap();
    let fence = take(&it.store, "a", at(0)).await.unwrap();
    connect(&it.store, "a", fence).await;
    assert_eq!(shown(&it.store, at(9)).await, CONNECTED);
    assert_eq!(shown(&it.store, at(10)).await, RETRYING);
    // Another life of the node has to connect first.
    let reborn = Owner {
        life: "a-2".into(),
        ..owner("a")
    };
    leases::join(&it.store, &reborn, at(20)).await.unwrap();
    assert_eq!(shown(&it.store, at(11)).await, RETRYING);
    let nobodys = status::seen(&it.store, &integration(), None, at(9)).await.unwrap();
    assert_eq!(nobodys.state, RETRYING);
}

#[tokio::test]
async fn a_released_connection_is_shown_for_as_long_as_it_may_linger() {
    let it = fresh().await;
    for name in ["a", "b"] {
        leases::join(&it.store, &owner(name), at(1_000)).await.unwrap();
    }
    let fence = take(&it.store, "a", at(0)).await.unwrap();
    connect(&it.store, "a", fence).await;
    let linger = i64::try_from(LINGER.as_secs()).unwrap();
    assert_eq!(shown(&it.store, at(500)).await, CONNECTED);
    leases::release(&it.store, 3, &owner("a"), fence, at(500))
        .await
        .unwrap();
    assert_eq!(shown(&it.store, at(500 + linger - 1)).await, CONNECTED);
    assert_eq!(shown(&it.store, at(500 + linger)).await, RETRYING);
    let fence = take(&it.store, "b", at(600)).await.unwrap();
    assert_eq!(shown(&it.store, at(600 + linger - 1)).await, CONNECTED);
    assert_eq!(shown(&it.store, at(600 + linger)).await, RETRYING);
    leases::ready(&it.store, 3, &owner("b"), fence).await.unwrap();
    assert_eq!(shown(&it.store, at(601)).await, RETRYING);
    connect(&it.store, "b", fence).await;
    assert_eq!(shown(&it.store, at(601)).await, CONNECTED);
}

const CONNECTED: Option<ConnectionState> = Some(ConnectionState::Connected);
const RETRYING: Option<ConnectionState> = Some(ConnectionState::Retrying);

/// The status that the holder reports of a bot of shard 3.
async fn connect(store: &Store, name: &str, fence: u64) {
    let changes = [
        StatusChange::State(ConnectionState::Connected, None),
        StatusChange::ConnectedAt(Some(at(0))),
        StatusChange::Owner(Some(name.to_owned())),
    ];
    status::merge_as_holder(store, &integration(), fence, &changes)
        .await
        .unwrap();
}

async fn shown(store: &Store, now: Timestamp) -> Option<ConnectionState> {
    let seen = status::seen(store, &integration(), Some(3), now).await.unwrap();
    assert_eq!(seen.connected_at.is_some(), seen.state == CONNECTED);
    seen.state
}

#[tokio::test]
async fn the_first_outcome_of_a_call_stays_until_it_expires() {
    let it = fresh().await;
    let until = at(60);
    let answered = ApiAnswer::Answered {
        status: 200,
        retry_after_s: None,
        body: b"ok".to_vec(),
    };
    assert_eq!(relay_answers::answer(&it.store, "c1", at(0)).await.unwrap(), None);
    for answer in [&answered, &ApiAnswer::NotSent] {
        relay_answers::record(&it.store, "c1", answer, until, at(0))
            .await
            .unwrap();
    }
    assert_eq!(
        relay_answers::answer(&it.store, "c1", at(1)).await.unwrap(),
        Some(answered)
    );
    let late = until.after(Duration::from_secs(1));
    assert_eq!(relay_answers::answer(&it.store, "c1", late).await.unwrap(), None);
}
