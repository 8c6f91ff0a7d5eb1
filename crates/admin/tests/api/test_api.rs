//! An in-memory bridge and a client of its management API.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tieline_bridge::clock::Clock;
use tieline_bridge::operator::Operator;
use tieline_bridge::pollers::{self, Concurrency};
use tieline_bridge::receive;
use tieline_bridge::world::{Settings, World};
use tieline_connectors::registry;
use tieline_core::conversation::Owner;
use tieline_core::http_types::WebhookRequest;
use tieline_core::ids::{IntegrationId, ReplyId};
use tieline_core::notice::Language;
use tieline_core::outbound_url::PrivateEndpoints;
use tieline_core::reply::Stage;
use tieline_core::secret::Secret;
use tieline_embedded::{ACCESS_KEY_ID, ENDPOINT_URL, Embedded, REGION, SECRET_ACCESS_KEY};
use tieline_queue::{Queues, definitions};
use tieline_store::reply;
use tieline_store::{Keyring, Store, Tables, create_missing};
use tokio::sync::watch;
use tower::ServiceExt as _;

/// The root token.
pub(crate) const ROOT: &str = "root-token-of-the-tests";
/// The base path of the default organization.
pub(crate) const DEFAULT: &str = "/api/v1/orgs/default";
/// Timeout of a test's waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// An in-memory bridge.
pub(crate) struct TestApi {
    _engine: Embedded,
    pub(crate) world: World,
    /// The tables, for direct inspection.
    pub(crate) dynamo: aws_sdk_dynamodb::Client,
    router: Router,
    /// Stops the pollers when it is dropped.
    stop: watch::Sender<bool>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The body of a successful response.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// The body of a problem with this status and code.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.headers[CONTENT_TYPE], "application/problem+json", "{self:?}");
        let body = self.json();
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["status"], status, "{body}");
        body
    }
}

impl TestApi {
    /// A bridge that may call private addresses, as tests need.
    pub(crate) async fn new() -> Self {
        Self::with(true).await
    }

    /// A bridge with the SSRF guard on, as deployed.
    pub(crate) async fn guarded() -> Self {
        Self::with(false).await
    }

    async fn with(allow_private: bool) -> Self {
        let engine = Embedded::in_memory(tieline_embedded::Options::default()).unwrap();
        let sdk = sdk(&engine);
        let (dynamo, sqs) = (aws_sdk_dynamodb::Client::new(&sdk), aws_sdk_sqs::Client::new(&sdk));
        let tables = Tables::with_prefix("test-");
        create_missing(&dynamo, &tables).await.unwrap();
        let urls = definitions::create_missing(&sqs, "test-", 4).await.unwrap();
        let owner = Owner {
            node: "test".to_owned(),
            life: "1".to_owned(),
        };
        let settings = Settings {
            allow_private: match allow_private {
                true => PrivateEndpoints::Allowed,
                false => PrivateEndpoints::Refused,
            },
            root_token: Some(Secret::new(ROOT)),
            ..Settings::new("https://bridge.example".to_owned(), owner)
        };
        let world = World::new(
            Store::new(dynamo.clone(), tables, Keyring::new([7; 32])),
            Queues::new(sqs, urls),
            registry::ALL,
            Clock::system(),
            settings,
        );
        Self {
            _engine: engine,
            dynamo,
            router: tieline_admin::router(world.clone()),
            world,
            stop: watch::channel(false).0,
        }
    }

    /// Sets a separate base of callback URLs, such as a function URL.
    pub(crate) fn set_callback_base(&mut self, base: &str) {
        let settings = Settings {
            callback_base: Some(base.to_owned()),
            ..(*self.world.settings).clone()
        };
        self.world.settings = std::sync::Arc::new(settings);
        self.router = tieline_admin::router(self.world.clone());
    }

    /// Removes the stored response of an idempotency key, and ends its lease.
    pub(crate) async fn forget_answer(&self, pk: &str, sk: &str) {
        let text = |value: &str| AttributeValue::S(value.to_owned());
        let update = self.dynamo.update_item().table_name("test-state");
        update
            .key("pk", text(pk))
            .key("sk", text(sk))
            .update_expression("SET l = :zero REMOVE a")
            .condition_expression("attribute_exists(a)")
            .expression_attribute_values(":zero", AttributeValue::N("0".to_owned()))
            .send()
            .await
            .unwrap();
    }

    /// Starts the dispatcher and the runner.
    pub(crate) fn work(&self) {
        let concurrency = Concurrency {
            dispatchers: 1,
            runs: 16,
        };
        tokio::spawn(pollers::dispatch(
            self.world.clone(),
            concurrency,
            self.stop.subscribe(),
        ));
        tokio::spawn(pollers::run(self.world.clone(), concurrency, self.stop.subscribe()));
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let bytes = to_bytes(body, 16 * 1024 * 1024).await.unwrap();
        Reply {
            status: head.status,
            headers: head.headers,
            text: String::from_utf8(bytes.into()).unwrap(),
        }
    }

    /// Sends a request with a token. `Null` sends no body.
    pub(crate) async fn ask(&self, token: &str, method: &str, path: &str, body: &Value) -> Reply {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(AUTHORIZATION, format!("Bearer {token}"));
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask(ROOT, "GET", path, &Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.ask(ROOT, "POST", path, &body).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Reply {
        self.ask(ROOT, "PATCH", path, &body).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.ask(ROOT, "DELETE", path, &Value::Null).await
    }

    /// Creates a resource and returns its id.
    pub(crate) async fn create(&self, path: &str, body: Value) -> String {
        let made = self.post(path, body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
        made.ok()["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn web(&self, name: &str) -> String {
        self.create(
            &format!("{DEFAULT}/integrations"),
            json!({ "name": name, "platform": "web" }),
        )
        .await
    }

    pub(crate) async fn echo(&self, name: &str) -> String {
        self.create(
            &format!("{DEFAULT}/agents"),
            json!({ "name": name, "protocol": "echo" }),
        )
        .await
    }

    /// An agent that answers with its own name and keeps no state, and the requests it received.
    pub(crate) async fn named_agent(&self, name: &str) -> (String, Asked) {
        let answer = json!({ "choices": [{ "message": { "role": "assistant", "content": format!("from {name}") } }] });
        let (url, asked) = recording(answer).await;
        let config = json!({ "baseUrl": url, "model": "m" });
        let body = json!({ "name": name, "protocol": "openai_chat", "config": config });
        (self.create(&format!("{DEFAULT}/agents"), body).await, asked)
    }

    pub(crate) async fn trigger(&self, integration: &str, agent: &str) -> String {
        let body = json!({ "integrationId": integration, "agentId": agent });
        self.create(&format!("{DEFAULT}/triggers"), body).await
    }

    /// Sends a message over the web channel and returns its id.
    pub(crate) async fn say(&self, integration: &str, text: &str) -> String {
        self.say_as(integration, "lisi", text).await
    }

    /// Like [`TestApi::say`], but from this person, each in a chat of their own.
    pub(crate) async fn say_as(&self, integration: &str, person: &str, text: &str) -> String {
        let said = self.receive(integration, person, text).await;
        said["messageId"].as_str().unwrap().to_owned()
    }

    async fn receive(&self, integration: &str, person: &str, text: &str) -> Value {
        let request = WebhookRequest {
            method: "POST".to_owned(),
            body: json!({ "text": text, "chatId": "c", "senderId": person })
                .to_string()
                .into_bytes(),
            ..WebhookRequest::default()
        };
        let id = IntegrationId::new(integration);
        let answer = receive::receive(&self.world, "web", &id, &request, Some(&Operator::Root)).await;
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Sends a message over the web channel and returns the final text of its reply; our own sentences are in English.
    pub(crate) async fn ask_as(&self, integration: &str, person: &str, text: &str) -> String {
        let said = self.receive(integration, person, text).await;
        let id = ReplyId::new(said["replyId"].as_str().unwrap());
        let give_up_at = tokio::time::Instant::now() + PATIENCE;
        loop {
            let found = reply::get(&self.world.store, &id, self.world.clock.now())
                .await
                .unwrap();
            if let Some(reply) = found.filter(|reply| reply.stage == Stage::Final) {
                let notice = reply.notice.map(|notice| notice.text(Language::English));
                return format!("{}{}", reply.text, notice.unwrap_or_default());
            }
            assert!(tokio::time::Instant::now() < give_up_at, "no reply to {text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Polls with GET until the response meets the condition.
    pub(crate) async fn wait(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let give_up_at = tokio::time::Instant::now() + PATIENCE;
        loop {
            let shown = self.get(path).await;
            if shown.status.is_success() && wanted(&shown.json()) {
                return shown.json();
            }
            assert!(tokio::time::Instant::now() < give_up_at, "{shown:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Creates an organization and returns a token with this role.
    pub(crate) async fn organization(&self, id: &str, role: &str) -> String {
        self.post("/api/v1/orgs", json!({ "id": id })).await;
        let body = json!({ "name": "t", "role": role });
        let made = self.post(&format!("/api/v1/orgs/{id}/tokens"), body).await;
        made.ok()["token"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn sdk(engine: &Embedded) -> SdkConfig {
    let credentials = Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        .endpoint_url(ENDPOINT_URL)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(engine.http_client())
        .build()
}

/// Address of a server that answers every request with this JSON.
pub(crate) async fn answering(body: Value) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(move || async move { axum::Json(body) });
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// Address of a server that answers every request with the current value of the returned JSON.
pub(crate) async fn changing(first: Value) -> (String, Arc<Mutex<Value>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let body = Arc::new(Mutex::new(first));
    let now = Arc::clone(&body);
    let router = Router::new().fallback(move || async move { axum::Json(now.lock().unwrap().clone()) });
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), body)
}

/// The requests that a server received: paths and bodies.
pub(crate) type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// Like [`answering`], but also records the requests.
pub(crate) async fn recording(body: Value) -> (String, Asked) {
    let asked = Asked::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::clone(&asked);
    let router = Router::new().fallback(move |request: Request<Body>| async move {
        let address = request.uri().to_string();
        let bytes = to_bytes(request.into_body(), 1024 * 1024).await.unwrap();
        seen.lock()
            .unwrap()
            .push((address, String::from_utf8(bytes.into()).unwrap()));
        axum::Json(body)
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), asked)
}

/// An address at which no server listens.
pub(crate) fn dead_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
