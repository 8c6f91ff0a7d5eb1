//! What was deleted can be restored.

use serde_json::{Value, json};

use crate::place::{DEFAULT, Place};

async fn ids(place: &Place, path: &str) -> Vec<String> {
    let list = place.get(path).await.ok();
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_agent_comes_back_with_its_secrets() {
    let place = Place::new().await;
    let config = json!({ "baseUrl": "http://127.0.0.1:1/v1", "apiKey": "sk-1", "model": "m" });
    let new = json!({ "name": "GPT", "protocol": "openai_chat", "config": config });
    let id = place.create(&format!("{DEFAULT}/agents"), new).await;
    let path = format!("{DEFAULT}/agents/{id}");
    place.delete(&path).await.ok();
    place.get(&path).await.problem(404, "agent_not_found");
    assert_eq!(ids(&place, &format!("{DEFAULT}/agents")).await, [""; 0]);
    let deleted = place.get(&format!("{DEFAULT}/agents?deleted=true")).await.ok();
    assert_eq!(deleted["items"][0]["id"], id);
    assert!(deleted["items"][0]["deletedAt"].is_string(), "{deleted}");

    let other = place.echo("GPT").await;
    let taken = place.post(&format!("{path}/restore"), Value::Null).await;
    assert_eq!(taken.problem(409, "name_taken")["id"], other);
    place
        .patch(&format!("{DEFAULT}/agents/{other}"), json!({ "name": "Echo" }))
        .await
        .ok();
    let restored = place.post(&format!("{path}/restore"), Value::Null).await.ok();
    assert_eq!(
        (&restored["id"], &restored["config"]["apiKey"]),
        (&json!(id), &json!("***"))
    );
    assert!(restored.get("deletedAt").is_none(), "{restored}");
    assert_eq!(ids(&place, &format!("{DEFAULT}/agents?deleted=true")).await, [""; 0]);
    place
        .post(&format!("{path}/restore"), Value::Null)
        .await
        .problem(404, "agent_not_found");
}

#[tokio::test]
async fn a_bot_and_its_trigger_come_back_and_answer() {
    let place = Place::new().await;
    let (bot, agent) = (place.web("Bot").await, place.echo("Echo").await);
    let trigger = place.trigger(&bot, &agent).await;
    let path = format!("{DEFAULT}/integrations/{bot}");
    place.delete(&format!("{path}?force=true")).await.ok();
    assert_eq!(
        ids(&place, &format!("{DEFAULT}/integrations?deleted=true")).await,
        [&*bot]
    );
    assert_eq!(
        ids(&place, &format!("{DEFAULT}/triggers?deleted=true")).await,
        [&*trigger]
    );
    let restore = format!("{DEFAULT}/triggers/{trigger}/restore");
    place
        .post(&restore, Value::Null)
        .await
        .problem(404, "integration_not_found");
    place.post(&format!("{path}/restore"), Value::Null).await.ok();
    place.post(&restore, Value::Null).await.ok();
    place.work();
    let message = place.say(&bot, "hello again").await;
    let shown = place
        .wait(&format!("{DEFAULT}/messages/{message}"), |shown| {
            shown["state"] == "answered"
        })
        .await;
    assert_eq!(shown["integrationId"], bot);
}

#[tokio::test]
async fn a_trigger_that_was_enabled_needs_its_integration_to_be_free() {
    let place = Place::new().await;
    let (bot, agent) = (place.web("Bot").await, place.echo("Echo").await);
    let first = place.trigger(&bot, &agent).await;
    place.delete(&format!("{DEFAULT}/triggers/{first}")).await.ok();
    let second = place.trigger(&bot, &agent).await;
    let restore = format!("{DEFAULT}/triggers/{first}/restore");
    place
        .post(&restore, Value::Null)
        .await
        .problem(409, "integration_already_bound");
    place.post(&format!("{restore}?takeover=true"), Value::Null).await.ok();
    let displaced = place.get(&format!("{DEFAULT}/triggers/{second}")).await.ok();
    assert_eq!(displaced["enabled"], false);
}

#[tokio::test]
async fn nothing_of_another_organization_is_restored() {
    let place = Place::new().await;
    let agent = place.echo("Echo").await;
    place.delete(&format!("{DEFAULT}/agents/{agent}")).await.ok();
    let admin = place.organization("acme", "admin").await;
    let path = format!("/api/v1/orgs/acme/agents/{agent}/restore");
    place
        .ask(&admin, "POST", &path, &Value::Null)
        .await
        .problem(404, "agent_not_found");
    let listed = place
        .ask(&admin, "GET", "/api/v1/orgs/acme/agents?deleted=true", &Value::Null)
        .await
        .ok();
    assert_eq!(listed["items"], json!([]));
}
