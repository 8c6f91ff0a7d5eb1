//! Authorization: which token may call what.

use serde_json::{Value, json};

use crate::test_api::{DEFAULT, ROOT, TestApi};

#[tokio::test]
async fn requests_without_a_valid_token_are_refused() {
    let api = TestApi::new().await;
    for token in ["", "wrong", "root-token-of-the-test"] {
        for (method, path) in [
            ("GET", "/api/v1/orgs"),
            ("GET", "/api/v1/platforms"),
            ("GET", "/api/v1/orgs/default/agents"),
            ("GET", "/api/v1/orgs/unknown/agents"),
            ("POST", "/api/v1/orgs/default/integrations"),
            ("POST", "/api/runs/run_1/events"),
            ("GET", "/api/runs/run_1/events"),
        ] {
            api.ask(token, method, path, &Value::Null)
                .await
                .problem(401, "unauthorized");
        }
    }
    assert_eq!(api.get("/healthz").await.text, "ok");
}

#[tokio::test]
async fn tokens_see_one_organization_and_viewers_cannot_write() {
    let api = TestApi::new().await;
    let admin = api.organization("acme", "admin").await;
    let viewer = api.organization("acme", "viewer").await;
    let base = "/api/v1/orgs/acme";
    let agent = json!({ "name": "Echo", "protocol": "echo" });
    let path = format!("{base}/agents");
    api.ask(&viewer, "POST", &path, &agent).await.problem(403, "forbidden");
    api.ask(&admin, "POST", &path, &agent).await.ok();
    for token in [&admin, &viewer] {
        let seen = api.ask(token, "GET", &path, &Value::Null).await.ok();
        assert_eq!(seen["items"].as_array().unwrap().len(), 1);
        let orgs = api.ask(token, "GET", "/api/v1/orgs", &Value::Null).await.ok();
        assert_eq!(orgs["items"].as_array().unwrap().len(), 1);
        let other = format!("{DEFAULT}/agents");
        api.ask(token, "GET", &other, &Value::Null)
            .await
            .problem(404, "organization_not_found");
        api.ask(token, "POST", "/api/v1/orgs", &json!({ "id": "more" }))
            .await
            .problem(403, "forbidden");
    }
}

#[tokio::test]
async fn token_is_shown_once_and_invalid_after_deletion() {
    let api = TestApi::new().await;
    let path = format!("{DEFAULT}/tokens");
    let made = api.post(&path, json!({ "name": "ci", "role": "admin" })).await.ok();
    let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    let list = api.get(&path).await;
    assert!(!list.text.contains(token), "{list:?}");
    assert_eq!(list.ok()["items"][0]["id"], id);
    api.ask(token, "GET", &path, &Value::Null).await.ok();
    assert_eq!(api.delete(&format!("{path}/{id}")).await.status, 204);
    api.ask(token, "GET", &path, &Value::Null)
        .await
        .problem(401, "unauthorized");
    api.delete(&format!("{path}/{id}"))
        .await
        .problem(404, "token_not_found");
}

#[tokio::test]
async fn unknown_fields_in_bodies_are_refused() {
    let api = TestApi::new().await;
    let path = format!("{DEFAULT}/agents");
    let typo = api.post(&path, json!({ "name": "a", "protocl": "echo" })).await;
    assert_eq!(typo.problem(400, "unknown_field")["field"], "protocl");
    let missing = api.post(&path, json!({ "name": "a" })).await;
    assert_eq!(missing.problem(400, "invalid_field")["field"], "protocol");
    let list = api.get(&format!("{path}?limt=1")).await;
    assert_eq!(list.problem(400, "unknown_field")["field"], "limt");
    let twice = api.get(&format!("{path}?limit=1&limit=2")).await;
    let twice = twice.problem(400, "invalid_field");
    assert_eq!(
        (&twice["field"], &twice["detail"]),
        (&json!("limit"), &json!("limit is given more than once"))
    );
    api.get(&format!("{path}?limit=0")).await.problem(400, "invalid_field");
    api.get(&format!("{path}?cursor=%21"))
        .await
        .problem(400, "invalid_field");
    api.ask(ROOT, "POST", &path, &json!(["a"]))
        .await
        .problem(400, "invalid_body");
    let deep = (0..100).fold(json!("x"), |value, _| json!([value]));
    let deep = json!({ "name": "Deep", "protocol": "echo", "config": { "template": deep } });
    api.post(&path, deep).await.problem(400, "invalid_body");
    let large = json!({ "name": "a".repeat(1024 * 1024), "protocol": "echo" });
    api.post(&path, large).await.problem(413, "too_large");
}

#[tokio::test]
async fn unknown_paths_and_methods_get_problem_responses() {
    let api = TestApi::new().await;
    api.get("/api/v1/nothing").await.problem(404, "not_found");
    api.get("/nothing").await.problem(404, "not_found");
    api.delete("/api/v1/orgs").await.problem(405, "method_not_allowed");
}

#[tokio::test]
async fn organizations_are_created_once() {
    let api = TestApi::new().await;
    let made = api
        .post(
            "/api/v1/orgs",
            json!({ "id": "acme", "limits": { "maxConcurrentRuns": 3 } }),
        )
        .await;
    assert_eq!(made.status, 201);
    assert_eq!(made.ok()["limits"]["maxConcurrentRuns"], 3);
    for id in ["acme", "default"] {
        let again = api.post("/api/v1/orgs", json!({ "id": id })).await;
        again.problem(409, "organization_exists");
    }
    api.post("/api/v1/orgs", json!({ "id": "A/B" }))
        .await
        .problem(400, "invalid_field");
    for limit in [0, 10_001] {
        let limits = json!({ "limits": { "maxConcurrentRuns": limit } });
        let refused = api.patch("/api/v1/orgs/acme", limits).await;
        refused.problem(400, "invalid_field");
    }
    let lifted = api
        .patch(
            "/api/v1/orgs/acme",
            json!({ "limits": { "maxConcurrentRuns": null }, "name": "ACME" }),
        )
        .await
        .ok();
    assert_eq!(
        (&lifted["name"], &lifted["limits"]["maxConcurrentRuns"]),
        (&json!("ACME"), &Value::Null)
    );
}
