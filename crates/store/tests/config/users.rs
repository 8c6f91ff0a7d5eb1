use tieline_core::ids::{IntegrationId, SenderId};
use tieline_store::StoreError;
use tieline_store::config::user::{self, User, UserChange};

use crate::tables::{NOW, fresh, org, race};

fn lisi() -> User {
    User::first_contact(
        &org("default"),
        &IntegrationId::new("int_1"),
        "wecom",
        &SenderId::new("lisi"),
        NOW,
    )
}

#[tokio::test]
async fn first_contact_makes_a_person_once() {
    let fresh = fresh().await;
    let found = race((0..20).map(|_| {
        let store = fresh.store.clone();
        async move { user::ensure(&store, &lisi()).await.unwrap() }
    }))
    .await;
    assert!(found.iter().all(|user| *user == lisi()));
    assert_eq!(
        user::list(&fresh.store, &org("default"), None, 10).await.unwrap().items,
        [lisi()]
    );
    assert_eq!(lisi().email, "lisi@im-platform.com");
}

#[tokio::test]
async fn what_an_operator_says_stays_at_the_next_contact() {
    let fresh = fresh().await;
    let store = &fresh.store;
    user::ensure(store, &lisi()).await.unwrap();
    let link = UserChange {
        linked: Some(Some("staff-7".into())),
        ..UserChange::default()
    };
    let linked = user::change(store, &lisi(), link).await.unwrap();
    assert_eq!(linked.linked.as_deref(), Some("staff-7"));
    assert_eq!(user::ensure(store, &lisi()).await.unwrap(), linked);
    let rename = UserChange {
        name: Some("李四".into()),
        linked: Some(None),
        ..UserChange::default()
    };
    let renamed = user::change(store, &linked, rename).await.unwrap();
    assert_eq!((renamed.name.as_str(), renamed.linked), ("李四", None));
    // The copy that was read before stays as it is.
    let late = user::change(store, &linked, UserChange::default()).await;
    assert!(matches!(late, Err(StoreError::Conflict)), "{late:?}");
}

#[tokio::test]
async fn a_deleted_person_is_made_anew() {
    let fresh = fresh().await;
    let store = &fresh.store;
    user::ensure(store, &lisi()).await.unwrap();
    let elsewhere = User {
        organization: org("acme"),
        ..lisi()
    };
    assert!(matches!(
        user::delete(store, &elsewhere).await,
        Err(StoreError::Conflict)
    ));
    user::delete(store, &lisi()).await.unwrap();
    assert!(matches!(user::delete(store, &lisi()).await, Err(StoreError::Conflict)));
    assert_eq!(user::get(store, &org("default"), &lisi().id).await.unwrap(), None);
    user::ensure(store, &lisi()).await.unwrap();
}
