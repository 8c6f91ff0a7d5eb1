use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{APP, Platform, SECRET};
use crate::outbound::Speaker;
use crate::platform::PlatformSimulator as _;

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn token(platform: &Platform, secret: &str) -> (u16, Value) {
    let body = json!({ "app_id": APP, "app_secret": secret });
    let answer = reqwest::Client::new()
        .post(platform.token_url())
        .json(&body)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn connect(platform: &Platform, app: &str, token: &str) -> Client {
    let query: String = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("app_id", app), ("token", token), ("version", "test-1")])
        .finish();
    connect_async(format!("{}?{query}", platform.ws_url())).await.unwrap().0
}

async fn client(platform: &Platform) -> Client {
    let (_, body) = token(platform, SECRET).await;
    let mut client = connect(platform, APP, body["data"]["token"].as_str().unwrap()).await;
    assert_eq!(next(&mut client).await["type"], "connected");
    client
}

async fn next(client: &mut Client) -> Value {
    let message = tokio::time::timeout(Duration::from_secs(5), client.next()).await;
    match message.unwrap() {
        Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap_or_else(|_| json!(text.as_str())),
        Some(Ok(Message::Close(Some(frame)))) => json!(u16::from(frame.code)),
        other => panic!("{other:?}"),
    }
}

async fn send(client: &mut Client, message: &str, chunk: u64, text: &str, done: bool) -> Value {
    let payload = json!({ "toUserId": "1001", "text": text, "messageId": message, "chunkId": chunk, "done": done });
    let frame = json!({ "type": "send_message", "payload": payload });
    client.send(Message::text(frame.to_string())).await.unwrap();
    next(client).await
}

#[tokio::test]
async fn handshakes_need_a_valid_token_of_the_app() {
    let platform = Platform::start().await;
    assert_eq!(token(&platform, "wrong").await.0, 401);
    let (_, body) = token(&platform, SECRET).await;
    let token = body["data"]["token"].as_str().unwrap().to_owned();
    assert_eq!(next(&mut connect(&platform, APP, "T0").await).await, 4002);
    assert_eq!(next(&mut connect(&platform, "1", &token).await).await, 4003);
    assert_eq!(
        next(&mut connect(&platform, APP, &token).await).await["type"],
        "connected"
    );
    platform.expire_tokens();
    assert_eq!(next(&mut connect(&platform, APP, &token).await).await, 4002);
    assert_eq!(platform.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn chunks_add_up_to_what_people_see() {
    let platform = Platform::start().await;
    let mut client = client(&platform).await;
    for (chunk, text, done) in [(0, "Hel", false), (1, "lo", true)] {
        assert_eq!(send(&mut client, "msg_1", chunk, text, done).await["type"], "ack");
    }
    let shown = platform.shown(&Speaker::alone("1001"));
    assert_eq!(shown[0].states, ["Hel", "Hello"]);
    assert!(shown[0].done && platform.complaints().is_empty());
}

#[track_caller]
fn complains(platform: &Platform, about: &str) {
    let all = platform.complaints();
    assert!(
        all.iter().any(|complaint| complaint.contains(about)),
        "{about}: {all:?}"
    );
}

#[tokio::test]
async fn invalid_frames_are_reported() {
    let platform = Platform::start().await;
    let mut client = client(&platform).await;
    for (message, chunk, text, done, about) in [
        ("a", 1, "x", false, "chunk 1 instead of 0"),
        ("b", 0, " ", false, "an empty message begins"),
        ("c", 0, "x", true, ""),
        ("c", 1, "y", true, "a chunk after the end"),
        ("d", 0, "x", false, ""),
        ("d", 0, "x", false, "a number is used twice"),
        ("d", 1, "y", false, "too fast"),
        ("e", 0, &"汉".repeat(2001), false, "a frame is too long"),
    ] {
        send(&mut client, message, chunk, text, done).await;
        if !about.is_empty() {
            complains(&platform, about);
        }
    }
    client
        .send(Message::text(r#"{"type":"send_message","payload":{"text":"x"}}"#))
        .await
        .unwrap();
    assert_eq!(next(&mut client).await["payload"]["message"], "toUserId is required");
    client.send(Message::Binary(vec![1].into())).await.unwrap();
    client.send(Message::text(r#"{"type":"ping"}"#)).await.unwrap();
    next(&mut client).await;
    complains(&platform, "a binary frame");
    client.send(Message::text(r#"{"type":"ping"}"#)).await.unwrap();
    next(&mut client).await;
    complains(&platform, "ping: too often");
}
