//! Connections of a single process.

use std::time::Duration;

use tieline_store::status::ConnectionState;

use crate::test_cluster::{TestCluster, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_connects_and_its_messages_reach_the_queue() {
    let cluster = TestCluster::new().await;
    let process = cluster.process("a");
    let id = cluster.wecom(&process.world, "bot1").await;
    let platform = &cluster.platform;
    until("the bot connects", async || platform.standing() == 1).await;
    until("the status says so", async || {
        process.status(&id).await.state == Some(ConnectionState::Connected)
    })
    .await;
    let status = process.status(&id).await;
    assert!(status.connected_at.is_some());
    assert_eq!((status.owner.as_deref(), status.reconnect_attempts), (Some("a"), 0));
    for n in 0..30 {
        assert!(platform.say("bot1", &format!("m{n}"), "你好"));
    }
    // A message that is delivered twice is one event.
    assert!(platform.say("bot1", "m29", "你好"));
    assert_eq!(process.take_events(30).await.len(), 30);
    let health = process.connections.health();
    assert!(health.alive);
    assert_eq!((health.shards, health.bots, health.connected), (8, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_robot_is_acknowledged_only_after_the_queue_has_its_message() {
    let cluster = TestCluster::new().await;
    let process = cluster.process("a");
    cluster.dingtalk(&process.world, "ding1").await;
    let platform = &cluster.platform;
    until("the robot connects", async || platform.standing() == 1).await;
    assert!(platform.ding("ding1", "x1", "你好"));
    until("it is acknowledged", async || !platform.said().is_empty()).await;
    assert_eq!(process.take_events(1).await.len(), 1);
    assert_eq!(platform.said()[0].frame["code"], 200);
    assert_eq!(platform.said()[0].frame["headers"]["messageId"], "m-x1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_end_opens_the_new_socket_first() {
    let cluster = TestCluster::new().await;
    let process = cluster.process("a");
    let id = cluster.dingtalk(&process.world, "ding1").await;
    let platform = &cluster.platform;
    until("the robot connects", async || platform.standing() == 1).await;
    let first = platform.connection_of("ding1").unwrap();
    assert!(platform.announce_end("ding1"));
    until("another connection stands", async || {
        platform.connection_of("ding1").is_some_and(|now| now != first)
    })
    .await;
    assert_eq!(
        platform.doubled(),
        ["ding1"],
        "the new one stood before the old one was closed"
    );
    assert!(platform.ding("ding1", "x1", "你好"));
    assert_eq!(process.take_events(1).await.len(), 1);
    let status = process.status(&id).await;
    assert_eq!(status.state, Some(ConnectionState::Connected));
    assert_eq!(process.connections.health().connected, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_stores_events_in_flight_and_releases_everything() {
    let cluster = TestCluster::new().await;
    let process = cluster.process("a");
    let id = cluster.wecom(&process.world, "bot1").await;
    let platform = &cluster.platform;
    until("the bot connects", async || platform.standing() == 1).await;
    for n in 0..50 {
        assert!(platform.say("bot1", &format!("m{n}"), "你好"));
    }
    let begun = tokio::time::Instant::now();
    process.connections.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    until("the platform sees it", async || platform.standing() == 0).await;
    assert_eq!(process.take_events(50).await.len(), 50);
    let status = process.status(&id).await;
    assert_ne!(
        status.state,
        Some(ConnectionState::Connected),
        "no relay holds it any more"
    );
}
