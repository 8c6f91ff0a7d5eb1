//! Redaction of credentials: configuration and effect.

use serde_json::{Value, json};

use crate::test_api::{DEFAULT, TestApi};

const SECRET: &str = "sk-a1B2c3D4e5F6g7H8i9J0k1L2m3";

/// A bridge with an English web bot and an echo agent, and the path of its trigger.
async fn bot(redaction: Value) -> (TestApi, String, String) {
    let api = TestApi::new().await;
    let body = json!({ "name": "Web", "platform": "web", "language": "en" });
    let integration = api.create(&format!("{DEFAULT}/integrations"), body).await;
    let agent = api.echo("Echo").await;
    let trigger = json!({ "integrationId": integration, "agentId": agent, "redaction": redaction });
    let id = api.create(&format!("{DEFAULT}/triggers"), trigger).await;
    api.work();
    (api, integration, format!("{DEFAULT}/triggers/{id}"))
}

async fn log(api: &TestApi, integration: &str) -> String {
    let path = format!("{DEFAULT}/integrations/{integration}/logs");
    api.get(&path).await.ok().to_string()
}

#[tokio::test]
async fn credential_in_a_message_is_masked_for_the_agent() {
    let (api, web, trigger) = bot(json!({ "incoming": "mask" })).await;
    let said = api.ask_as(&web, "lisi", &format!("use {SECRET} please")).await;
    assert!(said.starts_with("use [redacted] please"), "{said}");
    assert!(said.contains("was hidden from the agent"), "{said}");
    assert_eq!(api.ask_as(&web, "lisi", "hello").await, "hello");
    let log = log(&api, &web).await;
    assert!(log.contains("message_redacted") && !log.contains(SECRET), "{log}");

    api.patch(&trigger, json!({ "redaction": { "incoming": "warn" } }))
        .await
        .ok();
    let said = api.ask_as(&web, "lisi", &format!("use {SECRET} please")).await;
    assert!(said.starts_with(&format!("use {SECRET} please")), "{said}");
    assert!(said.contains("Please delete it and have it changed."), "{said}");

    api.patch(&trigger, json!({ "redaction": { "incoming": "off" } }))
        .await
        .ok();
    assert_eq!(api.ask_as(&web, "lisi", SECRET).await, SECRET);
}

#[tokio::test]
async fn credential_in_an_answer_is_masked_in_the_chat() {
    let (api, web, _) = bot(json!({ "outgoing": "mask", "patterns": ["EMP-[0-9]+"] })).await;
    let said = api
        .ask_as(&web, "lisi", &format!("the key {SECRET} of EMP-1234 and so on"))
        .await;
    assert_eq!(said, "the key [redacted] of [redacted] and so on");
    let log = log(&api, &web).await;
    assert!(
        log.contains("answer_redacted") && log.contains("2 credential(s)"),
        "{log}"
    );
}

#[tokio::test]
async fn settings_are_checked_and_shown() {
    let (api, _, trigger) = bot(json!({ "incoming": "mask", "patterns": ["EMP-[0-9]+"] })).await;
    let shown = api.get(&trigger).await.ok();
    let expected = json!({ "incoming": "mask", "outgoing": "off", "patterns": ["EMP-[0-9]+"] });
    assert_eq!(shown["redaction"], expected);
    for (patterns, field) in [
        (json!(["a", "("]), "redaction.patterns[1]"),
        (json!(["a*"]), "redaction.patterns[0]"),
        (json!(vec!["a"; 21]), "redaction.patterns"),
    ] {
        let change = json!({ "redaction": { "patterns": patterns } });
        let problem = api.patch(&trigger, change).await.problem(400, "invalid_field");
        assert_eq!(problem["field"], field, "{problem}");
    }
    let problem = api.patch(&trigger, json!({ "redaction": { "both": "mask" } })).await;
    assert_eq!(problem.problem(400, "unknown_field")["field"], "redaction.both");
    let problem = api
        .patch(&trigger, json!({ "redaction": { "outgoing": "warn" } }))
        .await;
    problem.problem(400, "invalid_field");
    let exported = api.get(&format!("{DEFAULT}/export?format=json")).await.ok();
    assert_eq!(exported["organizations"][0]["triggers"][0]["redaction"], expected);
}
