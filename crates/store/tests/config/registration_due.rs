//! Registrations that are due: which changes make one necessary, and which end it.

use std::time::Duration;

use tieline_core::account::ConnectionMode;
use tieline_core::ids::IntegrationId;
use tieline_store::config::callback_base::{self, CallbackBase};
use tieline_store::config::integration::{self, IntegrationSettings};
use tieline_store::config::registration_due::{self, Due};
use tieline_store::{Store, StoreError};

use crate::tables::{self, NOW, fresh, race, settings};

async fn due(store: &Store) -> Option<Due> {
    let found = registration_due::get(store, &IntegrationId::new("int_1")).await;
    found.unwrap()
}

async fn due_version(store: &Store) -> Option<u64> {
    due(store).await.map(|due| due.version)
}

#[tokio::test]
async fn changes_that_matter_to_the_platform_make_a_registration_due() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let made = tables::integration(store, "default", "int_1").await;
    assert_eq!(due_version(store).await, Some(1));
    registration_due::clear(store, &made.id, 1).await.unwrap();

    let renamed = integration::update(store, &made, settings("other"), NOW).await.unwrap();
    assert_eq!((renamed.version, due_version(store).await), (2, None));
    let mode = match made.mode {
        ConnectionMode::Webhook => ConnectionMode::LongConnection,
        ConnectionMode::LongConnection => ConnectionMode::Webhook,
    };
    let other_mode = IntegrationSettings {
        mode,
        ..settings("other")
    };
    let moved = integration::update(store, &renamed, other_mode, NOW).await.unwrap();
    assert_eq!(due_version(store).await, Some(3));

    let stopped = integration::set_enabled(store, &moved, false, NOW).await.unwrap();
    assert_eq!(due_version(store).await, None);
    let started = integration::set_enabled(store, &stopped, true, NOW).await.unwrap();
    assert_eq!(due_version(store).await, Some(5));

    integration::delete(store, &started, NOW).await.unwrap();
    assert_eq!(due_version(store).await, None);
    let deleted = integration::get_deleted(store, &started.organization, &started.id, NOW).await;
    integration::restore(store, &deleted.unwrap().unwrap(), NOW)
        .await
        .unwrap();
    assert_eq!(due_version(store).await, Some(6));
}

#[tokio::test]
async fn result_for_an_older_version_changes_nothing() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let made = tables::integration(store, "default", "int_1").await;
    integration::set_enabled(store, &made, true, NOW).await.unwrap();
    let late = registration_due::clear(store, &made.id, made.version).await;
    assert!(matches!(late, Err(StoreError::Conflict)), "{late:?}");
    let late = registration_due::set_failure(store, &made.id, made.version, "timeout").await;
    assert!(matches!(late, Err(StoreError::Conflict)), "{late:?}");
    registration_due::set_failure(store, &made.id, 3, "timeout")
        .await
        .unwrap();
    let failed = due(store).await.unwrap();
    assert_eq!((failed.version, failed.failure.as_deref()), (2, Some("timeout")));
    registration_due::clear(store, &made.id, 3).await.unwrap();
    let cleared = registration_due::set_failure(store, &made.id, 3, "timeout").await;
    assert!(matches!(cleared, Err(StoreError::Conflict)), "{cleared:?}");
    assert_eq!(due(store).await, None);
}

#[tokio::test]
async fn one_process_claims_an_attempt() {
    let fresh = fresh().await;
    let store = &fresh.store;
    tables::integration(store, "default", "int_1").await;
    assert_eq!(registration_due::list(store, NOW).await.unwrap(), []);
    let later = NOW.after(Duration::from_mins(1));
    let found = registration_due::list(store, later).await.unwrap();
    let [due] = &found[..] else { panic!("{found:?}") };
    let next_at = later.after(Duration::from_mins(2));
    let contenders = (0..4).map(|_| {
        let (store, due) = (store.clone(), due.clone());
        async move { registration_due::claim(&store, &due, next_at).await }
    });
    let claims = race(contenders).await;
    assert_eq!(claims.iter().filter(|claim| claim.is_ok()).count(), 1, "{claims:?}");
    assert_eq!(registration_due::list(store, later).await.unwrap(), []);
    let again = registration_due::list(store, next_at).await.unwrap();
    assert_eq!((again.len(), again[0].attempts), (1, 1));
}

#[tokio::test]
async fn registration_is_made_due_again_but_not_that_of_an_older_version() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let made = tables::integration(store, "default", "int_1").await;
    registration_due::set_failure(store, &made.id, 1, "timeout")
        .await
        .unwrap();
    let later = NOW.after(Duration::from_mins(5));
    registration_due::mark(store, &made.id, 1, later).await.unwrap();
    let again = due(store).await.unwrap();
    assert_eq!((again.since, again.due_at, again.failure), (later, later, None));

    integration::set_enabled(store, &made, true, NOW).await.unwrap();
    registration_due::mark(store, &made.id, 1, later).await.unwrap();
    assert_eq!(due_version(store).await, Some(2));
    registration_due::clear(store, &made.id, 2).await.unwrap();
    registration_due::mark(store, &made.id, 2, later).await.unwrap();
    assert_eq!(due_version(store).await, Some(2));
}

#[tokio::test]
async fn one_process_replaces_the_callback_base() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let base = |base: &str| CallbackBase {
        base: base.to_owned(),
        since: Some(NOW),
    };
    let (first, second) = (base("https://first.example"), base("https://second.example"));
    assert_eq!(callback_base::get(store).await.unwrap(), None);
    callback_base::set(store, None, first.clone()).await.unwrap();
    let late = callback_base::set(store, None, second.clone()).await;
    assert!(matches!(late, Err(StoreError::Conflict)), "{late:?}");
    callback_base::set(store, Some(&first), second.clone()).await.unwrap();
    let late = callback_base::set(store, Some(&first), first.clone()).await;
    assert!(matches!(late, Err(StoreError::Conflict)), "{late:?}");
    assert_eq!(callback_base::get(store).await.unwrap(), Some(second));
    assert_eq!(registration_due::list(store, NOW).await.unwrap(), []);
}
