//! Leases of conversations: acquisition, renewal and fencing.

use std::time::Duration;

use tieline_core::conversation::{Conversation, Owner, StopCause};
use tieline_core::ids::ConversationId;
use tieline_core::timestamp::Timestamp;
use tieline_store::{Store, StoreError, conversation};

use crate::tables::{at, conversation, fresh, lease, owner, race, run_state, waiting};

const LEASE: Duration = Duration::from_secs(30);

fn id() -> ConversationId {
    conversation("a").key.id()
}

async fn load(store: &Store) -> Conversation {
    let found = conversation::load(store, &id(), at(0)).await.unwrap();
    found.unwrap_or_else(|| conversation("a"))
}

/// Acquires the lease like a runner, if it is free.
async fn take(store: &Store, me: &Owner, now: Timestamp) -> Option<Conversation> {
    let before = load(store).await;
    if before.lease.as_ref().is_some_and(|lease| !lease.is_free(me, now)) {
        return None;
    }
    take_from(store, before, me, now).await
}

async fn take_from(store: &Store, before: Conversation, me: &Owner, now: Timestamp) -> Option<Conversation> {
    let fence = before.lease.as_ref().map_or(0, |lease| lease.fence) + 1;
    let mut after = before.clone();
    after.lease = Some(lease(me, fence, now.after(LEASE)));
    match conversation::save(store, &before, &mut after).await {
        Ok(()) => Some(after),
        Err(StoreError::Conflict) => None,
        Err(error) => panic!("{error}"),
    }
}

async fn save(store: &Store, before: &Conversation, with: impl FnOnce(&mut Conversation)) -> Option<Conversation> {
    let mut after = before.clone();
    with(&mut after);
    match conversation::save(store, before, &mut after).await {
        Ok(()) => Some(after),
        Err(StoreError::Conflict) => None,
        Err(error) => panic!("{error}"),
    }
}

async fn beat(store: &Store, me: &Owner, fence: u64, now: Timestamp) -> Result<Option<StopCause>, StoreError> {
    let watch = conversation::heartbeat(store, &id(), me, fence, now.after(LEASE)).await?;
    Ok(watch.stop)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_acquires_a_free_lease() {
    let it = fresh().await;
    for round in 0..3 {
        let takes = (0..20).map(|n| {
            let store = it.store.clone();
            async move { take(&store, &owner(&n.to_string(), "1"), at(round * 100)).await }
        });
        let holders: Vec<_> = race(takes).await.into_iter().flatten().collect();
        assert_eq!(holders.len(), 1);
        assert_eq!(load(&it.store).await, holders[0]);
        assert_eq!(
            holders[0].lease.as_ref().unwrap().fence,
            1 + u64::try_from(round).unwrap()
        );
    }
}

#[tokio::test]
async fn lease_is_taken_over_only_when_it_has_expired() {
    let it = fresh().await;
    let (a, b) = (owner("a", "1"), owner("b", "1"));
    take(&it.store, &a, at(0)).await.unwrap();
    assert!(take(&it.store, &b, at(29)).await.is_none());
    let held = take(&it.store, &b, at(30)).await.unwrap();
    assert_eq!(held.lease, Some(lease(&b, 2, at(60))));
}

#[tokio::test]
async fn another_life_of_the_same_node_takes_over_at_once() {
    let it = fresh().await;
    take(&it.store, &owner("a", "1"), at(0)).await.unwrap();
    let held = take(&it.store, &owner("a", "2"), at(1)).await.unwrap();
    assert_eq!(held.lease.unwrap().fence, 2);
    let late = beat(&it.store, &owner("a", "1"), 1, at(2)).await;
    assert!(matches!(late, Err(StoreError::Conflict)));
}

#[tokio::test]
async fn heartbeat_between_read_and_acquisition_keeps_the_lease() {
    let it = fresh().await;
    let (a, b) = (owner("a", "1"), owner("b", "1"));
    take(&it.store, &a, at(0)).await.unwrap();
    let seen = load(&it.store).await;
    beat(&it.store, &a, 1, at(29)).await.unwrap();
    assert!(take_from(&it.store, seen, &b, at(31)).await.is_none());
    assert_eq!(load(&it.store).await.lease, Some(lease(&a, 1, at(59))));
}

#[tokio::test]
async fn holder_with_an_old_fencing_token_is_refused_everywhere() {
    let it = fresh().await;
    let (a, b) = (owner("a", "1"), owner("b", "1"));
    let old = take(&it.store, &a, at(0)).await.unwrap();
    take(&it.store, &b, at(40)).await.unwrap();
    assert!(matches!(
        beat(&it.store, &a, 1, at(41)).await,
        Err(StoreError::Conflict)
    ));
    assert!(matches!(
        beat(&it.store, &a, 2, at(41)).await,
        Err(StoreError::Conflict)
    ));
    let mine = |fence, expires| lease(&a, fence, at(expires));
    assert!(
        save(&it.store, &old, |it| it.pending.push(waiting("1")))
            .await
            .is_none()
    );
    assert!(save(&it.store, &old, |it| it.lease = Some(mine(1, 90))).await.is_none());
    assert!(save(&it.store, &old, |it| it.lease = None).await.is_none());
    // Even if it reads again, as long as it doesn't see that the lease is free.
    let now = load(&it.store).await;
    for fence in [1, 2] {
        assert!(
            save(&it.store, &now, |it| it.lease = Some(mine(fence, 90)))
                .await
                .is_none()
        );
    }
    assert_eq!(load(&it.store).await.lease, Some(lease(&b, 2, at(70))));
}

#[tokio::test]
async fn released_lease_keeps_its_fencing_token() {
    let it = fresh().await;
    let (a, b) = (owner("a", "1"), owner("b", "1"));
    let held = take(&it.store, &a, at(0)).await.unwrap();
    let given = save(&it.store, &held, |it| it.lease = None).await.unwrap();
    assert_eq!(load(&it.store).await, given);
    // A heartbeat that was in flight must not restore it.
    assert!(matches!(beat(&it.store, &a, 1, at(1)).await, Err(StoreError::Conflict)));
    let next = take(&it.store, &b, at(1)).await.unwrap();
    assert_eq!(next.lease, Some(lease(&b, 2, at(31))));
}

#[tokio::test]
async fn heartbeats_do_not_conflict_with_the_dispatcher() {
    let it = fresh().await;
    let a = owner("a", "1");
    take(&it.store, &a, at(0)).await.unwrap();
    let before = load(&it.store).await;
    beat(&it.store, &a, 1, at(8)).await.unwrap();
    let after = save(&it.store, &before, |it| it.pending.push(waiting("1")))
        .await
        .unwrap();
    assert_eq!(after.pending.len(), 1);
    let now = load(&it.store).await;
    assert_eq!(now.lease, Some(lease(&a, 1, at(38))));
    assert_eq!(now.version, before.version + 1);
}

#[tokio::test]
async fn dispatcher_does_not_conflict_with_heartbeats() {
    let it = fresh().await;
    let a = owner("a", "1");
    let held = take(&it.store, &a, at(0)).await.unwrap();
    save(&it.store, &held, |it| it.pending.push(waiting("1")))
        .await
        .unwrap();
    assert_eq!(beat(&it.store, &a, 1, at(8)).await.unwrap(), None);
}

#[tokio::test]
async fn holder_saves_while_its_own_heartbeat_runs() {
    let it = fresh().await;
    let a = owner("a", "1");
    let held = take(&it.store, &a, at(0)).await.unwrap();
    beat(&it.store, &a, 1, at(20)).await.unwrap();
    // Without renewing, renewing less than the heartbeat did, and renewing more.
    let one = save(&it.store, &held, |it| it.run = Some(run_state("1")))
        .await
        .unwrap();
    beat(&it.store, &a, 1, at(25)).await.unwrap();
    let two = save(&it.store, &one, |it| it.lease = Some(lease(&a, 1, at(40))))
        .await
        .unwrap();
    assert_eq!(two.lease, Some(lease(&a, 1, at(55))));
    assert_eq!(load(&it.store).await, two);
    let three = save(&it.store, &two, |it| it.lease = Some(lease(&a, 1, at(80))))
        .await
        .unwrap();
    assert_eq!(load(&it.store).await, three);
    assert_eq!(three.lease, Some(lease(&a, 1, at(80))));
}

#[tokio::test]
async fn renewing_does_not_override_a_change() {
    let it = fresh().await;
    let a = owner("a", "1");
    let held = take(&it.store, &a, at(0)).await.unwrap();
    save(&it.store, &held, |it| it.pending.push(waiting("1")))
        .await
        .unwrap();
    beat(&it.store, &a, 1, at(50)).await.unwrap();
    assert!(
        save(&it.store, &held, |it| it.lease = Some(lease(&a, 1, at(60))))
            .await
            .is_none()
    );
    assert_eq!(load(&it.store).await.pending.len(), 1);
}

#[tokio::test]
async fn heartbeat_returns_a_stop() {
    let it = fresh().await;
    let a = owner("a", "1");
    let held = take(&it.store, &a, at(0)).await.unwrap();
    let running = save(&it.store, &held, |it| it.run = Some(run_state("1")))
        .await
        .unwrap();
    assert_eq!(beat(&it.store, &a, 1, at(1)).await.unwrap(), None);
    save(&it.store, &running, |it| {
        it.run.as_mut().unwrap().stop = Some(StopCause::Stopped)
    })
    .await
    .unwrap();
    assert_eq!(beat(&it.store, &a, 1, at(2)).await.unwrap(), Some(StopCause::Stopped));
}

#[tokio::test]
async fn heartbeat_creates_no_conversation() {
    let it = fresh().await;
    let outcome = beat(&it.store, &owner("a", "1"), 1, at(0)).await;
    assert!(matches!(outcome, Err(StoreError::Conflict)));
    assert_eq!(conversation::load(&it.store, &id(), at(0)).await.unwrap(), None);
}
