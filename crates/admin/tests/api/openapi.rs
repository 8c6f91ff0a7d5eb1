//! The OpenAPI description and the served routes match.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::header::{ACCEPT_LANGUAGE, AUTHORIZATION};
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::test_api::{ROOT, TestApi};

/// The routes that the design promises, with their methods.
const PROMISED: &[(&str, &[&str])] = &[
    ("/api/v1/orgs", &["get", "post"]),
    ("/api/v1/orgs/{org}", &["get", "patch"]),
    ("/api/v1/orgs/{org}/apply", &["post"]),
    ("/api/v1/orgs/{org}/export", &["get"]),
    ("/api/v1/orgs/{org}/tokens", &["get", "post"]),
    ("/api/v1/orgs/{org}/tokens/{id}", &["delete"]),
    ("/api/v1/platforms", &["get"]),
    ("/api/v1/audit", &["get"]),
    ("/api/v1/keys", &["get"]),
    ("/api/v1/keys/rotate", &["post"]),
    ("/api/v1/orgs/{org}/audit", &["get"]),
    ("/api/v1/orgs/{org}/notify", &["get", "patch", "delete"]),
    ("/api/v1/orgs/{org}/notify/test", &["post"]),
    ("/api/v1/orgs/{org}/mapper", &["get", "patch", "delete"]),
    ("/api/v1/orgs/{org}/users/{id}/map", &["post"]),
    ("/api/v1/orgs/{org}/agents/{id}/restore", &["post"]),
    ("/api/v1/orgs/{org}/integrations/{id}/restore", &["post"]),
    ("/api/v1/orgs/{org}/triggers/{id}/restore", &["post"]),
    ("/api/v1/orgs/{org}/scheduled-messages", &["get", "post"]),
    ("/api/v1/orgs/{org}/scheduled-messages/{id}", &["get", "delete"]),
    ("/api/v1/session", &["get", "post", "delete"]),
    ("/api/v1/orgs/{org}/summary", &["get"]),
    ("/api/v1/orgs/{org}/integrations", &["get", "post"]),
    ("/api/v1/orgs/{org}/integrations/{id}", &["get", "patch", "delete"]),
    ("/api/v1/orgs/{org}/integrations/{id}/start", &["post"]),
    ("/api/v1/orgs/{org}/integrations/{id}/stop", &["post"]),
    ("/api/v1/orgs/{org}/integrations/{id}/restart", &["post"]),
    ("/api/v1/orgs/{org}/integrations/{id}/status", &["get"]),
    ("/api/v1/orgs/{org}/integrations/{id}/test", &["post"]),
    ("/api/v1/orgs/{org}/integrations/{id}/logs", &["get"]),
    ("/api/v1/orgs/{org}/integrations/{id}/doctor", &["post"]),
    ("/api/v1/orgs/{org}/integrations/{id}/impact", &["get"]),
    ("/api/v1/orgs/{org}/integrations/{id}/login", &["get", "post"]),
    ("/api/v1/orgs/{org}/integrations/{id}/conversations", &["get"]),
    (
        "/api/v1/orgs/{org}/integrations/{id}/conversations/{conversationId}/reset",
        &["post"],
    ),
    (
        "/api/v1/orgs/{org}/integrations/{id}/conversations/{conversationId}/bind",
        &["post"],
    ),
    ("/api/v1/orgs/{org}/integrations/{id}/messages", &["post"]),
    ("/api/v1/orgs/{org}/pairings", &["get"]),
    ("/api/v1/orgs/{org}/pairings/approve", &["post"]),
    ("/api/v1/orgs/{org}/pairings/{id}/approve", &["post"]),
    ("/api/v1/orgs/{org}/pairings/{id}/deny", &["post"]),
    ("/api/v1/orgs/{org}/link-codes", &["post"]),
    ("/api/v1/accounts/release", &["post"]),
    ("/api/v1/orgs/{org}/agents", &["get", "post"]),
    ("/api/v1/orgs/{org}/agents/{id}", &["get", "patch", "delete"]),
    ("/api/v1/orgs/{org}/agents/{id}/test", &["post"]),
    ("/api/v1/orgs/{org}/triggers", &["get", "post"]),
    ("/api/v1/orgs/{org}/triggers/{id}", &["get", "patch", "delete"]),
    ("/api/v1/orgs/{org}/users", &["get"]),
    ("/api/v1/orgs/{org}/users/{id}", &["get", "patch", "delete"]),
    ("/api/v1/orgs/{org}/messages", &["get"]),
    ("/api/v1/orgs/{org}/messages/{id}", &["get"]),
    ("/api/v1/orgs/{org}/deadletters", &["get"]),
    ("/api/v1/orgs/{org}/deadletters/redrive", &["post"]),
    ("/api/v1/orgs/{org}/deadletters/{id}/redrive", &["post"]),
    ("/api/runs/{runId}/events", &["get", "post"]),
    ("/api/media/{token}", &["get"]),
    ("/api/replies/{token}", &["get"]),
    ("/api/{platform}/webhook/{integrationId}", BESIDE[0].1),
    ("/api/web/replies/{replyId}", BESIDE[1].1),
    ("/api/openapi.json", &["get"]),
    ("/healthz", &["get"]),
];

/// Routes that another service answers at the same address.
const BESIDE: [(&str, &[&str]); 2] = [
    ("/api/{platform}/webhook/{integrationId}", &["get", "post"]),
    ("/api/web/replies/{replyId}", &["get"]),
];

#[tokio::test]
async fn description_lists_exactly_the_promised_routes() {
    let api = TestApi::new().await;
    let description = api.get("/api/openapi.json").await.ok();
    assert!(
        description["openapi"].as_str().unwrap().starts_with("3.1"),
        "{}",
        description["openapi"]
    );
    let told: BTreeSet<(String, String)> = operations(&description)
        .map(|(path, method, _)| (path, method))
        .collect();
    let promised = PROMISED
        .iter()
        .flat_map(|(path, methods)| methods.iter().map(|method| ((*path).to_owned(), (*method).to_owned())));
    assert_eq!(told, promised.collect());
}

#[tokio::test]
async fn described_routes_are_served() {
    let api = TestApi::new().await;
    let description = api.get("/api/openapi.json").await.ok();
    let own = |path: &str| BESIDE.iter().all(|(beside, _)| *beside != path);
    for (path, method, operation) in operations(&description).filter(|(path, ..)| own(path)) {
        let address = path
            .split('/')
            .map(|part| if part.starts_with('{') { "x" } else { part })
            .collect::<Vec<_>>()
            .join("/");
        let answer = api.ask(ROOT, &method.to_uppercase(), &address, &Value::Null).await;
        assert_ne!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        let nowhere = answer.status == StatusCode::NOT_FOUND && answer.json()["code"] == "not_found";
        assert!(!nowhere, "{method} {path}");
        let ids = path.matches('{').count();
        let described = operation["parameters"].as_array().map_or(0, |parameters| {
            parameters.iter().filter(|it| it["in"] == "path").count()
        });
        assert_eq!(described, ids, "{method} {path}");
        assert!(
            operation["responses"].as_object().is_some_and(|it| !it.is_empty()),
            "{method} {path}"
        );
        if path.starts_with("/api/v1/") {
            let refusals = ["401", if ids > 0 { "404" } else { "401" }];
            for status in refusals {
                let shape = &operation["responses"][status]["content"]["application/problem+json"];
                assert!(shape.is_object(), "{method} {path} {status}");
            }
        }
    }
}

/// Every `$ref` resolves.
#[tokio::test]
async fn no_reference_is_dangling() {
    let api = TestApi::new().await;
    let description = api.get("/api/openapi.json").await.ok();
    let mut references = Vec::new();
    collect(&description, &mut references);
    assert!(references.len() > 50);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(description.pointer(pointer).is_some(), "{reference}");
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            references.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|field| collect(field, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}

fn operations(description: &Value) -> impl Iterator<Item = (String, String, &Value)> {
    let paths = description["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, item)| {
        let operations = item.as_object().unwrap().iter();
        operations.map(move |(method, operation)| (path.clone(), method.clone(), operation))
    })
}

#[tokio::test]
async fn operations_of_operators_refuse_what_they_do_not_take() {
    let api = TestApi::new().await;
    let description = api.get("/api/openapi.json").await.ok();
    for (path, method, operation) in operations(&description).filter(|(path, ..)| path.starts_with("/api/v1/")) {
        let address = path.replace("{org}", "default").replace("{id}", "x");
        let address = address.replace("{conversationId}", "y");
        let method = method.to_uppercase();
        // Only an operator learns what an operation takes.
        let known = if path == "/api/v1/session" { "" } else { ROOT };
        let query = format!("{address}?nosuch=%31");
        let answer = api.ask(known, &method, &query, &Value::Null).await;
        if path != "/api/v1/session" || method != "GET" {
            assert_eq!(
                answer.problem(400, "unknown_field")["field"],
                "nosuch",
                "{method} {path}"
            );
        }
        if path != "/api/v1/session" {
            api.ask("", &method, &query, &Value::Null)
                .await
                .problem(401, "unauthorized");
        }
        if method == "POST" && operation.get("requestBody").is_none() {
            let answer = api.post(&address, json!({ "nosuch": true })).await;
            assert_eq!(
                answer.problem(400, "unknown_field")["field"],
                "nosuch",
                "{method} {path}"
            );
            api.post(&address, json!([1])).await.problem(400, "invalid_body");
            let nothing = api.post(&address, json!({})).await;
            assert_eq!(
                nothing.status,
                api.post(&address, Value::Null).await.status,
                "{method} {path}"
            );
        }
    }
}

#[tokio::test]
async fn every_operation_id_is_unique_and_every_response_has_a_description() {
    let api = TestApi::new().await;
    let description = api.get("/api/openapi.json").await.ok();
    let mut names = BTreeSet::new();
    for (path, method, operation) in operations(&description) {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name), "{method} {path} is called {name}, as another is");
        for (status, response) in operation["responses"].as_object().unwrap() {
            let description = response["description"].as_str().unwrap_or_default();
            assert!(!description.is_empty(), "{method} {path} {status}");
        }
    }
    assert!(
        names.contains("integrations_list") && names.contains("agents_restore"),
        "{names:?}"
    );
}

/// What agents and receivers of notifications are sent, and where the API is.
#[tokio::test]
async fn servers_and_webhooks_are_described() {
    let api = TestApi::new().await;
    let description = api.get("/api/openapi.json").await.ok();
    assert_eq!(description["servers"][0]["url"], "/");
    let own: BTreeSet<&str> = operations(&description)
        .map(|(.., operation)| operation["operationId"].as_str().unwrap())
        .collect();
    for name in ["agentRequest", "notification"] {
        let webhook = &description["webhooks"][name]["post"];
        let headers: Vec<_> = webhook["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["name"].as_str().unwrap())
            .collect();
        assert_eq!(headers, ["webhook-id", "webhook-timestamp", "webhook-signature"]);
        let body = &webhook["requestBody"]["content"]["application/json"];
        assert!(body["schema"].is_object() && body["example"].is_object(), "{webhook}");
        assert!(!own.contains(webhook["operationId"].as_str().unwrap()));
        for (status, response) in webhook["responses"].as_object().unwrap() {
            assert!(response["description"].is_string(), "{name} {status}");
        }
    }
}

#[tokio::test]
async fn the_catalogue_marks_secrets() {
    let api = TestApi::new().await;
    let catalogue = api.get("/api/v1/platforms").await.ok();
    let platforms = catalogue["items"].as_array().unwrap();
    for mode in platforms.iter().flat_map(|it| it["modes"].as_array().unwrap()) {
        let limit = mode["abilities"]["maxText"].as_u64().unwrap();
        assert!(limit <= 16 * 1024 * 1024, "{mode}");
    }
    let lark = platforms.iter().find(|it| it["platform"] == "lark").unwrap();
    assert_eq!(lark["recommendedMode"], "long_connection");
    let fields = &lark["modes"][0]["credentials"]["properties"];
    assert_eq!(fields["appSecret"]["writeOnly"], true);
    assert!(fields["appId"].get("writeOnly").is_none());
    let protocols = catalogue["agentProtocols"].as_array().unwrap();
    assert!(protocols.iter().any(|it| it["protocol"] == "openai_chat"));
}

#[tokio::test]
async fn the_catalogue_explains_in_the_language_asked_for() {
    let api = TestApi::new().await;
    let request = Request::builder()
        .uri("/api/v1/platforms")
        .header(AUTHORIZATION, format!("Bearer {ROOT}"))
        .header(ACCEPT_LANGUAGE, "zh-CN");
    let catalogue = api.send(request.body(Body::empty()).unwrap()).await.ok();
    let platforms = catalogue["items"].as_array().unwrap();
    let lark = platforms.iter().find(|it| it["platform"] == "lark").unwrap();
    let mode = &lark["modes"][0];
    assert!(mode["setup"][0].as_str().unwrap().contains("企业自建应用"), "{mode}");
    let help = &mode["credentials"]["properties"]["appSecret"]["description"];
    assert!(help.as_str().unwrap().contains("凭证与基础信息"), "{mode}");
    let protocols = catalogue["agentProtocols"].as_array().unwrap();
    let dify = protocols.iter().find(|it| it["protocol"] == "dify").unwrap();
    let help = &dify["config"]["properties"]["apiKey"]["description"];
    assert!(help.as_str().unwrap().contains("密钥"), "{dify}");
}
