use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::Client;
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use super::{Answer, Fault, Platform, sign};
use crate::outbound::{Speaker, until};

const APP: &str = "dingtests";

#[test]
fn messages_are_signed_as_the_vendor_does() {
    let vectors = include_str!("../../../crates/connectors/src/dingtalk/vectors/dingtalk.json");
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    for vector in vectors["http_sign"]["valid"].as_array().unwrap() {
        let headers = vector["headers"].as_object().unwrap();
        let header = |name: &str| {
            let found = headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.unwrap().1.as_str().unwrap()
        };
        let signed = sign::robot(header("timestamp"), vector["app_secret"].as_str().unwrap());
        assert_eq!(header("sign"), signed, "{}", vector["name"]);
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
        let got = caller
            .call(
                "POST",
                "/v1.0/oauth2/accessToken",
                &json!({ "appKey": APP, "appSecret": "s3" }),
            )
            .await;
        caller.token = got.1["accessToken"].as_str().unwrap().to_owned();
        caller
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let request = self
            .http
            .request(method.parse().unwrap(), format!("{}{path}", self.url));
        let request = request
            .header("x-acs-dingtalk-access-token", &self.token)
            .header("accept", "application/json");
        let answer = request.json(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

async fn platform() -> Platform {
    let platform = Platform::start().await;
    platform.add_app(APP, "s3");
    platform
}

fn card(group: &str, id: &str) -> Value {
    json!({ "cardTemplateId": "own.schema", "outTrackId": id, "callbackType": "STREAM", "userIdType": 1,
            "cardData": { "cardParamMap": { "content": "思考中…" } }, "openSpaceId": format!("dtv1.card//IM_GROUP.{group}"),
            "imGroupOpenSpaceModel": { "supportForward": true }, "imGroupOpenDeliverModel": { "robotCode": APP } })
}

fn frame(content: &str, guid: &str, last: bool) -> Value {
    json!({ "outTrackId": "c1", "guid": guid, "key": "content", "content": content, "isFull": true, "isFinalize": last, "isError": false })
}

#[tokio::test]
async fn card_grows_in_its_group() {
    let platform = platform().await;
    let caller = Caller::new(&platform).await;
    let create = "/v1.0/card/instances/createAndDeliver";
    let early = caller.call("POST", create, &card("cidG==", "c1")).await;
    assert_eq!(early.1["code"], "invalid.openConversationId");
    let _ = platform.text(APP, &Speaker::in_group("li", "cidG=="), "你好");
    let made = caller.call("POST", create, &card("cidG==", "c1")).await;
    assert_eq!(made.1["result"]["deliverResults"][0]["success"], true);
    let again = caller.call("POST", create, &card("cidG==", "c1")).await;
    assert_eq!(again.1["code"], "param.cardAlreadyExist");
    let stream = "/v1.0/card/streaming";
    assert_eq!(caller.call("PUT", stream, &frame("你", "g1", false)).await.0, 200);
    assert_eq!(caller.call("PUT", stream, &frame("你好", "g2", true)).await.0, 200);
    let bubbles = platform.bubbles();
    assert_eq!(bubbles[0].states, ["思考中…", "你", "你好"]);
    assert_eq!((bubbles[0].chat.as_str(), bubbles[0].done), ("cidG==", true));
    assert_eq!(platform.complaints().len(), 2);
    assert_eq!(caller.call("PUT", stream, &frame("x", "g2", false)).await.0, 200);
    assert_eq!(platform.complaints().len(), 4, "late, and with a spent guid");
    let mut wrong = frame("x", "g3", false);
    wrong["key"] = json!("msgContent");
    assert_eq!(caller.call("PUT", stream, &wrong).await.0, 500);
    platform.expire_tokens(APP);
    assert_eq!(
        caller.call("PUT", stream, &frame("x", "g4", false)).await.1["code"],
        "InvalidAuthentication"
    );
}

#[tokio::test]
async fn messages_reach_known_chats_only() {
    let platform = platform().await;
    let caller = Caller::new(&platform).await;
    let said = platform.text(APP, &Speaker::alone("li"), "hi");
    let param = json!({ "title": "t", "text": "**hi**" }).to_string();
    let direct =
        |user: &str| json!({ "robotCode": APP, "userIds": [user], "msgKey": "sampleMarkdown", "msgParam": param });
    let path = "/v1.0/robot/oToMessages/batchSend";
    assert_eq!(
        caller.call("POST", path, &direct("li")).await.1["invalidStaffIdList"],
        json!([])
    );
    assert_eq!(
        caller.call("POST", path, &direct("wang")).await.1["invalidStaffIdList"],
        json!(["wang"])
    );
    let webhook = said["sessionWebhook"]
        .as_str()
        .unwrap()
        .strip_prefix(&caller.url)
        .unwrap()
        .to_owned();
    let markdown = |title: &str| json!({ "msgtype": "markdown", "markdown": { "title": title, "text": "x" } });
    assert_eq!(caller.call("POST", &webhook, &markdown("t")).await.1["errcode"], 0);
    assert_eq!(caller.call("POST", &webhook, &markdown("")).await.1["errcode"], 40035);
    assert_eq!(
        caller
            .call("POST", "/robot/sendBySession?session=x", &markdown("t"))
            .await
            .1["errcode"],
        300_001
    );
    let ways: Vec<&str> = platform.bubbles().iter().map(|it| it.way).collect();
    assert_eq!(ways, ["direct", "session"]);
    platform.misbehave(|faults| {
        let answer = Answer::Refused(403, "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi");
        faults.answers.push_back(Fault { call: "direct", answer });
    });
    assert_eq!(caller.call("POST", path, &direct("li")).await.0, 403);
}

#[tokio::test]
async fn stream_mode_redelivers_until_acknowledged_and_announces_disconnects() {
    let platform = platform().await;
    platform.misbehave(|faults| {
        faults.redeliver_after = Duration::ZERO;
        faults.ping_every = Duration::from_millis(500);
    });
    let caller = Caller::new(&platform).await;
    let topics = ["/v1.0/im/bot/messages/get", "/v1.0/card/instances/callback"];
    let subscriptions = topics.map(|topic| json!({ "type": "CALLBACK", "topic": topic }));
    let open = json!({ "clientId": APP, "clientSecret": "s3", "subscriptions": subscriptions });
    let got = caller.call("POST", "/v1.0/gateway/connections/open", &open).await.1;
    let url = format!(
        "{}?ticket={}",
        got["endpoint"].as_str().unwrap(),
        got["ticket"].as_str().unwrap()
    );
    let (mut socket, _) = connect_async(&url).await.unwrap();
    assert!(connect_async(&url).await.is_err(), "a ticket opens one connection");
    platform.connected(APP, Duration::from_secs(2)).await.unwrap();
    let message = platform.text(APP, &Speaker::alone("li"), "你好");
    platform.push(APP, &message).unwrap();
    let mut pushes = Vec::new();
    let mut topics = Vec::new();
    // The first push is not acknowledged; the last frame is the announced end.
    while topics.last().is_none_or(|topic| topic != "disconnect") {
        let next = tokio::time::timeout(Duration::from_secs(8), socket.next())
            .await
            .unwrap();
        let frame: Value = serde_json::from_str(next.unwrap().unwrap().to_text().unwrap()).unwrap();
        let topic = frame["headers"]["topic"].as_str().unwrap().to_owned();
        let data = if topic == "ping" {
            frame["data"].as_str().unwrap().to_owned()
        } else {
            json!({ "response": null }).to_string()
        };
        topics.push(topic.clone());
        if topic.starts_with("/v1.0") {
            pushes.push(frame["data"].clone());
            if pushes.len() == 1 {
                continue;
            }
            platform.disconnect(APP);
        }
        let headers = json!({ "messageId": frame["headers"]["messageId"], "contentType": "application/json" });
        let ack = json!({ "code": 200, "headers": headers, "message": "OK", "data": data });
        socket.send(Message::text(ack.to_string())).await.unwrap();
    }
    assert_eq!(pushes[0], pushes[1]);
    assert_eq!(
        serde_json::from_str::<Value>(pushes[1].as_str().unwrap()).unwrap(),
        message
    );
    until("an ack", Duration::from_secs(2), || platform.acks().pop())
        .await
        .unwrap();
    assert_eq!(platform.connections(APP).0, 0);
    assert!(platform.push(APP, &message).is_err(), "silent after disconnect");
    assert_eq!(platform.complaints(), ["a ticket that was used before (1 times)"]);
}
