//! Registration of our callback address at a platform that fails for a while.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use crate::test_api::{DEFAULT, TestApi};

/// A platform that answers calls which register an address with these statuses, then with success.
#[derive(Clone, Default)]
struct FailingPlatform {
    answers: Arc<Mutex<VecDeque<u16>>>,
    registered: Arc<Mutex<usize>>,
}

impl FailingPlatform {
    fn answer(&self, request: &Request<Body>) -> Response {
        let result = match request.uri().path().rsplit('/').next() {
            Some("setWebhook") => {
                *self.registered.lock().unwrap() += 1;
                let status = self.answers.lock().unwrap().pop_front().unwrap_or(200);
                if status != 200 {
                    let status = StatusCode::from_u16(status).unwrap();
                    return (status, [("retry-after", "1")], "try later").into_response();
                }
                json!(true)
            }
            Some("getMe") => json!({ "id": 1, "is_bot": true, "username": "support_bot" }),
            Some("getWebhookInfo") => json!({ "url": "" }),
            _ => json!(true),
        };
        axum::Json(json!({ "ok": true, "result": result })).into_response()
    }

    fn calls(&self) -> usize {
        *self.registered.lock().unwrap()
    }

    fn fail(&self, statuses: impl IntoIterator<Item = u16>) {
        self.answers.lock().unwrap().extend(statuses);
    }

    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let platform = self.clone();
        let router = Router::new().fallback(move |request: Request<Body>| async move { platform.answer(&request) });
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }
}

/// A bot in webhook mode at this platform, bound to an agent.
async fn bot(api: &TestApi, platform: &FailingPlatform) -> String {
    let body = json!({ "name": "Bot", "platform": "telegram", "connectionMode": "webhook",
        "credentials": { "botToken": "1:secret" }, "endpoints": { "apiBase": platform.start().await } });
    let id = api.create(&format!("{DEFAULT}/integrations"), body).await;
    let agent = api.echo("Echo").await;
    api.trigger(&id, &agent).await;
    id
}

#[tokio::test]
async fn transient_failures_are_repeated_at_once() {
    for failure in [502, 429] {
        let (api, platform) = (TestApi::new().await, FailingPlatform::default());
        platform.fail([failure]);
        bot(&api, &platform).await;
        assert_eq!(platform.calls(), 2, "{failure}");
    }
}

#[tokio::test]
async fn permanent_refusal_is_not_repeated_at_once() {
    let (api, platform) = (TestApi::new().await, FailingPlatform::default());
    platform.fail([400]);
    bot(&api, &platform).await;
    assert_eq!(platform.calls(), 1);
}
