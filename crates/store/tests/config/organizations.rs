use tieline_store::StoreError;
use tieline_store::config::organization::{self, Limits};

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
async fn list_goes_page_by_page_and_names_each_once() {
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
