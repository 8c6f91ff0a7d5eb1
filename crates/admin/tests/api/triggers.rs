//! Triggers and their rules.

use serde_json::{Value, json};

use crate::test_api::{DEFAULT, TestApi};

fn triggers() -> String {
    format!("{DEFAULT}/triggers")
}

#[tokio::test]
async fn settings_have_defaults_and_limits() {
    let api = TestApi::new().await;
    let (integration, agent) = (api.web("Web").await, api.echo("Echo").await);
    let id = api.trigger(&integration, &agent).await;
    let path = format!("{}/{id}", triggers());
    let made = api.get(&path).await.ok();
    let expected = json!({ "sessionTimeoutSeconds": 3600, "summaryWindowSeconds": 0, "sessionScope": "sender",
        "busyPolicy": "queue", "access": { "users": [], "chats": [], "pairing": false }, "welcome": null,
        "taskMode": false, "enabled": true });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&made[name], value, "{name}");
    }
    let change = json!({ "sessionScope": "chat", "busyPolicy": "interrupt", "welcome": " Hi ",
        "access": { "users": ["lisi"] }, "summaryWindowSeconds": 3 });
    let changed = api.patch(&path, change).await.ok();
    assert_eq!(changed["welcome"], "Hi");
    let again = api
        .patch(&path, json!({ "access": { "chats": ["g"] }, "welcome": null }))
        .await
        .ok();
    assert_eq!(
        again["access"],
        json!({ "users": ["lisi"], "chats": ["g"], "pairing": false })
    );
    assert_eq!(
        (&again["welcome"], &again["sessionScope"]),
        (&Value::Null, &json!("chat"))
    );
    for (change, field) in [
        (json!({ "summaryWindowSeconds": 901 }), "summaryWindowSeconds"),
        (json!({ "sessionTimeoutSeconds": -1 }), "sessionTimeoutSeconds"),
        (json!({ "sessionScope": "planet" }), "sessionScope"),
        (json!({ "access": { "users": [""] } }), "access.users[0]"),
    ] {
        let problem = api.patch(&path, change).await.problem(400, "invalid_field");
        assert_eq!(problem["field"], field, "{problem}");
    }
    let unknown = api.patch(&path, json!({ "access": { "people": [] } })).await;
    assert_eq!(unknown.problem(400, "unknown_field")["field"], "access.people");
}

#[tokio::test]
async fn welcome_longer_than_the_platform_allows_is_refused() {
    let api = TestApi::new().await;
    let agent = api.echo("Echo").await;
    let wecom = json!({ "name": "Bot", "platform": "wecom", "connectionMode": "long_connection",
        "credentials": { "botId": "b1", "secret": "s3" } });
    let wecom = api.create(&format!("{DEFAULT}/integrations"), wecom).await;
    // 683 characters, 2049 bytes.
    let (longest, too_long) = ("a".repeat(2048 - 2000), "好".repeat(683));
    let trigger = |welcome: &str| json!({ "integrationId": wecom, "agentId": agent, "welcome": welcome });
    let problem = api.post(&triggers(), trigger(&too_long)).await;
    assert_eq!(problem.problem(400, "invalid_field")["field"], "welcome");
    let fits = format!("{}{longest}", "好".repeat(666));
    let id = api.create(&triggers(), trigger(&fits)).await;
    let path = format!("{}/{id}", triggers());
    let problem = api.patch(&path, json!({ "welcome": too_long })).await;
    assert_eq!(problem.problem(400, "invalid_field")["field"], "welcome");
    let problem = api.patch(&path, json!({ "groupContext": 5 })).await;
    assert_eq!(
        problem.problem(400, "invalid_field")["detail"],
        "groupContext can't be used: in this mode the platform delivers only group messages that mention the bot"
    );
    for (setting, value) in [("groupContext", json!(5)), ("groupMessages", json!("all"))] {
        let file = json!({ "triggers": [{ "integration": "Bot", "agent": "Echo", setting: value }] });
        let problem = api.post(&format!("{DEFAULT}/apply?dryRun=true"), file).await;
        let problem = problem.problem(400, "invalid_file");
        assert_eq!(
            problem["errors"][0]["field"],
            format!("triggers[0].{setting}"),
            "{problem}"
        );
    }
    // The web channel shows no welcome text, so none is too long.
    let web = api.web("Web").await;
    let elsewhere = json!({ "integrationId": web, "agentId": agent, "welcome": too_long });
    api.create(&triggers(), elsewhere).await;
}

#[tokio::test]
async fn an_integration_has_one_enabled_trigger() {
    let api = TestApi::new().await;
    let integration = api.web("Web").await;
    let (one, two) = (api.echo("One").await, api.echo("Two").await);
    let first = api.trigger(&integration, &one).await;
    let second = json!({ "integrationId": integration, "agentId": two });
    let problem = api.post(&triggers(), second.clone()).await;
    let problem = problem.problem(409, "integration_already_bound");
    assert_eq!(problem["boundTo"]["triggerId"], first.as_str(), "{problem}");
    assert_eq!(problem["boundTo"]["agentName"], "One");
    assert_eq!(problem["impact"]["triggers"][0]["id"], first.as_str());
    let unknown = json!({ "integrationId": integration, "agentId": "agt_none" });
    let problem = api.post(&triggers(), unknown).await.problem(404, "agent_not_found");
    assert_eq!(problem["field"], "agentId");

    let mut disabled = second.clone();
    disabled["enabled"] = json!(false);
    let third = api.create(&triggers(), disabled).await;
    let path = format!("{}/{third}", triggers());
    api.patch(&path, json!({ "enabled": true }))
        .await
        .problem(409, "integration_already_bound");
    let moved = api
        .patch(&format!("{path}?takeover=true"), json!({ "enabled": true }))
        .await;
    assert_eq!(moved.ok()["enabled"], true);
    let displaced = api.get(&format!("{}/{first}", triggers())).await.ok();
    assert_eq!(displaced["enabled"], false);
    let back = api.post(&format!("{}?takeover=true", triggers()), second).await;
    assert_eq!(back.status, 201, "{back:?}");
    assert_eq!(api.get(&path).await.ok()["enabled"], false);
}

#[tokio::test]
async fn concurrent_bindings_leave_one_enabled() {
    let api = TestApi::new().await;
    let (integration, agent) = (api.web("Web").await, api.echo("Echo").await);
    let body = json!({ "integrationId": integration, "agentId": agent });
    let path = triggers();
    let tries = (0..8).map(|_| api.post(&path, body.clone()));
    let mut made = 0;
    for answer in futures(tries).await {
        match answer.status.as_u16() {
            201 => made += 1,
            409 => drop(answer.problem(409, "integration_already_bound")),
            _ => panic!("{answer:?}"),
        }
    }
    assert_eq!(made, 1);
}

/// Awaits all futures concurrently.
async fn futures<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = all.map(Box::pin).collect();
    let mut done = Vec::new();
    std::future::poll_fn(|cx| {
        running.retain_mut(|one| match one.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => {
                done.push(output);
                false
            }
            std::task::Poll::Pending => true,
        });
        if running.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done
}

#[tokio::test]
async fn missing_resources_cannot_be_bound() {
    let api = TestApi::new().await;
    let (integration, agent) = (api.web("Web").await, api.echo("Echo").await);
    for enabled in [true, false] {
        let body = json!({ "integrationId": "int_nothing", "agentId": agent, "enabled": enabled });
        let problem = api.post(&triggers(), body).await.problem(404, "integration_not_found");
        assert_eq!(problem["field"], "integrationId");
        let body = json!({ "integrationId": integration, "agentId": "agt_nothing", "enabled": enabled });
        let problem = api.post(&triggers(), body).await.problem(404, "agent_not_found");
        assert_eq!(problem["field"], "agentId");
    }
}
