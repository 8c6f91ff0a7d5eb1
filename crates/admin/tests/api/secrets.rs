//! Secrets are never in a response.

use serde_json::{Value, json};

use crate::test_api::{DEFAULT, TestApi, answering, recording};

const SECRETS: [&str; 4] = ["hunter2-app", "hunter2-verify", "hunter2-key", "hunter2-header"];

#[tokio::test]
async fn no_response_contains_a_secret() {
    let api = TestApi::new().await;
    let platform = answering(json!({ "code": 10014, "msg": "app secret hunter2-app is invalid" })).await;
    let credentials = json!({ "appId": "cli_1", "appSecret": SECRETS[0], "verificationToken": SECRETS[1] });
    let body = json!({ "name": "Bot", "platform": "lark", "connectionMode": "webhook",
        "credentials": credentials, "endpoints": { "apiBase": platform } });
    let made = api.post(&format!("{DEFAULT}/integrations"), body).await;
    let id = made.ok()["id"].as_str().unwrap().to_owned();
    let config = json!({ "baseUrl": platform, "model": "m", "apiKey": SECRETS[2], "headers": { "x-key": SECRETS[3] } });
    let body = json!({ "name": "Chat", "protocol": "openai_chat", "config": config });
    let agent = api.post(&format!("{DEFAULT}/agents"), body).await;
    let agent_id = agent.ok()["id"].as_str().unwrap().to_owned();
    api.trigger(&id, &agent_id).await;
    let mut texts = vec![made.text, agent.text];
    let (integration, agent) = (
        format!("{DEFAULT}/integrations/{id}"),
        format!("{DEFAULT}/agents/{agent_id}"),
    );
    for path in ["", "/status", "/logs", "/impact", "/conversations"] {
        texts.push(api.get(&format!("{integration}{path}")).await.text);
    }
    for path in ["/test", "/doctor", "/stop", "/start", "/restart"] {
        texts.push(api.post(&format!("{integration}{path}"), Value::Null).await.text);
    }
    texts.push(api.get(&agent).await.text);
    texts.push(api.post(&format!("{agent}/test"), Value::Null).await.text);
    texts.push(
        api.patch(&agent, json!({ "config": { "apiKey": ["hunter2-key"] } }))
            .await
            .text,
    );
    texts.push(
        api.patch(
            &integration,
            json!({ "credentials": { "appSecret": { "hunter2-app": 1 } } }),
        )
        .await
        .text,
    );
    for text in texts {
        assert!(SECRETS.iter().all(|secret| !text.contains(secret)), "{text}");
    }
}

/// When an address moves, kept secrets don't move with it: the new server is not called.
#[tokio::test]
async fn moved_address_gets_no_kept_secret() {
    let api = TestApi::new().await;
    let (thief, asked) = recording(json!({})).await;
    let config = json!({ "baseUrl": "https://llm.example/v1", "model": "m", "apiKey": SECRETS[2],
        "headers": { "x-key": SECRETS[3] } });
    let body = json!({ "name": "Chat", "protocol": "openai_chat", "config": config });
    let agent = format!(
        "{DEFAULT}/agents/{}",
        api.create(&format!("{DEFAULT}/agents"), body).await
    );
    for (config, field) in [
        (json!({ "baseUrl": thief }), "config.apiKey"),
        (json!({ "baseUrl": thief, "apiKey": "***" }), "config.apiKey"),
        (json!({ "baseUrl": thief, "apiKey": "new" }), "config.headers"),
        (
            json!({ "baseUrl": thief, "apiKey": "new", "headers": { "x-key": "***" } }),
            "config.headers",
        ),
    ] {
        let refused = api.patch(&agent, json!({ "config": config })).await;
        assert_eq!(refused.problem(400, "invalid_field")["field"], field);
    }
    api.post(&format!("{agent}/test"), Value::Null).await;

    let credentials = json!({ "appId": "cli_1", "appSecret": SECRETS[0], "verificationToken": SECRETS[1] });
    let body = json!({ "name": "Bot", "platform": "lark", "connectionMode": "webhook", "credentials": credentials,
        "endpoints": { "apiBase": answering(json!({ "code": 10014, "msg": "no" })).await } });
    let id = api.create(&format!("{DEFAULT}/integrations"), body).await;
    let integration = format!("{DEFAULT}/integrations/{id}");
    let moved = json!({ "endpoints": { "apiBase": thief } });
    let refused = api.patch(&integration, moved).await;
    assert_eq!(refused.problem(400, "invalid_field")["field"], "credentials.appSecret");
    let half = json!({ "endpoints": { "apiBase": thief }, "credentials": { "appSecret": "new" } });
    let refused = api.patch(&integration, half).await;
    assert_eq!(
        refused.problem(400, "invalid_field")["field"],
        "credentials.verificationToken"
    );
    assert!(asked.lock().unwrap().is_empty(), "the new address was called");

    // A caller who gives the secrets again may move the address.
    let all =
        json!({ "endpoints": { "apiBase": thief }, "credentials": { "appSecret": "a", "verificationToken": "b" } });
    api.patch(&integration, all).await.ok();
    let all = json!({ "config": { "baseUrl": thief, "apiKey": "new", "headers": null } });
    api.patch(&agent, all).await.ok();
}
