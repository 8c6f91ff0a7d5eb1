//! Redaction of credentials: what chat, agent, log and API show of them while an answer is streamed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::test_bridge::{PATIENCE, TestBridge, uuid};
use tieline_tests::wecom::Speaker;

const KEY: &str = "sk-a1B2c3D4e5F6g7H8i9J0k1L2";
const CARD: &str = "4111 1111 1111 1111";

/// An answer whose credentials are split at various places, as models split them.
fn in_pieces(_: &str) -> Vec<String> {
    let pieces = [
        "the key is s",
        "k-a1B2",
        "c3D4e5F6g7H8",
        "i9J0k1L2 of 41",
        "11 1111",
        " 1111 1111 and ",
        "all",
    ];
    pieces.map(str::to_owned).to_vec()
}

/// Everything that operators can read: the bridge's log, the integrations' logs, and the ledger.
async fn told_to_operators(bridge: &TestBridge) -> String {
    let integrations = bridge.console.get("/api/v1/orgs/default/integrations").await.unwrap();
    // Not the chat page of the first start.
    let mut all = integrations["items"].as_array().unwrap().iter();
    let bot = all.find(|it| it["name"] != "Playground").unwrap();
    let id = bot["id"].as_str().unwrap();
    let logs = format!("/api/v1/orgs/default/integrations/{id}/logs");
    let logs = bridge.console.get(&logs).await.unwrap();
    let messages = bridge.console.get("/api/v1/orgs/default/messages").await.unwrap();
    format!("{logs}{messages}{}", bridge.process.log())
}

#[track_caller]
fn assert_hidden(text: &str) {
    for secret in [KEY, &KEY[..6], CARD, "1111"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[tokio::test]
async fn credential_of_a_growing_answer_is_never_shown() {
    let bridge = TestBridge::start();
    let manner = Manner {
        answer: in_pieces,
        between: Duration::from_millis(300),
        ..Manner::default()
    };
    let agent = FakeAgent::start(manner).await;
    let (bot, responses) = bridge
        .wecom(&agent.as_chat(""), &json!({ "redaction": { "outgoing": "mask" } }))
        .await;
    let lisi = Speaker::alone("lisi");
    let message = bot.text(&lisi, &uuid(), "hello", &responses.url_for("lisi"));
    let shown = bot.converse(&lisi, &message, PATIENCE).await.unwrap();
    assert!(shown.len() > 2, "the answer must be streamed: {shown:?}");
    for snapshot in &shown {
        assert_hidden(&snapshot.content);
    }
    assert_eq!(
        shown.last().unwrap().content,
        "the key is [redacted] of [redacted] and all"
    );
    // The stored turn is sent to the agent again, redacted.
    let message = bot.text(&lisi, &uuid(), "again", &responses.url_for("again"));
    bot.converse(&lisi, &message, PATIENCE).await.unwrap();
    assert_hidden(&agent.seen()[1].body.to_string());
    let told = told_to_operators(&bridge).await;
    assert_hidden(&told);
    assert!(told.contains("2 credential(s)"), "expected `2 credential(s)` in {told}");
}

#[tokio::test]
async fn answer_stopped_within_a_credential_is_redacted() {
    let bridge = TestBridge::start();
    let manner = Manner {
        answer: |_| vec![format!("the key is {KEY}"), " of all".to_owned()],
        holds: |_| true,
        ..Manner::default()
    };
    let agent = FakeAgent::start(manner).await;
    let bot = bridge
        .web(&agent.as_chat(""), &json!({ "redaction": { "outgoing": "mask" } }))
        .await;
    let (_, reply) = bridge.console.say(&bot, "chat", "hello", &uuid()).await.unwrap();
    let (begun, mut after) = (Instant::now(), 0);
    loop {
        let path = format!("/api/web/replies/{reply}?after={after}");
        let state: Value = bridge.console.get(&path).await.unwrap();
        assert_hidden(&state.to_string());
        if state["text"] == "the key is " {
            break;
        }
        after = state["version"].as_u64().unwrap();
        assert!(
            begun.elapsed() < PATIENCE,
            "the credential's beginning is not reached in time: {state}"
        );
    }
    bridge.ask(&bot, "chat", "/stop").await;
    assert_eq!(bridge.answer(&reply).await, "the key is [redacted]\n\n(Stopped.)");
}

#[tokio::test]
async fn credential_of_a_question_is_hidden_from_the_agent() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner::default()).await;
    let settings = json!({ "redaction": { "incoming": "mask", "patterns": ["EMP-[0-9]+"] } });
    let bot = bridge.web(&agent.as_chat(""), &settings).await;
    let text = format!("use {KEY} and {CARD} for EMP-1234");
    let answer = bridge.ask(&bot, "chat", &text).await;
    assert!(
        answer.starts_with("echo: use [redacted] and [redacted] for [redacted]\n\n("),
        "{answer}"
    );
    assert_eq!(bridge.ask(&bot, "chat", "hello").await, "echo: hello");
    for asked in agent.seen() {
        let asked = asked.body.to_string();
        assert_hidden(&asked);
        assert!(!asked.contains("EMP-1234"), "`EMP-1234` must not be in {asked}");
    }
    let told = told_to_operators(&bridge).await;
    assert_hidden(&told);
    assert!(
        told.contains("message_redacted"),
        "expected `message_redacted` in {told}"
    );
}
