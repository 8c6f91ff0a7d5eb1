//! Audit log: every change has an entry, without secrets, visible only to those who may see it.

use std::net::IpAddr;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use tieline_admin::client_address::ClientAddress;
use tieline_bridge::operator::{self, Denied, Proofs};

use crate::test_api::{DEFAULT, ROOT, TestApi};

/// The actions of the newest entries, newest first.
async fn actions(api: &TestApi, path: &str) -> Vec<String> {
    let list = api.get(path).await.ok();
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["action"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn audit_entry_has_author_and_changed_fields() {
    let api = TestApi::new().await;
    let admin = api.organization("acme", "admin").await;
    let path = "/api/v1/orgs/acme/agents";
    let config = json!({ "baseUrl": "http://127.0.0.1:1/v1", "apiKey": "sk-canary-1", "model": "m" });
    let new = json!({ "name": "GPT", "protocol": "openai_chat", "config": config });
    let mut request = Request::post(path)
        .header("authorization", format!("Bearer {admin}"))
        .body(Body::from(new.to_string()))
        .unwrap();
    let address: IpAddr = "192.0.2.7".parse().unwrap();
    request.extensions_mut().insert(ClientAddress(address));
    let made = api.send(request).await.ok();
    let agent = format!("{path}/{}", made["id"].as_str().unwrap());
    let patch = json!({ "config": { "apiKey": "sk-canary-2", "model": "n" } });
    api.ask(&admin, "PATCH", &agent, &patch).await.ok();
    // A request that changes nothing leaves no entry.
    api.ask(&admin, "PATCH", &agent, &json!({ "name": "GPT" })).await.ok();
    api.ask(&admin, "DELETE", &agent, &Value::Null).await.ok();

    let list = api.ask(&admin, "GET", "/api/v1/orgs/acme/audit", &Value::Null).await;
    assert!(!list.text.contains("canary") && !list.text.contains(&admin), "{list:?}");
    let entries = list.ok()["items"].clone();
    let found = actions(&api, "/api/v1/orgs/acme/audit").await;
    let expected = [
        "agent.delete",
        "agent.update",
        "agent.create",
        "token.create",
        "organization.create",
    ];
    assert_eq!(found, expected);
    let update = &entries[1];
    assert_eq!(update["before"], json!({ "config": { "apiKey": "***", "model": "m" } }));
    assert_eq!(update["after"], json!({ "config": { "apiKey": "***", "model": "n" } }));
    assert_eq!(
        update["target"],
        json!({ "kind": "agent", "id": made["id"], "name": "GPT" })
    );
    assert_eq!(
        (&update["actor"]["role"], &update["actor"]["tokenName"]),
        (&json!("admin"), &json!("t"))
    );
    assert!(update["at"].is_string() && update["address"].is_null(), "{update}");
    let create = &entries[2];
    assert_eq!(
        (&create["before"], &create["address"]),
        (&Value::Null, &json!("192.0.2.7"))
    );
    assert_eq!(create["after"]["config"]["apiKey"], "***");
    assert_eq!(entries[0]["before"]["config"]["model"], "n");
    assert_eq!(entries[4]["actor"]["role"], "root");
}

#[tokio::test]
async fn organization_sees_its_own_entries_and_root_sees_all() {
    let api = TestApi::new().await;
    let admin = api.organization("acme", "admin").await;
    api.organization("other", "admin").await;
    assert_eq!(
        actions(&api, "/api/v1/orgs/other/audit").await,
        ["token.create", "organization.create"]
    );
    api.ask(&admin, "GET", "/api/v1/orgs/other/audit", &Value::Null)
        .await
        .problem(404, "organization_not_found");
    api.ask(&admin, "GET", "/api/v1/audit", &Value::Null)
        .await
        .problem(403, "forbidden");
    assert_eq!(actions(&api, "/api/v1/audit").await.len(), 4);
    let first = api.get("/api/v1/audit?limit=3").await.ok();
    let next = first["nextCursor"].as_str().unwrap();
    assert_eq!(actions(&api, &format!("/api/v1/audit?cursor={next}")).await.len(), 1);
    let last = first["items"][2]["at"].as_str().unwrap();
    assert!(actions(&api, &format!("/api/v1/audit?since={last}")).await.len() >= 3);
    assert_eq!(actions(&api, "/api/v1/audit?until=2020-01-01T00:00:00Z").await.len(), 0);
    let all = actions(&api, "/api/v1/audit").await;
    assert_eq!(actions(&api, "/api/v1/audit?until=2300-01-01T00:00:00Z").await, all);
    api.get("/api/v1/audit?since=yesterday")
        .await
        .problem(400, "invalid_field");
}

#[tokio::test]
async fn sign_ins_and_wrong_tokens_are_in_the_root_log_only() {
    let api = TestApi::new().await;
    let body = json!({ "token": ROOT });
    api.ask("", "POST", "/api/v1/session", &body).await.ok();
    for n in 0..30 {
        api.ask(&format!("wrong-{n}"), "GET", "/api/v1/orgs", &Value::Null)
            .await;
    }
    let found = actions(&api, "/api/v1/audit").await;
    let expected = ["session.too_many_wrong_tokens", "session.wrong_token", "session.open"];
    assert_eq!(found, expected);
    let list = api.get("/api/v1/audit").await;
    assert!(!list.text.contains("wrong-") && !list.text.contains(ROOT), "{list:?}");
    assert_eq!(list.ok()["items"][0]["actor"]["role"], "unknown");
    assert_eq!(actions(&api, &format!("{DEFAULT}/audit")).await, [""; 0]);
}

/// One counter serves all routes.
#[tokio::test]
async fn wrong_tokens_outside_the_management_api_are_audited() {
    let api = TestApi::new().await;
    let address = Some("192.0.2.1".parse().unwrap());
    let proofs = Proofs {
        authorization: Some("Bearer wrong"),
        address,
        ..Proofs::default()
    };
    let (wrong, too_many) = ("session.wrong_token", "session.too_many_wrong_tokens");
    assert_eq!(operator::reader(&api.world, &proofs).await, Ok(None));
    assert_eq!(actions(&api, "/api/v1/audit").await, [wrong]);
    for _ in 0..18 {
        let signed_in = operator::signed_in(&api.world, "web", &proofs).await;
        assert_eq!(signed_in, Ok(None));
    }
    let found = operator::has_root_token(&api.world, proofs.authorization, address).await;
    assert!(matches!(found, Ok(false)), "{found:?}");
    assert_eq!(actions(&api, "/api/v1/audit").await, [wrong]);
    let found = operator::has_root_token(&api.world, proofs.authorization, address).await;
    assert!(matches!(found, Err(Denied::TooManyGuesses { .. })), "{found:?}");
    let list = api.get("/api/v1/audit").await.ok();
    assert_eq!(actions(&api, "/api/v1/audit").await, [too_many, wrong]);
    assert_eq!(list["items"][0]["address"], "192.0.2.1");
    let right = format!("Bearer {ROOT}");
    let found = operator::has_root_token(&api.world, Some(&right), address).await;
    assert!(matches!(found, Ok(true)), "{found:?}");
}

#[tokio::test]
async fn integration_log_names_who_stopped_rebound_and_deleted() {
    let api = TestApi::new().await;
    let (bot, agent) = (api.web("Bot").await, api.echo("Echo").await);
    let other = api.echo("Other").await;
    let trigger = api.trigger(&bot, &agent).await;
    let base = format!("{DEFAULT}/integrations/{bot}");
    api.post(&format!("{base}/stop"), Value::Null).await.ok();
    api.post(&format!("{base}/start"), Value::Null).await.ok();
    let path = format!("{DEFAULT}/triggers/{trigger}");
    api.patch(&path, json!({ "agentId": other })).await.ok();
    api.patch(&path, json!({ "enabled": false })).await.ok();
    let logs = api.get(&format!("{base}/logs")).await.ok();
    let lines: Vec<(&str, &str)> = logs["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["code"].as_str().unwrap(), line["message"].as_str().unwrap()))
        .collect();
    let codes: Vec<&str> = lines.iter().map(|(code, _)| *code).collect();
    let expected = [
        "trigger_disabled",
        "trigger_moved",
        "started",
        "stopped",
        "trigger_enabled",
        "created",
    ];
    assert_eq!(codes, expected, "{lines:?}");
    assert!(
        lines.iter().all(|(_, text)| text.ends_with("by the root token")),
        "{lines:?}"
    );
}
