//! Files that are hard to apply, and what an export keeps when it is applied later.

use serde_json::{Value, json};

use crate::test_api::{DEFAULT, TestApi};

#[tokio::test]
async fn applying_an_export_brings_back_what_was_not_set() {
    let api = TestApi::new().await;
    let (web, agent) = (api.web("Web").await, api.echo("Echo").await);
    api.trigger(&web, &agent).await;
    let exported = api.get(&format!("{DEFAULT}/export?format=yaml")).await.text;
    let path = format!("{DEFAULT}/integrations/{web}");
    let before = api.get(&path).await.ok();
    let changed = json!({ "reasoning": "full", "allowedAgents": [agent] });
    api.patch(&path, changed).await.ok();
    let changed = api.get(&path).await.ok();
    assert_eq!(
        (&changed["reasoning"], &changed["allowedAgents"]),
        (&json!("full"), &json!([agent]))
    );
    let applied = api
        .post(&format!("{DEFAULT}/apply"), json!({ "file": exported }))
        .await
        .ok();
    assert_eq!(applied["updated"], 1, "{applied}");
    let after = api.get(&path).await.ok();
    assert_eq!(
        (&after["reasoning"], &after["allowedAgents"]),
        (&before["reasoning"], &Value::Null)
    );
}

#[tokio::test]
async fn triggers_whose_titles_look_alike_are_applied() {
    let api = TestApi::new().await;
    let file = "
agents: [{name: c, protocol: echo}, {name: b -> c, protocol: echo}]
integrations: [{name: a, platform: web}, {name: a -> b, platform: web}]
triggers: [{integration: a, agent: b -> c}, {integration: a -> b, agent: c}]
";
    let apply = async || api.post(&format!("{DEFAULT}/apply"), json!({ "file": file })).await;
    assert_eq!(apply().await.ok()["created"], 6);
    assert_eq!(apply().await.ok()["unchanged"], 6);
}
