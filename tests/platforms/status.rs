//! What a delivery finds out about the bot is in its status and its log.

use tieline_core::trigger::TriggerSettings;
use tieline_store::log::{self, Level};
use tieline_store::status::{self, Status};
use tieline_tests::lark::{Answer, Fault, Platform};
use tieline_tests::outbound::Speaker;

use crate::lark::{self, APP};
use crate::test_bridge::TestBridge;

async fn bridge() -> (TestBridge, Platform) {
    lark::open(TriggerSettings::default()).await
}

async fn say(bridge: &TestBridge, platform: &Platform, text: &str) {
    let event = platform.text(APP, &Speaker::alone("ou_lisi"), text);
    bridge.receive(&platform.request(APP, &event)).await;
}

async fn status(bridge: &TestBridge) -> Status {
    status::get(&bridge.world.store, &bridge.bot).await.unwrap()
}

/// The codes of the warnings in the bot's log.
async fn warnings(bridge: &TestBridge) -> Vec<String> {
    let now = bridge.world.clock.now();
    let page = log::list(&bridge.world.store, &bridge.bot, Level::Warn, None, 50, now).await;
    page.unwrap().items.into_iter().map(|entry| entry.code).collect()
}

#[tokio::test]
async fn credentials_refused_to_a_delivery_show_in_the_status() {
    let (bridge, platform) = bridge().await;
    platform.add_app(APP, "another");
    platform.expire_tokens(APP);
    say(&bridge, &platform, "one").await;
    bridge.work().await;
    let status = status(&bridge).await;
    assert_eq!(status.last_error.unwrap().code, "10014");
    assert_eq!(status.credentials_refused.unwrap().code, "10014");
    assert!(warnings(&bridge).await.contains(&"config_invalid".to_owned()));
}

#[tokio::test]
async fn rate_limit_shows_in_the_status_with_its_end() {
    let (bridge, platform) = bridge().await;
    platform.misbehave(|faults| {
        let answer = Answer::Refused(429, 99_991_400, Some(20));
        faults.answers.push_back(Fault { call: "reply", answer });
    });
    say(&bridge, &platform, "one").await;
    bridge.dispatch().await;
    let begun = bridge.world.clock.now();
    bridge.run(None).await;
    let until = status(&bridge).await.rate_limited_until.unwrap();
    assert!((19..=21).contains(&until.since(begun).as_secs()), "{begun} to {until}");
}

#[tokio::test]
async fn permanent_rejection_is_the_last_error() {
    let (bridge, platform) = bridge().await;
    platform.misbehave(|faults| {
        let answer = || Answer::Refused(400, 230_002, None);
        let call = |call| Fault { call, answer: answer() };
        faults.answers.extend(["reply", "send"].map(call));
    });
    say(&bridge, &platform, "one").await;
    bridge.work().await;
    assert_eq!(status(&bridge).await.last_error.unwrap().code, "230002");
}

#[tokio::test]
async fn repeated_platform_failures_show_in_status_and_log() {
    let (bridge, platform) = bridge().await;
    platform.misbehave(|faults| {
        let call = |_| Fault {
            call: "reply",
            answer: Answer::Refused(500, 1, None),
        };
        faults.answers.extend((0..4).map(call));
    });
    say(&bridge, &platform, "one").await;
    bridge.work().await;
    assert_eq!(status(&bridge).await.last_error.unwrap().code, "1");
    assert!(warnings(&bridge).await.contains(&"platform_unavailable".to_owned()));
    // The answer is delivered all the same.
    assert_eq!(platform.bubbles().last().unwrap().text(), "echo: one");
}
