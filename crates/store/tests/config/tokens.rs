use std::time::Duration;

use tieline_store::StoreError;
use tieline_store::config::token::{self, NewToken, Role};

use crate::tables::{NOW, fresh, org};

const NEW: NewToken<'static> = NewToken {
    id: "tok_1",
    token: "tl_abc",
    name: "ci",
    role: Role::Viewer,
    expires_at: None,
};

#[tokio::test]
async fn a_token_that_has_expired_is_not_found() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let end = NOW.after(Duration::from_secs(60));
    let new = NewToken {
        expires_at: Some(end),
        ..NEW
    };
    token::create(store, &org("acme"), new, NOW).await.unwrap();
    let before = end.before(Duration::from_millis(1));
    assert!(token::find(store, "tl_abc", before).await.unwrap().is_some());
    assert_eq!(token::find(store, "tl_abc", end).await.unwrap(), None);
}

#[tokio::test]
async fn a_use_is_recorded_coarsely_and_only_for_existing_tokens() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let acme = org("acme");
    let used = async || {
        let found = token::get(store, &acme, "tok_1").await.unwrap();
        found.and_then(|record| record.last_used_at)
    };
    token::note_use(store, &acme, "tok_1", NOW).await.unwrap();
    assert_eq!(token::get(store, &acme, "tok_1").await.unwrap(), None);
    let made = token::create(store, &acme, NEW, NOW).await.unwrap();
    assert_eq!(used().await, None);
    token::note_use(store, &acme, "tok_1", NOW).await.unwrap();
    let soon = NOW.after(Duration::from_secs(599));
    token::note_use(store, &acme, "tok_1", soon).await.unwrap();
    assert_eq!(used().await, Some(NOW));
    let later = NOW.after(token::USE_INTERVAL);
    token::note_use(store, &acme, "tok_1", later).await.unwrap();
    assert_eq!(used().await, Some(later));
    token::delete(store, &made).await.unwrap();
}

#[tokio::test]
async fn a_token_is_found_by_itself_until_it_is_deleted() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let made = token::create(store, &org("acme"), NEW, NOW).await.unwrap();
    assert!(!format!("{made:?}").contains("tl_abc"));
    assert_eq!(token::find(store, "tl_abc", NOW).await.unwrap(), Some(made.clone()));
    assert_eq!(made.role, Role::Viewer);
    assert_eq!(token::find(store, "tl_abd", NOW).await.unwrap(), None);
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
    assert_eq!(token::find(store, "tl_abc", NOW).await.unwrap(), None);
    assert!(matches!(token::delete(store, &made).await, Err(StoreError::Conflict)));
}
