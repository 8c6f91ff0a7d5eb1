//! Names that need an extra call to the platform reach the agent, and an app without permission for them works too.

use serde_json::{Value, json};
use tieline_core::trigger::{SessionScope, TriggerSettings};
use tieline_tests::lark::Platform;
use tieline_tests::outbound::Speaker;

use crate::lark::{self, APP};
use crate::test_bridge::TestBridge;

async fn open(session_scope: SessionScope) -> (TestBridge, Platform) {
    let settings = TriggerSettings {
        session_scope,
        ..TriggerSettings::default()
    };
    lark::open(settings).await
}

/// The agent's request for a person's text.
async fn asked(bridge: &TestBridge, platform: &Platform, from: &Speaker, text: &str) -> Value {
    let event = platform.text(APP, from, text);
    bridge.receive(&platform.request(APP, &event)).await;
    bridge.work().await;
    bridge.agent.seen().pop().unwrap().body.take()
}

fn n_calls(platform: &Platform, name: &str) -> usize {
    platform.calls().iter().filter(|call| call.name == name).count()
}

#[tokio::test]
async fn names_of_person_and_group_reach_the_agent() {
    let (bridge, platform) = open(SessionScope::Chat).await;
    platform.misbehave(|faults| {
        faults.names.insert("ou_lisi".to_owned(), "李四".to_owned());
        faults.names.insert("oc_g".to_owned(), "Release".to_owned());
    });
    let lisi = Speaker::in_group("ou_lisi", "oc_g");
    let request = asked(&bridge, &platform, &lisi, "hello").await;
    assert_eq!(request["user"]["displayName"], "李四", "{request}");
    assert_eq!(request["chat"]["name"], "Release", "{request}");
    assert_eq!(request["message"]["text"], "李四: hello");
    let again = asked(&bridge, &platform, &lisi, "again").await;
    assert_eq!(again["message"]["text"], "李四: again");
    assert_eq!(
        (n_calls(&platform, "user"), n_calls(&platform, "chat")),
        (1, 1),
        "asked once"
    );
    assert_eq!(platform.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn app_without_permission_for_names_works() {
    let (bridge, platform) = open(SessionScope::Sender).await;
    let tom = Speaker::in_group("ou_tom", "oc_g");
    for text in ["one", "two"] {
        let request = asked(&bridge, &platform, &tom, text).await;
        assert_eq!(request["message"]["text"], text);
        assert_eq!(
            (&request["user"]["displayName"], &request["chat"]["name"]),
            (&json!(null), &json!(null))
        );
    }
    assert_eq!(
        (n_calls(&platform, "user"), n_calls(&platform, "chat")),
        (1, 1),
        "asked once"
    );
    assert_eq!(platform.complaints(), Vec::<String>::new());
}
