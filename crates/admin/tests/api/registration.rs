//! Registration of our callback address at a platform that fails for a while.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tieline_admin::periodic;
use tieline_bridge::clock::Clock;
use tieline_bridge::world::World;
use tieline_core::ids::IntegrationId;
use tieline_store::config::{callback_base, registration_due};
use tokio::time::{sleep, timeout};

use crate::test_api::{DEFAULT, TestApi};

/// A platform that answers calls which register an address with these statuses, then with success.
#[derive(Clone, Default)]
struct FailingPlatform {
    answers: Arc<Mutex<VecDeque<u16>>>,
    registered: Arc<Mutex<usize>>,
    /// The addresses of successful calls.
    addresses: Arc<Mutex<Vec<String>>>,
    /// Whether the next call is never answered.
    hangs: Arc<Mutex<bool>>,
}

impl FailingPlatform {
    async fn answer(&self, request: Request<Body>) -> Response {
        let path = request.uri().path().to_owned();
        let body = to_bytes(request.into_body(), 100_000).await.unwrap();
        let result = match path.rsplit('/').next() {
            Some("setWebhook") => {
                *self.registered.lock().unwrap() += 1;
                let status = self.answers.lock().unwrap().pop_front().unwrap_or(200);
                if status != 200 {
                    let status = StatusCode::from_u16(status).unwrap();
                    return (status, [("retry-after", "1")], "try later").into_response();
                }
                let body: Value = serde_json::from_slice(&body).unwrap();
                let url = body["url"].as_str().unwrap().to_owned();
                self.addresses.lock().unwrap().push(url);
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

    fn hang_once(&self) {
        *self.hangs.lock().unwrap() = true;
    }

    fn fail(&self, statuses: impl IntoIterator<Item = u16>) {
        self.answers.lock().unwrap().extend(statuses);
    }

    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let platform = self.clone();
        let router = Router::new().fallback(move |request: Request<Body>| async move {
            let hangs = std::mem::take(&mut *platform.hangs.lock().unwrap());
            if hangs {
                std::future::pending::<()>().await;
            }
            platform.answer(request).await
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }
}

/// More failures than one request repeats.
const OUTAGE: [u16; 3] = [502; 3];

/// One pass, of a process that runs this much later.
async fn pass(api: &TestApi, later: Duration) {
    let world = World {
        clock: Clock::starting_at(api.world.clock.now().after(later)),
        ..api.world.clone()
    };
    periodic::look(&world).await;
}

async fn is_due(api: &TestApi, id: &str) -> bool {
    let due = registration_due::get(&api.world.store, &IntegrationId::new(id)).await;
    due.unwrap().is_some()
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

async fn status(api: &TestApi, id: &str) -> Value {
    api.get(&format!("{DEFAULT}/integrations/{id}/status")).await.ok()
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

#[tokio::test]
async fn failed_registration_is_told_and_repeated_until_it_succeeds() {
    let (api, platform) = (TestApi::new().await, FailingPlatform::default());
    platform.fail(OUTAGE);
    let id = bot(&api, &platform).await;
    assert_eq!(platform.calls(), 3);
    let told = status(&api, &id).await;
    assert_eq!(told["lastError"]["code"], "set_webhook: 502", "{told}");
    let next = told["next"].as_str().unwrap();
    assert!(next.contains("set_webhook: 502") && next.contains("repeats"), "{next}");
    let diagnosis = api
        .post(&format!("{DEFAULT}/integrations/{id}/doctor"), json!({}))
        .await
        .ok();
    let next = diagnosis["next"].as_str().unwrap();
    assert!(
        next.contains("set_webhook: 502") && next.contains("repeats"),
        "{diagnosis}"
    );

    pass(&api, Duration::ZERO).await;
    assert_eq!(platform.calls(), 3, "it is not due yet");
    platform.fail(OUTAGE);
    pass(&api, Duration::from_mins(1)).await;
    assert_eq!((platform.calls(), is_due(&api, &id).await), (6, true));
    pass(&api, Duration::from_mins(1)).await;
    assert_eq!(platform.calls(), 6, "the pause has grown");
    pass(&api, Duration::from_mins(5)).await;
    assert_eq!((platform.calls(), is_due(&api, &id).await), (7, false));
    pass(&api, Duration::from_hours(5)).await;
    assert_eq!(platform.calls(), 7, "it has succeeded");
    let next = status(&api, &id).await["next"].as_str().unwrap().to_owned();
    assert!(
        next.contains("Send the bot a message") && !next.contains("Enter"),
        "{next}"
    );
}

#[tokio::test]
async fn registration_of_a_stopped_or_deleted_bot_is_no_longer_due() {
    for verb in ["stop", "delete"] {
        let (api, platform) = (TestApi::new().await, FailingPlatform::default());
        platform.fail(OUTAGE);
        let id = bot(&api, &platform).await;
        assert!(is_due(&api, &id).await);
        match verb {
            "stop" => api.post(&format!("{DEFAULT}/integrations/{id}/stop"), json!({})).await,
            _ => api.delete(&format!("{DEFAULT}/integrations/{id}?force=true")).await,
        };
        assert!(!is_due(&api, &id).await, "{verb}");
        pass(&api, Duration::from_hours(1)).await;
        assert_eq!(platform.calls(), 3, "{verb}");
    }
}

#[tokio::test]
async fn registration_is_not_repeated_for_ever() {
    let (api, platform) = (TestApi::new().await, FailingPlatform::default());
    platform.fail(OUTAGE);
    let id = bot(&api, &platform).await;
    pass(&api, Duration::from_hours(73)).await;
    assert_eq!((platform.calls(), is_due(&api, &id).await), (3, false));
}

#[tokio::test]
async fn registration_slower_than_a_save_waits_is_repeated() {
    let (api, platform) = (TestApi::new().await, FailingPlatform::default());
    platform.hang_once();
    let id = bot(&api, &platform).await;
    assert!(is_due(&api, &id).await);
    let told = status(&api, &id).await;
    assert_eq!(told["lastError"]["code"], "timeout", "{told}");
    pass(&api, Duration::from_mins(1)).await;
    assert!(!is_due(&api, &id).await);
}

/// Starts a process with this public URL, and ends it once its bots are registered. Returns how many registrations it made.
async fn started_with(api: &TestApi, public_url: &str, platform: &FailingPlatform, id: &str) -> usize {
    let before = platform.calls();
    let base = || async { callback_base::get(&api.world.store).await.unwrap() };
    let mut world = api.world.clone();
    Arc::make_mut(&mut world.settings).public_url = public_url.to_owned();
    let running = tokio::spawn(periodic::run(world));
    let done = async {
        while base().await.is_none_or(|it| it.base != public_url) || is_due(api, id).await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), done).await.unwrap();
    running.abort();
    platform.calls() - before
}

#[tokio::test]
async fn program_with_another_address_registers_its_bots_again() {
    let (api, platform) = (TestApi::new().await, FailingPlatform::default());
    let id = bot(&api, &platform).await;
    let (first, second) = ("https://first.example", "https://second.example");
    // Whatever they were told before, it is unknown.
    assert_eq!(started_with(&api, first, &platform, &id).await, 1);
    assert_eq!(started_with(&api, first, &platform, &id).await, 0);
    assert_eq!(started_with(&api, second, &platform, &id).await, 1);
    let told = platform.addresses.lock().unwrap().clone();
    let told: Vec<_> = told.iter().map(|url| url.split("/api/").next().unwrap()).collect();
    assert_eq!(told[1..], [first, second]);
    assert_eq!(started_with(&api, second, &platform, &id).await, 0);
}
