//! Buttons under our own answers do what they say, for those who may.

use serde_json::Value;
use tieline_core::access::Access;
use tieline_core::ids::SenderId;
use tieline_core::message_state::MessageState;
use tieline_core::trigger::{SessionScope, TriggerSettings};
use tieline_tests::lark::Platform;
use tieline_tests::outbound::Speaker;

use crate::test_bridge::TestBridge;

const APP: &str = "cli_a1";

async fn open(settings: TriggerSettings) -> (TestBridge, Platform) {
    let platform = Platform::start().await;
    platform.add_app(APP, "s3");
    let integration = platform.as_integration(APP, "Bot", "webhook");
    (TestBridge::open("lark", &integration, settings).await, platform)
}

async fn hear(bridge: &TestBridge, platform: &Platform, event: &Value) -> Value {
    let answer = bridge.hear(&platform.request(APP, event)).await;
    assert_eq!(answer.status, 200);
    bridge.work().await;
    serde_json::from_slice(&answer.body).unwrap()
}

/// The numbers of the sessions in which the agent was asked.
fn sessions(bridge: &TestBridge) -> Vec<u64> {
    let seen = bridge.agent.seen().into_iter();
    seen.map(|seen| seen.body["session"]["number"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn click_on_the_button_begins_a_session() {
    let (bridge, platform) = open(TriggerSettings::default()).await;
    let lisi = Speaker::alone("ou_lisi");
    hear(&bridge, &platform, &platform.text(APP, &lisi, "one")).await;
    hear(&bridge, &platform, &platform.text(APP, &lisi, "/new")).await;
    hear(&bridge, &platform, &platform.text(APP, &lisi, "two")).await;
    let click = platform.press(APP, &lisi).unwrap();
    let answer = hear(&bridge, &platform, &click).await;
    assert_eq!(answer["toast"]["content"], "A new session has begun.");
    hear(&bridge, &platform, &platform.text(APP, &lisi, "three")).await;
    assert_eq!(sessions(&bridge), [1, 2, 3]);
    assert_eq!(platform.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn click_of_a_stranger_changes_nothing() {
    let settings = TriggerSettings {
        session_scope: SessionScope::Chat,
        access: Access {
            users: vec![SenderId::new("ou_lisi")],
            ..Access::default()
        },
        ..TriggerSettings::default()
    };
    let (bridge, platform) = open(settings).await;
    let lisi = Speaker::in_group("ou_lisi", "oc_group");
    hear(&bridge, &platform, &platform.text(APP, &lisi, "/new")).await;
    hear(&bridge, &platform, &platform.text(APP, &lisi, "one")).await;
    let click = platform
        .press(APP, &Speaker::in_group("ou_stranger", "oc_group"))
        .unwrap();
    hear(&bridge, &platform, &click).await;
    hear(&bridge, &platform, &platform.text(APP, &lisi, "two")).await;
    let sessions = sessions(&bridge);
    assert_eq!(sessions[0], sessions[1], "the stranger has begun a new session");
    let ledger = bridge.ledger().await;
    let click = ledger.iter().find(|it| it.reason.as_deref() == Some("not_allowed"));
    assert_eq!(click.unwrap().state, MessageState::Refused);
}
