//! Quiet hours and rate limits of questions: configuration and effect.

use std::time::Duration;

use serde_json::{Value, json};
use tieline_core::timestamp::Timestamp;

use crate::test_api::{DEFAULT, TestApi};

/// A bridge with an English web bot, and the path of its trigger.
async fn bot(settings: Value) -> (TestApi, String, String) {
    let api = TestApi::new().await;
    let body = json!({ "name": "Web", "platform": "web", "language": "en" });
    let integration = api.create(&format!("{DEFAULT}/integrations"), body).await;
    let agent = api.echo("Echo").await;
    let mut trigger = json!({ "integrationId": integration, "agentId": agent });
    let fields = trigger.as_object_mut().unwrap();
    fields.extend(settings.as_object().unwrap().clone());
    let id = api.create(&format!("{DEFAULT}/triggers"), trigger).await;
    api.work();
    (api, integration, format!("{DEFAULT}/triggers/{id}"))
}

/// `HH:MM` in UTC.
fn clock(at: Timestamp) -> String {
    at.to_string()[11..16].to_owned()
}

/// Waits until this number of messages is refused, all for this reason. The ledger may lag behind the chat by one write.
async fn refused(api: &TestApi, n: usize, reason: &str) {
    let has_all = |listed: &Value| listed["items"].as_array().unwrap().len() >= n;
    let listed = api.wait(&format!("{DEFAULT}/messages?state=refused"), has_all).await;
    let reasons: Vec<&Value> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["reason"])
        .collect();
    assert_eq!(reasons, vec![reason; n]);
}

#[tokio::test]
async fn question_in_quiet_hours_is_refused_with_a_notice() {
    let hour = Duration::from_secs(3600);
    let (api, web, trigger) = bot(json!({})).await;
    let now = api.world.clock.now();
    let hours = json!({ "from": clock(now.before(hour)), "to": clock(now.after(hour)) });
    let shown = api.patch(&trigger, json!({ "quietHours": hours })).await.ok();
    assert_eq!(shown["quietHours"]["utcOffset"], "+00:00");
    let told = api.ask_as(&web, "lisi", "hello").await;
    assert!(
        told.starts_with("This bot answers no questions at these hours: "),
        "{told}"
    );
    assert!(
        api.ask_as(&web, "lisi", "/new hello")
            .await
            .starts_with("This bot answers"),
        "a question too"
    );
    assert_eq!(api.ask_as(&web, "lisi", "/stop").await, "No answer is running.");
    assert_eq!(api.ask_as(&web, "lisi", "/new").await, "A new session has begun.");
    refused(&api, 2, "quiet_hours").await;
    let logs = api.get(&format!("{DEFAULT}/integrations/{web}/logs")).await.ok();
    assert!(logs.to_string().contains("quiet_hours"), "{logs}");
    api.patch(&trigger, json!({ "quietHours": null })).await.ok();
    assert_eq!(api.ask_as(&web, "lisi", "hello").await, "hello");
}

#[tokio::test]
async fn questions_of_one_person_are_rate_limited() {
    let (api, web, trigger) = bot(json!({ "maxMessagesPerPersonPerMinute": 2 })).await;
    for _ in 0..2 {
        assert_eq!(api.ask_as(&web, "lisi", "hello").await, "hello");
    }
    let told = api.ask_as(&web, "lisi", "hello").await;
    assert!(
        told.starts_with("You are asking faster than this bot may answer."),
        "{told}"
    );
    assert_eq!(api.ask_as(&web, "lisi", "/stop").await, "No answer is running.");
    assert_eq!(api.ask_as(&web, "wangwu", "hello").await, "hello");
    refused(&api, 1, "person_rate_limit").await;
    api.patch(&trigger, json!({ "maxMessagesPerPersonPerMinute": null }))
        .await
        .ok();
    assert_eq!(api.ask_as(&web, "lisi", "hello").await, "hello");
}

#[tokio::test]
async fn questions_of_an_organization_are_rate_limited() {
    let place_limits = json!({ "limits": { "maxMessagesPerMinute": 1 } });
    let (api, web, _) = bot(json!({})).await;
    let shown = api.patch(DEFAULT, place_limits).await.ok();
    assert_eq!(shown["limits"]["maxMessagesPerMinute"], 1);
    assert_eq!(api.ask_as(&web, "lisi", "hello").await, "hello");
    let told = api.ask_as(&web, "wangwu", "hello").await;
    assert!(told.starts_with("Too many questions at the moment."), "{told}");
    refused(&api, 1, "organization_rate_limit").await;
}

#[tokio::test]
async fn invalid_limits_are_reported() {
    let (api, _, trigger) = bot(json!({})).await;
    let night =
        |from: &str, to: &str, offset: &str| json!({ "quietHours": { "from": from, "to": to, "utcOffset": offset } });
    for (change, field) in [
        (night("25:00", "07:00", "+08:00"), "quietHours.from"),
        (night("22:00", "7", "+08:00"), "quietHours.to"),
        (night("22:00", "22:00", "+08:00"), "quietHours.to"),
        (night("22:00", "07:00", "Asia/Shanghai"), "quietHours.utcOffset"),
        (
            json!({ "maxMessagesPerPersonPerMinute": 0 }),
            "maxMessagesPerPersonPerMinute",
        ),
        (
            json!({ "maxMessagesPerPersonPerMinute": 10_001 }),
            "maxMessagesPerPersonPerMinute",
        ),
    ] {
        let problem = api.patch(&trigger, change).await.problem(400, "invalid_field");
        assert_eq!(problem["field"], field, "{problem}");
    }
    let unknown = json!({ "quietHours": { "from": "22:00", "to": "07:00", "zone": "x" } });
    let problem = api.patch(&trigger, unknown).await.problem(400, "unknown_field");
    assert_eq!(problem["field"], "quietHours.zone", "{problem}");
    let problem = api
        .patch(DEFAULT, json!({ "limits": { "maxMessagesPerMinute": 0 } }))
        .await;
    assert_eq!(
        problem.problem(400, "invalid_field")["field"],
        "limits.maxMessagesPerMinute"
    );
}

#[tokio::test]
async fn limits_are_exported_and_applied() {
    let settings = json!({ "quietHours": { "from": "22:00", "to": "07:00", "utcOffset": "+08:00" }, "maxMessagesPerPersonPerMinute": 9 });
    let (api, _, trigger) = bot(settings.clone()).await;
    let exported = api.get(&format!("{DEFAULT}/export?format=json")).await.ok();
    let shown = &exported["organizations"][0]["triggers"][0];
    for (name, value) in settings.as_object().unwrap() {
        assert_eq!(&shown[name], value, "{name}");
    }
    api.patch(
        &trigger,
        json!({ "quietHours": null, "maxMessagesPerPersonPerMinute": null }),
    )
    .await
    .ok();
    api.post(&format!("{DEFAULT}/apply"), exported).await.ok();
    let again = api.get(&trigger).await.ok();
    for (name, value) in settings.as_object().unwrap() {
        assert_eq!(&again[name], value, "{name}");
    }
}
