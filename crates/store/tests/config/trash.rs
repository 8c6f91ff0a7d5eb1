use std::time::Duration;

use tieline_store::config::trash::LIFETIME;
use tieline_store::config::{agent, integration};

use crate::tables::{self, NOW, fresh, org};

#[tokio::test]
async fn deleted_items_can_not_be_restored_after_their_lifetime() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let made = tables::agent(store, "default", "agt_1").await;
    agent::delete(store, &made, NOW).await.unwrap();
    let owner = org("default");
    let found = async |now| agent::get_deleted(store, &owner, &made.agent.id, now).await.unwrap();
    let end = NOW.after(LIFETIME);
    assert_eq!(found(end.before(Duration::from_secs(1))).await.unwrap().record, made);
    assert_eq!(found(end).await, None);
    assert!(
        agent::list_deleted(store, &owner, (None, 10), end)
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert!(
        integration::list_deleted(store, &owner, (None, 10), NOW)
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

#[tokio::test]
async fn a_restored_item_can_not_be_restored_again() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let made = tables::agent(store, "default", "agt_1").await;
    agent::delete(store, &made, NOW).await.unwrap();
    let deleted = agent::get_deleted(store, &org("default"), &made.agent.id, NOW)
        .await
        .unwrap()
        .unwrap();
    let restored = agent::restore(store, &deleted, NOW).await.unwrap();
    assert_eq!(
        (restored.agent.clone(), restored.version),
        (made.agent, made.version + 1)
    );
    assert!(agent::restore(store, &deleted, NOW).await.is_err());
}

#[tokio::test]
async fn a_removed_new_item_leaves_no_copy() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let made = tables::agent(store, "default", "agt_1").await;
    agent::remove(store, &made).await.unwrap();
    let owner = org("default");
    assert_eq!(agent::get(store, &owner, &made.agent.id).await.unwrap(), None);
    assert_eq!(
        agent::get_deleted(store, &owner, &made.agent.id, NOW).await.unwrap(),
        None
    );
    assert!(agent::remove(store, &made).await.is_err());
}
