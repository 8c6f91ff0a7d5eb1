//! Limits that all processes share delay the calls that they count, and no others.

use tieline_bridge::rate_limiter::{self, PlannedCall};
use tieline_connectors::registry;
use tieline_core::account::ConnectionMode;
use tieline_core::budget::Quota;
use tieline_core::ids::ChatId;
use tieline_core::reply::Stage;
use tieline_core::timestamp::Timestamp;
use tieline_core::trigger::TriggerSettings;
use tieline_tests::lark::{Answer, Fault};
use tieline_tests::outbound::Speaker;

use crate::lark::{self, APP};
use crate::test_bridge::TestBridge;

fn quotas() -> &'static [Quota] {
    let lark = registry::ALL
        .iter()
        .find(|it| it.manifest().platform == "lark")
        .unwrap();
    let mode = lark.manifest().mode(ConnectionMode::Webhook).unwrap();
    mode.budget.quotas
}

/// Takes a permit for a call that shows a final text.
async fn take(bridge: &TestBridge, chat: &str, call: &str, over_own_connection: bool) -> Option<Timestamp> {
    let chat = ChatId::new(chat);
    let call = PlannedCall {
        bot: &bridge.bot,
        chat: &chat,
        name: call,
        stage: Stage::Final,
        over_own_connection,
    };
    rate_limiter::take(&bridge.world, call, quotas()).await
}

#[tokio::test]
async fn calls_over_an_own_connection_are_limited_without_the_table() {
    let (bridge, _platform) = lark::open(TriggerSettings::default()).await;
    assert_eq!(take(&bridge, "oc_1", "send", true).await, None);
    assert!(
        take(&bridge, "oc_1", "send", true).await.is_some(),
        "the chat's limit is five messages a second"
    );
    assert_eq!(
        take(&bridge, "oc_2", "send", true).await,
        None,
        "each chat has a limit of its own"
    );
    assert_eq!(
        take(&bridge, "oc_1", "send", false).await,
        None,
        "the table must have no entry of it"
    );
}

#[tokio::test]
async fn streaming_and_messages_have_separate_limits_and_so_has_each_api() {
    let (bridge, _platform) = lark::open(TriggerSettings::default()).await;
    let take = async |chat: &str, call: &str| take(&bridge, chat, call, false).await;
    for _ in 0..100 {
        assert_eq!(take("oc_1", "write_card").await, None);
    }
    assert_eq!(take("oc_1", "send").await, None);
    assert!(
        take("oc_1", "send").await.is_some(),
        "the chat's limit is five messages a second"
    );
    assert_eq!(take("oc_1", "react").await, None);
    assert_eq!(take("oc_2", "send").await, None);
}

#[tokio::test]
async fn limit_with_a_hint_is_waited_out() {
    let (bridge, platform) = lark::open(TriggerSettings::default()).await;
    platform.misbehave(|faults| {
        let answer = Answer::Refused(429, 99_991_400, Some(3));
        faults.answers.push_back(Fault { call: "reply", answer });
    });
    let event = platform.text(APP, &Speaker::alone("ou_lisi"), "one");
    bridge.receive(&platform.request(APP, &event)).await;
    bridge.work().await;
    let shown: Vec<String> = platform.bubbles().iter().map(|it| it.text().to_owned()).collect();
    assert_eq!(shown, ["echo: one"]);
    assert_eq!(platform.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn limit_of_a_bot_is_respected_after_a_restart() {
    let (mut bridge, platform) = lark::open(TriggerSettings::default()).await;
    platform.misbehave(|faults| {
        let answer = Answer::Refused(429, 99_991_400, Some(600));
        faults.answers.push_back(Fault { call: "reply", answer });
    });
    let ask = async |bridge: &TestBridge, person: &str| {
        let event = platform.text(APP, &Speaker::alone(person), "one");
        bridge.receive(&platform.request(APP, &event)).await;
        bridge.work().await;
        platform.calls().iter().filter(|call| call.name == "reply").count()
    };
    assert_eq!(ask(&bridge, "ou_lisi").await, 0);
    bridge.restart().await;
    assert_eq!(ask(&bridge, "ou_wang").await, 0, "called before the limit's end");
    assert_eq!(bridge.agent.asked().len(), 2);
}
