use tieline_store::StoreError;
use tieline_store::config::token::{self, Role};

use crate::tables::{NOW, fresh, org};

#[tokio::test]
async fn a_token_is_found_by_itself_until_it_is_deleted() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let made = token::create(store, &org("acme"), ("tok_1", "tl_abc"), ("ci", Role::Viewer), NOW)
        .await
        .unwrap();
    assert!(!format!("{made:?}").contains("tl_abc"));
    assert_eq!(
        token::find(store, "tl_abc").await.unwrap(),
        Some((org("acme"), Role::Viewer))
    );
    assert_eq!(token::find(store, "tl_abd").await.unwrap(), None);
    assert_eq!(
        token::get(store, &org("acme"), "tok_1").await.unwrap(),
        Some(made.clone())
    );
    assert_eq!(token::get(store, &org("default"), "tok_1").await.unwrap(), None);
    assert_eq!(
        token::list(store, &org("acme"), None, 10).await.unwrap().items,
        std::slice::from_ref(&made)
    );
    token::delete(store, &made).await.unwrap();
    assert_eq!(token::find(store, "tl_abc").await.unwrap(), None);
    assert!(matches!(token::delete(store, &made).await, Err(StoreError::Conflict)));
}
