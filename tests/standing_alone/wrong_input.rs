//! Invalid input from platforms, operators and agents.

use futures_util::future::join_all;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::wecom::Speaker;

use crate::rude_agent;
use tieline_tests::test_bridge::{PATIENCE, TestBridge, figure, until, uuid};

const INCOMPLETE: &str = "(The answer broke off here.)";
const FAILED: &str = "The agent could not answer. Please try again later.";
const TIMED_OUT: &str = "The agent took too long to answer. Please try again later.";

/// Limit of the bridge's memory growth, whatever an agent sends.
const MOST_GROWTH: u64 = 200 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn every_agent_failure_is_shown_to_the_person() {
    let bridge = TestBridge::start();
    let url = rude_agent::start().await;
    let mut bots = Vec::new();
    for way in rude_agent::WAYS {
        let config =
            json!({ "baseUrl": format!("{url}/{way}/v1"), "apiKey": "k", "model": "m", "idleTimeoutSeconds": 2 });
        let agent = json!({ "protocol": "openai_chat", "config": config });
        bots.push((*way, bridge.web(&agent, &json!({})).await));
    }
    let fine = bridge
        .web(&json!({ "protocol": "echo", "config": {} }), &json!({}))
        .await;
    assert_eq!(bridge.ask(&fine, "c", "hi").await, "hi");
    let before = bridge.process.peak_memory().unwrap();

    let asked = bots
        .iter()
        .map(|(way, bot)| async { (*way, bridge.ask(bot, "c", "hello").await) });
    for (way, answer) in join_all(asked).await {
        let (answer, reference) = answer.rsplit_once(" (Ref ").unwrap_or((&answer, ""));
        assert_eq!(reference.len(), "7KQ4-X9MA)".len(), "{way}: {reference}");
        let shown: String = answer.chars().take(120).collect();
        match way {
            "silent" | "cut" => assert_eq!(answer, format!("so far\n\n{INCOMPLETE}"), "{way}"),
            "hang" => assert_eq!(answer, TIMED_OUT, "{way}"),
            "endless" => assert!(
                answer.ends_with(INCOMPLETE) && answer.starts_with("xxx"),
                "{way}: {shown}"
            ),
            _ => assert_eq!(answer, FAILED, "{way}: {shown}"),
        }
    }
    let growth = bridge.process.peak_memory().unwrap().saturating_sub(before);
    figure("memory that rude agents cost, in MiB", growth / 1024 / 1024);
    assert!(growth < MOST_GROWTH, "{growth} bytes more");
    assert_eq!(bridge.ask(&fine, "c", "still there?").await, "still there?");
}

#[tokio::test]
async fn every_unsigned_request_gets_the_same_response() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner::default()).await;
    let (bot, _responses) = bridge.wecom(&agent.as_chat(""), &json!({})).await;
    let message = bot.text(&Speaker::alone("lisi"), "m1", "hello", "");
    let (query, body, _) = bot.cipher.callback(&message.to_string());
    let url = &bot.callback_url;
    let id = url.rsplit('/').next().unwrap();
    let elsewhere = format!("{}/api/lark/webhook/{id}?{query}", bridge.process.url());
    let unknown = format!("{}/api/wecom/webhook/int_unknown?{query}", bridge.process.url());
    let no_platform = format!("{}/api/none/webhook/{id}?{query}", bridge.process.url());
    let right = format!("{url}?{query}");
    let flipped = query.replace("timestamp=1", "timestamp=2");
    let cases: Vec<(&str, String, Vec<u8>)> = vec![
        ("unknown integration", unknown, body.clone().into()),
        ("another platform", elsewhere, body.clone().into()),
        ("no platform", no_platform, body.clone().into()),
        ("no query", url.clone(), body.clone().into()),
        ("another time", format!("{url}?{flipped}"), body.clone().into()),
        ("half a body", right.clone(), body.as_bytes()[..body.len() / 2].to_vec()),
        ("no JSON", right.clone(), b"{\"encrypt\":".to_vec()),
        ("XML", right.clone(), b"<xml><Encrypt><![CDATA[x".to_vec()),
        ("no UTF-8", right.clone(), vec![0xff; 300]),
        ("deep JSON", right.clone(), "[".repeat(100_000).into_bytes()),
        ("empty", right.clone(), Vec::new()),
    ];
    for (what, url, body) in cases {
        assert_eq!(post(&url, body).await, (401, Vec::new()), "{what}");
    }
    assert_eq!(post(&right, vec![b'x'; 1024 * 1024 + 1]).await.0, 413);
    assert!(agent.asked().is_empty(), "an unsigned request reached the agent");
    assert_eq!(
        post(&right, body.into()).await.0,
        200,
        "a signed request must still be accepted"
    );
    until("it is asked", || agent.asked() == ["hello"]).await;
}

#[tokio::test]
async fn body_of_one_mebibyte_reaches_the_agent_whole() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner::default()).await;
    let bot = bridge.web(&agent.as_webhook(""), &json!({})).await;
    let text = "x".repeat(1024 * 1024 - 100);
    bridge.console.say(&bot, "c", &text, "m1").await.unwrap();
    until("it is asked", || agent.asked().len() == 1).await;
    assert!(agent.asked()[0] == text, "the text is another");
}

#[tokio::test]
async fn signed_but_unreadable_request_is_acknowledged_and_logged() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner::default()).await;
    let (bot, _responses) = bridge.wecom(&agent.as_chat(""), &json!({})).await;
    let id = bot.callback_url.rsplit('/').next().unwrap().to_owned();
    for plain in [
        "not JSON",
        "{",
        "[]",
        "\"x\"",
        "{\"msgtype\":\"text\"}",
        "{\"msgid\":7}",
        "",
    ] {
        let (query, body, _) = bot.cipher.callback(plain);
        let (status, body, _) = bot.send_raw(&query, body).await.unwrap();
        assert_eq!((status, body.as_str()), (200, ""), "{plain:?}");
    }
    assert!(agent.asked().is_empty());
    let logs = bridge
        .console
        .get(&format!("/api/v1/orgs/default/integrations/{id}/logs"))
        .await
        .unwrap();
    let warned = logs["items"].as_array().unwrap().iter().any(|it| it["level"] == "warn");
    assert!(warned, "expected a warning in {logs}");
}

#[tokio::test]
async fn a_replayed_request_changes_nothing() {
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner::default()).await;
    let (bot, responses) = bridge.wecom(&agent.as_chat(""), &json!({})).await;
    let person = Speaker::alone("lisi");
    let message = bot.text(&person, "m1", "hello", &responses.url_for("RC1"));
    bot.converse(&person, &message, PATIENCE).await.unwrap();
    let (query, body, nonce) = bot.cipher.callback(&message.to_string());
    for _ in 0..3 {
        let (status, answer, _) = bot.send_raw(&query, body.clone()).await.unwrap();
        assert_eq!(status, 200);
        assert!(bot.cipher.open_reply(&answer, &nonce).unwrap().contains("echo: hello"));
    }
    // Sent after the redeliveries, in the same conversation: the agent would have been asked about them by now.
    let next = bot.text(&person, "m2", "next", &responses.url_for("RC2"));
    bot.converse(&person, &next, PATIENCE).await.unwrap();
    assert_eq!(agent.asked(), ["hello", "next"]);
}

#[tokio::test]
async fn stale_callback_is_refused_where_the_platform_says_so() {
    let bridge = TestBridge::start();
    let credentials = json!({ "clientId": "ding1", "clientSecret": "s3cret" });
    let integration = json!({ "name": "DingTalk", "platform": "dingtalk", "connectionMode": "webhook",
                              "credentials": credentials });
    let made = bridge.post("/api/v1/orgs/default/integrations", &integration).await;
    let url = made["callbackUrl"].as_str().unwrap();
    let now_ms = i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    for (hours, expected) in [(0, 200), (-2, 401), (2, 401), (-24 * 365, 401)] {
        let answer = dingtalk(url, "s3cret", now_ms + hours * 3_600_000).await;
        assert_eq!(answer, expected, "{hours} h off");
    }
    assert_eq!(dingtalk(url, "another", now_ms).await, 401);
}

#[tokio::test]
async fn api_errors_tell_operators_what_is_wrong() {
    let bridge = TestBridge::start();
    let base = "/api/v1/orgs/default/integrations";
    let web = json!({ "name": "A", "platform": "web", "connectionMode": "webhook" });
    let mut misspelt = web.clone();
    misspelt["naem"] = json!("B");
    let huge = json!({ "name": "x".repeat(1024 * 1024), "platform": "web" });
    let cases = [
        (base, misspelt.to_string(), 400, Some("unknown_field")),
        (base, "{".to_owned(), 400, None),
        ("/api/v1/orgs/nowhere/integrations", web.to_string(), 404, None),
        (base, huge.to_string(), 413, None),
    ];
    for (path, body, status, code) in cases {
        let request = bridge
            .console
            .request(Method::POST, path)
            .header("content-type", "application/json");
        let answer = request.body(body).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        assert_eq!(kind, "application/problem+json", "{path}");
        let problem: Value = answer.json().await.unwrap();
        if let Some(code) = code {
            assert_eq!(problem["code"], code, "{problem}");
        }
    }
    // A connection whose request body was not read to its end can't be reused.
    let bridge = bridge.afresh();
    let bot = bridge
        .web(&json!({ "protocol": "echo", "config": {} }), &json!({}))
        .await;
    let client = Client::new();
    let said = json!({ "text": "hi", "chatId": "c", "senderId": "s" });
    let url = format!("{}/api/web/webhook/{bot}", bridge.process.url());
    let answer = client.post(&url).json(&said).send().await.unwrap();
    assert_eq!(answer.status(), 401, "our own channel is for operators");
    let answer = client.post(&url).bearer_auth("wrong").json(&said).send().await.unwrap();
    assert_eq!(answer.status(), 401);
}

async fn post(url: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
    let answer = Client::new().post(url).body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
}

async fn dingtalk(url: &str, secret: &str, at_ms: i64) -> u16 {
    use base64::Engine as _;
    use hmac::{KeyInit as _, Mac as _};

    let body = json!({ "conversationId": "cid1", "conversationType": "1", "msgId": uuid(), "createAt": at_ms,
                       "senderId": "s1", "senderStaffId": "s1", "msgtype": "text", "text": { "content": "hi" } });
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{at_ms}\n{secret}").as_bytes());
    let sign = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    let request = Client::new().post(url).json(&body);
    let request = request.header("timestamp", at_ms.to_string()).header("sign", sign);
    request.send().await.unwrap().status().as_u16()
}
