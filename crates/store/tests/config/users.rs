use tieline_core::ids::{IntegrationId, ReplyId, SenderId};
use tieline_core::mapper::{MappedPerson, MapperAnswer, Mapping};
use tieline_store::StoreError;
use tieline_store::config::user::{self, Unanswered, User, UserChange};

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
async fn first_contact_creates_a_person_once() {
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
async fn an_operators_changes_survive_the_next_contact() {
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
    // The copy that was read before is stale.
    let late = user::change(store, &linked, UserChange::default()).await;
    assert!(matches!(late, Err(StoreError::Conflict)), "{late:?}");
}

#[tokio::test]
async fn a_deleted_person_is_created_again() {
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

#[tokio::test]
async fn mappers_answer_is_recorded_once_and_removed_with_the_link() {
    let fresh = fresh().await;
    let store = &fresh.store;
    user::ensure(store, &lisi()).await.unwrap();
    let person = MappedPerson {
        id: "E-7".into(),
        name: "Li Si".into(),
        email: None,
    };
    let mapping = Mapping::answered(MapperAnswer::Person(person), 1, NOW);
    let mapped = user::record_mapping(store, &lisi(), mapping.clone()).await.unwrap();
    assert_eq!(
        user::get(store, &org("default"), &lisi().id).await.unwrap().as_ref(),
        Some(&mapped)
    );
    assert_eq!((mapped.linked_to(), mapped.known_name()), (Some("E-7"), "Li Si"));
    let known = mapped.known_person().unwrap();
    assert_eq!(
        (known.id.as_str(), known.email),
        ("E-7", None),
        "the made-up address is none"
    );
    let late = user::record_mapping(store, &lisi(), mapping.clone()).await;
    assert!(matches!(late, Err(StoreError::Conflict)), "{late:?}");
    let late = user::change(store, &lisi(), UserChange::default()).await;
    assert!(matches!(late, Err(StoreError::Conflict)), "{late:?}");
    let link = UserChange {
        linked: Some(Some("staff-7".into())),
        ..UserChange::default()
    };
    let linked = user::change(store, &mapped, link).await.unwrap();
    assert_eq!((linked.linked_to(), linked.known_name()), (Some("staff-7"), "lisi"));
    let unlink = UserChange {
        linked: Some(None),
        ..UserChange::default()
    };
    let unlinked = user::change(store, &linked, unlink).await.unwrap();
    assert_eq!((unlinked.linked_to(), &unlinked.mapping), (None, &None));
    user::record_mapping(store, &unlinked, mapping.clone()).await.unwrap();
    user::delete(
        store,
        &user::get(store, &org("default"), &lisi().id).await.unwrap().unwrap(),
    )
    .await
    .unwrap();
    let gone = user::record_mapping(store, &lisi(), mapping).await;
    assert!(matches!(gone, Err(StoreError::Conflict)), "{gone:?}");
}

#[tokio::test]
async fn proactive_message_waits_for_its_own_answer() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let (organization, id) = (org("default"), lisi().id);
    let said = |reply: &str| Unanswered {
        reply: ReplyId::new(reply),
        at: NOW,
    };
    // The record of a person who isn't recorded yet is created with it.
    user::record_unanswered(store, &lisi(), &said("tl-1")).await.unwrap();
    let known = user::get(store, &organization, &id).await.unwrap().unwrap();
    assert_eq!(known.unanswered, Some(said("tl-1")));
    user::record_unanswered(store, &lisi(), &said("tl-2")).await.unwrap();
    let late = user::change(store, &known, UserChange::default()).await;
    assert!(matches!(late, Err(StoreError::Conflict)), "{late:?}");
    // The answer to the first one doesn't affect the second.
    let answered = async |reply: &str| {
        let reply = ReplyId::new(reply);
        user::record_answered(store, &organization, &id, &reply).await.unwrap();
        user::get(store, &organization, &id).await.unwrap().unwrap().unanswered
    };
    assert_eq!(answered("tl-1").await, Some(said("tl-2")));
    assert_eq!(answered("tl-2").await, None);
    assert_eq!(answered("tl-2").await, None);
}
