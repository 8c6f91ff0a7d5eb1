use std::time::Duration;

use tieline_core::agent::Agent;
use tieline_core::ids::AgentId;
use tieline_core::trigger::Trigger;
use tieline_store::StoreError;
use tieline_store::config::agent::{self, AgentError};
use tieline_store::config::trigger::{self, Rival};

use crate::tables::{self, NOW, an_agent, fresh, org, race, trigger};

#[tokio::test]
async fn settings_round_trip() {
    let fresh = fresh().await;
    let made = tables::agent(&fresh.store, "default", "agt_1").await;
    let found = agent::get(&fresh.store, &org("default"), &AgentId::new("agt_1"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found, made);
    assert_eq!(found.agent.config.settings()["apiKey"], "k3y");
    assert_eq!(
        agent::get(&fresh.store, &org("acme"), &AgentId::new("agt_1"))
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn one_of_many_with_the_same_name_wins() {
    let fresh = fresh().await;
    let outcomes = race((0..20).map(|n| {
        let store = fresh.store.clone();
        async move {
            let named = Agent {
                name: "expert".into(),
                ..an_agent("default", &format!("agt_{n}"))
            };
            agent::create(&store, named, NOW).await
        }
    }))
    .await;
    assert_eq!(
        outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
        1,
        "{outcomes:?}"
    );
    assert_eq!(
        agent::list(&fresh.store, &org("default"), None, 50)
            .await
            .unwrap()
            .items
            .len(),
        1
    );
}

#[tokio::test]
async fn renaming_an_agent_frees_the_old_name_and_stale_changes_are_refused() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let before = tables::agent(store, "default", "agt_1").await;
    let renamed = Agent {
        name: "new".into(),
        ..before.agent.clone()
    };
    let after = agent::update(store, &before, renamed, NOW).await.unwrap();
    assert_eq!((after.agent.name.as_str(), after.version), ("new", 2));
    agent::create(
        store,
        Agent {
            name: "agt_1".into(),
            ..an_agent("default", "agt_2")
        },
        NOW,
    )
    .await
    .unwrap();
    let moved = Agent {
        protocol: "webhook".into(),
        ..before.agent.clone()
    };
    let late = agent::update(store, &before, moved, NOW).await;
    assert!(matches!(late, Err(AgentError::Store(StoreError::Conflict))), "{late:?}");
    let taken = agent::update(
        store,
        &after,
        Agent {
            name: "agt_1".into(),
            ..after.agent.clone()
        },
        NOW,
    )
    .await;
    assert!(matches!(taken, Err(AgentError::NameTaken(_))), "{taken:?}");
}

#[tokio::test]
async fn an_update_without_changes_does_not_write_the_agent() {
    let fresh = fresh().await;
    let record = tables::agent(&fresh.store, "default", "agt_1").await;
    let later = NOW.after(Duration::from_secs(1));
    let same = agent::update(&fresh.store, &record, record.agent.clone(), later).await;
    assert_eq!(same.unwrap(), record);
    let kept = agent::get(&fresh.store, &record.agent.organization, &record.agent.id).await;
    assert_eq!(kept.unwrap(), Some(record));
}

#[tokio::test]
async fn an_agent_in_use_is_not_deleted_despite_concurrent_changes() {
    let fresh = fresh().await;
    let store = &fresh.store;
    tables::integration(store, "default", "int_1").await;
    let record = tables::agent(store, "default", "agt_1").await;
    let bound = trigger::create(store, trigger("trg_1", "int_1", "agt_1"), Rival::Respect, NOW)
        .await
        .unwrap();
    assert!(matches!(
        agent::delete(store, &record, NOW).await,
        Err(AgentError::InUse)
    ));
    let renamed = Agent {
        name: "renamed".into(),
        ..record.agent.clone()
    };
    let changed = agent::update(store, &record, renamed, NOW).await.unwrap();
    assert_eq!(changed.version, record.version + 1);
    assert!(matches!(
        agent::delete(store, &changed, NOW).await,
        Err(AgentError::InUse)
    ));
    let disabled = Trigger {
        enabled: false,
        ..bound.trigger.clone()
    };
    trigger::update(store, &bound, disabled, Rival::Respect, NOW)
        .await
        .unwrap();
    agent::delete(store, &changed, NOW).await.unwrap();
}

#[tokio::test]
async fn deleting_and_binding_an_agent_never_both_win() {
    for round in 0..10 {
        let fresh = fresh().await;
        tables::integration(&fresh.store, "default", "int_1").await;
        let record = tables::agent(&fresh.store, "default", "agt_1").await;
        let (deleting, binding) = (fresh.store.clone(), fresh.store.clone());
        let (deleted, bound) = tokio::join!(
            tokio::spawn(async move { agent::delete(&deleting, &record, NOW).await.is_ok() }),
            tokio::spawn(async move {
                trigger::create(&binding, trigger("trg_1", "int_1", "agt_1"), Rival::Respect, NOW)
                    .await
                    .is_ok()
            }),
        );
        assert!(!(deleted.unwrap() && bound.unwrap()), "round {round}");
    }
}
