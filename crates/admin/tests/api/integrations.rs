//! Integrations: settings, start and stop, status.

use serde_json::{Value, json};
use tieline_core::ids::IntegrationId;
use tieline_store::status::{self, ConnectionState, StatusChange};

use crate::test_api::{DEFAULT, TestApi, recording};

fn integrations() -> String {
    format!("{DEFAULT}/integrations")
}

fn wecom(name: &str, bot: &str) -> Value {
    json!({ "name": name, "platform": "wecom", "connectionMode": "long_connection",
        "credentials": { "botId": bot, "secret": "hunter2" } })
}

#[tokio::test]
async fn all_invalid_fields_are_reported_at_once() {
    let api = TestApi::new().await;
    let body = json!({ "name": "", "platform": "wecom", "connectionMode": "long_connection",
        "credentials": { "botId": ["canary"], "tokn": "x" }, "endpoints": { "wsUrl": "ftp://canary" } });
    let refused = api.post(&format!("{DEFAULT}/integrations"), body).await;
    assert!(!refused.text.contains("canary"), "{refused:?}");
    let problem = refused.problem(400, "invalid_field");
    let fields: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["field"].as_str().unwrap())
        .collect();
    let expected = [
        "credentials.botId",
        "credentials.tokn",
        "endpoints.wsUrl",
        "credentials.secret",
        "name",
    ];
    assert_eq!(fields, expected, "{problem}");
    assert_eq!(problem["field"], "credentials.botId");
    assert_eq!(problem["errors"][1]["code"], "unknown_field");
    let trigger =
        json!({ "integrationId": "x", "agentId": "y", "summaryWindowSeconds": 5000, "welcome": "w".repeat(3000) });
    let problem = api.post(&format!("{DEFAULT}/triggers"), trigger).await;
    let problem = problem.problem(400, "invalid_field");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 2, "{problem}");
}

#[tokio::test]
async fn created_integration_has_its_callback_url() {
    let api = TestApi::new().await;
    let made = api.post(&integrations(), wecom("Bot", "b1")).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.ok();
    let id = made["id"].as_str().unwrap();
    assert_eq!(
        made["callbackUrl"],
        format!("https://bridge.example/api/wecom/webhook/{id}")
    );
    assert_eq!(made["credentials"], json!({ "botId": "b1", "secret": "***" }));
    assert_eq!(
        (&made["enabled"], &made["streaming"], &made["language"]),
        (&json!(true), &json!(true), &json!("zh-CN"))
    );
    assert_eq!(api.get(&format!("{}/{id}", integrations())).await.ok(), made);
    assert_eq!(api.get(&integrations()).await.ok()["items"], json!([made]));
}

#[tokio::test]
async fn callback_url_has_the_configured_callback_base() {
    let mut api = TestApi::new().await;
    let function_url = "https://abcdefghijklmnopqrstuvwxyz012345.lambda-url.us-east-1.on.aws";
    api.set_callback_base(function_url);
    let made = api.post(&integrations(), wecom("Bot", "b1")).await.ok();
    let id = made["id"].as_str().unwrap();
    assert_eq!(made["callbackUrl"], format!("{function_url}/api/wecom/webhook/{id}"));
    let shown = api.get(&format!("{}/{id}", integrations())).await.ok();
    assert_eq!(shown["callbackUrl"], made["callbackUrl"]);
}

#[tokio::test]
async fn mistakes_name_the_field() {
    let api = TestApi::guarded().await;
    let check = async |body: Value, code: &str, field: &str| {
        let problem = api.post(&integrations(), body).await.problem(400, code);
        assert_eq!(problem["field"], field, "{problem}");
    };
    check(
        json!({ "name": "x", "platform": "pigeon" }),
        "invalid_field",
        "platform",
    )
    .await;
    check(json!({ "platform": "web" }), "invalid_field", "name").await;
    check(
        json!({ "name": "x", "platform": "web", "connectionMode": "long_connection" }),
        "invalid_field",
        "connectionMode",
    )
    .await;
    check(
        json!({ "name": "x", "platform": "wecom", "credentials": { "botId": "b" } }),
        "invalid_field",
        "credentials.secret",
    )
    .await;
    let mut unknown = wecom("x", "b");
    unknown["credentials"]["sercet"] = json!("hunter2");
    check(unknown, "unknown_field", "credentials.sercet").await;
    let mut endpoint = wecom("x", "b");
    endpoint["endpoints"] = json!({ "nonsense": "https://a.example" });
    check(endpoint.clone(), "unknown_field", "endpoints.nonsense").await;
    endpoint["endpoints"] = json!({ "wsUrl": "wss://127.0.0.1/" });
    check(endpoint.clone(), "private_address", "endpoints.wsUrl").await;
    for (name, address) in [
        ("wsUrl", "ws://ws.example/"),
        ("wsUrl", "https://ws.example/"),
        ("apiBase", "wss://api.example/"),
    ] {
        endpoint["endpoints"] = json!({ name: address });
        check(endpoint.clone(), "invalid_field", &format!("endpoints.{name}")).await;
    }
}

#[tokio::test]
async fn patch_keeps_absent_fields() {
    let api = TestApi::new().await;
    let id = api.create(&integrations(), wecom("Bot", "b1")).await;
    let path = format!("{}/{id}", integrations());
    for credentials in [json!({}), json!({ "secret": "" }), json!({ "secret": "***" })] {
        let changed = api.patch(&path, json!({ "credentials": credentials })).await.ok();
        assert_eq!(changed["credentials"], json!({ "botId": "b1", "secret": "***" }));
    }
    let changed = api
        .patch(&path, json!({ "language": "en", "streaming": false }))
        .await
        .ok();
    assert_eq!(
        (&changed["language"], &changed["streaming"], &changed["name"]),
        (&json!("en"), &json!(false), &json!("Bot"))
    );
    let problem = api.patch(&path, json!({ "platform": "lark" })).await;
    assert_eq!(problem.problem(400, "unknown_field")["field"], "platform");
}

#[tokio::test]
async fn changed_credentials_and_starts_are_probed_at_the_platform() {
    let api = TestApi::new().await;
    let answer = json!({ "code": 0, "tenant_access_token": "t", "expire": 7200, "bot": { "open_id": "ou_b" } });
    let (platform, asked) = recording(answer).await;
    let credentials = json!({ "appId": "cli_1", "appSecret": "s", "verificationToken": "v" });
    let body = json!({ "name": "Bot", "platform": "lark", "connectionMode": "webhook", "credentials": credentials,
        "endpoints": { "apiBase": platform } });
    let path = format!("{}/{}", integrations(), api.create(&integrations(), body.clone()).await);
    let asks = async |patch: Value| {
        asked.lock().unwrap().clear();
        api.patch(&path, patch).await.ok();
        !asked.lock().unwrap().is_empty()
    };
    let (credentials, endpoints) = (&body["credentials"], &body["endpoints"]);
    assert!(!asks(json!({ "credentials": credentials, "endpoints": endpoints })).await);
    assert!(!asks(json!({ "language": "en" })).await);
    assert!(asks(json!({ "credentials": { "appSecret": "new" } })).await);
    assert!(asks(json!({ "enabled": true })).await);
}

#[tokio::test]
async fn bot_account_belongs_to_one_integration() {
    let api = TestApi::new().await;
    let first = api.create(&integrations(), wecom("One", "b1")).await;
    let second = api.post(&integrations(), wecom("Two", "b1")).await;
    let problem = second.problem(409, "account_in_use");
    assert_eq!(problem["boundTo"]["integrationId"], first.as_str(), "{problem}");
    assert!(problem["impact"].is_object(), "{problem}");
    api.post(&integrations(), wecom("One", "b2"))
        .await
        .problem(409, "name_taken");
}

/// The relay reports that the platform accepted these credentials.
async fn connect(api: &TestApi, id: &str) {
    let connected = [
        StatusChange::State(ConnectionState::Connected, None),
        StatusChange::ConnectedAt(Some(api.world.clock.now())),
    ];
    status::merge(&api.world.store, &IntegrationId::new(id), &connected)
        .await
        .unwrap();
}

#[tokio::test]
async fn connected_bot_of_another_organization_is_not_taken_by_apply_or_restore() {
    let api = TestApi::new().await;
    api.organization("acme", "admin").await;
    let acme = "/api/v1/orgs/acme";
    let theirs = format!("{acme}/integrations");
    // Each way with a bot of its own: the first refusal makes the claim count for all that follow.
    let connected = async |bot: &str| {
        let id = api.create(&integrations(), wecom(bot, bot)).await;
        connect(&api, &id).await;
    };
    let deleted = api.create(&theirs, wecom("Deleted", "restored")).await;
    api.delete(&format!("{theirs}/{deleted}")).await.ok();
    api.create(&theirs, wecom("Mine", "free")).await;

    connected("restored").await;
    let restored = api.post(&format!("{theirs}/{deleted}/restore"), Value::Null).await;
    restored.problem(409, "account_in_use");
    for (bot, name, query) in [
        ("planned", "New", "?dryRun=true"),
        ("created", "New", ""),
        ("changed", "Mine", ""),
    ] {
        connected(bot).await;
        let file = json!({ "integrations": [wecom(name, bot)] });
        let applied = api.post(&format!("{acme}/apply{query}"), file).await;
        let problem = applied.problem(400, "invalid_file");
        let error = &problem["errors"][0];
        assert_eq!(
            (&error["code"], &error["field"]),
            (&json!("account_in_use"), &json!("integrations[0].credentials")),
            "{bot}: {problem}"
        );
        assert!(!applied.text.contains("default"), "{applied:?}");
    }
}

#[tokio::test]
async fn claim_on_a_bot_account_needs_working_credentials() {
    let api = TestApi::new().await;
    api.organization("squat", "admin").await;
    api.organization("acme", "admin").await;
    let squatter = api
        .create("/api/v1/orgs/squat/integrations", wecom("Squat", "b1"))
        .await;
    // Nothing has proved that these credentials work: the claim yields without an error.
    let first = api.create(&integrations(), wecom("One", "b1")).await;
    connect(&api, &first).await;
    let elsewhere = api.post("/api/v1/orgs/acme/integrations", wecom("Mine", "b1")).await;
    let problem = elsewhere.problem(409, "account_in_use");
    assert!(problem.get("boundTo").is_none(), "{problem}");
    for told in [&*first, &squatter, "default", "squat"] {
        assert!(!elsewhere.text.contains(told), "{elsewhere:?}");
    }
    // The claim stays effective after the connection has ended.
    status::remove(&api.world.store, &IntegrationId::new(&*first))
        .await
        .unwrap();
    let again = api.post("/api/v1/orgs/acme/integrations", wecom("Mine", "b1")).await;
    again.problem(409, "account_in_use");

    let account = json!({ "platform": "wecom", "connectionMode": "long_connection", "credentials": { "botId": "b1" } });
    let member = api.organization("nosy", "admin").await;
    let refused = api.ask(&member, "POST", "/api/v1/accounts/release", &account).await;
    refused.problem(403, "forbidden");
    let nameless = json!({ "platform": "wecom", "credentials": {} });
    let nameless = api.post("/api/v1/accounts/release", nameless).await;
    assert_eq!(nameless.problem(400, "invalid_field")["field"], "credentials");
    let shown = api
        .post("/api/v1/accounts/release?dryRun=true", account.clone())
        .await
        .ok();
    assert_eq!(shown["released"][0]["integrationId"], first.as_str(), "{shown}");
    assert_eq!(shown["released"][0]["impact"]["conversations"], 0, "{shown}");
    let still = api.post("/api/v1/orgs/acme/integrations", wecom("Mine", "b1")).await;
    still.problem(409, "account_in_use");
    let released = api.post("/api/v1/accounts/release", account).await.ok();
    let expected = json!({ "released": [{ "organization": "default", "integrationId": first }] });
    assert_eq!(released, expected);
    // The connection of a stopped integration may stay up for a moment: that is no claim.
    connect(&api, &first).await;
    api.post(&format!("{}/{first}/stop", integrations()), Value::Null)
        .await
        .ok();
    api.create("/api/v1/orgs/acme/integrations", wecom("Mine", "b1")).await;
}

#[tokio::test]
async fn status_follows_the_configuration() {
    let api = TestApi::new().await;
    let id = api.create(&integrations(), wecom("Bot", "b1")).await;
    let path = format!("{}/{id}", integrations());
    let status = async || api.get(&format!("{path}/status")).await.ok();
    let unbound = status().await;
    assert_eq!(
        (&unbound["state"], &unbound["reason"]),
        (&json!("disconnected"), &json!("unbound"))
    );
    assert!(unbound["next"].is_string());
    let agent = api.echo("Echo").await;
    api.trigger(&id, &agent).await;
    assert_eq!(status().await["state"], "connecting");
    assert_eq!(
        api.post(&format!("{path}/stop"), Value::Null).await.ok()["enabled"],
        false
    );
    let stopped = status().await;
    assert_eq!(
        (&stopped["state"], &stopped["reason"]),
        (&json!("disabled"), &json!("stopped"))
    );
    for power in ["start", "restart"] {
        assert_eq!(
            api.post(&format!("{path}/{power}"), Value::Null).await.ok()["enabled"],
            true
        );
    }
    let fields = [
        "connectedAt",
        "uptimeSeconds",
        "lastEventAt",
        "lastReplyAt",
        "lastError",
        "rateLimitedUntil",
        "reconnectAttempts",
        "owner",
        "next",
    ];
    let shown = status().await;
    assert!(fields.iter().all(|field| shown.get(field).is_some()), "{shown}");
}

#[tokio::test]
async fn bound_integration_is_deleted_only_by_force() {
    let api = TestApi::new().await;
    let (id, agent) = (api.web("Web").await, api.echo("Echo").await);
    let trigger = api.trigger(&id, &agent).await;
    let path = format!("{}/{id}", integrations());
    let problem = api.delete(&path).await.problem(409, "in_use");
    assert_eq!(problem["impact"]["triggers"][0]["id"], trigger.as_str());
    assert_eq!(problem["impact"]["agents"][0]["name"], "Echo");
    let impact = api.get(&format!("{path}/impact")).await.ok();
    assert_eq!(impact, problem["impact"]);
    assert_eq!(api.delete(&format!("{path}?force=true")).await.status, 204);
    api.get(&path).await.problem(404, "integration_not_found");
    api.get(&format!("{DEFAULT}/triggers/{trigger}"))
        .await
        .problem(404, "trigger_not_found");
}

#[tokio::test]
async fn proactive_messages_need_platform_support() {
    let api = TestApi::new().await;
    let web = api.web("Web").await;
    let say = json!({ "chatId": "c", "text": "hello" });
    let polled = json!({ "name": "Polled", "platform": "custom",
        "credentials": { "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" } });
    let polled = api.create(&integrations(), polled).await;
    for bot in [web, polled] {
        api.post(&format!("{}/{bot}/messages", integrations()), say.clone())
            .await
            .problem(409, "not_supported");
    }
    let wecom = api.create(&integrations(), wecom("Bot", "b1")).await;
    let path = format!("{}/{wecom}/messages", integrations());
    api.post(&path, json!({ "text": "hello" }))
        .await
        .problem(400, "invalid_field");
    api.post(&path, json!({ "chatId": "c" }))
        .await
        .problem(400, "invalid_field");
    let card = json!({ "title": "News", "text": "Ready.", "buttons": [{ "text": "Log", "url": "https://e.com" }] });
    let both = json!({ "chatId": "c", "text": "hello", "card": card });
    assert_eq!(
        api.post(&path, both).await.problem(400, "invalid_field")["field"],
        "card"
    );
    let mut wrong = card.clone();
    wrong["buttons"][0] = json!({ "text": "Log", "url": "ftp://e.com" });
    let refused = api.post(&path, json!({ "chatId": "c", "card": wrong })).await;
    assert_eq!(refused.problem(400, "invalid_field")["field"], "card.buttons[0].url");
    wrong["buttons"][0] = json!({ "text": "Log", "url": "https://e.com", "colour": "red" });
    let refused = api.post(&path, json!({ "chatId": "c", "card": wrong })).await;
    assert_eq!(refused.problem(400, "unknown_field")["field"], "card.buttons[0].colour");
    let sent = api.post(&path, json!({ "chatId": "c", "card": card })).await;
    assert_eq!(sent.status, 202, "{sent:?}");
    let said = api.post(&path, say).await;
    assert_eq!(said.status, 202, "{said:?}");
    let id = said.ok()["id"].as_str().unwrap().to_owned();
    assert_eq!(
        api.get(&format!("{DEFAULT}/messages/{id}")).await.ok()["reason"],
        "proactive"
    );
    api.post(&format!("{}/{wecom}/login", integrations()), Value::Null)
        .await
        .problem(409, "login_not_offered");
}

#[tokio::test]
async fn proactive_message_reaches_its_chat() {
    let api = TestApi::new().await;
    api.work();
    let answer = json!({ "code": 0, "tenant_access_token": "t", "expire": 7200, "bot": { "open_id": "ou_b" },
        "data": { "message_id": "om_1", "card_id": "card_1" } });
    let (platform, asked) = recording(answer).await;
    let credentials = json!({ "appId": "cli_1", "appSecret": "s", "verificationToken": "v" });
    let body = json!({ "name": "Bot", "platform": "lark", "connectionMode": "webhook", "credentials": credentials,
        "endpoints": { "apiBase": platform } });
    let id = api.create(&integrations(), body).await;
    let say = json!({ "chatId": "oc_somewhere", "text": "The build is green." });
    let said = api.post(&format!("{}/{id}/messages", integrations()), say).await.ok();
    let message = format!("{DEFAULT}/messages/{}", said["id"].as_str().unwrap());
    let delivered = |it: &Value| {
        it["steps"]
            .as_array()
            .unwrap()
            .iter()
            .any(|step| step["step"] == "delivered")
    };
    api.wait(&message, delivered).await;
    let asked = asked.lock().unwrap();
    assert!(asked.iter().any(|(_, body)| body.contains("oc_somewhere")), "{asked:?}");
    assert!(
        asked.iter().any(|(_, body)| body.contains("The build is green.")),
        "{asked:?}"
    );
    assert!(
        asked.iter().all(|(address, _)| !address.contains("/reply")),
        "{asked:?}"
    );
}
