use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::Platform;
use crate::outbound::Speaker;

const APP: &str = "1390000000000000500";

async fn platform() -> Platform {
    let platform = Platform::start().await;
    platform.add_app(APP, "t0k3n");
    platform
}

/// A well-behaved client, unless a test changes that.
struct Rest {
    platform: Platform,
    http: Client,
}

impl Rest {
    async fn start() -> Self {
        Self {
            platform: platform().await,
            http: Client::builder().no_proxy().build().unwrap(),
        }
    }

    async fn call(&self, method: Method, path: &str, body: &Value, token: Option<&str>) -> (u16, Value) {
        let url = format!("http://{}/api/v10{path}", self.platform.address);
        let mut request = self
            .http
            .request(method, url)
            .header("user-agent", "DiscordBot (https://example.com, 1)");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bot {token}"));
        }
        if !body.is_null() {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or(Value::Null))
    }

    async fn send(&self, channel: &str, body: &Value) -> (u16, Value) {
        let path = format!("/channels/{channel}/messages");
        self.call(Method::POST, &path, body, Some("t0k3n")).await
    }
}

fn message(content: &str, nonce: &str) -> Value {
    json!({ "content": content, "allowed_mentions": { "parse": [] }, "nonce": nonce, "enforce_nonce": true })
}

#[tokio::test]
async fn messages_are_created_once_per_nonce_and_changed() {
    let rest = Rest::start().await;
    let mia = Speaker::alone("42");
    let said = rest.platform.message(APP, &mia, "hi", false);
    let channel = said["channel_id"].as_str().unwrap();
    let (status, first) = rest.send(channel, &message("one", "n1")).await;
    let (_, second) = rest.send(channel, &message("two", "n1")).await;
    assert_eq!(
        (status, &first["id"], &second["content"]),
        (200, &second["id"], &json!("one"))
    );
    let path = format!("/channels/{channel}/messages/{}", first["id"].as_str().unwrap());
    let edit = json!({ "content": "one two", "allowed_mentions": { "parse": [] } });
    assert_eq!(rest.call(Method::PATCH, &path, &edit, Some("t0k3n")).await.0, 200);
    assert_eq!(rest.platform.bubbles()[0].states, ["one", "one two"]);
    assert_eq!(rest.platform.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn wrong_calls_are_refused() {
    let rest = Rest::start().await;
    let said = rest.platform.message(APP, &Speaker::alone("42"), "hi", false);
    let channel = said["channel_id"].as_str().unwrap();
    let code = |answer: (u16, Value)| (answer.0, answer.1["code"].as_i64());
    let path = format!("/channels/{channel}/messages");
    let good = message("hi", "n1");
    assert_eq!(
        code(rest.call(Method::POST, &path, &good, Some("wrong")).await),
        (401, Some(0))
    );
    assert_eq!(code(rest.send("1", &good).await), (404, Some(10003)));
    assert_eq!(
        code(rest.send(channel, &message(&"x".repeat(2001), "n2")).await),
        (400, Some(50035))
    );
    assert_eq!(code(rest.send(channel, &message(" ", "n3")).await), (400, Some(50006)));
    assert_eq!(
        code(rest.send(channel, &message("x", &"n".repeat(26))).await),
        (400, Some(50035))
    );
    let path = format!("/channels/{channel}/messages/1");
    assert_eq!(
        code(rest.call(Method::PATCH, &path, &message("x", "n"), Some("t0k3n")).await),
        (404, Some(10008))
    );
    rest.send(channel, &json!({ "content": "@everyone" })).await;
    let complaints = rest.platform.complaints().join("\n");
    for what in [
        "may mention people",
        "without an enforced nonce",
        "Edit with a field nonce",
    ] {
        assert!(complaints.contains(what), "{what} is not among {complaints}");
    }
}

#[tokio::test]
async fn interactions_are_answered_in_their_order() {
    let rest = Rest::start().await;
    let commands = json!([{ "name": "ask", "type": 1, "description": "d", "options": [
        { "name": "prompt", "type": 3, "description": "d", "required": true }] }]);
    let path = format!("/applications/{APP}/commands");
    assert_eq!(rest.call(Method::PUT, &path, &commands, Some("t0k3n")).await.0, 200);
    let mia = Speaker::in_group("42", "7");
    assert!(
        rest.platform.command(APP, &mia, "ask", None).is_err(),
        "the option is required"
    );
    let asked = rest.platform.command(APP, &mia, "ask", Some("hi")).unwrap();
    let (id, token) = (asked["id"].as_str().unwrap(), asked["token"].as_str().unwrap());
    let original = format!("/webhooks/{APP}/{token}/messages/@original");
    let text = json!({ "content": "hello", "allowed_mentions": { "parse": [] } });
    let early = rest.call(Method::PATCH, &original, &text, None).await;
    assert_eq!((early.0, &early.1["code"]), (404, &json!(10015)));
    let callback = format!("/interactions/{id}/{token}/callback");
    let wrong = json!({ "type": 5, "data": { "content": "not yet" } });
    assert_eq!(rest.call(Method::POST, &callback, &wrong, None).await.0, 400);
    assert_eq!(
        rest.call(Method::POST, &callback, &json!({ "type": 5 }), None).await.0,
        204
    );
    let twice = rest.call(Method::POST, &callback, &json!({ "type": 5 }), None).await;
    assert_eq!(twice.1["code"], 40060);
    assert_eq!(rest.call(Method::PATCH, &original, &text, None).await.0, 200);
    rest.platform.misbehave(|faults| faults.token_life = Duration::ZERO);
    assert_eq!(rest.call(Method::PATCH, &original, &text, None).await.1["code"], 50027);
    assert_eq!(rest.platform.bubbles()[0].text(), "hello");
}

#[tokio::test]
async fn wrong_commands_are_refused() {
    let rest = Rest::start().await;
    let path = format!("/applications/{APP}/commands");
    for wrong in [
        json!([{ "name": "Ask", "type": 1, "description": "d" }]),
        json!([{ "name": "ask", "type": 1, "description": "" }]),
        json!({ "name": "ask" }),
    ] {
        assert_eq!(
            rest.call(Method::PUT, &path, &wrong, Some("t0k3n")).await.0,
            400,
            "{wrong}"
        );
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open(platform: &Platform) -> Socket {
    let url = format!("ws://{}/?v=10&encoding=json", platform.address);
    let (mut socket, _) = connect_async(url).await.unwrap();
    assert_eq!(next(&mut socket).await["op"], 10);
    socket
}

/// The next frame, or the close code of the socket.
async fn next(socket: &mut Socket) -> Value {
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(text.as_str()).unwrap(),
            Message::Close(frame) => return json!(u16::from(frame.unwrap().code)),
            _ => {}
        }
    }
}

async fn send(socket: &mut Socket, op: u8, payload: &Value) {
    let frame = json!({ "op": op, "d": payload }).to_string();
    socket.send(Message::text(frame)).await.unwrap();
}

fn identify(token: &str, intents: u32) -> Value {
    json!({ "token": token, "intents": intents, "shard": [0, 1], "properties": { "os": "o", "browser": "b", "device": "d" } })
}

#[tokio::test]
async fn sessions_are_resumed_with_missed_events() {
    let platform = platform().await;
    let mia = Speaker::in_group("42", "7");
    let mut socket = open(&platform).await;
    send(&mut socket, 2, &identify("t0k3n", 4609)).await;
    let ready = next(&mut socket).await;
    assert_eq!((&ready["t"], &ready["s"]), (&json!("READY"), &json!(1)));
    assert_eq!(next(&mut socket).await["t"], "GUILD_CREATE");
    platform.cut(APP);
    assert!(socket.next().await.is_none_or(|message| message.is_err()));
    let said = platform.message(APP, &mia, "not for the bot", false);
    platform.push_message(APP, &said).unwrap();
    let mut socket = open(&platform).await;
    let session = &ready["d"]["session_id"];
    send(
        &mut socket,
        6,
        &json!({ "token": "t0k3n", "session_id": session, "seq": 2 }),
    )
    .await;
    let missed = next(&mut socket).await;
    assert_eq!(
        (&missed["s"], &missed["d"]["content"]),
        (&json!(3), &json!("")),
        "without the intent there is no content"
    );
    assert_eq!(next(&mut socket).await["t"], "RESUMED");
    send(&mut socket, 1, &json!(4)).await;
    assert_eq!(next(&mut socket).await["op"], 11);
    assert_eq!(platform.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn wrong_sessions_are_refused() {
    let platform = platform().await;
    platform.allow_content(APP, false);
    let session = json!({ "token": "t0k3n", "session_id": "nothing", "seq": 2 });
    for (op, payload, expected) in [
        (2, identify("wrong", 4609), json!(4004)),
        (2, identify("t0k3n", 37377), json!(4014)),
        (2, identify("t0k3n", 1 << 30), json!(4013)),
        (3, json!({}), json!(4003)),
        (77, json!({}), json!(4001)),
        (6, session, json!({ "op": 9, "d": false, "s": null, "t": null })),
    ] {
        let mut socket = open(&platform).await;
        send(&mut socket, op, &payload).await;
        assert_eq!(next(&mut socket).await, expected, "{op} {payload}");
    }
}
