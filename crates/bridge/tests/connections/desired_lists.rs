//! The lists of bots that a relay reads, and its behaviour while one can't be read or was written by an earlier version.

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use tieline_bridge::world::World;
use tieline_core::ids::IntegrationId;
use tieline_core::virtual_shard::VirtualShard;
use tieline_store::config::desired_connections::{self, Compare};
use tieline_store::config::integration;
use tokio::time::sleep;

use crate::table_calls::TableRead;
use crate::test_cluster::{TestCluster, until};

fn list_of(id: &IntegrationId) -> String {
    format!("LIVE#{}", VirtualShard::of(id).number())
}

/// The lists that a process has queried, and how often it has read the change counters.
fn list_reads(cluster: &TestCluster, node: &str) -> (Vec<String>, usize) {
    let reads = cluster.reads.take().into_iter();
    let of_lists = reads.filter(|read| read.node == node && read.partition.starts_with("LIVE"));
    let (queries, polls): (Vec<_>, Vec<_>) = of_lists.partition(|read| read.operation == "Query");
    (queries.into_iter().map(|read| read.partition).collect(), polls.len())
}

/// Waits until no process has read a list for a second, and forgets the reads so far.
async fn lists_are_read(cluster: &TestCluster) {
    let mut quiet_since = Instant::now();
    until("all changed lists are read", async || {
        let is_of_list = |read: &TableRead| read.operation == "Query" && read.partition.starts_with("LIVE");
        if cluster.reads.take().iter().any(is_of_list) {
            quiet_since = Instant::now();
        }
        quiet_since.elapsed() > Duration::from_secs(1)
    })
    .await;
}

async fn set_enabled(world: &World, id: &IntegrationId, enabled: bool) {
    let record = integration::get(&world.store, id).await.unwrap().unwrap();
    integration::set_enabled(&world.store, &record, enabled, world.clock.now())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_reads_the_changed_list_and_no_other() {
    let cluster = TestCluster::new().await;
    let setup = cluster.world("setup");
    let mut bots = Vec::new();
    for n in 0..6 {
        bots.push(cluster.wecom(&setup, &format!("bot{n}")).await);
    }
    let platform = &cluster.platform;
    let process = cluster.process("a");
    until("all connect", async || platform.standing() == 6).await;
    let (queries, _) = list_reads(&cluster, "a");
    let mut expected: Vec<_> = VirtualShard::all()
        .map(|one| format!("LIVE#{}", one.number()))
        .collect();
    let mut found = queries.clone();
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "each list is read once");

    sleep(Duration::from_secs(1)).await;
    let (queries, polls) = list_reads(&cluster, "a");
    assert_eq!(queries, Vec::<String>::new());
    assert!(polls > 3, "{polls}");

    set_enabled(&setup, &bots[3], true).await;
    until("it reconnects", async || {
        platform.attempts_of("bot3") == 2 && platform.standing() == 6
    })
    .await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(list_reads(&cluster, "a").0, [list_of(&bots[3])]);
    assert_eq!(process.connections.health().connected, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_relays_read_the_lists_of_their_own_shards() {
    let cluster = TestCluster::new().await;
    let setup = cluster.world("setup");
    let a = cluster.process("a");
    let b = cluster.process("b");
    until("both hold half of the shards", async || {
        (a.connections.health().shards, b.connections.health().shards) == (4, 4)
    })
    .await;
    lists_are_read(&cluster).await;
    let id = cluster.wecom(&setup, "bot1").await;
    until("it connects", async || cluster.platform.standing() == 1).await;
    sleep(Duration::from_millis(500)).await;
    let reads = cluster.reads.take().into_iter();
    let queries: Vec<_> = reads
        .filter(|read| read.operation == "Query" && read.partition.starts_with("LIVE"))
        .collect();
    assert_eq!(queries.len(), 1, "{queries:?}");
    assert_eq!(queries[0].partition, list_of(&id));
}

#[tokio::test(flavor = "multi_thread")]
async fn bots_of_an_unreadable_list_stay_connected_while_other_lists_are_followed() {
    let cluster = TestCluster::new().await;
    let setup = cluster.world("setup");
    let platform = &cluster.platform;
    let _process = cluster.process("a");
    let unread = cluster.wecom(&setup, "bot1").await;
    until("it connects", async || platform.standing() == 1).await;
    cluster.reads.fail(&list_of(&unread), true);
    set_enabled(&setup, &unread, false).await;
    let other = cluster.wecom(&setup, "bot2").await;
    assert_ne!(list_of(&other), list_of(&unread));
    until("the other one connects", async || platform.standing() == 2).await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(platform.standing(), 2, "bots of the unreadable list stay connected");
    cluster.reads.fail(&list_of(&unread), false);
    until("the change is followed", async || platform.standing() == 1).await;
    assert_eq!(platform.attempts_of("bot1"), 1);
}

/// Rewrites the lists as a version without virtual shards does.
async fn rewrite_as_earlier_version(cluster: &TestCluster, ids: &[IntegrationId]) {
    let (dynamo, table) = cluster.config();
    let text = |value: &str| AttributeValue::S(value.to_owned());
    for id in ids {
        let delete = dynamo.delete_item().table_name(&table);
        let delete = delete
            .key("pk", text(&list_of(id)))
            .key("sk", text(&format!("INT#{id}")));
        delete.send().await.unwrap();
    }
    let put = dynamo.put_item().table_name(&table);
    let put = put.item("pk", text("LIVE")).item("sk", text("CHANGES"));
    put.item("v", text("1"))
        .item("n", AttributeValue::N("17".to_owned()))
        .send()
        .await
        .unwrap();
}

/// Removes a bot from the whole list and counts the change, as a process of a version without virtual shards does.
async fn stop_as_earlier_version(cluster: &TestCluster, id: &IntegrationId) {
    let (dynamo, table) = cluster.config();
    let text = |value: &str| AttributeValue::S(value.to_owned());
    let delete = dynamo.delete_item().table_name(&table);
    let delete = delete.key("pk", text("LIVE")).key("sk", text(&format!("INT#{id}")));
    delete.send().await.unwrap();
    let count = dynamo.update_item().table_name(&table);
    let count = count.key("pk", text("LIVE")).key("sk", text("CHANGES"));
    count
        .update_expression("ADD n :one")
        .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
        .send()
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_keeps_every_bot_connected() {
    let cluster = TestCluster::new().await;
    let setup = cluster.world("setup");
    let mut bots = Vec::new();
    for n in 0..6 {
        bots.push(cluster.wecom(&setup, &format!("bot{n}")).await);
    }
    rewrite_as_earlier_version(&cluster, &bots).await;
    let platform = &cluster.platform;
    let _process = cluster.process("a");
    until("all connect", async || platform.standing() == 6).await;

    // Changes before the lists are complete: by this version, and by the earlier one.
    set_enabled(&setup, &bots[0], false).await;
    until("a change is followed", async || platform.standing() == 5).await;
    stop_as_earlier_version(&cluster, &bots[1]).await;
    until("a change by the earlier version is followed", async || {
        platform.standing() == 4
    })
    .await;

    desired_connections::complete(&setup.store, Compare::IfChanged)
        .await
        .unwrap();
    lists_are_read(&cluster).await;
    assert_eq!(platform.standing(), 4);
    for n in 2..6 {
        assert_eq!(platform.attempts_of(&format!("bot{n}")), 1, "no bot has reconnected");
    }
    set_enabled(&setup, &bots[2], false).await;
    until("a change is followed", async || platform.standing() == 3).await;
    assert_eq!(list_reads(&cluster, "a").0, [list_of(&bots[2])]);

    // As after a rollback to the earlier version and another upgrade.
    stop_as_earlier_version(&cluster, &bots[3]).await;
    until("a change by the earlier version is followed", async || {
        platform.standing() == 2
    })
    .await;
    desired_connections::complete(&setup.store, Compare::IfChanged)
        .await
        .unwrap();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(platform.standing(), 2);
    assert_eq!(platform.kicked(), Vec::<String>::new());
}
