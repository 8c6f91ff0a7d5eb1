use tieline_core::ids::{AgentId, IntegrationId, TriggerId};
use tieline_core::routes::Route;
use tieline_core::trigger::{Trigger, TriggerSettings};
use tieline_store::config::agent::{self, AgentError};
use tieline_store::config::integration;
use tieline_store::config::trigger::{self, Rival, TriggerError, TriggerRecord};
use tieline_store::{Store, StoreError};

use crate::tables::{self, NOW, fresh, org, race, trigger};

async fn in_force(store: &Store, integration: &str) -> Option<Trigger> {
    integration::load_bound(store, &IntegrationId::new(integration))
        .await
        .unwrap()
        .unwrap()
        .trigger
}

async fn own(store: &Store, id: &str) -> TriggerRecord {
    trigger::get(store, &org("default"), &TriggerId::new(id))
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn one_of_twenty_enabled_triggers_gets_the_integration() {
    let fresh = fresh().await;
    tables::integration(&fresh.store, "default", "int_1").await;
    tables::agent(&fresh.store, "default", "agt_1").await;
    let outcomes = race((0..20).map(|n| {
        let store = fresh.store.clone();
        async move {
            trigger::create(
                &store,
                trigger(&format!("trg_{n}"), "int_1", "agt_1"),
                Rival::Respect,
                NOW,
            )
            .await
        }
    }))
    .await;
    let winners: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert_eq!(
        in_force(&fresh.store, "int_1").await.as_ref(),
        Some(&winners[0].trigger)
    );
    for outcome in &outcomes {
        match outcome {
            Ok(_) | Err(TriggerError::Store(StoreError::Conflict)) => {}
            Err(TriggerError::AlreadyBound(holder)) => assert_eq!(holder.id, winners[0].trigger.id),
            other => panic!("{other:?}"),
        }
    }
    let kept = trigger::list(&fresh.store, &org("default"), None, 50)
        .await
        .unwrap()
        .items;
    assert_eq!(kept.len(), 1);
}

#[tokio::test]
async fn one_of_twenty_disabled_triggers_can_be_enabled() {
    let fresh = fresh().await;
    let store = &fresh.store;
    tables::integration(store, "default", "int_1").await;
    tables::agent(store, "default", "agt_1").await;
    let mut records = Vec::new();
    for n in 0..20 {
        let disabled = Trigger {
            enabled: false,
            ..trigger(&format!("trg_{n}"), "int_1", "agt_1")
        };
        records.push(trigger::create(store, disabled, Rival::Respect, NOW).await.unwrap());
    }
    assert_eq!(in_force(store, "int_1").await, None);
    let outcomes = race(records.into_iter().map(|before| {
        let store = store.clone();
        async move {
            let enabled = Trigger {
                enabled: true,
                ..before.trigger.clone()
            };
            trigger::update(&store, &before, enabled, Rival::Respect, NOW).await
        }
    }))
    .await;
    assert_eq!(
        outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
        1,
        "{outcomes:?}"
    );
    let kept = trigger::list(store, &org("default"), None, 50).await.unwrap().items;
    let enabled: Vec<_> = kept.into_iter().filter(|record| record.trigger.enabled).collect();
    assert_eq!(enabled.len(), 1);
    assert_eq!(in_force(store, "int_1").await, Some(enabled[0].trigger.clone()));
}

#[tokio::test]
async fn takeovers_leave_exactly_one_enabled() {
    let fresh = fresh().await;
    let store = &fresh.store;
    tables::integration(store, "default", "int_1").await;
    for n in 0..3 {
        tables::agent(store, "default", &format!("agt_{n}")).await;
    }
    let first = trigger::create(store, trigger("trg_first", "int_1", "agt_0"), Rival::Respect, NOW)
        .await
        .unwrap();
    let moved = trigger::create(store, trigger("trg_next", "int_1", "agt_1"), Rival::Displace, NOW)
        .await
        .unwrap();
    assert_eq!(in_force(store, "int_1").await, Some(moved.trigger));
    let displaced = own(store, "trg_first").await;
    assert!(!displaced.trigger.enabled);
    assert!(displaced.version > first.version);
    race((0..20).map(|n| {
        let store = store.clone();
        let agent = format!("agt_{}", n % 3);
        async move {
            trigger::create(
                &store,
                trigger(&format!("trg_{n}"), "int_1", &agent),
                Rival::Displace,
                NOW,
            )
            .await
        }
    }))
    .await;
    let kept = trigger::list(store, &org("default"), None, 50).await.unwrap().items;
    let enabled: Vec<_> = kept.iter().filter(|record| record.trigger.enabled).collect();
    assert_eq!(enabled.len(), 1);
    assert_eq!(in_force(store, "int_1").await.as_ref(), Some(&enabled[0].trigger));
    // The agents' counts are right: the one in use stays, the others can be deleted.
    for n in 0..3 {
        let id = AgentId::new(format!("agt_{n}"));
        let record = agent::get(store, &org("default"), &id).await.unwrap().unwrap();
        let deleted = agent::delete(store, &record, NOW).await;
        if id == enabled[0].trigger.agent {
            assert!(matches!(deleted, Err(AgentError::InUse)), "{deleted:?}");
        } else {
            deleted.unwrap();
        }
    }
}

#[tokio::test]
async fn missing_items_and_other_tenants_items_are_not_found() {
    let fresh = fresh().await;
    let store = &fresh.store;
    tables::integration(store, "default", "int_1").await;
    tables::integration(store, "acme", "int_theirs").await;
    tables::agent(store, "default", "agt_1").await;
    tables::agent(store, "acme", "agt_theirs").await;
    for enabled in [true, false] {
        for integration in ["int_theirs", "int_none"] {
            let wanted = Trigger {
                enabled,
                ..trigger("trg_1", integration, "agt_1")
            };
            let made = trigger::create(store, wanted, Rival::Displace, NOW).await;
            assert!(matches!(made, Err(TriggerError::IntegrationNotFound)), "{made:?}");
        }
        for agent in ["agt_theirs", "agt_none"] {
            let wanted = Trigger {
                enabled,
                ..trigger("trg_1", "int_1", agent)
            };
            let made = trigger::create(store, wanted, Rival::Displace, NOW).await;
            assert!(matches!(made, Err(TriggerError::AgentNotFound)), "{made:?}");
        }
    }
    assert!(
        trigger::list(store, &org("default"), None, 50)
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert_eq!(in_force(store, "int_1").await, None);
}

#[tokio::test]
async fn new_settings_reach_the_hot_path_at_once() {
    let fresh = fresh().await;
    let store = &fresh.store;
    tables::integration(store, "default", "int_1").await;
    tables::agent(store, "default", "agt_1").await;
    let before = trigger::create(store, trigger("trg_1", "int_1", "agt_1"), Rival::Respect, NOW)
        .await
        .unwrap();
    let settings = TriggerSettings {
        welcome: Some("hi".into()),
        summary_window_seconds: 9,
        ..TriggerSettings::default()
    };
    let wanted = Trigger {
        settings: settings.clone(),
        ..before.trigger.clone()
    };
    trigger::update(store, &before, wanted.clone(), Rival::Respect, NOW)
        .await
        .unwrap();
    assert_eq!(in_force(store, "int_1").await, Some(wanted.clone()));
    let stale = trigger::update(store, &before, wanted, Rival::Respect, NOW).await;
    assert!(
        matches!(stale, Err(TriggerError::Store(StoreError::Conflict))),
        "{stale:?}"
    );
}

#[tokio::test]
async fn moving_a_trigger_leaves_the_old_integration() {
    let fresh = fresh().await;
    let store = &fresh.store;
    tables::integration(store, "default", "int_1").await;
    tables::integration(store, "default", "int_2").await;
    tables::agent(store, "default", "agt_1").await;
    let before = trigger::create(store, trigger("trg_1", "int_1", "agt_1"), Rival::Respect, NOW)
        .await
        .unwrap();
    let wanted = Trigger {
        integration: IntegrationId::new("int_2"),
        ..before.trigger.clone()
    };
    let moved = trigger::update(store, &before, wanted, Rival::Respect, NOW)
        .await
        .unwrap();
    assert_eq!(in_force(store, "int_1").await, None);
    assert_eq!(in_force(store, "int_2").await, Some(moved.trigger.clone()));
    let disabled = Trigger {
        enabled: false,
        ..moved.trigger.clone()
    };
    trigger::update(store, &moved, disabled, Rival::Respect, NOW)
        .await
        .unwrap();
    assert_eq!(in_force(store, "int_2").await, None);
}

#[tokio::test]
async fn triggers_are_found_by_integration_and_agent() {
    let fresh = fresh().await;
    let store = &fresh.store;
    tables::integration(store, "default", "int_1").await;
    tables::agent(store, "default", "agt_1").await;
    for n in 0..3 {
        let wanted = Trigger {
            enabled: n == 0,
            ..trigger(&format!("trg_{n}"), "int_1", "agt_1")
        };
        trigger::create(store, wanted, Rival::Respect, NOW).await.unwrap();
    }
    let agent = AgentId::new("agt_1");
    let naming = trigger::naming(store, &org("default"), |trigger| trigger.agent == agent)
        .await
        .unwrap();
    assert_eq!(naming.len(), 3);
    assert!(trigger::naming(store, &org("acme"), |_| true).await.unwrap().is_empty());
}

#[tokio::test]
async fn agents_of_routes_must_exist_and_stay_while_the_trigger_is_enabled() {
    let fresh = fresh().await;
    let store = &fresh.store;
    tables::integration(store, "default", "int_1").await;
    tables::agent(store, "default", "agt_1").await;
    let route = |agent: &str, word: &str| Route {
        agent: AgentId::new(agent),
        chats: Vec::new(),
        users: Vec::new(),
        first_word: Some(word.to_owned()),
    };
    let mut wanted = trigger("trg_1", "int_1", "agt_1");
    wanted.settings.routes = vec![route("agt_2", "a"), route("agt_2", "b"), route("agt_1", "c")];
    let missing = trigger::create(store, wanted.clone(), Rival::Respect, NOW).await;
    assert!(matches!(missing, Err(TriggerError::AgentNotFound)), "{missing:?}");
    let holder = trigger("trg_0", "int_1", "agt_1");
    let holder = trigger::create(store, holder, Rival::Respect, NOW).await.unwrap();
    let missing = trigger::create(store, wanted.clone(), Rival::Respect, NOW).await;
    assert!(
        matches!(missing, Err(TriggerError::AgentNotFound)),
        "a missing agent is reported before the binding: {missing:?}"
    );
    trigger::delete(store, &holder, NOW).await.unwrap();
    tables::agent(store, "default", "agt_2").await;
    let made = trigger::create(store, wanted.clone(), Rival::Respect, NOW)
        .await
        .unwrap();
    assert_eq!(in_force(store, "int_1").await, Some(wanted.clone()));
    let in_use = async || {
        let agent = agent::get(store, &org("default"), &AgentId::new("agt_2"))
            .await
            .unwrap()
            .unwrap();
        matches!(agent::delete(store, &agent, NOW).await, Err(AgentError::InUse))
    };
    assert!(in_use().await);
    // Another trigger takes over the integration: the first one no longer counts.
    let rival = trigger("trg_2", "int_1", "agt_1");
    trigger::create(store, rival, Rival::Displace, NOW).await.unwrap();
    let displaced = own(store, "trg_1").await;
    assert_eq!(displaced.trigger.settings, made.trigger.settings);
    let back = trigger::update(store, &displaced, wanted, Rival::Displace, NOW)
        .await
        .unwrap();
    assert!(in_use().await);
    trigger::delete(store, &back, NOW).await.unwrap();
    assert!(!in_use().await, "nothing names it any more");
}
