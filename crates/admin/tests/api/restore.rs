//! Restoring deleted resources.

use serde_json::{Value, json};

use crate::test_api::{DEFAULT, TestApi};

async fn ids(api: &TestApi, path: &str) -> Vec<String> {
    let list = api.get(path).await.ok();
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn restored_agent_has_its_secrets() {
    let api = TestApi::new().await;
    let config = json!({ "baseUrl": "http://127.0.0.1:1/v1", "apiKey": "sk-1", "model": "m" });
    let new = json!({ "name": "GPT", "protocol": "openai_chat", "config": config });
    let id = api.create(&format!("{DEFAULT}/agents"), new).await;
    let path = format!("{DEFAULT}/agents/{id}");
    api.delete(&path).await.ok();
    api.get(&path).await.problem(404, "agent_not_found");
    assert_eq!(ids(&api, &format!("{DEFAULT}/agents")).await, [""; 0]);
    let deleted = api.get(&format!("{DEFAULT}/agents?deleted=true")).await.ok();
    assert_eq!(deleted["items"][0]["id"], id);
    assert!(deleted["items"][0]["deletedAt"].is_string(), "{deleted}");

    let other = api.echo("GPT").await;
    let taken = api.post(&format!("{path}/restore"), Value::Null).await;
    assert_eq!(taken.problem(409, "name_taken")["id"], other);
    api.patch(&format!("{DEFAULT}/agents/{other}"), json!({ "name": "Echo" }))
        .await
        .ok();
    let restored = api.post(&format!("{path}/restore"), Value::Null).await.ok();
    assert_eq!(
        (&restored["id"], &restored["config"]["apiKey"]),
        (&json!(id), &json!("***"))
    );
    assert!(restored.get("deletedAt").is_none(), "{restored}");
    assert_eq!(ids(&api, &format!("{DEFAULT}/agents?deleted=true")).await, [""; 0]);
    api.post(&format!("{path}/restore"), Value::Null)
        .await
        .problem(404, "agent_not_found");
}

#[tokio::test]
async fn restored_bot_and_trigger_answer() {
    let api = TestApi::new().await;
    let (bot, agent) = (api.web("Bot").await, api.echo("Echo").await);
    let trigger = api.trigger(&bot, &agent).await;
    let path = format!("{DEFAULT}/integrations/{bot}");
    api.delete(&format!("{path}?force=true")).await.ok();
    assert_eq!(
        ids(&api, &format!("{DEFAULT}/integrations?deleted=true")).await,
        [&*bot]
    );
    assert_eq!(
        ids(&api, &format!("{DEFAULT}/triggers?deleted=true")).await,
        [&*trigger]
    );
    let restore = format!("{DEFAULT}/triggers/{trigger}/restore");
    api.post(&restore, Value::Null)
        .await
        .problem(404, "integration_not_found");
    api.post(&format!("{path}/restore"), Value::Null).await.ok();
    api.post(&restore, Value::Null).await.ok();
    api.work();
    let message = api.say(&bot, "hello again").await;
    let shown = api
        .wait(&format!("{DEFAULT}/messages/{message}"), |shown| {
            shown["state"] == "answered"
        })
        .await;
    assert_eq!(shown["integrationId"], bot);
}

#[tokio::test]
async fn restored_enabled_trigger_needs_a_free_integration() {
    let api = TestApi::new().await;
    let (bot, agent) = (api.web("Bot").await, api.echo("Echo").await);
    let first = api.trigger(&bot, &agent).await;
    api.delete(&format!("{DEFAULT}/triggers/{first}")).await.ok();
    let second = api.trigger(&bot, &agent).await;
    let restore = format!("{DEFAULT}/triggers/{first}/restore");
    api.post(&restore, Value::Null)
        .await
        .problem(409, "integration_already_bound");
    api.post(&format!("{restore}?takeover=true"), Value::Null).await.ok();
    let displaced = api.get(&format!("{DEFAULT}/triggers/{second}")).await.ok();
    assert_eq!(displaced["enabled"], false);
}

#[tokio::test]
async fn resources_of_another_organization_are_not_restored() {
    let api = TestApi::new().await;
    let agent = api.echo("Echo").await;
    api.delete(&format!("{DEFAULT}/agents/{agent}")).await.ok();
    let admin = api.organization("acme", "admin").await;
    let path = format!("/api/v1/orgs/acme/agents/{agent}/restore");
    api.ask(&admin, "POST", &path, &Value::Null)
        .await
        .problem(404, "agent_not_found");
    let listed = api
        .ask(&admin, "GET", "/api/v1/orgs/acme/agents?deleted=true", &Value::Null)
        .await
        .ok();
    assert_eq!(listed["items"], json!([]));
}

#[tokio::test]
async fn filtered_list_of_deleted_bots_has_full_pages() {
    let api = TestApi::new().await;
    for n in 0..6 {
        let name = if n < 3 { "Desk" } else { "Shop" };
        let id = api.web(&format!("{name} {n}")).await;
        api.delete(&format!("{DEFAULT}/integrations/{id}")).await.ok();
    }
    let list = format!("{DEFAULT}/integrations?deleted=true&search=shop&limit=2");
    let first = api.get(&list).await.ok();
    assert_eq!(first["items"].as_array().unwrap().len(), 2, "{first}");
    let rest = format!("{list}&cursor={}", first["nextCursor"].as_str().unwrap());
    let rest = api.get(&rest).await.ok();
    assert_eq!(
        (rest["items"].as_array().unwrap().len(), &rest["nextCursor"]),
        (1, &Value::Null)
    );
}
