//! Failures on the platform's side, and what operators read of them.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tieline_bridge::connections::Options;
use tieline_core::backoff::Backoff;
use tieline_core::connection_state::Patience;
use tieline_core::ids::IntegrationId;
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_store::config::integration;
use tieline_store::log;
use tieline_store::status::ConnectionState;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::platform::{Manners, Platform};
use crate::test_cluster::{Process, TestCluster, options, until};

/// Short timeouts, for a fast test.
fn hasty() -> Options {
    Options {
        patience: Patience {
            backoff: Backoff {
                base: Duration::from_millis(50),
                cap: Duration::from_millis(200),
            },
            kicked: (Duration::from_millis(300), Duration::from_millis(600)),
            ..Patience::default()
        },
        ..options()
    }
}

async fn codes(process: &Process, id: &IntegrationId) -> Vec<String> {
    let page = log::list(
        &process.world.store,
        id,
        log::Level::Info,
        None,
        100,
        process.world.clock.now(),
    )
    .await
    .unwrap();
    page.items.into_iter().rev().map(|entry| entry.code).collect()
}

/// Another client of the same bot.
async fn rival(platform: &Platform, bot: &str) {
    let (mut socket, _) = connect_async(format!("ws://127.0.0.1:{}", platform.port))
        .await
        .unwrap();
    let subscribe =
        json!({ "cmd": "aibot_subscribe", "headers": { "req_id": "x" }, "body": { "bot_id": bot, "secret": "s" } });
    socket.send(Message::text(subscribe.to_string())).await.unwrap();
    tokio::spawn(async move { while socket.next().await.is_some() {} });
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_are_reported_and_not_retried_soon() {
    let cluster = TestCluster::new().await;
    let platform = &cluster.platform;
    platform.behave(Manners {
        subscribed: 853_000,
        ..Manners::default()
    });
    let process = cluster.process_with("a", hasty());
    let id = cluster.wecom(&process.world, "bot1").await;
    until("it is told", async || {
        process.status(&id).await.reason.as_deref() == Some("config_invalid")
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(platform.attempts_of("bot1"), 1);
    let status = process.status(&id).await;
    assert_eq!(status.state, Some(ConnectionState::Disconnected));
    assert_eq!(status.last_error.unwrap().code, "853000");
    assert_eq!(codes(&process, &id).await, ["853000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_handshake_is_retried_and_logged_once() {
    let cluster = TestCluster::new().await;
    let platform = &cluster.platform;
    platform.behave(Manners {
        handshake: Some(503),
        ..Manners::default()
    });
    let process = cluster.process_with("a", hasty());
    let id = cluster.wecom(&process.world, "bot1").await;
    until("it is tried several times", async || {
        process.status(&id).await.reconnect_attempts >= 3
    })
    .await;
    let status = process.status(&id).await;
    assert_eq!((status.state, status.reason), (Some(ConnectionState::Retrying), None));
    platform.behave(Manners::default());
    until("it connects", async || {
        process.status(&id).await.state == Some(ConnectionState::Connected)
    })
    .await;
    until("the log tells it", async || {
        codes(&process, &id).await == ["503", "connected"]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_reconnects() {
    let cluster = TestCluster::new().await;
    let process = cluster.process_with("a", hasty());
    let id = cluster.wecom(&process.world, "bot1").await;
    let platform = &cluster.platform;
    until("it connects", async || platform.standing() == 1).await;
    platform.drop_connection("bot1");
    until("it comes back", async || {
        platform.attempts_of("bot1") == 2 && platform.standing() == 1
    })
    .await;
    until("the status says so", async || {
        process.status(&id).await.state == Some(ConnectionState::Connected)
    })
    .await;
    assert!(platform.say("bot1", "m1", "你好"));
    assert_eq!(process.take_events(1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kicked_bot_reconnects_once_and_then_only_after_a_restart() {
    let cluster = TestCluster::new().await;
    let process = cluster.process_with("a", hasty());
    let id = cluster.wecom(&process.world, "bot1").await;
    let platform = &cluster.platform;
    until("it connects", async || platform.standing() == 1).await;
    rival(platform, "bot1").await;
    until("it is told", async || {
        process.status(&id).await.reason.as_deref() == Some("kicked")
    })
    .await;
    until("it comes back once", async || platform.attempts_of("bot1") == 3).await;
    until("it is up", async || {
        process.status(&id).await.state == Some(ConnectionState::Connected)
    })
    .await;
    rival(platform, "bot1").await;
    until("it is told again", async || {
        process.status(&id).await.reason.as_deref() == Some("kicked")
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(platform.attempts_of("bot1"), 4, "the rival may have it");
    // Another process knows it too.
    process.connections.stop().await;
    let next = cluster.process_with("b", hasty());
    until("it holds the bot", async || next.connections.health().bots == 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(platform.attempts_of("bot1"), 4);
    assert_eq!(next.status(&id).await.reason.as_deref(), Some("kicked"));
    // An operator restarts the bot.
    let record = integration::get(&next.world.store, &id).await.unwrap().unwrap();
    integration::set_enabled(&next.world.store, &record, true, next.world.clock.now())
        .await
        .unwrap();
    until("it connects", async || {
        next.status(&id).await.state == Some(ConnectionState::Connected)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_settings_are_reported() {
    let cluster = TestCluster::new().await;
    let process = cluster.process_with("a", hasty());
    let id = cluster.wecom(&process.world, "bot1").await;
    until("it connects", async || cluster.platform.standing() == 1).await;
    let record = integration::get(&process.world.store, &id).await.unwrap().unwrap();
    let settings = integration::IntegrationSettings {
        name: record.name.clone(),
        mode: record.mode,
        credentials: tieline_core::account::Credentials::default(),
        endpoints: record.endpoints.clone(),
        language: record.language,
        streaming: true,
        thinking: ThinkingDisplay::default(),
        allowed_agents: None,
        enabled: true,
        account_key: None,
    };
    integration::update(&process.world.store, &record, settings, process.world.clock.now())
        .await
        .unwrap();
    until("it is told", async || {
        process.status(&id).await.reason.as_deref() == Some("config_invalid")
    })
    .await;
    until("it is let go of", async || cluster.platform.standing() == 0).await;
}
