//! People who are identified by a mapper, and bots with several agents.

use std::sync::{Arc, Mutex};

use axum::{Json, Router};
use serde_json::{Value, json};
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::test_bridge::{TestBridge, until, uuid};

const MAPPER: &str = "/api/v1/orgs/default/mapper";
const SECRET: &str = "a secret of the tests";

/// A mapper with a settable answer.
async fn mapper() -> (String, Arc<Mutex<Value>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(Mutex::new(json!({ "unknown": true })));
    let now = Arc::clone(&answer);
    let router = Router::new().fallback(async move || Json(now.lock().unwrap().clone()));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, answer)
}

#[tokio::test]
async fn only_people_whom_the_mapper_knows_reach_the_agent() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner::default()).await;
    let (url, answer) = mapper().await;
    let person = json!({ "id": "E-7", "name": "Li Si", "email": "li@example.com" });
    *answer.lock().unwrap() = json!({ "person": person });
    let settings = |url: &str| json!({ "url": url, "secret": SECRET, "unknown": "refuse" });
    bridge.patch(MAPPER, &settings(&url)).await;
    let bot = bridge.web(&agent.as_webhook("Told"), &json!({})).await;
    assert_eq!(bridge.ask(&bot, "chat", "one").await, "echo: one");
    // A changed address is called at once. That it doesn't respond doesn't affect a person who is known already.
    bridge.patch(MAPPER, &settings("http://127.0.0.1:1")).await;
    assert_eq!(bridge.ask(&bot, "chat", "two").await, "echo: two");
    for seen in agent.seen() {
        assert_eq!(seen.body["user"]["person"], person, "{}", seen.body);
    }
    *answer.lock().unwrap() = json!({ "unknown": true });
    bridge.patch(MAPPER, &settings(&url)).await;
    let told = bridge.ask(&bot, "chat", "three").await;
    assert!(
        told.contains("people whom your organization knows"),
        "expected `people whom your organization knows` in {told}"
    );
    assert_eq!(agent.asked(), ["one", "two"]);
    let refused = bridge
        .console
        .first("/api/v1/orgs/default/messages?state=refused")
        .await
        .unwrap();
    assert_eq!(refused["reason"], "mapper_unknown_person", "{refused}");
    assert!(!bridge.process.log().contains(SECRET));
}

#[tokio::test]
async fn waiting_message_is_answered_by_the_agent_it_was_sent_to() {
    let bridge = TestBridge::start();
    let slow = FakeAgent::start(Manner {
        holds: |text| text == "one",
        ..Manner::default()
    })
    .await;
    let other = FakeAgent::start(Manner {
        answer: |text| vec![format!("other: {text}")],
        ..Manner::default()
    })
    .await;
    let other_id = bridge
        .post("/api/v1/orgs/default/agents", &other.as_chat("Other"))
        .await["id"]
        .clone();
    let routes = json!({ "routes": [{ "agent": other_id, "firstWord": "other" }] });
    let bot = bridge.web(&slow.as_chat("Slow"), &routes).await;
    let say = async |text: &str| bridge.console.say(&bot, "chat", text, &uuid()).await.unwrap().1;
    let one = say("one").await;
    until("the first question", || slow.asked() == ["one"]).await;
    let two = say("two").await;
    assert!(
        bridge
            .ask(&bot, "chat", "/agent other")
            .await
            .starts_with("Other answers from now on")
    );
    let three = say("three").await;
    slow.open_gate();
    assert_eq!(bridge.answer(&one).await, "echo: one");
    assert_eq!(bridge.answer(&two).await, "echo: two");
    assert_eq!(bridge.answer(&three).await, "other: three");
    assert_eq!(
        (slow.asked(), other.asked()),
        (vec!["one".into(), "two".into()], vec!["three".into()])
    );
    let told = other.seen()[0].body.to_string();
    assert!(
        !told.contains("one") && !told.contains("two"),
        "the other agent must not get the first agent's messages: {told}"
    );
    // The waiting question continued the first question's session.
    let told = slow.seen()[1].body.to_string();
    assert!(told.contains("echo: one"), "expected `echo: one` in {told}");
    assert!(bridge.ask(&bot, "chat", "/status").await.contains("Agent: Other"));
}
