//! Agents: settings, secrets, tests.

use serde_json::json;

use crate::test_api::{DEFAULT, TestApi, answering, dead_address};

fn agents() -> String {
    format!("{DEFAULT}/agents")
}

#[tokio::test]
async fn settings_are_checked_and_secrets_kept() {
    let api = TestApi::new().await;
    let config = json!({ "baseUrl": "https://llm.example/v1", "model": "m", "apiKey": "sk-hunter2" });
    let body = json!({ "name": "Chat", "protocol": "openai_chat", "config": config });
    let id = api.create(&agents(), body).await;
    let path = format!("{}/{id}", agents());
    let shown = api.get(&path).await.ok();
    assert_eq!(shown["config"]["apiKey"], "***");
    for kept in [
        json!({ "apiKey": "***" }),
        json!({ "apiKey": "" }),
        json!({ "model": "n" }),
    ] {
        let changed = api.patch(&path, json!({ "config": kept })).await.ok();
        assert_eq!(changed["config"]["apiKey"], "***");
        assert_eq!(changed["config"]["baseUrl"], "https://llm.example/v1");
    }
    let gone = api.patch(&path, json!({ "config": { "apiKey": null } })).await.ok();
    assert!(gone["config"].get("apiKey").is_none(), "{gone}");
}

#[tokio::test]
async fn changes_that_are_too_large_are_refused_as_such() {
    let api = TestApi::new().await;
    let config = json!({ "baseUrl": "https://llm.example/v1", "model": "m" });
    let body = json!({ "name": "Chat", "protocol": "openai_chat", "config": config });
    let path = format!("{}/{}", agents(), api.create(&agents(), body).await);
    let large = json!({ "config": { "systemPrompt": "a".repeat(390_000) } });
    api.patch(&path, large).await.problem(413, "too_large");
    let far = format!("https://llm.example/{}", "a".repeat(2048));
    let far = api.patch(&path, json!({ "config": { "baseUrl": far } })).await;
    assert_eq!(far.problem(400, "invalid_field")["field"], "config.baseUrl");
}

#[tokio::test]
async fn mistakes_name_the_field() {
    let api = TestApi::guarded().await;
    let try_config = async |config| {
        let body = json!({ "name": "x", "protocol": "openai_chat", "config": config });
        api.post(&agents(), body).await
    };
    let unknown = try_config(json!({ "baseUrl": "https://a.example", "model": "m", "nonsense": 1 })).await;
    let unknown = unknown.problem(400, "unknown_field");
    assert_eq!(unknown["field"], "config.nonsense");
    assert_eq!(unknown["allowed"][0], "baseUrl");
    for (wrong, value, field, allowed) in [
        (
            "idleTimeoutSeconds",
            json!(0),
            "config.idleTimeoutSeconds",
            "from 1 to 3600",
        ),
        (
            "headers",
            json!({ "x-a": "b", "x-team": 1 }),
            "config.headers.x-team",
            "must be a text",
        ),
    ] {
        let mut config = json!({ "baseUrl": "https://a.example", "model": "m" });
        config[wrong] = value;
        let problem = try_config(config).await.problem(400, "invalid_field");
        assert_eq!(problem["field"], field);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(allowed), "{detail}");
    }
    let version = json!({ "baseUrl": "https://a.example", "protocolVersion": "2.0" });
    let body = json!({ "name": "x", "protocol": "a2a", "config": version });
    let choice = api.post(&agents(), body).await;
    let choice = choice.problem(400, "invalid_field");
    assert_eq!(choice["field"], "config.protocolVersion");
    assert_eq!(choice["allowed"], json!(["auto", "1.0", "0.3"]));
    let missing = try_config(json!({ "model": "m" })).await;
    assert_eq!(missing.problem(400, "invalid_field")["field"], "config.baseUrl");
    let private = try_config(json!({ "baseUrl": "https://10.0.0.1/v1", "model": "m" })).await;
    assert_eq!(private.problem(400, "private_address")["field"], "config.baseUrl");
    let body = json!({ "name": "x", "protocol": "telepathy" });
    let protocol = api.post(&agents(), body).await;
    assert_eq!(protocol.problem(400, "invalid_field")["field"], "protocol");
    // All mistakes at once.
    let body =
        json!({ "name": "", "protocol": "openai_chat", "config": { "baseUrl": "https://a.example", "modell": "m" } });
    let wrong = api.post(&agents(), body).await.problem(400, "invalid_field");
    let fields = |problem: &serde_json::Value| {
        let errors = problem["errors"].as_array().unwrap().iter();
        errors
            .map(|error| error["field"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(fields(&wrong), ["name", "config.modell", "config.model"]);
    let body = json!({ "name": "a", "protocol": "openai_chat", "config": { "x": "hunter2", "y": 2, "apiKey": 3 } });
    let wrong = api.post(&agents(), body).await;
    assert!(!wrong.text.contains("hunter2"), "{wrong:?}");
    let expected = [
        "config.x",
        "config.y",
        "config.baseUrl",
        "config.apiKey",
        "config.model",
    ];
    assert_eq!(fields(&wrong.problem(400, "unknown_field")), expected);
    let agent = api
        .post(&agents(), json!({ "name": "a", "protocol": "echo" }))
        .await
        .ok();
    let path = format!("{}/{}", agents(), agent["id"].as_str().unwrap());
    let patch = json!({ "name": "", "config": { "x": 1, "pieces": "many" } });
    let wrong = api.patch(&path, patch).await.problem(400, "invalid_field");
    assert_eq!(fields(&wrong), ["name", "config.x", "config.pieces"]);
    assert_eq!(api.get(&path).await.ok(), agent);
}

#[tokio::test]
async fn masked_secret_of_something_new_is_refused() {
    let api = TestApi::new().await;
    let config = json!({ "baseUrl": "https://a.example", "model": "m", "headers": { "x-key": "***" } });
    let agent = json!({ "name": "x", "protocol": "openai_chat", "config": config });
    let refused = api.post(&agents(), agent).await.problem(400, "invalid_field");
    assert_eq!(refused["field"], "config.headers.x-key");
    let bot = json!({ "name": "x", "platform": "telegram", "credentials": { "botToken": "***" } });
    let refused = api.post(&format!("{DEFAULT}/integrations"), bot).await;
    let refused = refused.problem(400, "invalid_field");
    assert_eq!(refused["field"], "credentials.botToken");
    assert!(
        refused["detail"].as_str().unwrap().contains("give the secret itself"),
        "{refused}"
    );
}

#[tokio::test]
async fn names_are_unique_and_agents_in_use_cannot_be_deleted() {
    let api = TestApi::new().await;
    let agent = api.echo("Echo").await;
    let again = json!({ "name": "Echo", "protocol": "echo" });
    api.post(&agents(), again).await.problem(409, "name_taken");
    let integration = api.web("Web").await;
    let trigger = api.trigger(&integration, &agent).await;
    let path = format!("{}/{agent}", agents());
    let in_use = api.delete(&path).await.problem(409, "in_use");
    assert_eq!(in_use["impact"]["triggers"][0]["id"], trigger.as_str(), "{in_use}");
    assert_eq!(api.delete(&format!("{path}?force=true")).await.status, 204);
    api.get(&path).await.problem(404, "agent_not_found");
    api.get(&format!("{DEFAULT}/triggers/{trigger}"))
        .await
        .problem(404, "trigger_not_found");
}

#[tokio::test]
async fn agent_test_reports_the_failure() {
    let api = TestApi::new().await;
    let echo = api.echo("Echo").await;
    let tested = api.post(&format!("{}/{echo}/test", agents()), json!(null)).await.ok();
    assert_eq!(tested["ok"], true, "{tested}");
    let config = json!({ "baseUrl": dead_address(), "model": "m" });
    let body = json!({ "name": "Dead", "protocol": "openai_chat", "config": config });
    let dead = api.create(&agents(), body).await;
    let tested = api.post(&format!("{}/{dead}/test", agents()), json!(null)).await.ok();
    assert_eq!(tested["ok"], false, "{tested}");
    assert!(tested["code"].is_string(), "{tested}");
}

#[tokio::test]
async fn another_protocol_starts_with_empty_settings() {
    let api = TestApi::new().await;
    let config = json!({ "baseUrl": answering(json!({})).await, "model": "m" });
    let body = json!({ "name": "Chat", "protocol": "openai_chat", "config": config });
    let id = api.create(&agents(), body).await;
    let changed = api
        .patch(&format!("{}/{id}", agents()), json!({ "protocol": "echo" }))
        .await
        .ok();
    assert_eq!(changed["config"], json!({}));
}
