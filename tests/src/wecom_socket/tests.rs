use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::Platform;
use crate::outbound::{Speaker, until};

const BOT: &str = "aibTESTS";

/// A client as the protocol page describes it.
struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    count: u32,
}

impl Client {
    async fn connect(platform: &Platform) -> Self {
        let (socket, _) = connect_async(platform.url()).await.unwrap();
        Self { socket, count: 0 }
    }

    async fn subscribed(platform: &Platform) -> Self {
        let mut client = Self::connect(platform).await;
        let answer = client
            .ask("aibot_subscribe", None, json!({ "bot_id": BOT, "secret": "s3" }))
            .await;
        assert_eq!(answer["errcode"], 0);
        client
    }

    async fn send(&mut self, cmd: &str, req_id: Option<&str>, body: Value) -> String {
        self.count += 1;
        let req_id = req_id.map_or_else(|| format!("{cmd}_{}", self.count), str::to_owned);
        let mut frame = json!({ "cmd": cmd, "headers": { "req_id": req_id } });
        if !body.is_null() {
            frame["body"] = body;
        }
        self.socket.send(Message::text(frame.to_string())).await.unwrap();
        req_id
    }

    async fn next(&mut self) -> Value {
        let message = tokio::time::timeout(Duration::from_secs(5), self.socket.next()).await;
        match message.unwrap() {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
            _ => Value::Null,
        }
    }

    async fn ask(&mut self, cmd: &str, req_id: Option<&str>, body: Value) -> Value {
        self.send(cmd, req_id, body).await;
        self.next().await
    }

    async fn stream(&mut self, req_id: &str, id: &str, content: &str, finish: bool) -> i64 {
        let stream = json!({ "id": id, "finish": finish, "content": content });
        let body = json!({ "msgtype": "stream", "stream": stream });
        let answer = self.ask("aibot_respond_msg", Some(req_id), body).await;
        answer["errcode"].as_i64().unwrap()
    }
}

async fn platform() -> Platform {
    let platform = Platform::start().await;
    platform.add_bot(BOT, "s3");
    platform
}

#[tokio::test]
async fn stream_grows_in_the_chat_that_asked() {
    let platform = platform().await;
    let mut client = Client::subscribed(&platform).await;
    let from = Speaker::in_group("lisi", "wrGROUP");
    let req_id = platform.say(BOT, &from, "m1", "@Helper 你好").unwrap();
    let callback = client.next().await;
    assert_eq!(callback["cmd"], "aibot_msg_callback");
    assert_eq!(callback["headers"]["req_id"], req_id.as_str());
    assert_eq!(callback["body"]["chatid"], "wrGROUP");

    assert_eq!(client.stream(&req_id, "tl-1", "<think></think>", false).await, 0);
    assert_eq!(client.stream(&req_id, "tl-1", "你", false).await, 0);
    assert_eq!(client.stream(&req_id, "tl-1", "你好", true).await, 0);
    let bubbles = platform.bubbles();
    assert_eq!(bubbles.len(), 1);
    assert_eq!(bubbles[0].states, ["<think></think>", "你", "你好"]);
    assert_eq!((bubbles[0].chat.as_str(), bubbles[0].done), ("wrGROUP", true));
    assert_eq!(platform.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn invalid_calls_are_refused_as_by_the_platform() {
    let platform = platform().await;
    let mut stranger = Client::connect(&platform).await;
    let early = stranger.ask("aibot_send_msg", None, json!({})).await;
    assert_eq!(early["errcode"], 846_609);
    let wrong = stranger
        .ask("aibot_subscribe", None, json!({ "bot_id": BOT, "secret": "x" }))
        .await;
    assert_eq!(wrong["errcode"], 853_000);

    let mut client = Client::subscribed(&platform).await;
    let from = Speaker::alone("lisi");
    let push = |chat: &str, kind: u8| json!({ "chatid": chat, "chat_type": kind, "msgtype": "markdown", "markdown": { "content": "x" } });
    let unknown = client.ask("aibot_send_msg", None, push("lisi", 1)).await;
    assert_eq!(unknown["errcode"], 846_607);
    let req_id = platform.say(BOT, &from, "m1", "hi").unwrap();
    client.next().await;
    assert_eq!(
        client.ask("aibot_send_msg", None, push("lisi", 2)).await["errcode"],
        93006
    );
    assert_eq!(client.ask("aibot_send_msg", None, push("lisi", 1)).await["errcode"], 0);
    let text = json!({ "msgtype": "text", "text": { "content": "x" } });
    let refused = client.ask("aibot_respond_msg", Some(&req_id), text).await;
    assert_eq!(refused["errcode"], 40008);
    let long = "x".repeat(20_481);
    let body = json!({ "msgtype": "stream", "stream": { "id": "a", "finish": true, "content": long } });
    let refused = client.ask("aibot_respond_msg", Some(&req_id), body).await;
    assert_eq!(
        (&refused["errcode"], &refused["headers"]),
        (&json!(40058), &Value::Null)
    );
    assert_eq!(client.stream("unknown", "a", "x", true).await, 846_605);
    let entered = platform
        .event(BOT, &from, "e1", &json!({ "eventtype": "enter_chat" }))
        .unwrap();
    client.next().await;
    assert_eq!(client.stream(&entered, "a", "x", true).await, 846_605);
    let welcome = json!({ "msgtype": "text", "text": { "content": "你好" } });
    let first = client
        .ask("aibot_respond_welcome_msg", Some(&entered), welcome.clone())
        .await;
    let second = client.ask("aibot_respond_welcome_msg", Some(&entered), welcome).await;
    assert_eq!((&first["errcode"], &second["errcode"]), (&json!(0), &json!(846_606)));
    assert_eq!(platform.complaints().len(), 8, "{:?}", platform.complaints());
}

#[tokio::test]
async fn two_frames_in_flight_and_a_reply_of_another_bot_are_reported() {
    let platform = platform().await;
    platform.add_bot("other", "s4");
    platform.misbehave(|faults| faults.ack_after = Duration::from_millis(200));
    let mut client = Client::subscribed(&platform).await;
    let req_id = platform.say(BOT, &Speaker::alone("lisi"), "m1", "hi").unwrap();
    client.next().await;
    let stream = |text: &str| json!({ "msgtype": "stream", "stream": { "id": "a", "finish": false, "content": text } });
    client.send("aibot_respond_msg", Some(&req_id), stream("1")).await;
    client.send("aibot_respond_msg", Some(&req_id), stream("2")).await;
    let codes = [
        client.next().await["errcode"].clone(),
        client.next().await["errcode"].clone(),
    ];
    assert!(
        codes.contains(&json!(6000)) && codes.contains(&json!(0)),
        "expected the codes 6000 and 0 in {codes:?}"
    );

    let mut thief = Client::connect(&platform).await;
    thief
        .ask("aibot_subscribe", None, json!({ "bot_id": "other", "secret": "s4" }))
        .await;
    let refused = thief.ask("aibot_respond_msg", Some(&req_id), stream("3")).await;
    assert_eq!(refused["errcode"], 846_605);
    assert!(platform.complaints().iter().any(|it| it.contains("another bot")));
}

#[tokio::test]
async fn unacknowledged_frame_of_a_cut_connection_does_not_block_the_next_connection() {
    let platform = platform().await;
    platform.misbehave(|faults| faults.ack_after = Duration::from_secs(60));
    let mut client = Client::subscribed(&platform).await;
    let req_id = platform.say(BOT, &Speaker::alone("lisi"), "m1", "hi").unwrap();
    client.next().await;
    let stream = |text: &str| json!({ "msgtype": "stream", "stream": { "id": "a", "finish": false, "content": text } });
    client.send("aibot_respond_msg", Some(&req_id), stream("1")).await;
    until("the first frame", Duration::from_secs(5), || platform.bubbles().pop())
        .await
        .unwrap();
    platform.cut(BOT);

    platform.misbehave(|faults| faults.ack_after = Duration::ZERO);
    let mut client = Client::subscribed(&platform).await;
    let accepted = client.ask("aibot_respond_msg", Some(&req_id), stream("1")).await;
    assert_eq!(accepted["errcode"], 0);
    assert!(
        platform.complaints().is_empty(),
        "expected none, found {:?}",
        platform.complaints()
    );
}

#[tokio::test]
async fn second_client_kicks_the_first() {
    let platform = platform().await;
    let mut first = Client::subscribed(&platform).await;
    let mut second = Client::subscribed(&platform).await;
    let told = first.next().await;
    assert_eq!(told["body"]["event"]["eventtype"], "disconnected_event");
    assert!(first.next().await.is_null(), "closed");
    platform.say(BOT, &Speaker::alone("lisi"), "m1", "hi").unwrap();
    assert_eq!(second.next().await["body"]["msgid"], "m1");
    assert_eq!(platform.subscriptions(BOT), (2, 2));
}

#[tokio::test]
async fn configured_faults_are_injected() {
    let platform = platform().await;
    platform.misbehave(|faults| {
        faults.codes = [45009].into();
        faults.lost_acks = 1;
        faults.stream_life = Duration::ZERO;
    });
    let mut client = Client::subscribed(&platform).await;
    let req_id = platform.say(BOT, &Speaker::alone("lisi"), "m1", "hi").unwrap();
    client.next().await;
    assert_eq!(client.stream(&req_id, "a", "1", false).await, 45009);
    assert!(platform.bubbles().is_empty());
    let body = json!({ "msgtype": "stream", "stream": { "id": "a", "finish": false, "content": "2" } });
    client.send("aibot_respond_msg", Some(&req_id), body).await;
    // The next response is the ping's: the frame's own was lost.
    assert_eq!(
        client.ask("ping", None, Value::Null).await["headers"]["req_id"],
        "ping_4"
    );
    assert_eq!(platform.bubbles()[0].text(), "2");
    assert_eq!(client.stream(&req_id, "a", "3", true).await, 846_608);

    platform.go_half_open(BOT);
    client.send("ping", None, Value::Null).await;
    let silence = tokio::time::timeout(Duration::from_millis(300), client.socket.next()).await;
    assert!(silence.is_err(), "a half-open socket says nothing: {silence:?}");
    platform.misbehave(|faults| faults.refuse_handshake = Some(503));
    assert!(connect_async(platform.url()).await.is_err());
}

#[tokio::test]
async fn file_is_uploaded_in_chunks_from_zero() {
    let platform = platform().await;
    let mut client = Client::subscribed(&platform).await;
    let req_id = platform.say(BOT, &Speaker::alone("lisi"), "m1", "hi").unwrap();
    client.next().await;
    let init = json!({ "type": "file", "filename": "a.pdf", "total_size": 6, "total_chunks": 2 });
    let upload = client.ask("aibot_upload_media_init", None, init).await["body"]["upload_id"].clone();
    let chunk = |index: u32, data: &str| json!({ "upload_id": upload, "chunk_index": index, "base64_data": data });
    assert_eq!(
        client.ask("aibot_upload_media_chunk", None, chunk(2, "YWJj")).await["errcode"],
        846_612
    );
    for index in [1, 0] {
        let answer = client.ask("aibot_upload_media_chunk", None, chunk(index, "YWJj")).await;
        assert_eq!(answer["errcode"], 0);
    }
    let finish = client
        .ask("aibot_upload_media_finish", None, json!({ "upload_id": upload }))
        .await;
    let media = json!({ "msgtype": "file", "file": { "media_id": finish["body"]["media_id"] } });
    assert_eq!(
        client.ask("aibot_respond_msg", Some(&req_id), media).await["errcode"],
        0
    );
    assert_eq!(platform.bubbles()[0].text(), "[file]");
}
