//! Long polls: what is lost, what is delivered twice, and where the next holder continues.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tieline_bridge::connections::Connections;
use tieline_bridge::world::{Settings, World};
use tieline_core::outbound_url::PrivateEndpoints;
use tieline_embedded::Service;
use tieline_store::log;
use tieline_store::status::ConnectionState;
use tokio::time::Instant;

use crate::hand_over::Mortal;
use crate::poll_platform::PollPlatform;
use crate::test_cluster::{Process, TestCluster, options, take_events, until};

struct Stage {
    cluster: TestCluster,
    platform: PollPlatform,
}

impl Stage {
    async fn new() -> Self {
        Self {
            cluster: TestCluster::new().await,
            platform: PollPlatform::start().await,
        }
    }

    async fn add(&self, world: &World, name: &str) -> tieline_core::ids::IntegrationId {
        self.cluster.wechat(world, name, &self.platform.url()).await
    }

    async fn polled(&self, bot: &str) {
        until("the bot is polled", async || self.platform.bot(bot).polls == 1).await;
    }
}

async fn is_state(process: &Process, id: &tieline_core::ids::IntegrationId, state: ConnectionState) {
    until("the status", async || process.status(id).await.state == Some(state)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn polled_messages_reach_the_queue_and_the_status_is_connected() {
    let stage = Stage::new().await;
    let process = stage.cluster.process("a");
    let id = stage.add(&process.world, "poll1").await;
    is_state(&process, &id, ConnectionState::Connected).await;
    for n in 0..20 {
        stage.platform.say("poll1", n);
    }
    assert_eq!(process.take_events(20).await.len(), 20);
    let bot = stage.platform.bot("poll1");
    assert_eq!((bot.most_polls, bot.starts), (1, 1));
    assert_eq!(process.connections.health().connected, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_acknowledged_only_after_the_queue_has_them() {
    let stage = Stage::new().await;
    let process = stage.cluster.process("a");
    stage.add(&process.world, "poll1").await;
    stage.polled("poll1").await;
    stage.cluster.fail(Service::Sqs, true);
    stage.platform.say("poll1", 1);
    until("the message is fetched", async || {
        stage.platform.bot("poll1").polls == 0
    })
    .await;
    // Longer than a poll is held open, so that another one would show.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let bot = stage.platform.bot("poll1");
    assert!(
        bot.cursors.iter().all(|cursor| cursor.is_empty() || cursor == "0"),
        "{bot:?}"
    );
    assert_eq!(bot.polls, 0);
    stage.cluster.fail(Service::Sqs, false);
    assert_eq!(process.take_events(1).await.len(), 1);
    until("it is acknowledged", async || {
        stage
            .platform
            .bot("poll1")
            .cursors
            .last()
            .is_some_and(|cursor| cursor == "1")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_successor_of_a_killed_process_continues_at_its_cursor() {
    let stage = Stage::new().await;
    let setup = stage.cluster.world("setup");
    let mortal = Mortal::start(stage.cluster.world("a"), options());
    stage.add(&setup, "poll1").await;
    stage.polled("poll1").await;
    stage.platform.say("poll1", 1);
    until("the cursor is presented", async || {
        stage
            .platform
            .bot("poll1")
            .cursors
            .last()
            .is_some_and(|cursor| cursor == "1")
    })
    .await;
    mortal.kill();
    let n_before = stage.platform.bot("poll1").cursors.len();
    stage.platform.say("poll1", 2);
    let process = stage.cluster.process("b");
    assert_eq!(process.take_events(2).await.len(), 2);
    let after = stage.platform.bot("poll1").cursors;
    assert!(
        after[n_before..]
            .iter()
            .all(|cursor| !cursor.is_empty() && cursor != "0"),
        "{after:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_never_poll_at_once_during_a_hand_over() {
    let stage = Stage::new().await;
    let a = stage.cluster.process("a");
    for n in 0..12 {
        stage.add(&a.world, &format!("poll{n}")).await;
    }
    until("all are polled", async || {
        (0..12).all(|n| stage.platform.bot(&format!("poll{n}")).polls == 1)
    })
    .await;
    for n in 0..12 {
        stage.platform.say(&format!("poll{n}"), n);
    }
    let b = stage.cluster.process("b");
    until("both poll", async || {
        let (a, b) = (a.connections.health(), b.connections.health());
        (a.shards, b.shards) == (4, 4) && a.connected + b.connected == 12
    })
    .await;
    for n in 0..12 {
        stage.platform.say(&format!("poll{n}"), 100 + n);
    }
    assert_eq!(a.take_events(24).await.len(), 24);
    for n in 0..12 {
        let bot = stage.platform.bot(&format!("poll{n}"));
        assert_eq!(bot.most_polls, 1, "poll{n}: {bot:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_does_not_wait_for_a_held_poll_and_makes_the_parting_call() {
    let stage = Stage::new().await;
    let process = stage.cluster.process("a");
    stage.add(&process.world, "poll1").await;
    stage.polled("poll1").await;
    for n in 0..5 {
        stage.platform.say("poll1", n);
    }
    stage.polled("poll1").await;
    let begun = Instant::now();
    process.connections.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(stage.platform.bot("poll1").stops, 1);
    let left = stage.platform.bot("poll1");
    // What was fetched is on the queue; what wasn't is delivered to the next process.
    let next = stage.cluster.process("b");
    assert_eq!(next.take_events(5).await.len(), 5, "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_login_needs_a_person_and_is_reported_once() {
    let stage = Stage::new().await;
    let process = stage.cluster.process("a");
    let id = stage.add(&process.world, "poll1").await;
    is_state(&process, &id, ConnectionState::Connected).await;
    stage
        .platform
        .answer(Some((200, json!({ "errcode": -14, "errmsg": "session timeout" }))));
    is_state(&process, &id, ConnectionState::NeedsLogin).await;
    let status = process.status(&id).await;
    assert_eq!(status.reason.as_deref(), Some("login_expired"));
    let n_calls = stage.platform.bot("poll1").cursors.len();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(stage.platform.bot("poll1").cursors.len(), n_calls, "it is left alone");
    let store = &process.world.store;
    until("a line in the log", async || {
        let page = log::list(store, &id, log::Level::Warn, None, 10, process.world.clock.now()).await;
        page.unwrap()
            .items
            .iter()
            .filter(|entry| entry.code == "login_expired")
            .count()
            == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_platform_is_retried_and_the_status_says_so() {
    let stage = Stage::new().await;
    let process = stage.cluster.process("a");
    stage.platform.answer(Some((503, json!({}))));
    let id = stage.add(&process.world, "poll1").await;
    is_state(&process, &id, ConnectionState::Retrying).await;
    let error = process.status(&id).await.last_error.unwrap();
    assert_eq!(error.code, "http_503");
    stage.platform.answer(None);
    is_state(&process, &id, ConnectionState::Connected).await;
    stage.platform.say("poll1", 1);
    assert_eq!(take_events(&process.world, 1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn private_addresses_are_not_polled() {
    let stage = Stage::new().await;
    let world = stage.cluster.world("a");
    let guarded = World {
        settings: Arc::new(Settings {
            allow_private: PrivateEndpoints::Refused,
            ..(*world.settings).clone()
        }),
        ..world
    };
    let id = stage.add(&guarded, "poll1").await;
    let process = Process {
        connections: Arc::new(Connections::start(guarded.clone(), options()).unwrap()),
        world: guarded,
    };
    is_state(&process, &id, ConnectionState::Disconnected).await;
    let status = process.status(&id).await;
    assert_eq!(status.last_error.unwrap().code, "address_not_allowed");
    assert!(stage.platform.bot("poll1").cursors.is_empty());
}
