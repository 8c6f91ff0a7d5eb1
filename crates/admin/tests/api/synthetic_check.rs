//! The synthetic check, which creates its bot and sends it a message through the public address.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use tieline_admin::synthetic_check;
use tieline_bridge::metrics::Metrics;
use tieline_bridge::operator::session::GUARD_HEADER;
use tieline_bridge::operator::{self, Proofs};
use tieline_bridge::world::{Settings, World};
use tieline_bridge::{receive, reply_poll};
use tieline_core::http_types::{WebhookAnswer, WebhookRequest};
use tieline_core::ids::{IntegrationId, ReplyId};

use crate::test_api::TestApi;

/// Answers callbacks and polls like the Lambda function `webhook`.
async fn answer(world: &World, request: Request) -> WebhookAnswer {
    let (head, body) = request.into_parts();
    let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap());
    let proofs = Proofs {
        cookie: header("cookie"),
        is_guarded: header(GUARD_HEADER).is_some(),
        changes: head.method != "GET",
        ..Proofs::default()
    };
    let operator = operator::reader(world, &proofs).await.unwrap();
    let parts: Vec<&str> = head.uri.path().trim_matches('/').split('/').collect();
    match parts[..] {
        ["api", platform, "webhook", integration] => {
            let request = WebhookRequest {
                method: head.method.to_string(),
                body: to_bytes(body, 4096).await.unwrap().into(),
                ..WebhookRequest::default()
            };
            let integration = IntegrationId::new(integration);
            receive::receive(world, platform, &integration, &request, operator.as_ref()).await
        }
        ["api", _, "replies", reply] => {
            let query = head.uri.query().unwrap_or_default();
            reply_poll::long_poll(world, &ReplyId::new(reply), query, operator.as_ref()).await
        }
        _ => WebhookAnswer::empty(404),
    }
}

/// The API in a process that runs the check, and the switch that makes its public address fail.
async fn checking() -> (TestApi, World, Arc<AtomicBool>) {
    let api = TestApi::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let public_url = format!("http://{}", listener.local_addr().unwrap());
    let (served, is_up) = (api.world.clone(), Arc::new(AtomicBool::new(true)));
    let up = Arc::clone(&is_up);
    let router = Router::new().fallback(move |request: Request| async move {
        let answer = match up.load(Ordering::Relaxed) {
            true => answer(&served, request).await,
            false => WebhookAnswer::empty(503),
        };
        let response = Response::builder().status(answer.status);
        response.body(Body::from(answer.body)).unwrap()
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    let world = World {
        settings: Arc::new(Settings {
            public_url,
            ..(*api.world.settings).clone()
        }),
        metrics: Arc::new(Metrics::gathering("test".to_owned())),
        ..api.world.clone()
    };
    (api, world, is_up)
}

/// The metrics that a check emits.
async fn failed(world: &World) -> serde_json::Value {
    synthetic_check::run(world).await;
    let line = world.metrics.take_lines(world.clock.now());
    serde_json::from_str::<serde_json::Value>(&line).unwrap()["FailedChecks"].clone()
}

#[tokio::test]
async fn check_creates_its_bot_once_and_is_answered() {
    let (api, world, is_up) = checking().await;
    api.work();
    for _ in 0..2 {
        assert_eq!(failed(&world).await, 0.0);
    }
    let organization = "/api/v1/orgs/tieline-check";
    for listed in ["integrations", "agents", "triggers", "tokens"] {
        let listed = api.get(&format!("{organization}/{listed}")).await.ok();
        assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
    }
    let messages = api.get(&format!("{organization}/messages")).await.ok();
    assert_eq!(messages["items"].as_array().unwrap().len(), 2, "{messages}");
    is_up.store(false, Ordering::Relaxed);
    assert_eq!(failed(&world).await, 1.0);
}

#[tokio::test]
async fn unanswered_message_fails_the_check_in_time() {
    // No dispatcher and no runner is running.
    let (_api, world, _is_up) = checking().await;
    let begun = tokio::time::Instant::now();
    assert_eq!(failed(&world).await, 1.0);
    assert!(begun.elapsed().as_secs() < 29, "the function is ended by then");
}

#[tokio::test]
async fn partly_deleted_bot_is_created_again() {
    let (api, world, _is_up) = checking().await;
    api.work();
    assert_eq!(failed(&world).await, 0.0);
    let organization = "/api/v1/orgs/tieline-check";
    let triggers = api.get(&format!("{organization}/triggers")).await.ok();
    let id = triggers["items"][0]["id"].as_str().unwrap();
    api.delete(&format!("{organization}/triggers/{id}")).await.ok();
    assert_eq!(failed(&world).await, 0.0);
}
