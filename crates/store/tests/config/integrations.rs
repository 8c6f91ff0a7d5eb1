use std::time::Duration;

use tieline_core::account::Credentials;
use tieline_core::ids::IntegrationId;
use tieline_core::secret::Secret;
use tieline_store::config::integration::{self, IntegrationError, IntegrationRecord, IntegrationSettings};
use tieline_store::config::trigger::{self, Rival};
use tieline_store::{Keyring, Store, StoreError};

use crate::tables::{self, NOW, fresh, new_integration, org, race, settings, trigger};

fn id(text: &str) -> IntegrationId {
    IntegrationId::new(text)
}

#[tokio::test]
async fn credentials_are_sealed_for_their_integration() {
    let fresh = fresh().await;
    let record = tables::integration(&fresh.store, "default", "int_1").await;
    assert!(!format!("{record:?}").contains("s3cret"));
    let found = integration::get(&fresh.store, &id("int_1")).await.unwrap().unwrap();
    assert_eq!(found, record);
    let (credentials, id_key) = found.unseal(fresh.store.keyring()).unwrap();
    assert_eq!((credentials.get("secret"), id_key), (Some("s3cret"), [9; 32]));
    assert!(matches!(
        found.unseal(&Keyring::new([8; 32])),
        Err(StoreError::Unsealable)
    ));
    let mut moved = found;
    moved.id = id("int_2");
    assert!(matches!(
        moved.unseal(fresh.store.keyring()),
        Err(StoreError::Unsealable)
    ));
}

#[tokio::test]
async fn names_are_unique_within_an_organization_only() {
    let fresh = fresh().await;
    let store = &fresh.store;
    tables::integration(store, "default", "int_1").await;
    let same = integration::create(store, new_integration("default", "int_2"), settings("int_1"), NOW).await;
    assert!(matches!(same, Err(IntegrationError::NameTaken(_))), "{same:?}");
    assert_eq!(integration::get(store, &id("int_2")).await.unwrap(), None);
    integration::create(store, new_integration("acme", "int_3"), settings("int_1"), NOW)
        .await
        .unwrap();
}

#[tokio::test]
async fn renaming_frees_the_old_name() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let before = tables::integration(store, "default", "int_1").await;
    let other = tables::integration(store, "default", "int_2").await;
    let taken = integration::update(store, &before, settings("int_2"), NOW).await;
    assert!(matches!(taken, Err(IntegrationError::NameTaken(_))), "{taken:?}");
    let renamed = integration::update(store, &before, settings("new"), NOW).await.unwrap();
    assert_eq!((renamed.name.as_str(), renamed.version), ("new", 2));
    integration::update(store, &other, settings("int_1"), NOW)
        .await
        .unwrap();
}

fn with_account(name: &str, key: &str) -> IntegrationSettings {
    IntegrationSettings {
        account_key: Some(key.to_owned()),
        ..settings(name)
    }
}

#[tokio::test]
async fn one_bot_account_is_in_one_integration_of_an_organization() {
    let fresh = fresh().await;
    let outcomes = race((0..20).map(|n| {
        let store = fresh.store.clone();
        async move {
            let organization = if n % 2 == 0 { "default" } else { "acme" };
            let new = new_integration(organization, &format!("int_{n}"));
            integration::create(&store, new, with_account(&format!("bot {n}"), "app-1"), NOW).await
        }
    }))
    .await;
    let winners: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert_eq!(winners.len(), 2, "{outcomes:?}");
    assert_ne!(winners[0].organization, winners[1].organization);
    for outcome in &outcomes {
        if let Err(IntegrationError::AccountInUse {
            integration,
            organization,
        }) = outcome
        {
            let winner = winners
                .iter()
                .find(|winner| winner.organization == *organization)
                .unwrap();
            assert_eq!(*integration, winner.id);
        }
    }
}

async fn claim(store: &Store, organization: &str, id: &str) -> Result<IntegrationRecord, IntegrationError> {
    let settings = with_account(id, "app-1");
    integration::create(store, new_integration(organization, id), settings, NOW).await
}

#[tokio::test]
async fn a_claim_counts_for_all_organizations_once_its_credentials_have_worked() {
    let fresh = fresh().await;
    let store = &fresh.store;
    // Naming an account blocks no other organization.
    let squatter = claim(store, "squat", "int_1").await.unwrap();
    let owner = claim(store, "acme", "int_2").await.unwrap();
    let rivals = integration::rivals(store, &org("acme"), "lark", "app-1").await.unwrap();
    assert_eq!(rivals, std::slice::from_ref(&squatter.id));
    // Of several whose credentials work at the same time, one is first.
    let proofs = race([squatter.clone(), owner.clone()].map(|record| {
        let store = store.clone();
        async move { integration::prove(&store, &record).await.is_ok() }
    }))
    .await;
    assert_eq!(proofs.iter().filter(|proved| **proved).count(), 1, "{proofs:?}");
    integration::release(store, "lark", "app-1").await.unwrap();
    integration::prove(store, &owner).await.unwrap();
    integration::prove(store, &owner).await.unwrap();
    let refused = claim(store, "third", "int_3").await;
    assert!(
        matches!(refused, Err(IntegrationError::AccountInUse { .. })),
        "{refused:?}"
    );
    let late = integration::prove(store, &squatter).await;
    assert!(matches!(late, Err(IntegrationError::AccountInUse { .. })), "{late:?}");
    // The one that lost is deleted without affecting the other.
    integration::delete(store, &squatter, NOW).await.unwrap();
    assert!(claim(store, "third", "int_3").await.is_err());
    let released = integration::release(store, "lark", "app-1").await.unwrap();
    assert_eq!(released, [(org("acme"), owner.id.clone())]);
    claim(store, "third", "int_3").await.unwrap();
}

#[tokio::test]
async fn a_proved_claim_ends_with_the_account_the_integration_and_the_servers() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let proved = async |id: &str| {
        let record = claim(store, "acme", id).await.unwrap();
        integration::prove(store, &record).await.unwrap();
        record
    };
    let first = proved("int_1").await;
    let other = integration::update(store, &first, with_account("int_1", "app-2"), NOW)
        .await
        .unwrap();
    let stale = integration::prove(store, &first).await;
    assert!(
        matches!(stale, Err(IntegrationError::Store(StoreError::Conflict))),
        "{stale:?}"
    );
    let second = claim(store, "other", "int_2").await.unwrap();
    integration::delete(store, &second, NOW).await.unwrap();
    integration::delete(store, &other, NOW).await.unwrap();

    let third = proved("int_3").await;
    integration::delete(store, &third, NOW).await.unwrap();
    claim(store, "other", "int_4").await.unwrap();

    // A login at an operator's own server proves nothing about the platform's account.
    let fourth = claim(store, "thief", "int_5").await.unwrap();
    let at = |server: &str| IntegrationSettings {
        endpoints: [("apiBase".to_owned(), server.to_owned())].into(),
        ..with_account("int_5", "app-1")
    };
    let moved = integration::update(store, &fourth, at("https://own.example/a"), NOW)
        .await
        .unwrap();
    integration::prove(store, &moved).await.unwrap();
    let owner = claim(store, "owner", "int_6").await.unwrap();
    integration::prove(store, &owner).await.unwrap();
    let back = integration::update(store, &moved, with_account("int_5", "app-1"), NOW).await;
    assert!(matches!(back, Err(IntegrationError::AccountInUse { .. })), "{back:?}");
}

#[tokio::test]
async fn account_is_free_again_after_a_change_and_after_deletion() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let create = |id: &'static str, key: &'static str| {
        integration::create(store, new_integration("default", id), with_account(id, key), NOW)
    };
    let first = create("int_1", "app-1").await.unwrap();
    assert!(matches!(
        create("int_2", "app-1").await,
        Err(IntegrationError::AccountInUse { .. })
    ));
    let changed = integration::update(store, &first, with_account("int_1", "app-2"), NOW)
        .await
        .unwrap();
    let second = create("int_2", "app-1").await.unwrap();
    let stolen = integration::update(store, &second, with_account("int_2", "app-2"), NOW).await;
    assert!(
        matches!(stolen, Err(IntegrationError::AccountInUse { .. })),
        "{stolen:?}"
    );
    integration::delete(store, &changed, NOW).await.unwrap();
    integration::update(store, &second, with_account("int_2", "app-2"), NOW)
        .await
        .unwrap();
}

#[tokio::test]
async fn changes_of_a_stale_read_are_refused() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let before = tables::integration(store, "default", "int_1").await;
    let stopped = integration::set_enabled(store, &before, false, NOW).await.unwrap();
    assert!(!stopped.enabled);
    let late = integration::update(store, &before, settings("late"), NOW).await;
    assert!(
        matches!(late, Err(IntegrationError::Store(StoreError::Conflict))),
        "{late:?}"
    );
    let late = integration::delete(store, &before, NOW).await;
    assert!(
        matches!(late, Err(IntegrationError::Store(StoreError::Conflict))),
        "{late:?}"
    );
    assert_eq!(integration::get(store, &id("int_1")).await.unwrap(), Some(stopped));
}

#[tokio::test]
async fn an_update_without_changes_does_not_write_the_integration() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let create = integration::create(
        store,
        new_integration("default", "int_1"),
        with_account("int_1", "a"),
        NOW,
    );
    let before = create.await.unwrap();
    let later = NOW.after(Duration::from_secs(1));
    let same = integration::update(store, &before, with_account("int_1", "a"), later).await;
    assert_eq!(same.unwrap(), before);
    assert_eq!(
        integration::get(store, &id("int_1")).await.unwrap(),
        Some(before.clone())
    );
    let mut secret = with_account("int_1", "a");
    secret.credentials.set("secret", Secret::new("new"));
    let changed = integration::update(store, &before, secret, later).await.unwrap();
    assert_eq!((changed.version, changed.updated_at), (2, later));
}

#[tokio::test]
async fn update_keeps_the_id_key() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let before = tables::integration(store, "default", "int_1").await;
    let other = IntegrationSettings {
        credentials: Credentials::from_iter([("secret", "new")]),
        ..settings("int_1")
    };
    let after = integration::update(store, &before, other, NOW).await.unwrap();
    let (credentials, id_key) = after.unseal(store.keyring()).unwrap();
    assert_eq!((credentials.get("secret"), id_key), (Some("new"), [9; 32]));
}

#[tokio::test]
async fn learned_facts_are_stored_beside_the_credentials_of_the_same_bot() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let before = tables::integration(store, "default", "int_1").await;
    let told = Credentials::from_iter([("botName", "Helper"), ("secret", "not yours to say")]);
    let taught = integration::learn(store, &before, &told).await.unwrap();
    assert_eq!((taught.version, taught.updated_at), (2, before.updated_at));
    let (credentials, _) = taught.unseal(store.keyring()).unwrap();
    assert_eq!(
        (credentials.get("botName"), credentials.get("secret")),
        (Some("Helper"), Some("s3cret"))
    );
    assert_eq!(
        taught.given_credentials(store.keyring()).unwrap(),
        settings("int_1").credentials
    );
    assert_eq!(integration::learn(store, &taught, &told).await.unwrap(), taught);
    let renamed = integration::update(store, &taught, settings("new"), NOW).await.unwrap();
    assert_eq!(
        renamed.unseal(store.keyring()).unwrap().0.get("botName"),
        Some("Helper")
    );
    let other = IntegrationSettings {
        credentials: Credentials::from_iter([("secret", "other")]),
        ..settings("new")
    };
    let other = integration::update(store, &renamed, other, NOW).await.unwrap();
    assert_eq!(other.unseal(store.keyring()).unwrap().0.get("botName"), None);
}

#[tokio::test]
async fn bound_integration_is_not_deleted() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let record = tables::integration(store, "default", "int_1").await;
    tables::agent(store, "default", "agt_1").await;
    let bound = trigger::create(store, trigger("trg_1", "int_1", "agt_1"), Rival::Respect, NOW)
        .await
        .unwrap();
    match integration::delete(store, &record, NOW).await {
        Err(IntegrationError::InUse(holder)) => assert_eq!(*holder, bound.trigger),
        other => panic!("{other:?}"),
    }
    trigger::delete(store, &bound, NOW).await.unwrap();
    integration::delete(store, &record, NOW).await.unwrap();
    assert_eq!(integration::get(store, &id("int_1")).await.unwrap(), None);
    assert!(
        integration::list(store, &org("default"), None, 10)
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

#[tokio::test]
async fn deleting_and_binding_never_both_win() {
    for round in 0..10 {
        let fresh = fresh().await;
        let record = tables::integration(&fresh.store, "default", "int_1").await;
        tables::agent(&fresh.store, "default", "agt_1").await;
        let (deleting, binding) = (fresh.store.clone(), fresh.store.clone());
        let (deleted, bound) = tokio::join!(
            tokio::spawn(async move { integration::delete(&deleting, &record, NOW).await.is_ok() }),
            tokio::spawn(async move {
                trigger::create(&binding, trigger("trg_1", "int_1", "agt_1"), Rival::Respect, NOW)
                    .await
                    .is_ok()
            }),
        );
        assert!(!(deleted.unwrap() && bound.unwrap()), "round {round}");
    }
}

#[tokio::test]
async fn list_shows_the_own_organization_in_order() {
    let fresh = fresh().await;
    let store = &fresh.store;
    for id in ["int_3", "int_1", "int_2"] {
        tables::integration(store, "default", id).await;
    }
    integration::create(store, new_integration("acme", "int_4"), settings("x"), NOW)
        .await
        .unwrap();
    let first = integration::list(store, &org("default"), None, 2).await.unwrap();
    let second = integration::list(store, &org("default"), first.cursor.as_deref(), 2)
        .await
        .unwrap();
    let ids: Vec<_> = first
        .items
        .iter()
        .chain(&second.items)
        .map(|record| record.id.as_str())
        .collect();
    assert_eq!(ids, ["int_1", "int_2", "int_3"]);
    // A cursor continues within the list that it is passed to, never in the one that it came from.
    let foreign = integration::list(store, &org("acme"), first.cursor.as_deref(), 2)
        .await
        .unwrap();
    assert!(foreign.items.iter().all(|record| record.organization == org("acme")));
}
