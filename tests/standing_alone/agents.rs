//! Agents of several protocols behind the whole bridge: streamed answers, continued conversations, and recovery after a crash.

use serde_json::{Value, json};
use tieline_tests::test_bridge::{PATIENCE, TestBridge, uuid};
use tokio::time::timeout;

use crate::server::Server;
use crate::{coze_server, dify_server, responses_server};

fn dify(server: &Server) -> Value {
    json!({"protocol": "dify", "config": {"baseUrl": format!("{}/v1", server.url), "apiKey": dify_server::KEY}})
}

fn coze(server: &Server) -> Value {
    json!({"protocol": "coze", "config": {"baseUrl": server.url, "apiKey": coze_server::KEY, "botId": "bot-1"}})
}

fn responses(server: &Server) -> Value {
    json!({"protocol": "openai_responses",
        "config": {"baseUrl": format!("{}/v1", server.url), "apiKey": responses_server::KEY, "model": "m"}})
}

fn n_asked(server: &Server, target: &str) -> usize {
    server
        .calls()
        .iter()
        .filter(|call| call.target().starts_with(target))
        .count()
}

/// Waits until some text of the answer is shown.
async fn first_text(bridge: &TestBridge, reply: &str) -> String {
    let shown = async {
        loop {
            let path = format!("/api/web/replies/{reply}?after=0");
            let state = bridge.console.get(&path).await.unwrap();
            if let Some(text) = state["text"].as_str().filter(|text| !text.is_empty()) {
                return text.to_owned();
            }
        }
    };
    timeout(PATIENCE, shown).await.expect("some text is shown")
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_of_every_protocol_continue_after_a_restart() {
    let mut bridge = TestBridge::start();
    let dify_app = dify_server::start(dify_server::Habits::default()).await;
    let coze_bot = coze_server::start(coze_server::Habits::default()).await;
    let model = responses_server::start(responses_server::Habits::default()).await;
    let agents = [dify(&dify_app), coze(&coze_bot), responses(&model)];
    let mut bots = Vec::new();
    for agent in &agents {
        bots.push(bridge.web(agent, &json!({})).await);
    }
    for bot in &bots {
        assert!(bridge.ask(bot, "chat", "hello").await.starts_with("turn 1: hello"));
    }
    bridge.process.kill();
    bridge.process.restart().unwrap();
    let bridge = bridge.afresh();
    for bot in &bots {
        assert!(bridge.ask(bot, "chat", "again").await.starts_with("turn 2: again"));
        assert!(
            bridge
                .ask(bot, "other chat", "hello")
                .await
                .starts_with("turn 1: hello")
        );
    }
}

/// The conversation is recorded before any of its text is shown, so that it survives a crash.
#[tokio::test(flavor = "multi_thread")]
async fn conversation_is_recorded_before_its_first_text_is_shown() {
    let mut bridge = TestBridge::start();
    let habits = dify_server::Habits {
        cut_after: Some(3),
        hangs: true,
        ..dify_server::Habits::default()
    };
    let server = dify_server::start(habits).await;
    let bot = bridge.web(&dify(&server), &json!({})).await;
    let (_, reply) = bridge.console.say(&bot, "chat", "hello", &uuid()).await.unwrap();
    assert!("turn 1: hello".starts_with(&first_text(&bridge, &reply).await));
    bridge.process.kill();
    bridge.process.restart().unwrap();
    let bridge = bridge.afresh();
    // A chatbot's answer is lost with its connection: the question is asked again, in the same conversation.
    assert_eq!(bridge.answer(&reply).await, "turn 2: hello");
    assert_eq!(server.calls()[1].json()["conversation_id"], "c-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn running_chat_is_resumed_and_not_asked_again_after_a_crash() {
    let mut bridge = TestBridge::start();
    let habits = coze_server::Habits {
        cut_after: Some(6),
        hangs: true,
        ..coze_server::Habits::default()
    };
    let server = coze_server::start(habits).await;
    let bot = bridge.web(&coze(&server), &json!({})).await;
    let (_, reply) = bridge.console.say(&bot, "chat", "hello", &uuid()).await.unwrap();
    assert!("turn 1: hello".starts_with(&first_text(&bridge, &reply).await));
    bridge.process.kill();
    bridge.process.restart().unwrap();
    let bridge = bridge.afresh();
    assert_eq!(bridge.answer(&reply).await, "turn 1: hello\n\nAnd more.");
    assert_eq!(n_asked(&server, "POST /v3/chat"), 1);
    assert!(n_asked(&server, "GET /v3/chat/retrieve") >= 1);
}

/// Operators see the agent's own error text, without the key and without the person's message.
#[tokio::test(flavor = "multi_thread")]
async fn agent_failure_is_logged_with_the_agents_error_text() {
    let bridge = TestBridge::start();
    let words = r#"{"code":"quota","message":"quota of app-secret used up by: a private question"}"#;
    let server = Server::start(vec![crate::server::answer(402, crate::server::JSON, words)]).await;
    let bot = bridge.web(&dify(&server), &json!({})).await;
    bridge.ask(&bot, "chat", "a private question").await;
    let log = bridge
        .console
        .get(&format!("/api/v1/orgs/default/integrations/{bot}/logs"))
        .await
        .unwrap();
    let entries = log["items"].as_array().unwrap();
    let entry = entries
        .iter()
        .find(|entry| entry["code"] == "agent_failed")
        .expect("it is logged");
    let message = entry["message"].as_str().unwrap();
    assert!(
        message.ends_with("HTTP 402, code quota, message quota of *** used up by: ***"),
        "expected a text that ends with `HTTP 402, code quota, message quota of *** used up by: ***`, found {message}"
    );
}
