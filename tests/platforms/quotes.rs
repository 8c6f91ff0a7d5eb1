//! Quoted and forwarded messages reach the agent.

use serde_json::Value;
use tieline_bridge::media;
use tieline_core::trigger::TriggerSettings;
use tieline_tests::lark::Platform;
use tieline_tests::outbound::Speaker;

use crate::lark::{self, APP};
use crate::test_bridge::TestBridge;

async fn open() -> (TestBridge, Platform) {
    lark::open(TriggerSettings::default()).await
}

/// Delivers the event and returns what the agent was asked.
async fn asked(bridge: &TestBridge, platform: &Platform, event: &Value) -> Value {
    bridge.receive(&platform.request(APP, event)).await;
    bridge.work().await;
    bridge.agent.seen().pop().unwrap().body["message"].take()
}

fn id(event: &Value) -> &str {
    event["event"]["message"]["message_id"].as_str().unwrap()
}

/// A bridge, a person in a group, and what another one said there earlier.
async fn open_with_an_earlier_message() -> (TestBridge, Platform, Speaker, Value) {
    let (bridge, platform) = open().await;
    let tom = Speaker::in_group("ou_tom", "oc_g");
    let earlier = platform.text(APP, &tom, "order 42 is late");
    (bridge, platform, Speaker::in_group("ou_lisi", "oc_g"), earlier)
}

#[tokio::test]
async fn quoted_message_reaches_the_agent() {
    let (bridge, platform, lisi, earlier) = open_with_an_earlier_message().await;
    let event = platform.quoting(APP, &lisi, "what about this?", id(&earlier));
    let message = asked(&bridge, &platform, &event).await;
    assert_eq!(message["text"], "what about this?");
    assert!(
        message["quoted"]["text"]
            .as_str()
            .unwrap()
            .ends_with("order 42 is late"),
        "{message}"
    );
    assert_eq!(platform.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn first_message_of_a_topic_reaches_the_agent_once() {
    let (bridge, platform, lisi, earlier) = open_with_an_earlier_message().await;
    let event = platform.in_topic(APP, &lisi, "why?", id(&earlier));
    let message = asked(&bridge, &platform, &event).await;
    let quoted = message["quoted"]["text"].as_str().unwrap_or_default();
    assert!(quoted.ends_with("order 42 is late"), "{message}");
    // The session knows it now.
    let event = platform.in_topic(APP, &lisi, "and since when?", id(&earlier));
    let message = asked(&bridge, &platform, &event).await;
    assert_eq!(
        (&message["text"], &message["quoted"]),
        (&"and since when?".into(), &Value::Null)
    );
    assert_eq!(platform.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn forwarded_messages_reach_the_agent() {
    let (bridge, platform) = open().await;
    let event = platform.forward(APP, &Speaker::alone("ou_lisi"), &["one", "two"]);
    let message = asked(&bridge, &platform, &event).await;
    assert_eq!(message["quoted"]["text"], "ou_lisi: one\nou_lisi: two");
}

#[tokio::test]
async fn quoted_picture_reaches_the_agent() {
    let (bridge, platform) = open().await;
    let (lisi, tom) = (
        Speaker::in_group("ou_lisi", "oc_g"),
        Speaker::in_group("ou_tom", "oc_g"),
    );
    let picture = platform.picture(APP, &tom);
    let event = platform.quoting(APP, &lisi, "what is this?", id(&picture));
    let message = asked(&bridge, &platform, &event).await;
    let part = &message["quoted"]["parts"][0];
    assert_eq!(part["type"], "image", "{message}");
    let token = part["url"].as_str().unwrap().rsplit('/').next().unwrap();
    platform.expire_tokens(APP);
    let fetched = media::open(&bridge.world, token).await.unwrap();
    assert!(fetched.bytes.starts_with(b"bytes of img_v3_"));
    platform.recall(APP, id(&picture));
    assert!(media::open(&bridge.world, token).await.is_err());
    assert_eq!(platform.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn missing_quote_or_expired_token_does_not_prevent_an_answer() {
    let (bridge, platform) = open().await;
    let lisi = Speaker::alone("ou_lisi");
    let earlier = platform.text(APP, &lisi, "order 42");
    let before = platform.quoting(APP, &lisi, "this?", id(&earlier));
    assert_eq!(asked(&bridge, &platform, &before).await["quoted"]["text"], "order 42");
    platform.expire_tokens(APP);
    let again = platform.quoting(APP, &lisi, "and this?", id(&earlier));
    assert_eq!(asked(&bridge, &platform, &again).await["quoted"]["text"], "order 42");
    platform.recall(APP, id(&earlier));
    let gone = platform.quoting(APP, &lisi, "and now?", id(&earlier));
    let message = asked(&bridge, &platform, &gone).await;
    assert_eq!(message["quoted"]["text"], "(What is quoted here can't be read.)");
    assert_eq!(platform.bubbles().last().unwrap().text(), "echo: and now?");
}
