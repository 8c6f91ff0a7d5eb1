use serde_json::{Value, json};

use super::{Platform, SECRET, with_signature};
use crate::outbound::Speaker;
use crate::platform::PlatformSimulator as _;

async fn platform() -> Platform {
    let platform = Platform::start(false).await;
    platform.book().said.insert(
        "m1".to_owned(),
        json!({ "id": "m1", "chat": { "id": "1001", "kind": "direct" },
        "sender": { "id": "1001" }, "replyHandle": 7 }),
    );
    platform
}

fn state(version: u64, text: &str, done: bool) -> Value {
    json!({ "type": "reply", "replyId": "r", "version": version, "text": text, "done": done, "files": [], "thread": null,
            "chat": { "id": "1001", "kind": "direct" }, "asker": "1001", "inReplyTo": "m1", "replyHandle": 7 })
}

async fn post(platform: &Platform, id: &str, body: &Value) -> u16 {
    let url = platform.as_integration("x")["endpoints"]["sendUrl"]
        .as_str()
        .unwrap()
        .to_owned();
    let now = super::now_s().to_string();
    let request = reqwest::Client::new()
        .post(url)
        .header("content-type", "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", &now)
        .header(
            "webhook-signature",
            super::sign(SECRET, id, &now, body.to_string().as_bytes()),
        );
    request.body(body.to_string()).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn snapshots_are_shown_in_order_and_once() {
    let platform = platform().await;
    assert_eq!(post(&platform, "r.1", &state(1, "a", false)).await, 204);
    assert_eq!(post(&platform, "r.1", &state(1, "a", false)).await, 409);
    assert_eq!(post(&platform, "r.9", &state(9, "ab", true)).await, 204);
    let shown = platform.shown(&Speaker::alone("1001"));
    assert_eq!(
        (shown[0].states.as_slice(), shown[0].done),
        (&["a".to_owned(), "ab".to_owned()][..], true)
    );
    assert_eq!(platform.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn invalid_posts_are_reported() {
    let wrong = [
        ("r.1", state(1, "other", false), "two contents"),
        ("r.0", state(0, "x", false), "another type"),
        ("r.5", state(4, "x", false), "webhook-id"),
        ("r.6", state(6, "", false), "shows nothing"),
        ("r.7", state(7, "x", false), "too fast"),
        ("r.3", state(3, "x", false), "after a newer one"),
    ];
    let platform = platform().await;
    post(&platform, "r.1", &state(1, "a", false)).await;
    for (id, body, about) in wrong {
        post(&platform, id, &body).await;
        let all = platform.complaints();
        assert!(
            all.iter().any(|complaint| complaint.contains(about)),
            "{about}: {all:?}"
        );
    }
    let mut foreign = state(8, "x", true);
    foreign["chat"]["id"] = json!("1002");
    foreign["extra"] = json!(1);
    post(&platform, "r.8", &foreign).await;
    let all = platform.complaints().join("\n");
    assert!(
        all.contains("another chat") && all.contains("unknown field extra"),
        "{all}"
    );
}

#[tokio::test]
async fn unsigned_posts_are_refused() {
    let platform = platform().await;
    let url = platform.as_integration("x")["endpoints"]["sendUrl"]
        .as_str()
        .unwrap()
        .to_owned();
    let request = with_signature(reqwest::Client::new().post(url), "whsec_d3Jvbmc=", b"{}").body("{}");
    assert_eq!(request.send().await.unwrap().status().as_u16(), 401);
    assert!(platform.complaints().join("").contains("not proved"));
}
