//! The agents that may answer for an integration.

use serde_json::{Value, json};

use crate::test_api::{DEFAULT, Reply, TestApi};

/// An agent that answers with its own name.
async fn agent(api: &TestApi, name: &str) -> String {
    api.named_agent(name).await.0
}

async fn page(api: &TestApi, allowed: Value) -> String {
    let body = json!({ "name": "Page", "platform": "web", "language": "en", "allowedAgents": allowed });
    api.create(&format!("{DEFAULT}/integrations"), body).await
}

#[track_caller]
fn refused(reply: &Reply, field: &str) {
    let problem = reply.problem(409, "agent_not_allowed");
    assert_eq!(problem["field"], field, "{}", reply.text);
}

#[tokio::test]
async fn trigger_with_an_agent_that_is_not_allowed_is_refused() {
    let api = TestApi::new().await;
    let (helper, hr) = (agent(&api, "Helper").await, agent(&api, "HR").await);
    let page = page(&api, json!([helper])).await;
    let (bots, triggers) = (format!("{DEFAULT}/integrations/{page}"), format!("{DEFAULT}/triggers"));
    assert_eq!(api.get(&bots).await.ok()["allowedAgents"], json!([helper]));
    let bind = |agent: &str| json!({ "integrationId": page, "agentId": agent });
    refused(&api.post(&triggers, bind(&hr)).await, "agentId");
    let trigger = api.create(&triggers, bind(&helper)).await;
    let path = format!("{triggers}/{trigger}");
    refused(&api.patch(&path, json!({ "agentId": hr })).await, "agentId");
    let routes = json!({ "routes": [{ "agent": hr, "firstWord": "hr" }] });
    refused(&api.patch(&path, routes.clone()).await, "routes[0].agent");
    refused(
        &api.patch(&bots, json!({ "allowedAgents": [hr] })).await,
        "allowedAgents",
    );

    api.patch(&bots, json!({ "allowedAgents": [helper, hr, helper] }))
        .await
        .ok();
    assert_eq!(api.get(&bots).await.ok()["allowedAgents"], json!([helper, hr]));
    api.patch(&path, routes).await.ok();
    refused(
        &api.patch(&bots, json!({ "allowedAgents": [helper] })).await,
        "allowedAgents",
    );
    api.patch(&bots, json!({ "streaming": false })).await.ok();
    assert_eq!(api.get(&bots).await.ok()["allowedAgents"], json!([helper, hr]));
    let every = api.patch(&bots, json!({ "allowedAgents": null })).await.ok();
    assert_eq!(every["allowedAgents"], Value::Null);
}

#[tokio::test]
async fn list_names_agents_of_the_organization() {
    let api = TestApi::new().await;
    let (helper, hr) = (agent(&api, "Helper").await, agent(&api, "HR").await);
    let page = page(&api, Value::Null).await;
    let path = format!("{DEFAULT}/integrations/{page}");
    let allow = async |agents: Value| api.patch(&path, json!({ "allowedAgents": agents })).await;
    let unknown = allow(json!([helper, "agt_none"])).await;
    assert_eq!(unknown.problem(404, "agent_not_found")["field"], "allowedAgents[1]");
    let many: Vec<String> = (0..51).map(|n| format!("agt_{n}")).collect();
    let many = allow(json!(many)).await;
    assert_eq!(many.problem(400, "invalid_field")["field"], "allowedAgents");
    allow(json!([7])).await.problem(400, "invalid_field");
    // An agent that was deleted since blocks no other change.
    allow(json!([helper, hr])).await.ok();
    api.delete(&format!("{DEFAULT}/agents/{hr}")).await;
    api.patch(&path, json!({ "name": "Other" })).await.ok();
    assert_eq!(api.get(&path).await.ok()["allowedAgents"], json!([helper, hr]));
}

#[tokio::test]
async fn people_choose_only_among_allowed_agents() {
    let api = TestApi::new().await;
    let (helper, hr) = (agent(&api, "Helper").await, agent(&api, "HR").await);
    agent(&api, "Other").await;
    let web = page(&api, json!([helper, hr])).await;
    let trigger = json!({ "integrationId": web, "agentId": helper, "agentChoice": true });
    api.create(&format!("{DEFAULT}/triggers"), trigger).await;
    api.work();
    let ask = async |text: &str| api.ask_as(&web, "lisi", text).await;
    let listed = ask("/agents").await;
    assert!(listed.contains("2. HR") && !listed.contains("Other"), "{listed}");
    assert!(ask("/agent Other").await.contains("no agent of this name"));
    ask("/agent HR").await;
    assert_eq!(ask("one").await, "from HR");
    let path = format!("{DEFAULT}/integrations/{web}");
    api.patch(&path, json!({ "allowedAgents": [helper] })).await.ok();
    assert_eq!(ask("two").await, "from Helper", "the choice has ended");
    assert!(ask("/agent HR").await.contains("no agent of this name"));
}

/// Applies a file with an agent A, an agent B and a page, and returns the numbers of created, updated and unchanged objects.
async fn apply(api: &TestApi, page: &str, trigger: &str) -> Reply {
    let file = format!(
        "agents: [{{name: A, protocol: echo}}, {{name: B, protocol: echo}}]\n\
         integrations: [{{name: P, platform: web{page}}}]\ntriggers: [{trigger}]"
    );
    api.post(&format!("{DEFAULT}/apply"), json!({ "file": file })).await
}

#[track_caller]
fn changes(applied: &Reply, expected: [u64; 3]) {
    let applied = applied.ok();
    let counts = ["created", "updated", "unchanged"].map(|field| applied[field].as_u64().unwrap());
    assert_eq!(counts, expected, "{applied}");
}

#[tokio::test]
async fn file_names_the_allowed_agents() {
    let api = TestApi::new().await;
    let (a, b) = ("{integration: P, agent: A}", "{integration: P, agent: B}");
    changes(&apply(&api, ", allowedAgents: [A]", a).await, [4, 0, 0]);
    changes(&apply(&api, ", allowedAgents: [A]", a).await, [0, 0, 4]);
    let exported = api.get(&format!("{DEFAULT}/export?format=json")).await.ok();
    assert_eq!(
        exported["organizations"][0]["integrations"][0]["allowedAgents"],
        json!(["A"])
    );
    let exported = json!({ "file": exported.to_string() });
    // The organization is in it too.
    changes(&api.post(&format!("{DEFAULT}/apply"), exported).await, [0, 0, 5]);

    // A trigger may not use what its integration doesn't allow, nor may the list name what doesn't exist.
    for (page, trigger, line) in [
        (", allowedAgents: [A]", b, "agent_not_allowed"),
        (", allowedAgents: [B]", a, "agent_not_allowed"),
        (", allowedAgents: [A, C]", a, "`C`: there is no agent of this name"),
        (", allowedAgents: [B]", "", "agent_not_allowed"),
    ] {
        let reply = apply(&api, page, trigger).await;
        reply.problem(400, "invalid_file");
        assert!(reply.text.contains(line), "{}", reply.text);
    }
    // The trigger moves after its new agent is allowed, and before its old one is not. Both changes are shown once.
    changes(&apply(&api, ", allowedAgents: [B]", b).await, [0, 2, 2]);
    changes(&apply(&api, ", allowedAgents: [A]", a).await, [0, 2, 2]);
    changes(&apply(&api, ", allowedAgents: [A, B]", b).await, [0, 2, 2]);
    changes(&apply(&api, ", allowedAgents: [B]", b).await, [0, 1, 3]);
    changes(&apply(&api, ", allowedAgents: null", a).await, [0, 2, 2]);
    changes(&apply(&api, ", allowedAgents: [B]", b).await, [0, 2, 2]);
}
