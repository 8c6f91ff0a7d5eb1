//! Notifications: operators are notified once of each incident, by a signed webhook or a chat.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tieline_bridge::clock::Clock;
use tieline_bridge::world::World;
use tieline_core::ids::{IntegrationId, MessageId, OrganizationId};
use tieline_core::webhook_signature::SigningKeys;
use tieline_store::deadletter::{self, DeadLetter};
use tieline_store::notifications;
use tieline_store::status::{self, ConnectionState, StatusChange};

use crate::test_api::{DEFAULT, TestApi, answering, dead_address};

const SECRET: &str = "whsec_c2VjcmV0IG9mIHRoZSB0ZXN0cw==";

/// A webhook that records what it receives, and answers with the configured status.
struct Receiver {
    url: String,
    got: Arc<Mutex<Vec<(String, Value)>>>,
    answer: Arc<Mutex<StatusCode>>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (got, answer) = (Arc::default(), Arc::new(Mutex::new(StatusCode::NO_CONTENT)));
        let (seen, now): (Arc<Mutex<Vec<_>>>, _) = (Arc::clone(&got), Arc::clone(&answer));
        let router = Router::new().fallback(move |headers: HeaderMap, body: Bytes| async move {
            let header = |name: &str| headers[name].to_str().unwrap().to_owned();
            let id = header("webhook-id");
            let at = header("webhook-timestamp").parse().unwrap();
            let keys = SigningKeys::read(&[SECRET]).unwrap();
            assert!(keys.verify(&id, at, &body, &header("webhook-signature")));
            seen.lock().unwrap().push((id, serde_json::from_slice(&body).unwrap()));
            *now.lock().unwrap()
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, got, answer }
    }

    /// The types of the events received since the last call.
    fn take(&self) -> Vec<String> {
        let got = std::mem::take(&mut *self.got.lock().unwrap());
        let events = got.iter().flat_map(|(_, body)| body["events"].as_array().unwrap());
        events.map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    }
}

async fn notify(api: &TestApi, url: &str) {
    let body = json!({ "webhook": { "url": url, "secret": SECRET }, "language": "en" });
    api.patch(&format!("{DEFAULT}/notify"), body).await.ok();
}

/// Runs a pass over all bots with the clock this many minutes later.
async fn look(api: &TestApi, minutes: u64) {
    let now = api.world.clock.now().after(Duration::from_secs(minutes * 60));
    let world = World {
        clock: Clock::starting_at(now),
        ..api.world.clone()
    };
    tieline_admin::notify::look_at_all(&world).await;
}

/// A bot with a long connection, in this state.
async fn bot(api: &TestApi, state: ConnectionState, reason: Option<&str>) -> IntegrationId {
    let body = json!({ "name": "Front desk", "platform": "wecom", "connectionMode": "long_connection",
        "credentials": { "botId": "b", "secret": "s" }, "endpoints": { "wsUrl": dead_address().replace("http", "ws") } });
    let id = api.create(&format!("{DEFAULT}/integrations"), body).await;
    let agent = api.echo("Echo").await;
    api.trigger(&id, &agent).await;
    let id = IntegrationId::new(id);
    is_now(api, &id, state, reason).await;
    id
}

async fn is_now(api: &TestApi, id: &IntegrationId, state: ConnectionState, reason: Option<&str>) {
    let owner = StatusChange::Owner((state == ConnectionState::Connected).then(|| "nobody".to_owned()));
    let state = StatusChange::State(state, reason.map(str::to_owned));
    status::merge(&api.world.store, id, &[state, owner]).await.unwrap();
}

#[tokio::test]
async fn outage_is_notified_once_after_three_minutes() {
    let api = TestApi::new().await;
    let receiver = Receiver::start().await;
    notify(&api, &receiver.url).await;
    let id = bot(&api, ConnectionState::Disconnected, Some("kicked")).await;
    for minute in [0, 2] {
        look(&api, minute).await;
    }
    assert_eq!(receiver.take(), [""; 0]);
    look(&api, 3).await;
    let (name, body) = receiver.got.lock().unwrap()[0].clone();
    assert_eq!(body["id"], name.as_str());
    let event = &body["events"][0];
    assert_eq!(event["type"], "bot_down", "{body}");
    assert_eq!(event["integrationId"], id.as_str(), "{body}");
    assert_eq!(event["reason"], "kicked", "{body}");
    assert_eq!(event["url"], format!("https://bridge.example/#/bots/{id}"), "{body}");
    let text = body["text"].as_str().unwrap();
    assert!(text.contains("Front desk (wecom) has been down since"), "{text}");
    assert!(text.contains("Another client has taken"), "{text}");
    for minute in [4, 30, 120] {
        look(&api, minute).await;
    }
    assert_eq!(receiver.take(), ["bot_down"]);
    // A bot stopped by an operator is no incident, and neither is its restart.
    api.post(&format!("{DEFAULT}/integrations/{id}/stop"), Value::Null)
        .await
        .ok();
    look(&api, 121).await;
    assert_eq!(receiver.take(), [""; 0]);
}

#[tokio::test]
async fn failing_answers_and_recovery_are_notified() {
    let api = TestApi::new().await;
    api.work();
    let receiver = Receiver::start().await;
    notify(&api, &receiver.url).await;
    look(&api, 0).await;
    let web = api.web("Front desk").await;
    let body = json!({ "name": "Brain", "protocol": "openai_chat",
        "config": { "baseUrl": dead_address(), "model": "m", "apiKey": "k" } });
    let agent = api.create(&format!("{DEFAULT}/agents"), body).await;
    api.trigger(&web, &agent).await;
    let id = api.say(&web, "hello").await;
    api.wait(&format!("{DEFAULT}/messages/{id}"), |it| it["state"] == "failed")
        .await;
    look(&api, 1).await;
    // The dead letter of a failure that was already reported is not reported again.
    assert_eq!(receiver.take(), ["answers_failing"]);
    let answer = json!({ "choices": [{ "message": { "content": "ok" } }] });
    let patch = json!({ "config": { "baseUrl": answering(answer).await, "apiKey": "k" } });
    api.patch(&format!("{DEFAULT}/agents/{agent}"), patch).await.ok();
    // Neither a changed agent nor an hour of silence shows that answers arrive again.
    look(&api, 2).await;
    look(&api, 62).await;
    assert_eq!(receiver.take(), [""; 0]);
    let id = api.say(&web, "again").await;
    api.wait(&format!("{DEFAULT}/messages/{id}"), |it| it["state"] == "answered")
        .await;
    look(&api, 63).await;
    look(&api, 64).await;
    assert_eq!(receiver.take(), ["answers_back"]);
}

#[tokio::test]
async fn dead_letters_are_counted_once() {
    let api = TestApi::new().await;
    let receiver = Receiver::start().await;
    notify(&api, &receiver.url).await;
    let letter = async |name: &str| {
        let now = api.world.clock.now();
        let letter = DeadLetter {
            message: MessageId::new(name),
            organization: OrganizationId::new("default"),
            integration: None,
            conversation: None,
            received_at: now,
            failed_at: now,
            reason: "poison".to_owned(),
            body: None,
        };
        deadletter::put(&api.world.store, &letter).await.unwrap();
    };
    // A dead letter from before notifications were enabled.
    letter("msg_0").await;
    look(&api, 1).await;
    for name in ["msg_1", "msg_2"] {
        letter(name).await;
    }
    assert_eq!(receiver.take(), [""; 0]);
    // The clock of the previous pass was a minute ahead.
    let late = api.world.clock.now().after(Duration::from_secs(90));
    for name in ["msg_3", "msg_4"] {
        let letter = DeadLetter {
            message: MessageId::new(name),
            organization: OrganizationId::new("default"),
            integration: None,
            conversation: None,
            received_at: late,
            failed_at: late,
            reason: "poison".to_owned(),
            body: None,
        };
        deadletter::put(&api.world.store, &letter).await.unwrap();
    }
    look(&api, 3).await;
    assert_eq!(receiver.got.lock().unwrap()[0].1["events"][0]["count"], 2);
    look(&api, 100).await;
    assert_eq!(receiver.take(), ["dead_letters"]);
}

#[tokio::test]
async fn refused_notification_is_retried_with_the_same_id_and_finally_dropped() {
    let api = TestApi::new().await;
    let receiver = Receiver::start().await;
    notify(&api, &receiver.url).await;
    bot(&api, ConnectionState::Disconnected, Some("kicked")).await;
    *receiver.answer.lock().unwrap() = StatusCode::INTERNAL_SERVER_ERROR;
    for minute in [0, 3] {
        look(&api, minute).await;
    }
    let shown = api.get(&format!("{DEFAULT}/notify")).await.ok();
    assert_eq!(shown["waiting"], 1, "{shown}");
    assert!(
        shown["lastAttempt"]["error"].as_str().unwrap().contains("500"),
        "{shown}"
    );
    // Retried only after a backoff.
    look(&api, 3).await;
    assert_eq!(receiver.got.lock().unwrap().len(), 1);
    for minute in 4..400 {
        look(&api, minute).await;
    }
    let ids: Vec<_> = receiver.got.lock().unwrap().iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(ids.len(), 8);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(api.get(&format!("{DEFAULT}/notify")).await.ok()["waiting"], 0);
}

/// Notifications, or the bridge, were off in the meantime.
#[tokio::test]
async fn outdated_notification_is_not_sent() {
    let api = TestApi::new().await;
    let receiver = Receiver::start().await;
    notify(&api, &receiver.url).await;
    bot(&api, ConnectionState::Disconnected, Some("kicked")).await;
    *receiver.answer.lock().unwrap() = StatusCode::INTERNAL_SERVER_ERROR;
    for minute in [0, 3] {
        look(&api, minute).await;
    }
    assert_eq!(receiver.take(), ["bot_down"]);
    *receiver.answer.lock().unwrap() = StatusCode::NO_CONTENT;
    look(&api, 3 + 6 * 60).await;
    assert_eq!(receiver.take(), [""; 0]);
    assert_eq!(api.get(&format!("{DEFAULT}/notify")).await.ok()["waiting"], 0);
}

#[tokio::test]
async fn concurrent_passes_notify_once() {
    let api = TestApi::new().await;
    let receiver = Receiver::start().await;
    notify(&api, &receiver.url).await;
    bot(&api, ConnectionState::Disconnected, Some("kicked")).await;
    look(&api, 0).await;
    tokio::join!(look(&api, 3), look(&api, 3), look(&api, 3));
    look(&api, 4).await;
    assert_eq!(receiver.take(), ["bot_down"]);
}

#[tokio::test]
async fn bot_of_the_organization_notifies_a_chat() {
    let api = TestApi::new().await;
    api.work();
    let receiver = crate::test_api::recording(json!({})).await;
    let body = json!({ "name": "Ops", "platform": "custom", "credentials": { "secret": SECRET },
        "endpoints": { "sendUrl": receiver.0 } });
    let id = api.create(&format!("{DEFAULT}/integrations"), body).await;
    let patch = json!({ "chat": { "integrationId": id, "chatId": "ops" }, "language": "zh-CN" });
    let set = api.patch(&format!("{DEFAULT}/notify"), patch).await.ok();
    assert_eq!(set["chat"]["chatId"], "ops", "{set}");
    assert_eq!(set["webhook"], Value::Null);
    let tested = api.post(&format!("{DEFAULT}/notify/test"), Value::Null).await.ok();
    assert_eq!(tested["ok"], true, "{tested}");
    let message = tested["messageId"].as_str().unwrap();
    api.wait(&format!("{DEFAULT}/messages/{message}"), |_| {
        receiver
            .1
            .lock()
            .unwrap()
            .iter()
            .any(|(_, body)| body.contains("测试通知"))
    })
    .await;
}

#[tokio::test]
async fn notification_that_the_platform_refuses_is_a_failed_attempt() {
    let api = TestApi::new().await;
    api.work();
    let receiver = Receiver::start().await;
    let body = json!({ "name": "Ops", "platform": "custom", "credentials": { "secret": SECRET },
        "endpoints": { "sendUrl": receiver.url } });
    let id = api.create(&format!("{DEFAULT}/integrations"), body).await;
    let path = format!("{DEFAULT}/notify");
    let patch = json!({ "chat": { "integrationId": id, "chatId": "mistyped" } });
    api.patch(&path, patch).await.ok();
    // The platform is down: the message is retried, and has no outcome yet.
    *receiver.answer.lock().unwrap() = StatusCode::INTERNAL_SERVER_ERROR;
    bot(&api, ConnectionState::Disconnected, Some("kicked")).await;
    for minute in [0, 3] {
        look(&api, minute).await;
    }
    let attempt = api.get(&path).await.ok()["lastAttempt"].clone();
    assert_eq!(attempt["error"], Value::Null, "{attempt}");
    assert!(attempt["messageId"].as_str().unwrap().starts_with("msg_"), "{attempt}");
    *receiver.answer.lock().unwrap() = StatusCode::FORBIDDEN;
    let is_refused = |attempt: &Value| {
        let error = attempt["error"].as_str().unwrap_or_default();
        error.ends_with("could not be delivered: 403") && attempt["messageId"].is_null()
    };
    api.wait(&path, |shown| is_refused(&shown["lastAttempt"])).await;
    // The next pass records the outcome, so that it stays known when the ledger has expired.
    look(&api, 4).await;
    let kept = notifications::get(&api.world.store, &OrganizationId::new("default"))
        .await
        .unwrap();
    let kept = kept.last_attempt.unwrap();
    assert!(kept.message.is_none() && kept.error.is_some(), "{kept:?}");
    let tested = api.post(&format!("{path}/test"), Value::Null).await.ok();
    assert_eq!(tested["ok"], false, "{tested}");
    let message = tested["messageId"].as_str().unwrap();
    assert_eq!(
        tested["detail"],
        format!("the message {message} could not be delivered: 403")
    );
}

#[tokio::test]
async fn settings_are_validated_and_the_secret_is_bound_to_its_origin() {
    let api = TestApi::guarded().await;
    let path = format!("{DEFAULT}/notify");
    let refused = async |body: Value, status: u16, code: &str, field: &str| {
        let problem = api.patch(&path, body).await.problem(status, code);
        assert_eq!(problem["field"], field, "{problem}");
    };
    let hook = |url: &str, secret: &str| json!({ "webhook": { "url": url, "secret": secret } });
    refused(json!({}), 400, "invalid_field", "webhook").await;
    refused(
        hook("https://127.0.0.1/x", SECRET),
        400,
        "private_address",
        "webhook.url",
    )
    .await;
    refused(
        hook("http://ops.example/x", SECRET),
        400,
        "invalid_field",
        "webhook.url",
    )
    .await;
    refused(
        hook("https://ops.example/x", ""),
        400,
        "invalid_field",
        "webhook.secret",
    )
    .await;
    refused(
        hook("https://ops.example/x", "short"),
        400,
        "invalid_field",
        "webhook.secret",
    )
    .await;
    refused(
        hook("https://ops.example/x", "whsec_not base64 at all"),
        400,
        "invalid_field",
        "webhook.secret",
    )
    .await;
    let strange = json!({ "chat": { "integrationId": "int_1", "chatId": "c" } });
    refused(strange, 404, "integration_not_found", "chat.integrationId").await;
    let polled = json!({ "name": "Polled", "platform": "custom", "credentials": { "secret": SECRET } });
    let polled = api.create(&format!("{DEFAULT}/integrations"), polled).await;
    let silent = json!({ "chat": { "integrationId": polled, "chatId": "c" } });
    refused(silent, 409, "not_supported", "chat.integrationId").await;
    api.post(&format!("{path}/test"), Value::Null)
        .await
        .problem(409, "notify_not_set");

    let set = api.patch(&path, hook("https://ops.example/x", SECRET)).await;
    assert!(!set.text.contains("c2VjcmV0"), "{set:?}");
    assert_eq!(set.ok()["webhook"]["secret"], "***");
    api.patch(&path, hook("https://ops.example/y", "***")).await.ok();
    refused(
        hook("https://evil.example/x", "***"),
        400,
        "invalid_field",
        "webhook.secret",
    )
    .await;
    let audit = api.get(&format!("{DEFAULT}/audit")).await;
    assert!(
        audit.text.contains("notify.update") && !audit.text.contains("c2VjcmV0"),
        "{audit:?}"
    );
    let viewer = api.organization("default", "viewer").await;
    let viewed = api.ask(&viewer, "GET", &path, &Value::Null).await;
    assert_eq!(viewed.ok()["webhook"]["url"], "https://ops.example/y");
    api.ask(&viewer, "DELETE", &path, &Value::Null)
        .await
        .problem(403, "forbidden");
    api.delete(&path).await.ok();
    assert_eq!(api.get(&path).await.ok()["webhook"], Value::Null);
}
