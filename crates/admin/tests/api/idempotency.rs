//! `Idempotency-Key`: a repeated request is not executed twice.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use tieline_store::idempotency::{self, Claim};

use crate::test_api::{DEFAULT, ROOT, Reply, TestApi};

async fn post(api: &TestApi, token: &str, key: &str, path: &str, body: &Value) -> Reply {
    post_in(api, "en", token, key, path, body).await
}

async fn post_in(api: &TestApi, language: &str, token: &str, key: &str, path: &str, body: &Value) -> Reply {
    let request = Request::post(path)
        .header("authorization", format!("Bearer {token}"))
        .header("accept-language", language)
        .header("idempotency-key", key)
        .body(Body::from(body.to_string()))
        .unwrap();
    api.send(request).await
}

async fn count(api: &TestApi, path: &str) -> usize {
    api.get(path).await.ok()["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn repeated_request_gets_the_stored_response() {
    let api = TestApi::new().await;
    let path = format!("{DEFAULT}/tokens");
    let body = json!({ "name": "ci", "role": "admin" });
    let first = post(&api, ROOT, "k1", &path, &body).await;
    let again = post(&api, ROOT, "k1", &path, &body).await;
    assert_eq!((again.status, &again.text), (first.status, &first.text));
    assert_eq!(again.headers["content-type"], first.headers["content-type"]);
    assert!(!first.headers.contains_key("idempotent-replayed"));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(count(&api, &path).await, 1);
    let other = json!({ "name": "other", "role": "admin" });
    post(&api, ROOT, "k1", &path, &other)
        .await
        .problem(422, "idempotency_key_reused");
    post(&api, ROOT, "k2", &path, &other).await.ok();
    // The same key with another token is another key.
    let token = first.json()["token"].as_str().unwrap().to_owned();
    assert_ne!(post(&api, &token, "k1", &path, &body).await.text, first.text);
    assert_eq!(count(&api, &path).await, 3);
}

#[tokio::test]
async fn refusals_are_replayed_and_key_length_is_limited() {
    let api = TestApi::new().await;
    let path = format!("{DEFAULT}/agents");
    let wrong = json!({ "name": "a", "protocol": "nothing" });
    let first = post(&api, ROOT, "k1", &path, &wrong).await;
    first.problem(400, "invalid_field");
    assert_eq!(post(&api, ROOT, "k1", &path, &wrong).await.text, first.text);
    let long = "k".repeat(256);
    let refused = post(&api, ROOT, &long, &path, &wrong).await;
    assert_eq!(refused.problem(400, "invalid_field")["field"], "Idempotency-Key");
    post(&api, "wrong", "k1", &path, &wrong)
        .await
        .problem(401, "unauthorized");
}

#[tokio::test]
async fn problems_of_a_request_with_a_key_are_in_the_language_asked_for() {
    let api = TestApi::new().await;
    let path = format!("{DEFAULT}/agents");
    let wrong = json!({ "name": "a", "protocol": "nothing" });
    let chinese = async |token: &str, key: &str, body: &Value| post_in(&api, "zh-CN", token, key, &path, body).await;
    let detail = |problem: Value| problem["detail"].as_str().unwrap().to_owned();
    let first = detail(chinese(ROOT, "k1", &wrong).await.problem(400, "invalid_field"));
    assert!(first.starts_with("字段的值无效（"), "{first}");
    // The stored response has no language: each repetition gets its own.
    let english = post(&api, ROOT, "k1", &path, &wrong).await;
    assert_eq!(english.headers["idempotent-replayed"], "true");
    assert_eq!(
        first,
        format!("字段的值无效（{}）", detail(english.problem(400, "invalid_field")))
    );
    let again = chinese(ROOT, "k1", &wrong).await;
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(detail(again.problem(400, "invalid_field")), first);
    // Problems that are found before the request is processed.
    let other = json!({ "name": "b", "protocol": "nothing" });
    for (refused, sentence) in [
        (
            chinese(ROOT, "k1", &other).await.problem(422, "idempotency_key_reused"),
            "该 Idempotency-Key 已用于另一个请求",
        ),
        (
            chinese("wrong", "k1", &wrong).await.problem(401, "unauthorized"),
            "需要有效的令牌",
        ),
        (
            chinese(ROOT, &"k".repeat(256), &wrong)
                .await
                .problem(400, "invalid_field"),
            "字段的值无效",
        ),
    ] {
        let refused = detail(refused);
        assert!(refused.starts_with(sentence), "{refused}");
    }
}

#[tokio::test]
async fn refusals_for_missing_rights_are_not_stored() {
    let api = TestApi::new().await;
    let viewer = api.organization("acme", "viewer").await;
    let body = json!({ "name": "a", "protocol": "echo" });
    for _ in 0..2 {
        let refused = post(&api, &viewer, "k1", "/api/v1/orgs/acme/agents", &body).await;
        refused.problem(403, "forbidden");
        assert!(!refused.headers.contains_key("idempotent-replayed"), "{refused:?}");
    }
}

/// What a conflict is about may pass, and the operator is told to try again.
#[tokio::test]
async fn conflicts_are_not_stored() {
    let api = TestApi::new().await;
    let path = format!("{DEFAULT}/agents");
    let (holder, _) = api.named_agent("Taken").await;
    let body = json!({ "name": "Taken", "protocol": "echo" });
    for _ in 0..2 {
        let refused = post(&api, ROOT, "k1", &path, &body).await;
        refused.problem(409, "name_taken");
        assert!(!refused.headers.contains_key("idempotent-replayed"), "{refused:?}");
    }
    api.delete(&format!("{path}/{holder}")).await.ok();
    let made = post(&api, ROOT, "k1", &path, &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(post(&api, ROOT, "k1", &path, &body).await.text, made.text);
}

/// The request was processed: its response must arrive, even if it can't be stored, and the key must not stay in use.
#[tokio::test]
async fn response_that_is_too_large_is_sent_and_the_key_released() {
    let api = TestApi::new().await;
    let prompt = "x".repeat(900_000);
    let agent = |n: usize, prompt: &str| {
        format!(
            "- {{name: A{n}, protocol: openai_chat, config: {{baseUrl: 'https://a.example', model: m, systemPrompt: {prompt}}}}}\n"
        )
    };
    let first = agent(0, &format!("&prompt {prompt}"));
    let file = format!(
        "agents:\n{first}{}",
        (1..6).map(|n| agent(n, "*prompt")).collect::<String>()
    );
    for _ in 0..2 {
        let path = format!("{DEFAULT}/apply?dryRun=true");
        let answer = post(&api, ROOT, "k1", &path, &json!({ "file": file })).await;
        assert_eq!(answer.status, 200, "{}", &answer.text[..answer.text.len().min(500)]);
        assert!(answer.text.len() > 4 * 1024 * 1024);
        assert_eq!(answer.json()["created"], 6);
    }
}

#[tokio::test]
async fn one_of_many_concurrent_requests_is_processed() {
    let api = TestApi::new().await;
    let path = format!("{DEFAULT}/agents");
    let body = json!({ "name": "Echo", "protocol": "echo" });
    let all = futures_util::future::join_all((0..8).map(|_| post(&api, ROOT, "k1", &path, &body))).await;
    for answer in &all {
        if answer.status != 201 {
            answer.problem(409, "idempotency_key_in_use");
        }
    }
    assert!(all.iter().any(|answer| answer.status == 201), "{all:?}");
    assert_eq!(count(&api, &path).await, 1);
}

/// Claims a key as a process did that died long ago, and leaves the claim open.
async fn claimed_and_lost(api: &TestApi, key: &str, path: &str, body: &Value) {
    let now = api.world.clock.now();
    let text = body.to_string();
    let asked = ["POST", path, text.as_str()];
    let seed = tieline_bridge::world::random();
    let claim = idempotency::claim(&api.world.store, ("/root", key), &asked, seed, now).await;
    let Claim::Mine(claimed) = claim.unwrap() else {
        panic!("the key is in use");
    };
    idempotency::release(&api.world.store, &claimed).await.unwrap();
}

/// The process dies after the resource is written and before the response is stored.
#[tokio::test]
async fn after_a_crash_the_created_resource_is_found_and_not_created_twice() {
    let api = TestApi::new().await;
    let (bot, agent) = (api.web("Bot").await, api.echo("Echo").await);
    let requests = [
        (format!("{DEFAULT}/tokens"), json!({ "name": "ci", "role": "admin" })),
        (
            format!("{DEFAULT}/agents"),
            json!({ "name": "Other", "protocol": "echo" }),
        ),
        (
            format!("{DEFAULT}/integrations"),
            json!({ "name": "Other", "platform": "web" }),
        ),
        (
            format!("{DEFAULT}/triggers"),
            json!({ "integrationId": bot, "agentId": agent }),
        ),
        ("/api/v1/orgs".to_owned(), json!({ "id": "acme" })),
    ];
    for (n, (path, body)) in requests.iter().enumerate() {
        let key = format!("k{n}");
        let before = count(&api, path).await;
        claimed_and_lost(&api, &key, path, body).await;
        let first = post(&api, ROOT, &key, path, body).await;
        assert_eq!(first.status, 201, "{path}: {first:?}");
        forget_answer(&api, &key).await;
        let again = post(&api, ROOT, &key, path, body).await;
        assert_eq!(again.status, 201, "{path}: {again:?}");
        assert!(!again.headers.contains_key("idempotent-replayed"), "{path}");
        assert_eq!(
            (&again.json()["id"], &again.json()["token"]),
            (&first.json()["id"], &first.json()["token"])
        );
        assert_eq!(count(&api, path).await, before + 1, "{path}");
    }
}

/// Removes the stored response of a key, as if the process had died before it wrote it.
async fn forget_answer(api: &TestApi, key: &str) {
    api.forget_answer("IDEM#/root", &tieline_core::ids::digest(&[key]))
        .await;
}
