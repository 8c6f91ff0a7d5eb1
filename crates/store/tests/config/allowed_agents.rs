//! The agents that may answer for an integration.

use tieline_core::account::ConnectionMode;
use tieline_core::ids::{AgentId, IntegrationId};
use tieline_core::routes::Route;
use tieline_core::trigger::Trigger;
use tieline_store::config::integration::{self, IntegrationError, IntegrationRecord, IntegrationSettings};
use tieline_store::config::trigger::{self, Rival, TriggerError};
use tieline_store::{Store, StoreError};

use crate::tables::{self, NOW, fresh, new_integration, race, settings, trigger};

/// A bot that allows only these agents.
fn allowing(mode: ConnectionMode, agents: &[&str]) -> IntegrationSettings {
    IntegrationSettings {
        mode,
        allowed_agents: Some(agents.iter().copied().map(AgentId::new).collect()),
        ..settings("int_1")
    }
}

async fn bot(store: &Store) -> IntegrationRecord {
    let found = integration::get(store, &IntegrationId::new("int_1")).await.unwrap();
    found.unwrap()
}

async fn enabled_trigger(store: &Store) -> Option<Trigger> {
    let bound = integration::load_bound(store, &IntegrationId::new("int_1"))
        .await
        .unwrap();
    bound.unwrap().trigger
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, TriggerError>, agent: &str) {
    match outcome {
        Err(TriggerError::AgentNotAllowed(refused)) => assert_eq!(refused.as_str(), agent),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn enabled_trigger_has_only_agents_that_its_integration_allows() {
    let fresh = fresh().await;
    let store = &fresh.store;
    for id in ["agt_1", "agt_2"] {
        tables::agent(store, "default", id).await;
    }
    let settings = allowing(ConnectionMode::LongConnection, &["agt_1"]);
    let made = integration::create(store, new_integration("default", "int_1"), settings, NOW).await;
    made.unwrap();
    let create = async |wanted| trigger::create(store, wanted, Rival::Respect, NOW).await;
    refused(create(trigger("trg_1", "int_1", "agt_2")).await, "agt_2");
    let mut routed = trigger("trg_1", "int_1", "agt_1");
    routed.settings.routes = vec![Route {
        agent: AgentId::new("agt_2"),
        chats: Vec::new(),
        users: Vec::new(),
        first_word: Some("hr".to_owned()),
    }];
    refused(create(routed.clone()).await, "agt_2");
    let unknown = create(trigger("trg_1", "int_1", "agt_none")).await;
    assert!(matches!(unknown, Err(TriggerError::AgentNotFound)), "{unknown:?}");
    let disabled = Trigger {
        enabled: false,
        ..trigger("trg_2", "int_1", "agt_2")
    };
    let disabled = create(disabled).await.unwrap();
    let bound = create(trigger("trg_1", "int_1", "agt_1")).await.unwrap();
    let update = async |before, after| trigger::update(store, before, after, Rival::Displace, NOW).await;
    refused(update(&bound, routed).await, "agt_2");
    refused(update(&bound, trigger("trg_1", "int_1", "agt_2")).await, "agt_2");
    refused(update(&disabled, trigger("trg_2", "int_1", "agt_2")).await, "agt_2");
    assert_eq!(enabled_trigger(store).await, Some(bound.trigger));
}

#[tokio::test]
async fn integration_keeps_allowing_the_agents_of_its_enabled_trigger() {
    for mode in [ConnectionMode::LongConnection, ConnectionMode::Webhook] {
        let fresh = fresh().await;
        let store = &fresh.store;
        for id in ["agt_1", "agt_2"] {
            tables::agent(store, "default", id).await;
        }
        tables::integration(store, "default", "int_1").await;
        let wanted = trigger("trg_1", "int_1", "agt_1");
        let bound = trigger::create(store, wanted, Rival::Respect, NOW).await.unwrap();
        let allow =
            async |agents: &[&str]| integration::update(store, &bot(store).await, allowing(mode, agents), NOW).await;
        for agents in [&["agt_2"][..], &[]] {
            match allow(agents).await {
                Err(IntegrationError::AgentNotAllowed { agent, trigger }) => {
                    assert_eq!((agent.as_str(), trigger.as_str()), ("agt_1", "trg_1"));
                }
                other => panic!("{other:?}"),
            }
        }
        allow(&["agt_1"]).await.unwrap();
        trigger::delete(store, &bound, NOW).await.unwrap();
        allow(&[]).await.unwrap();
        assert_eq!(bot(store).await.allowed_agents, Some(Vec::new()));
    }
}

/// Either the trigger moves to the other agent, or the integration stops allowing it.
#[tokio::test]
async fn trigger_and_integration_that_change_at_once_agree() {
    for round in 0..40 {
        let fresh = fresh().await;
        let store = fresh.store.clone();
        for id in ["agt_1", "agt_2"] {
            tables::agent(&store, "default", id).await;
        }
        let before = tables::integration(&store, "default", "int_1").await;
        let wanted = trigger("trg_1", "int_1", "agt_1");
        let bound = trigger::create(&store, wanted, Rival::Respect, NOW).await.unwrap();
        let outcomes = race([round % 2 == 0, round % 2 == 1].map(|moves| {
            let (store, before, bound) = (store.clone(), before.clone(), bound.clone());
            async move {
                if moves {
                    let after = trigger("trg_1", "int_1", "agt_2");
                    let moved = trigger::update(&store, &bound, after, Rival::Respect, NOW).await;
                    matches!(
                        moved,
                        Ok(_) | Err(TriggerError::AgentNotAllowed(_) | TriggerError::Store(StoreError::Conflict))
                    )
                } else {
                    let settings = allowing(ConnectionMode::LongConnection, &["agt_1"]);
                    let changed = integration::update(&store, &before, settings, NOW).await;
                    matches!(
                        changed,
                        Ok(_)
                            | Err(IntegrationError::AgentNotAllowed { .. }
                                | IntegrationError::Store(StoreError::Conflict))
                    )
                }
            }
        }))
        .await;
        assert_eq!(outcomes, [true, true]);
        let trigger = enabled_trigger(&store).await.unwrap();
        assert_eq!(bot(&store).await.refused(&trigger), None);
    }
}
