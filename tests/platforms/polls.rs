//! Polls of a reply that has nothing to show: the stream ends in time, and the answer is sent in another way.

use std::time::Duration;

use serde_json::{Value, json};
use tieline_bridge::clock::Clock;
use tieline_bridge::operator::Operator;
use tieline_bridge::receive::receive;
use tieline_bridge::reply_poll::long_poll;
use tieline_core::http_types::WebhookRequest;
use tieline_core::ids::{OrganizationId, ReplyId};
use tieline_core::trigger::TriggerSettings;
use tieline_store::config::token::Role;
use tieline_tests::outbound::Speaker;
use tieline_tests::wecom::{Bot, Cipher, ResponseServer};
use tokio::time::Instant;

use crate::test_bridge::TestBridge;

/// Sends a callback. Returns the stream in the response.
async fn call_back(bridge: &TestBridge, bot: &Bot, message: &Value) -> Value {
    let (query, body, nonce) = bot.cipher.callback(&message.to_string());
    let request = WebhookRequest {
        method: "POST".to_owned(),
        query,
        headers: Vec::new(),
        body: body.into_bytes(),
    };
    let answer = bridge.receive(&request).await;
    let plain = bot
        .cipher
        .open_reply(std::str::from_utf8(&answer.body).unwrap(), &nonce);
    let reply: Value = serde_json::from_str(&plain.unwrap()).unwrap();
    reply["stream"].clone()
}

#[tokio::test]
async fn stream_without_text_ends_in_time() {
    let bot = Bot::new(Cipher::fresh(), String::new());
    let responses = ResponseServer::start().await;
    let mut integration = bot.as_integration("Bot");
    integration["endpoints"] = json!({ "apiBase": responses.url });
    let mut bridge = TestBridge::open("wecom", &integration, TriggerSettings::default()).await;
    let (lisi, begun) = (Speaker::alone("lisi"), bridge.world.clock.now());
    let message = bot.text(&lisi, "m1", "one", &responses.url_for("RC1"));
    let stream = call_back(&bridge, &bot, &message).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let poll = async |bridge: &mut TestBridge, seconds: u64| {
        bridge.world.clock = Clock::starting_at(begun.after(Duration::from_secs(seconds)));
        call_back(bridge, &bot, &bot.poll(&lisi, &stream)).await
    };
    for seconds in [1, 2, 300, 329] {
        assert_eq!(poll(&mut bridge, seconds).await["finish"], false, "after {seconds} s");
    }
    let last = poll(&mut bridge, 332).await;
    assert_eq!(last["finish"], true);
    assert!(
        !last["content"].as_str().unwrap().trim().is_empty(),
        "expected a visible text in {last}"
    );

    bridge.world.clock = Clock::starting_at(begun.after(Duration::from_secs(361)));
    bridge.work().await;
    let said = responses.said();
    assert_eq!((said.len(), said[0].content.as_str()), (1, "echo: one"));
}

#[tokio::test]
async fn poll_of_an_unknown_stream_ends_at_once() {
    let bot = Bot::new(Cipher::fresh(), String::new());
    let integration = {
        let mut integration = bot.as_integration("Bot");
        integration["endpoints"] = json!({});
        integration
    };
    let bridge = TestBridge::open("wecom", &integration, TriggerSettings::default()).await;
    let poll = bot.poll(&Speaker::alone("lisi"), "tl-01J9");
    assert_eq!(call_back(&bridge, &bot, &poll).await["finish"], true);
}

#[tokio::test]
async fn reply_of_another_organization_looks_like_an_unknown_one() {
    let integration = json!({ "connectionMode": "webhook", "credentials": {}, "endpoints": {} });
    let bridge = TestBridge::open("web", &integration, TriggerSettings::default()).await;
    let said = WebhookRequest {
        method: "POST".to_owned(),
        query: String::new(),
        headers: Vec::new(),
        body: json!({ "text": "one", "chatId": "c", "senderId": "lisi" })
            .to_string()
            .into_bytes(),
    };
    let answer = receive(&bridge.world, "web", &bridge.bot, &said, Some(&Operator::Root)).await;
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    bridge.work().await;
    let stranger = Operator::Member {
        organization: OrganizationId::new("theirs"),
        role: Role::Admin,
    };
    let reply = ReplyId::new(answer["replyId"].as_str().unwrap());
    let own = long_poll(&bridge.world, &reply, "", Some(&Operator::Root)).await;
    assert!(String::from_utf8_lossy(&own.body).contains("echo: one"));

    let unknown = ReplyId::new(format!("tl-{}", "A".repeat(32)));
    let ask = async |reply: &ReplyId| {
        let begun = Instant::now();
        let answer = long_poll(&bridge.world, reply, "", Some(&stranger)).await;
        (answer, begun.elapsed())
    };
    let too_long = ReplyId::new("A".repeat(5000));
    let (theirs, none, impossible) = tokio::join!(ask(&reply), ask(&unknown), ask(&too_long));
    for seen in [theirs, impossible] {
        assert_eq!(seen.0, none.0);
        assert!(
            seen.1.abs_diff(none.1) < Duration::from_secs(3),
            "{seen:?} and {none:?}"
        );
    }
}
