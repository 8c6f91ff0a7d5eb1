//! Optimistic concurrency with `ETag` and `If-Match`: a change applies to the version that its author saw, or is rejected.

use axum::body::Body;
use axum::http::Request;
use axum::http::header::ETAG;
use serde_json::{Value, json};

use crate::test_api::{DEFAULT, ROOT, Reply, TestApi, changing};

async fn send(api: &TestApi, method: &str, path: &str, etag: &str, body: &Value) -> Reply {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {ROOT}"))
        .header("if-match", etag);
    let body = if body.is_null() {
        Body::empty()
    } else {
        Body::from(body.to_string())
    };
    api.send(request.body(body).unwrap()).await
}

#[track_caller]
fn etag(reply: &Reply) -> String {
    assert!(reply.status.is_success(), "{reply:?}");
    let header = reply.headers[ETAG].to_str().unwrap().to_owned();
    assert_eq!(reply.json()["etag"], header, "{reply:?}");
    header
}

/// The path of each resource, and two changes of it.
async fn resources(api: &TestApi) -> Vec<(String, Value, Value)> {
    let (bot, agent) = (api.web("Bot").await, api.echo("Echo").await);
    let trigger = api.trigger(&bot, &agent).await;
    api.organization("acme", "admin").await;
    let names = (json!({ "name": "A" }), json!({ "name": "B" }));
    vec![
        (
            format!("{DEFAULT}/triggers/{trigger}"),
            json!({ "enabled": false }),
            json!({ "sessionTimeoutSeconds": 60 }),
        ),
        (
            format!("{DEFAULT}/integrations/{bot}"),
            names.0.clone(),
            names.1.clone(),
        ),
        (format!("{DEFAULT}/agents/{agent}"), names.0.clone(), names.1.clone()),
        ("/api/v1/orgs/acme".to_owned(), names.0, names.1),
        (
            format!("{DEFAULT}/notify"),
            json!({ "webhook": { "url": "https://ops.example", "secret": "a secret of some length" } }),
            json!({ "language": "en" }),
        ),
        (
            format!("{DEFAULT}/mapper"),
            json!({ "url": "https://people.example", "secret": "a secret of some length" }),
            json!({ "unknown": "refuse" }),
        ),
    ]
}

#[tokio::test]
async fn change_of_an_outdated_version_is_refused() {
    let api = TestApi::new().await;
    for (path, first, second) in resources(&api).await {
        let old = etag(&api.get(&path).await);
        let new = etag(&send(&api, "PATCH", &path, &old, &first).await);
        assert_ne!(old, new, "{path}");
        assert_eq!(etag(&api.get(&path).await), new, "{path}");
        let late = send(&api, "PATCH", &path, &old, &second).await;
        assert_eq!(late.problem(412, "precondition_failed")["etag"], new, "{path}");
        assert_eq!(etag(&api.get(&path).await), new, "{path}");
        if path.contains("/default/") {
            let late = send(&api, "DELETE", &path, &old, &Value::Null).await;
            late.problem(412, "precondition_failed");
            let deleted = send(&api, "DELETE", &path, &format!("{old}, {new}"), &Value::Null).await;
            assert_eq!(deleted.status, 204, "{path}");
        } else {
            send(&api, "PATCH", &path, "*", &second).await.ok();
        }
    }
}

#[tokio::test]
async fn one_of_two_changes_of_a_version_succeeds() {
    let api = TestApi::new().await;
    let agent = api.echo("Echo").await;
    let path = format!("{DEFAULT}/agents/{agent}");
    let seen = etag(&api.get(&path).await);
    let names: Vec<Value> = (0..8).map(|n| json!({ "name": format!("N{n}") })).collect();
    let changes = names.iter().map(|name| send(&api, "PATCH", &path, &seen, name));
    let answers = futures_util::future::join_all(changes).await;
    let made = answers.iter().filter(|answer| answer.status == 200).count();
    let refused = answers.iter().filter(|answer| answer.status == 412).count();
    assert_eq!((made, refused), (1, 7), "{answers:?}");
}

#[tokio::test]
async fn scheduled_message_is_cancelled_in_the_version_that_was_read() {
    let api = TestApi::new().await;
    let bot = json!({ "name": "Ops", "platform": "custom", "endpoints": { "sendUrl": "https://ops.example" },
        "credentials": { "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" } });
    let bot = api.create(&format!("{DEFAULT}/integrations"), bot).await;
    let body = json!({ "integrationId": bot, "chatId": "c", "text": "x" });
    let made = api.post(&format!("{DEFAULT}/scheduled-messages"), body).await;
    let path = format!("{DEFAULT}/scheduled-messages/{}", made.json()["id"].as_str().unwrap());
    let shown = etag(&api.get(&path).await);
    assert_eq!(etag(&made), shown);
    let late = send(&api, "DELETE", &path, "\"v0\"", &Value::Null).await;
    assert_eq!(late.problem(412, "precondition_failed")["etag"], shown);
    assert_eq!(send(&api, "DELETE", &path, &shown, &Value::Null).await.status, 204);
    let list = api.get(&format!("{DEFAULT}/scheduled-messages")).await.ok();
    assert_eq!(list["items"][0]["etag"], etag(&api.get(&path).await));
}

#[tokio::test]
async fn lists_show_the_versions_that_the_resources_have() {
    let api = TestApi::new().await;
    let agent = api.echo("Echo").await;
    let list = api.get(&format!("{DEFAULT}/agents")).await.ok();
    let shown = etag(&api.get(&format!("{DEFAULT}/agents/{agent}")).await);
    assert_eq!(list["items"][0]["etag"], shown);
}

/// A save asks the platform about the bot, and stores what it reports in a version of its own.
#[tokio::test]
async fn saved_integration_is_shown_in_the_version_that_the_platforms_facts_made() {
    let api = TestApi::new().await;
    let named = |bot: &str| json!({ "code": 0, "tenant_access_token": "t", "expire": 7200, "bot": { "open_id": bot } });
    let (platform, answers) = changing(named("ou_1")).await;
    let credentials = |secret: &str| json!({ "appId": "cli_1", "appSecret": secret, "verificationToken": "v" });
    let body = json!({ "name": "Bot", "platform": "lark", "connectionMode": "webhook", "credentials": credentials("a"),
        "endpoints": { "apiBase": platform } });
    let made = api.post(&format!("{DEFAULT}/integrations"), body).await;
    let path = format!("{DEFAULT}/integrations/{}", made.json()["id"].as_str().unwrap());
    assert_eq!(etag(&made), etag(&api.get(&path).await));
    *answers.lock().unwrap() = named("ou_2");
    let patch = json!({ "credentials": credentials("b") });
    let patched = send(&api, "PATCH", &path, &etag(&made), &patch).await;
    assert_eq!(etag(&patched), etag(&api.get(&path).await));
    *answers.lock().unwrap() = named("ou_3");
    let restarted = api.post(&format!("{path}/restart"), Value::Null).await;
    assert_eq!(etag(&restarted), etag(&api.get(&path).await));
    let renamed = send(&api, "PATCH", &path, &etag(&restarted), &json!({ "name": "Front" })).await;
    assert_eq!(etag(&renamed), etag(&api.get(&path).await));
    // Stopped and started, and deleted and restored.
    api.post(&format!("{path}/stop"), Value::Null).await.ok();
    *answers.lock().unwrap() = named("ou_4");
    let started = send(&api, "PATCH", &path, "*", &json!({ "enabled": true })).await;
    assert_eq!(etag(&started), etag(&api.get(&path).await));
    api.delete(&path).await;
    *answers.lock().unwrap() = named("ou_5");
    let restored = api.post(&format!("{path}/restore"), Value::Null).await;
    assert_eq!(etag(&restored), etag(&api.get(&path).await));
}
