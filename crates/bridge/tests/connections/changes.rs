//! Changes by operators are applied to connections within two seconds.

use std::time::Duration;

use tieline_core::ids::{OrganizationId, TriggerId};
use tieline_core::trigger::{Trigger, TriggerSettings};
use tieline_store::config::integration;
use tieline_store::config::trigger::{self, Rival};
use tieline_store::status::ConnectionState;
use tokio::time::Instant;

use crate::test_cluster::{Process, TestCluster, until};

/// A process with the timing of a deployment.
fn process(cluster: &TestCluster) -> Process {
    cluster.process_with("a", tieline_bridge::connections::Options::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn started_stopped_bound_and_unbound_bots_are_applied_within_two_seconds() {
    let cluster = TestCluster::new().await;
    let process = process(&cluster);
    let (store, platform) = (&process.world.store, &cluster.platform);
    let now = process.world.clock.now();
    until("the process is up", async || process.connections.health().shards == 8).await;
    let id = cluster.wecom(&process.world, "bot1").await;
    let within = async |n: usize| {
        let begun = Instant::now();
        until("the connection follows", async || platform.standing() == n).await;
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    };
    within(1).await;
    let record = integration::get(store, &id).await.unwrap().unwrap();
    let record = integration::set_enabled(store, &record, false, now).await.unwrap();
    within(0).await;
    until("the status tells it", async || {
        process.status(&id).await.state == Some(ConnectionState::Disconnected)
    })
    .await;
    integration::set_enabled(store, &record, true, now).await.unwrap();
    within(1).await;
    let bound = trigger::get(store, &OrganizationId::new("default"), &TriggerId::new("trg_bot1"))
        .await
        .unwrap()
        .unwrap();
    trigger::delete(store, &bound, now).await.unwrap();
    within(0).await;
    assert_eq!(platform.kicked(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_reconnects_without_a_kick() {
    let cluster = TestCluster::new().await;
    let process = process(&cluster);
    let id = cluster.wecom(&process.world, "bot1").await;
    let platform = &cluster.platform;
    until("it connects", async || platform.standing() == 1).await;
    let record = integration::get(&process.world.store, &id).await.unwrap().unwrap();
    integration::set_enabled(&process.world.store, &record, true, process.world.clock.now())
        .await
        .unwrap();
    until("it reconnects", async || {
        platform.attempts_of("bot1") == 2 && platform.standing() == 1
    })
    .await;
    assert_eq!(platform.kicked(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_welcome_is_sent_over_the_same_connection() {
    let cluster = TestCluster::new().await;
    let process = process(&cluster);
    let (store, platform) = (&process.world.store, &cluster.platform);
    cluster.wecom(&process.world, "bot1").await;
    until("it connects", async || platform.standing() == 1).await;
    let bound = trigger::get(store, &OrganizationId::new("default"), &TriggerId::new("trg_bot1"))
        .await
        .unwrap()
        .unwrap();
    let greeting = Trigger {
        settings: TriggerSettings {
            welcome: Some("您好!".into()),
            ..bound.trigger.settings.clone()
        },
        ..bound.trigger.clone()
    };
    trigger::update(store, &bound, greeting, Rival::Respect, process.world.clock.now())
        .await
        .unwrap();
    until("a person is welcomed", async || {
        platform.enter("bot1");
        tokio::time::sleep(Duration::from_millis(100)).await;
        platform
            .said()
            .iter()
            .any(|said| said.bot == "bot1" && said.connection == 1 && said.frame["body"]["text"]["content"] == "您好!")
    })
    .await;
    assert_eq!(platform.attempts_of("bot1"), 1);
}
