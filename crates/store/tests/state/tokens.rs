//! The cache of access tokens.

use tieline_core::http_types::AccessToken;
use tieline_core::secret::Secret;
use tieline_store::{Store, StoreError, token_cache};

use crate::tables::{NOW, at, fresh, integration, with_other_key};

const SOURCE: &str = "credentials";

fn token(text: &str, expires_second: i64) -> AccessToken {
    AccessToken {
        token: Secret::new(text),
        expires_at: at(expires_second),
    }
}

async fn get(store: &Store, second: i64) -> Option<AccessToken> {
    token_cache::get(store, &integration(), SOURCE, at(second))
        .await
        .unwrap()
}

#[tokio::test]
async fn longer_lived_token_replaces_another() {
    let it = fresh().await;
    assert_eq!(get(&it.store, 0).await, None);
    for (text, expires, kept) in [("a", 100, "a"), ("b", 50, "a"), ("c", 100, "a"), ("d", 101, "d")] {
        token_cache::put(&it.store, &integration(), SOURCE, &token(text, expires))
            .await
            .unwrap();
        assert_eq!(get(&it.store, 0).await.unwrap().token, Secret::new(kept));
    }
}

#[tokio::test]
async fn expired_token_is_absent() {
    let it = fresh().await;
    token_cache::put(&it.store, &integration(), SOURCE, &token("a", 100))
        .await
        .unwrap();
    assert_eq!(get(&it.store, 99).await, Some(token("a", 100)));
    assert_eq!(get(&it.store, 100).await, None);
}

#[tokio::test]
async fn only_the_refused_token_is_evicted() {
    let it = fresh().await;
    let (bad, good) = (token("bad", 100), token("good", 200));
    token_cache::put(&it.store, &integration(), SOURCE, &bad).await.unwrap();
    token_cache::put(&it.store, &integration(), SOURCE, &good)
        .await
        .unwrap();
    token_cache::forget(&it.store, &integration(), &bad).await.unwrap();
    assert_eq!(get(&it.store, 0).await, Some(good.clone()));
    token_cache::forget(&it.store, &integration(), &good).await.unwrap();
    token_cache::forget(&it.store, &integration(), &good).await.unwrap();
    assert_eq!(get(&it.store, 0).await, None);
    token_cache::put(&it.store, &integration(), SOURCE, &token("new", 50))
        .await
        .unwrap();
    token_cache::remove(&it.store, &integration()).await.unwrap();
    assert_eq!(get(&it.store, 0).await, None);
}

#[tokio::test]
async fn token_is_sealed() {
    let it = fresh().await;
    token_cache::put(&it.store, &integration(), SOURCE, &token("s3cr3t", 100))
        .await
        .unwrap();
    let scan = it.client.scan().table_name(&it.tables.state).send().await.unwrap();
    assert!(!format!("{:?}", scan.items()).contains("s3cr3t"));
    let other = token_cache::get(&with_other_key(&it), &integration(), SOURCE, NOW).await;
    assert!(matches!(other, Err(StoreError::Unsealable)));
}

#[tokio::test]
async fn a_token_of_other_credentials_is_absent_and_replaced() {
    let it = fresh().await;
    token_cache::put(&it.store, &integration(), SOURCE, &token("old", 200))
        .await
        .unwrap();
    let found = token_cache::get(&it.store, &integration(), "changed", NOW).await;
    assert_eq!(found.unwrap(), None);
    // Though it expires earlier.
    token_cache::put(&it.store, &integration(), "changed", &token("new", 100))
        .await
        .unwrap();
    let found = token_cache::get(&it.store, &integration(), "changed", at(0)).await;
    assert_eq!(found.unwrap(), Some(token("new", 100)));
    assert_eq!(get(&it.store, 0).await, None);
}
