//! Tenant isolation: an id of another organization gets the same response as one that doesn't exist.

use serde_json::{Value, json};

use crate::test_api::{DEFAULT, ROOT, Reply, TestApi};

/// Creates one resource of each kind in an organization and returns their ids.
pub(crate) async fn furnish(api: &TestApi, base: &str) -> Vec<String> {
    let make = async |kind: &str, body: Value| api.create(&format!("{base}/{kind}"), body).await;
    let credentials = json!({ "botId": "b1", "secret": "s" });
    let body =
        json!({ "name": "Bot", "platform": "wecom", "connectionMode": "long_connection", "credentials": credentials });
    let wecom = make("integrations", body).await;
    let web = make("integrations", json!({ "name": "Web", "platform": "web" })).await;
    let agent = make("agents", json!({ "name": "Echo", "protocol": "echo" })).await;
    let trigger = make("triggers", json!({ "integrationId": web, "agentId": agent })).await;
    let token = make("tokens", json!({ "name": "t", "role": "viewer" })).await;
    let message = api.say(&web, "hello").await;
    api.wait(&format!("{base}/messages/{message}"), |it| it["state"] == "answered")
        .await;
    let user = api.get(&format!("{base}/users")).await.ok()["items"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    vec![wecom, web, agent, trigger, token, message, user]
}

#[tokio::test]
async fn every_route_answers_a_foreign_id_like_a_missing_one() {
    let api = TestApi::new().await;
    api.work();
    api.organization("theirs", "admin").await;
    let me = api.organization("mine", "admin").await;
    let mut ids = furnish(&api, "/api/v1/orgs/theirs").await;
    let conversations = format!("/api/v1/orgs/theirs/integrations/{}/conversations", ids[1]);
    let conversation = api.get(&conversations).await.ok()["items"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    ids.push(conversation);
    // Longer than a key of any table may be.
    ids.push("x".repeat(4000));
    let description = api.get("/api/openapi.json").await.ok();
    let mut asked = 0;
    for (path, item) in description["paths"].as_object().unwrap() {
        if !path.contains("{org}") {
            continue;
        }
        for method in item.as_object().unwrap().keys() {
            for id in &ids {
                let strange = attempt(&api, &me, method, path, "mine", id).await;
                let unknown = attempt(&api, &me, method, path, "mine", "nothing").await;
                compare(method, path, id, &strange, &unknown);
                let theirs = attempt(&api, &me, method, path, "theirs", id).await;
                let unheard = attempt(&api, &me, method, path, "unheard", id).await;
                assert!(
                    matches!(theirs.status.as_u16(), 403 | 404),
                    "{method} {path}: {theirs:?}"
                );
                compare(method, path, id, &theirs, &unheard);
                asked += 1;
            }
        }
    }
    assert!(asked > 200, "{asked}");
    // Nothing of the other organization was changed.
    let left = api
        .ask(ROOT, "GET", "/api/v1/orgs/theirs/integrations", &Value::Null)
        .await
        .ok();
    assert_eq!(left["items"].as_array().unwrap().len(), 2, "{left}");
}

async fn attempt(api: &TestApi, token: &str, method: &str, path: &str, org: &str, id: &str) -> Reply {
    let path = path
        .replace("{org}", org)
        .replace("{id}", id)
        .replace("{conversationId}", id);
    let body = match method {
        // A route that needs fields rejects the empty body; one that needs none changes nothing.
        "post" | "patch" => json!({}),
        _ => Value::Null,
    };
    api.ask(token, &method.to_uppercase(), &path, &body).await
}

#[tokio::test]
async fn id_too_long_for_any_table_is_unknown() {
    let api = TestApi::new().await;
    let (web, agent) = (api.web("Web").await, api.echo("Echo").await);
    let trigger = api.trigger(&web, &agent).await;
    let triggers = format!("{DEFAULT}/triggers");
    for long in ["x".repeat(257), "x".repeat(4000)] {
        for enabled in [true, false] {
            let bind = async |integration: &str, agent: &str| {
                let body = json!({ "integrationId": integration, "agentId": agent, "enabled": enabled });
                api.post(&triggers, body).await
            };
            bind(&long, &agent).await.problem(404, "integration_not_found");
            let own = api.web(&format!("{} {enabled}", long.len())).await;
            bind(&own, &long).await.problem(404, "agent_not_found");
        }
        let path = format!("{triggers}/{trigger}");
        let moved = api.patch(&path, json!({ "integrationId": long })).await;
        moved.problem(404, "integration_not_found");
        let handed = api.patch(&path, json!({ "agentId": long })).await;
        handed.problem(404, "agent_not_found");
        for filter in ["integrationId", "conversationId"] {
            let found = api.get(&format!("{DEFAULT}/messages?{filter}={long}")).await.ok();
            assert_eq!(found, json!({ "items": [], "nextCursor": null }));
        }
        let org = format!("/api/v1/orgs/{long}");
        api.get(&org).await.problem(404, "organization_not_found");
        let named = api.patch(&org, json!({ "name": "x" })).await;
        named.problem(404, "organization_not_found");
    }
}

#[track_caller]
fn compare(method: &str, path: &str, id: &str, strange: &Reply, unknown: &Reply) {
    assert_eq!(strange.status, unknown.status, "{method} {path} with {id}");
    assert_eq!(strange.text, unknown.text, "{method} {path} with {id}");
    assert!(
        !strange.text.contains(id),
        "{method} {path} with {id}: {}",
        strange.text
    );
}

#[tokio::test]
async fn triggers_and_filters_do_not_cross_organizations() {
    let api = TestApi::new().await;
    api.work();
    api.organization("theirs", "admin").await;
    let me = api.organization("mine", "admin").await;
    let ids = furnish(&api, "/api/v1/orgs/theirs").await;
    let (web, agent) = (&ids[1], &ids[2]);
    let own_agent = json!({ "name": "Mine", "protocol": "echo" });
    let made = api.ask(&me, "POST", "/api/v1/orgs/mine/agents", &own_agent).await.ok();
    let own_web = json!({ "name": "Mine", "platform": "web" });
    let own = api
        .ask(&me, "POST", "/api/v1/orgs/mine/integrations", &own_web)
        .await
        .ok();
    let bind = async |integration: &Value, agent: &Value| {
        let body = json!({ "integrationId": integration, "agentId": agent });
        api.ask(&me, "POST", "/api/v1/orgs/mine/triggers?takeover=true", &body)
            .await
    };
    bind(&json!(web), &made["id"])
        .await
        .problem(404, "integration_not_found");
    bind(&own["id"], &json!(agent)).await.problem(404, "agent_not_found");
    let list = format!("/api/v1/orgs/mine/messages?integrationId={web}");
    let seen = api.ask(&me, "GET", &list, &Value::Null).await.ok();
    assert_eq!(seen, json!({ "items": [], "nextCursor": null }));
}
