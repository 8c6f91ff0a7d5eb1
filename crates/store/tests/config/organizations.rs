use tieline_core::mapper::UnknownPolicy;
use tieline_core::secret::Secret;
use tieline_store::StoreError;
use tieline_store::config::organization::{self, Limits, Mapper};

use crate::tables::{NOW, fresh, org, race};

#[tokio::test]
async fn default_exists_from_the_start() {
    let fresh = fresh().await;
    let found = organization::get(&fresh.store, &org("default"), NOW).await.unwrap();
    assert_eq!(found.unwrap().name, "Default");
    assert_eq!(organization::get(&fresh.store, &org("other"), NOW).await.unwrap(), None);
}

#[tokio::test]
async fn one_of_many_creates_wins() {
    let fresh = fresh().await;
    let created = race((0..20).map(|n| {
        let store = fresh.store.clone();
        async move { organization::create(&store, &org("acme"), &format!("name {n}"), Limits::default(), NOW).await }
    }))
    .await;
    let wins = created.iter().filter(|won| matches!(won, Ok(true))).count();
    assert_eq!(wins, 1, "{created:?}");
}

#[tokio::test]
async fn organizations_are_listed_page_by_page_each_once() {
    let fresh = fresh().await;
    for id in ["a", "b", "c", "d"] {
        assert!(
            organization::create(&fresh.store, &org(id), id, Limits::default(), NOW)
                .await
                .unwrap()
        );
    }
    let (mut ids, mut cursor) = (Vec::new(), None);
    loop {
        let page = organization::list(&fresh.store, cursor.as_deref(), 2, NOW)
            .await
            .unwrap();
        assert!(page.items.len() <= 2);
        ids.extend(page.items.into_iter().map(|one| one.id.as_str().to_owned()));
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(ids, ["a", "b", "c", "d", "default"]);
}

#[tokio::test]
async fn update_of_a_stale_read_is_refused() {
    let fresh = fresh().await;
    let limits = Limits {
        max_concurrent_runs: Some(3),
        max_messages_per_minute: Some(60),
    };
    let before = organization::get(&fresh.store, &org("default"), NOW)
        .await
        .unwrap()
        .unwrap();
    let after = organization::update(&fresh.store, &before, "Acme", limits)
        .await
        .unwrap();
    assert_eq!((after.name.as_str(), after.limits), ("Acme", limits));
    let again = organization::update(&fresh.store, &before, "Late", limits).await;
    assert!(matches!(again, Err(StoreError::Conflict)), "{again:?}");
    assert_eq!(
        organization::get(&fresh.store, &org("default"), NOW).await.unwrap(),
        Some(after)
    );
}

#[tokio::test]
async fn mapper_and_name_change_independently_and_the_secret_is_sealed() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let before = organization::get(store, &org("default"), NOW).await.unwrap().unwrap();
    let mapper = Mapper {
        url: "https://people.example".to_owned(),
        secret: Secret::new("a secret of the tests"),
        unknown: UnknownPolicy::Refuse,
    };
    let after = organization::set_mapper(store, &before, Some(mapper.clone()))
        .await
        .unwrap();
    // Name and limits have their own version.
    let renamed = organization::update(store, &before, "Acme", Limits::default())
        .await
        .unwrap();
    let found = organization::get(store, &org("default"), NOW).await.unwrap().unwrap();
    assert_eq!((found.name.as_str(), found.version), ("Acme", renamed.version));
    assert_eq!((found.mapper.as_ref(), found.mapper_version), (Some(&mapper), 1));
    let late = organization::set_mapper(store, &before, None).await;
    assert!(matches!(late, Err(StoreError::Conflict)), "{late:?}");
    let facts = organization::look_up(store, &org("default"), NOW).await.unwrap();
    assert_eq!(facts.mapper, Some((mapper, 1)));
    let item = fresh.item("ORG#default", "ORG").await;
    assert!(
        item.contains("people.example") && !item.contains("a secret of the tests"),
        "{item}"
    );
    organization::set_mapper(store, &after, None).await.unwrap();
    assert_eq!(
        organization::look_up(store, &org("default"), NOW).await.unwrap().mapper,
        None
    );
}

#[tokio::test]
async fn organization_of_an_older_version_can_get_a_mapper() {
    let fresh = fresh().await;
    let store = &fresh.store;
    organization::get(store, &org("default"), NOW).await.unwrap();
    fresh.remove_attribute(("ORG#default", "ORG"), "mapperVersion").await;
    let before = organization::get(store, &org("default"), NOW).await.unwrap().unwrap();
    let mapper = Mapper {
        url: "https://people.example".to_owned(),
        secret: Secret::new("a secret of the tests"),
        unknown: UnknownPolicy::Allow,
    };
    let after = organization::set_mapper(store, &before, Some(mapper)).await.unwrap();
    assert_eq!(
        organization::get(store, &org("default"), NOW).await.unwrap(),
        Some(after)
    );
}
