//! Tables and queues that fail for longer than a lease.

use std::collections::HashSet;
use std::time::Duration;

use tieline_bridge::connections::Options;
use tieline_embedded::Service;
use tieline_store::status::ConnectionState;

use crate::platform::Manners;
use crate::test_cluster::{TestCluster, options, until};

/// Longer than a lease.
const OUTAGE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn connections_stay_up_while_the_tables_fail() {
    let cluster = TestCluster::new().await;
    let (a, b) = (cluster.process("a"), cluster.process("b"));
    let mut ids = Vec::new();
    for n in 0..12 {
        ids.push(cluster.wecom(&a.world, &format!("bot{n}")).await);
    }
    let platform = &cluster.platform;
    until("both hold half", async || {
        let (a, b) = (a.connections.health(), b.connections.health());
        (a.shards, b.shards) == (4, 4) && a.connected + b.connected == 12
    })
    .await;
    let attempts = |n: usize| platform.attempts_of(&format!("bot{n}"));
    let before: Vec<_> = (0..12).map(attempts).collect();
    cluster.fail(Service::DynamoDb, true);
    tokio::time::sleep(OUTAGE).await;
    assert!(OUTAGE > options().lease);
    assert!(!a.connections.health().alive, "and it says so");
    for n in 0..12 {
        assert!(platform.say(&format!("bot{n}"), &format!("m{n}"), "你好"));
    }
    assert_eq!(a.take_events(12).await.len(), 12);
    cluster.fail(Service::DynamoDb, false);
    until("both are alive again", async || {
        a.connections.health().alive && b.connections.health().alive
    })
    .await;
    tokio::time::sleep(options().heartbeat * 3).await;
    assert_eq!(
        (0..12).map(attempts).collect::<Vec<_>>(),
        before,
        "no connection was closed for it"
    );
    assert_eq!(platform.kicked(), Vec::<String>::new());
    assert_eq!((a.connections.health().shards, b.connections.health().shards), (4, 4));
    for id in &ids {
        until("the status is right", async || {
            a.status(id).await.state == Some(ConnectionState::Connected)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_is_held_though_the_response_to_its_acquisition_was_lost() {
    let cluster = TestCluster::new().await;
    cluster.lose_answers(3);
    let a = cluster.process("a");
    let mut ids = Vec::new();
    for n in 0..12 {
        ids.push(cluster.wecom(&a.world, &format!("bot{n}")).await);
    }
    until("all are connected", async || {
        let health = a.connections.health();
        (health.shards, health.connected) == (8, 12)
    })
    .await;
    assert_eq!(cluster.platform.kicked(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_could_not_be_released_in_time_stays_served() {
    let cluster = TestCluster::new().await;
    let impatient = Options {
        linger: Duration::from_millis(200),
        ..options()
    };
    let a = cluster.process_with("a", impatient.clone());
    for n in 0..12 {
        cluster.wecom(&a.world, &format!("bot{n}")).await;
    }
    until("all are connected", async || a.connections.health().connected == 12).await;
    cluster.fail_shards(true);
    let b = cluster.process_with("b", impatient);
    until("a tries to give half away", async || a.connections.health().shards == 4).await;
    until("a has given that up", async || a.connections.health().connected < 12).await;
    tokio::time::sleep(OUTAGE).await;
    cluster.fail_shards(false);
    until("both hold half", async || {
        let (a, b) = (a.connections.health(), b.connections.health());
        (a.shards, b.shards) == (4, 4) && a.connected + b.connected == 12
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connection_is_opened_after_the_lease_has_expired() {
    let cluster = TestCluster::new().await;
    let a = cluster.process("a");
    let platform = &cluster.platform;
    platform.behave(Manners {
        slow: true,
        ..Manners::default()
    });
    cluster.wecom(&a.world, "bot1").await;
    until("it is on its way", async || platform.dialed() == 1).await;
    cluster.fail(Service::DynamoDb, true);
    until("the lease runs out", async || !a.connections.health().alive).await;
    platform.behave(Manners::default());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(platform.attempts_of("bot1"), 0, "the bot may be another's by now");
    cluster.fail(Service::DynamoDb, false);
    until("it connects", async || a.connections.health().connected == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_the_queues_fail() {
    let cluster = TestCluster::new().await;
    let process = cluster.process("a");
    cluster.wecom(&process.world, "bot1").await;
    cluster.dingtalk(&process.world, "ding1").await;
    let platform = &cluster.platform;
    until("both connect", async || platform.standing() == 2).await;
    cluster.fail(Service::Sqs, true);
    for n in 0..40 {
        assert!(platform.say("bot1", &format!("m{n}"), "你好"));
        assert!(platform.ding("ding1", &format!("d{n}"), "你好"));
    }
    tokio::time::sleep(OUTAGE).await;
    let acknowledged = platform.said().iter().filter(|said| said.frame["code"] == 200).count();
    assert_eq!(acknowledged, 0, "nothing is acknowledged that the queue doesn't have");
    cluster.fail(Service::Sqs, false);
    let taken = process.take_events(80).await;
    let once: HashSet<_> = taken.iter().collect();
    assert_eq!((taken.len(), once.len()), (80, 80));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaving_process_keeps_its_events_until_the_queues_accept_them() {
    let cluster = TestCluster::new().await;
    let process = cluster.process("a");
    cluster.wecom(&process.world, "bot1").await;
    let platform = &cluster.platform;
    until("it connects", async || platform.standing() == 1).await;
    cluster.fail(Service::Sqs, true);
    for n in 0..10 {
        assert!(platform.say("bot1", &format!("m{n}"), "你好"));
    }
    until("they are in hand", async || {
        process.connections.health().events_waiting == 10
    })
    .await;
    let leaving = process.connections.clone();
    let left = tokio::spawn(async move { leaving.stop().await });
    until("the connection is given up", async || platform.standing() == 0).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!left.is_finished(), "not before the queue has them");
    cluster.fail(Service::Sqs, false);
    left.await.unwrap();
    assert_eq!(process.take_events(10).await.len(), 10);
}
