//! Cursors of long polls.

use tieline_store::{Store, StoreError, poll_cursor};

use crate::tables::{fresh, integration, with_other_key};

async fn take_over(store: &Store, source: &str, fence: u64) -> Result<Option<String>, StoreError> {
    poll_cursor::take_over(store, &integration(), source, fence).await
}

async fn save(store: &Store, fence: u64, cursor: &str) -> Result<(), StoreError> {
    poll_cursor::save(store, &integration(), "token", fence, cursor).await
}

#[tokio::test]
async fn newer_holder_continues_and_the_older_one_can_not_reset_its_cursor() {
    let it = fresh().await;
    assert_eq!(take_over(&it.store, "token", 3).await.unwrap(), None);
    save(&it.store, 3, "one").await.unwrap();
    save(&it.store, 3, "two").await.unwrap();
    assert_eq!(take_over(&it.store, "token", 4).await.unwrap().as_deref(), Some("two"));
    // Even before the newer holder has saved anything.
    assert!(matches!(save(&it.store, 3, "three").await, Err(StoreError::Conflict)));
    assert!(matches!(
        take_over(&it.store, "token", 3).await,
        Err(StoreError::Conflict)
    ));
    save(&it.store, 4, "three").await.unwrap();
    assert_eq!(
        take_over(&it.store, "token", 4).await.unwrap().as_deref(),
        Some("three")
    );
}

#[tokio::test]
async fn cursor_belongs_to_the_credentials_that_it_was_obtained_with() {
    let it = fresh().await;
    take_over(&it.store, "token", 1).await.unwrap();
    save(&it.store, 1, "one").await.unwrap();
    assert_eq!(take_over(&it.store, "other token", 2).await.unwrap(), None);
    assert_eq!(take_over(&it.store, "token", 2).await.unwrap().as_deref(), Some("one"));
}

#[tokio::test]
async fn cursor_is_sealed_and_can_be_removed() {
    let it = fresh().await;
    save(&it.store, 1, "one").await.unwrap();
    let other = with_other_key(&it);
    assert!(matches!(
        take_over(&other, "token", 1).await,
        Err(StoreError::Unsealable)
    ));
    poll_cursor::remove(&it.store, &integration()).await.unwrap();
    assert_eq!(take_over(&it.store, "token", 1).await.unwrap(), None);
}
