//! The doctor: what it reports about bots that are silent.

use std::time::Duration;

use serde_json::{Value, json};
use tieline_bridge::world::random;
use tieline_core::ids::{IntegrationId, MessageId, OrganizationId, PlatformMessageId, ReplyId, SenderId};
use tieline_core::message_state::{LedgerStep, MessageState};
use tieline_store::deadletter::{self, DeadLetter};
use tieline_store::log::{self, Level, LogEntry};
use tieline_store::message::{self, Ending, MessageRecord};
use tieline_store::status::{self, ConnectionState, StatusChange, StatusError};

use crate::test_api::{DEFAULT, TestApi, answering, changing, dead_address};

async fn examine(api: &TestApi, integration: &str) -> Value {
    let path = format!("{DEFAULT}/integrations/{integration}/doctor");
    api.post(&path, Value::Null).await.ok()
}

#[track_caller]
fn first_bad(diagnosis: &Value) -> Option<&str> {
    let bad = diagnosis["checks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["ok"] == false);
    if let Some(bad) = bad {
        assert_eq!(diagnosis["cause"], bad["detail"], "{diagnosis}");
        assert!(diagnosis["next"].is_string(), "{diagnosis}");
    } else {
        assert!(
            diagnosis["cause"].is_null() && diagnosis["next"].is_null(),
            "{diagnosis}"
        );
    }
    bad.map(|bad| bad["name"].as_str().unwrap())
}

#[tokio::test]
async fn fixing_each_reported_cause_leads_to_a_healthy_bot() {
    let api = TestApi::new().await;
    let web = api.web("Web").await;
    let path = format!("{DEFAULT}/integrations/{web}");
    api.post(&format!("{path}/stop"), Value::Null).await.ok();
    assert_eq!(first_bad(&examine(&api, &web).await), Some("started"));
    api.post(&format!("{path}/start"), Value::Null).await.ok();
    assert_eq!(first_bad(&examine(&api, &web).await), Some("trigger_present"));
    let config = json!({ "baseUrl": dead_address(), "model": "m" });
    let body = json!({ "name": "Dead", "protocol": "openai_chat", "config": config });
    let agent = api.create(&format!("{DEFAULT}/agents"), body).await;
    let trigger = api.trigger(&web, &agent).await;
    let trigger = format!("{DEFAULT}/triggers/{trigger}");
    api.patch(&trigger, json!({ "enabled": false })).await.ok();
    assert_eq!(first_bad(&examine(&api, &web).await), Some("trigger_enabled"));
    api.patch(&trigger, json!({ "enabled": true })).await.ok();
    assert_eq!(first_bad(&examine(&api, &web).await), Some("agent_reachable"));
    api.patch(&format!("{DEFAULT}/agents/{agent}"), json!({ "protocol": "echo" }))
        .await
        .ok();
    assert_eq!(first_bad(&examine(&api, &web).await), None);
}

#[tokio::test]
async fn agents_of_routes_are_tested_too() {
    let api = TestApi::new().await;
    let web = api.web("Web").await;
    let echo = json!({ "name": "Echo", "protocol": "echo", "config": {} });
    let echo = api.create(&format!("{DEFAULT}/agents"), echo).await;
    let config = json!({ "baseUrl": dead_address(), "model": "m" });
    let dead = json!({ "name": "Sales", "protocol": "openai_chat", "config": config });
    let dead = api.create(&format!("{DEFAULT}/agents"), dead).await;
    let trigger = api.trigger(&web, &echo).await;
    assert_eq!(first_bad(&examine(&api, &web).await), None);
    let routes = json!({ "routes": [{ "agent": dead, "firstWord": "sales" }] });
    api.patch(&format!("{DEFAULT}/triggers/{trigger}"), routes).await.ok();
    let diagnosis = examine(&api, &web).await;
    assert_eq!(first_bad(&diagnosis), Some("agent_reachable"));
    assert!(diagnosis["cause"].as_str().unwrap().contains("Sales"), "{diagnosis}");
}

async fn lark(api: &TestApi, platform: &str, mode: &str) -> String {
    let credentials = json!({ "appId": "cli_1", "appSecret": "s", "verificationToken": "v" });
    let body = json!({ "name": mode, "platform": "lark", "connectionMode": mode, "credentials": credentials,
        "endpoints": { "apiBase": platform } });
    let id = api.create(&format!("{DEFAULT}/integrations"), body).await;
    let agent = api.echo(mode).await;
    api.trigger(&id, &agent).await;
    id
}

#[tokio::test]
async fn refused_credentials_are_the_cause_and_the_status() {
    let api = TestApi::new().await;
    let platform = answering(json!({ "code": 10014, "msg": "app secret invalid" })).await;
    let id = lark(&api, &platform, "webhook").await;
    let diagnosis = examine(&api, &id).await;
    assert_eq!(first_bad(&diagnosis), Some("credentials"));
    assert!(diagnosis["cause"].as_str().unwrap().contains("10014"), "{diagnosis}");
    let status = api.get(&format!("{DEFAULT}/integrations/{id}/status")).await.ok();
    assert_eq!(
        (&status["state"], &status["reason"]),
        (&json!("disconnected"), &json!("config_invalid"))
    );
    let tested = api
        .post(&format!("{DEFAULT}/integrations/{id}/test"), Value::Null)
        .await
        .ok();
    assert_eq!(tested["ok"], false, "{tested}");
    let bad: Vec<&str> = tested["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["ok"] == false)
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert!(bad.contains(&"credentials"), "{tested}");
}

#[tokio::test]
async fn test_asks_the_platform_for_the_granted_permissions() {
    let api = TestApi::new().await;
    let answer = |granted: &[&str]| {
        let scope = |name: &&str| json!({ "scope_name": name, "grant_status": 1 });
        let scopes: Vec<Value> = granted.iter().map(scope).collect();
        json!({ "code": 0, "tenant_access_token": "t", "expire": 7200, "bot": { "open_id": "ou_b" }, "data": { "scopes": scopes } })
    };
    let most = [
        "im:message",
        "im:message.p2p_msg",
        "im:message.group_at_msg",
        "im:chat.access_event.bot_p2p_chat:read",
        "cardkit:card:write",
    ];
    let (platform, answers) = changing(answer(&most)).await;
    let id = lark(&api, &platform, "webhook").await;
    let test = async || {
        let path = format!("{DEFAULT}/integrations/{id}/test");
        let tested = api.post(&path, Value::Null).await.ok();
        let checks = tested["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["name"] == "permissions").unwrap();
        (
            found["ok"].as_bool().unwrap(),
            found["detail"].as_str().unwrap().to_owned(),
        )
    };
    let (is_ok, detail) = test().await;
    assert!(!is_ok && detail.ends_with(": im:resource"), "{detail}");
    // A call was refused before the permission was granted.
    let refused = LogEntry {
        at: api.world.clock.now(),
        level: Level::Warn,
        code: "permission_missing".to_owned(),
        message: "im:resource".to_owned(),
    };
    log::append(&api.world.store, &IntegrationId::new(id.clone()), &refused, random())
        .await
        .unwrap();
    *answers.lock().unwrap() = answer(&[&most[..], &["im:resource"]].concat());
    let (is_ok, detail) = test().await;
    assert!(is_ok && detail.starts_with("the platform says"), "{detail}");
    // A platform that refuses the question: only a restart shows that the refused call may succeed now.
    *answers.lock().unwrap() =
        json!({ "code": 0, "tenant_access_token": "t", "expire": 7200, "bot": { "open_id": "ou_b" } });
    let (is_ok, detail) = test().await;
    assert!(!is_ok && detail.contains("im:resource"), "{detail}");
    let restart = format!("{DEFAULT}/integrations/{id}/restart");
    api.post(&restart, Value::Null).await.ok();
    let (is_ok, detail) = test().await;
    assert!(is_ok && detail.starts_with("nothing was refused"), "{detail}");
}

#[tokio::test]
async fn restart_and_another_account_lift_a_rate_limit() {
    let api = TestApi::new().await;
    let well = json!({ "code": 0, "tenant_access_token": "t", "expire": 7200, "bot": { "open_id": "ou_b" } });
    let id = lark(&api, &answering(well).await, "webhook").await;
    let (path, integration) = (format!("{DEFAULT}/integrations/{id}"), IntegrationId::new(id));
    let store = &api.world.store;
    let until = Some(api.world.clock.now().after(Duration::from_hours(5)));
    let limits = [
        StatusChange::RateLimitedUntil(until),
        StatusChange::CallsHeldUntil(until),
    ];
    let stored = async || {
        let shown = status::get(store, &integration).await.unwrap().rate_limited_until;
        (shown, status::calls_held_until(store, &integration).await.unwrap())
    };
    status::merge(store, &integration, &limits).await.unwrap();
    api.patch(&path, json!({ "name": "Desk" })).await.ok();
    assert_eq!(stored().await, (until, until));
    api.post(&format!("{path}/restart"), Value::Null).await.ok();
    assert_eq!(stored().await, (None, None));
    status::merge(store, &integration, &limits).await.unwrap();
    api.patch(&path, json!({ "credentials": { "appSecret": "another" } }))
        .await
        .ok();
    assert_eq!(stored().await, (None, None));
}

#[tokio::test]
async fn webhook_status_does_not_carry_over_to_a_long_connection() {
    let api = TestApi::new().await;
    let well = json!({ "code": 0, "tenant_access_token": "t", "expire": 7200, "bot": { "open_id": "ou_b" } });
    let id = lark(&api, &answering(well).await, "webhook").await;
    let path = format!("{DEFAULT}/integrations/{id}");
    let tested = api.post(&format!("{path}/test"), Value::Null).await.ok();
    let checks = tested["checks"].as_array().unwrap();
    let credentials = checks.iter().find(|check| check["name"] == "credentials").unwrap();
    assert_eq!(credentials["ok"], true, "{tested}");
    let reported = status::get(&api.world.store, &IntegrationId::new(id)).await.unwrap();
    assert_eq!(reported.state, Some(ConnectionState::Connected));
    let patch = json!({ "connectionMode": "long_connection" });
    api.patch(&path, patch).await.ok();
    let status = api.get(&format!("{path}/status")).await.ok();
    assert_eq!(
        (&status["state"], &status["owner"], &status["connectedAt"]),
        (&json!("connecting"), &Value::Null, &Value::Null)
    );
    assert!(status["next"].as_str().unwrap().contains("relay"), "{status}");
}

/// A platform that checks credentials only when a connection is opened, which would displace the bot's own connection.
#[tokio::test]
async fn test_reports_the_connections_credential_error() {
    let api = TestApi::new().await;
    let body = json!({ "name": "Bot", "platform": "wecom", "connectionMode": "long_connection",
        "credentials": { "botId": "b", "secret": "s" }, "endpoints": { "wsUrl": dead_address().replace("http", "ws") } });
    let id = api.create(&format!("{DEFAULT}/integrations"), body).await;
    let told = async |changes: &[StatusChange]| {
        let store = &api.world.store;
        status::merge(store, &IntegrationId::new(id.clone()), changes)
            .await
            .unwrap();
        let tested = api
            .post(&format!("{DEFAULT}/integrations/{id}/test"), Value::Null)
            .await;
        let tested = tested.ok()["checks"].as_array().unwrap().clone();
        tested.into_iter().find(|check| check["name"] == "credentials").unwrap()
    };
    let down = StatusChange::State(ConnectionState::Disconnected, Some("config_invalid".to_owned()));
    let error = StatusError {
        at: api.world.clock.now(),
        code: "853000".to_owned(),
        message: String::new(),
    };
    let refused = told(&[down, StatusChange::LastError(error)]).await;
    assert_eq!(refused["ok"], false, "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("853000"), "{refused}");
    let kicked = StatusChange::State(ConnectionState::Disconnected, Some("kicked".to_owned()));
    let unknown = told(&[kicked]).await;
    assert_eq!(unknown["ok"], true, "{unknown}");
}

#[tokio::test]
async fn unreachable_platform_and_wrong_credentials_are_distinguished() {
    let api = TestApi::new().await;
    let id = lark(&api, &dead_address(), "long_connection").await;
    let tested = api
        .post(&format!("{DEFAULT}/integrations/{id}/test"), Value::Null)
        .await
        .ok();
    let bad: Vec<&str> = tested["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["ok"] == false)
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(bad, ["credentials", "reachability"], "{tested}");
}

/// Adds a message to the ledger that was received so many seconds ago.
async fn ended(api: &TestApi, bot: &str, seconds: u64, state: MessageState, reason: Option<&str>) -> String {
    let id = format!("msg_{bot}_{seconds}");
    let record = MessageRecord {
        id: MessageId::new(&*id),
        reply: ReplyId::new(format!("rpl_{seconds}")),
        organization: OrganizationId::new("default"),
        integration: IntegrationId::new(bot),
        account: None,
        platform_message: PlatformMessageId::new(&*id),
        conversation: None,
        session: None,
        sender: Some(SenderId::new("lisi")),
        received_at: api.world.clock.now().before(Duration::from_secs(seconds)),
        state,
        event: String::new(),
        run: None,
        run_messages: Vec::new(),
        reason: reason.map(str::to_owned),
        steps: Vec::new(),
        redrives: 0,
        version: 0,
    };
    message::claim(&api.world.store, &record).await.unwrap();
    id
}

#[tokio::test]
async fn what_went_wrong_lately_is_reported_below_many_answered_messages() {
    let api = TestApi::new().await;
    let agent = api.echo("Echo").await;
    for (state, reason, check) in [
        (MessageState::Failed, None, "answers"),
        (MessageState::Refused, Some("stale"), "refusals"),
    ] {
        let web = api.web(check).await;
        api.trigger(&web, &agent).await;
        ended(&api, &web, 2 * 3600, state, reason).await;
        for second in 0..210 {
            ended(&api, &web, second, MessageState::Answered, None).await;
        }
        let diagnosis = examine(&api, &web).await;
        assert_eq!(diagnosis["cause"], Value::Null, "too old: {diagnosis}");
        let id = ended(&api, &web, 3000, state, reason).await;
        let diagnosis = examine(&api, &web).await;
        assert!(diagnosis["cause"].as_str().unwrap().contains(&id), "{diagnosis}");
        let found = diagnosis["checks"].as_array().unwrap().iter();
        let found = found.filter(|it| it["detail"] == diagnosis["cause"]);
        assert_eq!(found.map(|it| &it["name"]).collect::<Vec<_>>(), [check]);
    }
}

#[tokio::test]
async fn message_that_failed_lately_is_reported_however_long_ago_it_was_received() {
    let api = TestApi::new().await;
    let agent = api.echo("Echo").await;
    let web = api.web("Web").await;
    api.trigger(&web, &agent).await;
    let (store, now) = (&api.world.store, api.world.clock.now());
    for second in 0..210 {
        ended(&api, &web, second, MessageState::Answered, None).await;
    }
    let id = ended(&api, &web, 30 * 3600, MessageState::Queued, None).await;
    let at = now.before(Duration::from_mins(10));
    let record = message::get(store, &MessageId::new(&*id), now).await.unwrap().unwrap();
    let letter = DeadLetter {
        message: record.id.clone(),
        organization: record.organization,
        integration: Some(record.integration),
        conversation: None,
        received_at: record.received_at,
        failed_at: at,
        reason: "agent_failed".to_owned(),
        body: None,
    };
    deadletter::put(store, &letter).await.unwrap();
    let ending = Ending {
        state: MessageState::Failed,
        reason: Some("agent_failed".to_owned()),
        run: None,
        session: None,
        steps: vec![LedgerStep::new(at, "failed")],
    };
    assert!(message::finish(store, &record.id, &ending).await.unwrap());
    let diagnosis = examine(&api, &web).await;
    assert!(
        diagnosis["cause"].as_str().unwrap_or_default().contains(&id),
        "{diagnosis}"
    );
    // A redriven one is no failure.
    assert!(message::reopen(store, &record.id, 0, now).await.unwrap());
    let diagnosis = examine(&api, &web).await;
    assert_eq!(diagnosis["cause"], Value::Null, "{diagnosis}");
}
