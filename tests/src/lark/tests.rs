use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::Client;
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use super::frame::Frame;
use super::{Answer, Fault, Platform, cipher};
use crate::outbound::Speaker;

const APP: &str = "cli_a1";

fn vectors() -> Value {
    serde_json::from_str(include_str!(
        "../../../crates/connectors/src/lark/vectors/upstream.json"
    ))
    .unwrap()
}

#[test]
fn frames_match_the_vendors_encoding() {
    for vector in vectors()["frames"].as_array().unwrap() {
        let (name, decoded) = (&vector["name"], &vector["decoded"]);
        let bytes = hex::decode(vector["hex"].as_str().unwrap()).unwrap();
        let frame = Frame::decode(&bytes).unwrap();
        assert_eq!(json!(frame.seq_id), decoded["SeqID"], "{name}");
        assert_eq!(json!(frame.log_id), decoded["LogID"], "{name}");
        assert_eq!(json!(frame.service), decoded["service"], "{name}");
        assert_eq!(json!(frame.headers), decoded["headers"], "{name}");
        let payload = frame
            .payload
            .as_ref()
            .map(|it| String::from_utf8_lossy(it).into_owned());
        if decoded["payload_utf8"].is_string() {
            assert_eq!(json!(payload), decoded["payload_utf8"], "{name}");
        }
        // Optional texts that are present but empty are not preserved.
        if decoded["payload_encoding"].is_null() && decoded["payload_type"].is_null() {
            assert_eq!(frame.encode(), bytes, "{name}");
        }
    }
    for vector in vectors()["frames_invalid"].as_array().unwrap() {
        let bytes = hex::decode(vector["hex"].as_str().unwrap()).unwrap();
        assert!(
            Frame::decode(&bytes).is_err(),
            "expected an invalid frame: {}",
            vector["name"]
        );
    }
}

#[test]
fn webhooks_are_encrypted_and_signed_as_the_vendor_does() {
    for vector in vectors()["valid"].as_array().unwrap() {
        let text = |name: &str| vector[name].as_str().unwrap_or_default();
        let iv: [u8; 16] = hex::decode(text("iv_hex")).unwrap().try_into().unwrap();
        let encrypted = cipher::encrypt(text("encrypt_key"), iv, text("plaintext"));
        assert_eq!(encrypted, text("encrypt"), "{}", vector["name"]);
        if vector["signature"].is_string() {
            let signature = cipher::sign(text("timestamp"), text("nonce"), text("encrypt_key"), text("body"));
            assert_eq!(signature, text("signature"), "{}", vector["name"]);
        }
    }
}

/// A caller of the API.
struct Caller {
    http: Client,
    url: String,
    token: String,
}

impl Caller {
    async fn new(platform: &Platform) -> Self {
        let mut caller = Self {
            http: Client::builder().no_proxy().build().unwrap(),
            url: platform.url(),
            token: String::new(),
        };
        let secret = json!({ "app_id": APP, "app_secret": "s3" });
        let got = caller
            .call("POST", "/auth/v3/tenant_access_token/internal", &secret)
            .await;
        caller.token = got["tenant_access_token"].as_str().unwrap().to_owned();
        caller
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let url = format!("{}/open-apis{path}", self.url);
        let request = self
            .http
            .request(method.parse().unwrap(), url)
            .bearer_auth(&self.token)
            .json(body);
        request.send().await.unwrap().json().await.unwrap()
    }

    async fn code(&self, method: &str, path: &str, body: &Value) -> i64 {
        self.call(method, path, body).await["code"].as_i64().unwrap()
    }
}

fn card() -> Value {
    let markdown = json!({ "tag": "markdown", "element_id": "stream_md", "content": "" });
    json!({ "schema": "2.0", "config": { "streaming_mode": true, "update_multi": true }, "body": { "elements": [markdown] } })
}

async fn platform() -> Platform {
    let platform = Platform::start().await;
    platform.add_app(APP, "s3");
    platform
}

fn message_of(event: &Value) -> String {
    event["event"]["message"]["message_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn card_grows_by_its_own_count() {
    let platform = platform().await;
    let caller = Caller::new(&platform).await;
    let asked = message_of(&platform.text(APP, &Speaker::alone("ou_li"), "你好"));
    let made = caller
        .call(
            "POST",
            "/cardkit/v1/cards",
            &json!({ "type": "card_json", "data": card().to_string() }),
        )
        .await;
    let id = made["data"]["card_id"].as_str().unwrap();
    let content = json!({ "type": "card", "data": { "card_id": id } }).to_string();
    let send = json!({ "msg_type": "interactive", "content": content, "uuid": "u1" });
    let reply = format!("/im/v1/messages/{asked}/reply");
    assert_eq!(caller.code("POST", &reply, &send).await, 0);
    // A repetition returns the same message.
    assert_eq!(caller.code("POST", &reply, &send).await, 0);
    let write = format!("/cardkit/v1/cards/{id}/elements/stream_md/content");
    let text = |content: &str, n: i64| json!({ "content": content, "sequence": n, "uuid": format!("w{content}{n}") });
    assert_eq!(caller.code("PUT", &write, &text("你", 1)).await, 0);
    assert_eq!(caller.code("PUT", &write, &text("你好", 2)).await, 0);
    assert_eq!(caller.code("PUT", &write, &text("x", 2)).await, 300_317);
    assert_eq!(caller.code("PUT", &write, &text("", 3)).await, 10002);
    let settings = json!({ "config": { "streaming_mode": false } }).to_string();
    let close = json!({ "settings": settings, "sequence": 4, "uuid": "c" });
    assert_eq!(
        caller
            .code("PATCH", &format!("/cardkit/v1/cards/{id}/settings"), &close)
            .await,
        0
    );
    assert_eq!(caller.code("PUT", &write, &text("y", 5)).await, 300_309);
    let bubbles = platform.bubbles();
    assert_eq!(bubbles.len(), 1);
    assert_eq!(bubbles[0].states, ["", "你", "你好"]);
    assert_eq!((bubbles[0].chat.as_str(), bubbles[0].done), ("ou_li", true));
    assert_eq!(platform.complaints().len(), 2, "{:?}", platform.complaints());
}

#[tokio::test]
async fn invalid_calls_are_refused_as_by_the_platform() {
    let platform = platform().await;
    let caller = Caller::new(&platform).await;
    let asked = message_of(&platform.text(APP, &Speaker::in_group("ou_li", "oc_g"), "hi"));
    let reply = format!("/im/v1/messages/{asked}/reply");
    let text = |content: Value, uuid: &str| json!({ "msg_type": "text", "content": content, "uuid": uuid });
    assert_eq!(
        caller.code("POST", &reply, &text(json!({ "text": "x" }), "a")).await,
        230_001
    );
    assert_eq!(
        caller
            .code("POST", "/im/v1/messages/om_other/reply", &text(json!("{}"), "b"))
            .await,
        99_992_354
    );
    let good = json!({ "text": "x" }).to_string();
    for n in 0..5 {
        assert_eq!(
            caller.code("POST", &reply, &text(json!(good), &format!("n{n}"))).await,
            0
        );
    }
    assert_eq!(caller.code("POST", &reply, &text(json!(good), "n6")).await, 230_020);
    let mut wrong = card();
    wrong["elements"] = json!([]);
    let create = json!({ "type": "card_json", "data": wrong.to_string() });
    assert_eq!(caller.code("POST", "/cardkit/v1/cards", &create).await, 200_621);
    platform.recall(APP, &asked);
    assert_eq!(caller.code("POST", &reply, &text(json!(good), "n7")).await, 230_011);
    platform.expire_tokens(APP);
    assert_eq!(caller.code("POST", &reply, &text(json!(good), "n8")).await, 99_991_663);
    platform.misbehave(|faults| {
        let answer = Answer::Refused(429, 99_991_400, Some(2));
        faults.answers.push_back(Fault { call: "reply", answer });
        faults.answers.push_back(Fault {
            call: "reply",
            answer: Answer::Lost,
        });
    });
    let caller = Caller::new(&platform).await;
    assert_eq!(caller.code("POST", &reply, &text(json!(good), "n9")).await, 99_991_400);
    let lost = caller
        .http
        .post(format!("{}/open-apis{reply}", caller.url))
        .bearer_auth(&caller.token);
    let lost = match lost.json(&text(json!(good), "n9")).send().await {
        Ok(answer) => answer.bytes().await,
        Err(error) => Err(error),
    };
    assert!(lost.is_err(), "expected a lost response, found {lost:?}");
}

#[tokio::test]
async fn long_connection_delivers_in_parts_and_redelivers() {
    let platform = platform().await;
    platform.misbehave(|faults| {
        faults.parts = 3;
        faults.lost_part = Some(1);
        faults.redeliver_after = Duration::ZERO;
    });
    let http = Client::builder().no_proxy().build().unwrap();
    let body = json!({ "AppID": APP, "AppSecret": "s3" });
    let got = http
        .post(format!("{}/callback/ws/endpoint", platform.url()))
        .json(&body)
        .send()
        .await
        .unwrap();
    let got: Value = got.json().await.unwrap();
    let url = got["data"]["URL"].as_str().unwrap();
    let (mut socket, _) = connect_async(url).await.unwrap();
    assert!(connect_async(url).await.is_err(), "a ticket opens one connection");
    platform.connected(APP, Duration::from_secs(2)).await.unwrap();
    let ping = hex::decode("0800100018f681801020002a0c0a0474797065120470696e67").unwrap();
    socket.send(Message::binary(ping)).await.unwrap();
    let pong = Frame::decode(&socket.next().await.unwrap().unwrap().into_data()).unwrap();
    assert_eq!(pong.header("type"), Some("pong"));

    let event = platform.text(APP, &Speaker::alone("ou_li"), "你好");
    platform.push(APP, &event).unwrap();
    let mut parts = Vec::new();
    // Two parts of the first delivery, three of the second.
    for _ in 0..5 {
        let message = tokio::time::timeout(Duration::from_secs(5), socket.next())
            .await
            .unwrap();
        parts.push(Frame::decode(&message.unwrap().unwrap().into_data()).unwrap());
    }
    assert_eq!(parts[0].header("seq"), Some("0"));
    assert_eq!(parts[1].header("seq"), Some("2"));
    let joined: Vec<u8> = parts[2..]
        .iter()
        .filter_map(|part| part.payload.clone())
        .flatten()
        .collect();
    assert_eq!(serde_json::from_slice::<Value>(&joined).unwrap(), event);
    let mut ack = parts[4].clone();
    ack.headers.push(("biz_rt".to_owned(), "3".to_owned()));
    ack.payload = Some(br#"{"code":200}"#.to_vec());
    socket.send(Message::binary(ack.encode())).await.unwrap();
    let acks = crate::outbound::until("an ack", Duration::from_secs(2), || platform.acks().pop())
        .await
        .unwrap();
    assert_eq!(acks.code, 200);
    assert_eq!(platform.complaints(), ["a ticket that was used before (1 times)"]);
    // Without the headers of the platform's frame it is not an acknowledgement.
    ack.headers.remove(6);
    socket.send(Message::binary(ack.encode())).await.unwrap();
    let count = || (platform.complaints().len() >= 3).then_some(());
    crate::outbound::until("complaints", Duration::from_secs(2), count)
        .await
        .unwrap();
}
