//! Many bots on several relay processes, with the rest of the bridge in this process, all over the same tables and queues.

#![expect(clippy::unwrap_used, reason = "a fleet that can't be set up is a failed test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tempfile::TempDir;
use tieline_aws::environment::variables;
use tieline_bridge::clock::Clock;
use tieline_bridge::pollers::{self, Concurrency};
use tieline_bridge::world::{Settings, World};
use tieline_connectors::registry;
use tieline_core::conversation::Owner;
use tieline_core::outbound_url::PrivateEndpoints;
use tieline_core::secret::Secret;
use tieline_embedded::{Embedded, Options};
use tieline_queue::{Queues, Urls, definitions};
use tieline_store::{Keyring, Store, Tables, create_missing};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::console::Console;
use crate::process::ADMIN_TOKEN;
use crate::relay::Relay;

/// The relays' data key in hex.
const KEY: &str = "abababababababababababababababababababababababababababababababab";
const N_SHARDS: usize = 16;
/// Limit of a request through a gate.
const MAX_BYTES: usize = 4 << 20;

/// Tables and queues, an operator, and relay processes.
pub struct Fleet {
    /// The operator.
    pub console: Console,
    /// The gate between relays and tables.
    pub tables: Gate,
    /// The gate between relays and queues.
    pub queues: Gate,
    names: Tables,
    urls: Urls,
    /// Whether relays run the agents of their bots, and receive from `work`.
    relays_run: bool,
    dir: TempDir,
    _stop: watch::Sender<bool>,
}

/// An HTTP proxy between relays and a server, which can be closed.
#[derive(Clone)]
pub struct Gate {
    url: String,
    behind: String,
    closed: Arc<AtomicBool>,
    http: reqwest::Client,
}

impl Gate {
    async fn start(behind: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gate = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            behind: behind.to_owned(),
            closed: Arc::default(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        };
        let router = Router::new().fallback(pass).with_state(gate.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        gate
    }

    /// Returns an error to every request for this time.
    pub async fn close_for(&self, time: Duration) {
        self.closed.store(true, Ordering::SeqCst);
        tokio::time::sleep(time).await;
        self.closed.store(false, Ordering::SeqCst);
    }
}

async fn pass(State(gate): State<Gate>, request: Request) -> Response {
    let refused = |status| Response::builder().status(status).body(Body::empty()).unwrap();
    if gate.closed.load(Ordering::SeqCst) {
        return refused(StatusCode::SERVICE_UNAVAILABLE);
    }
    let (parts, body) = request.into_parts();
    let url = format!("{}{}", gate.behind, parts.uri);
    let body = to_bytes(body, MAX_BYTES).await.unwrap();
    let mut headers = parts.headers;
    headers.remove("host");
    let sent = gate
        .http
        .request(parts.method, url)
        .headers(headers)
        .body(body)
        .send()
        .await;
    let Ok(answer) = sent else {
        return refused(StatusCode::BAD_GATEWAY);
    };
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    response
        .body(Body::from(answer.bytes().await.unwrap_or_default()))
        .unwrap()
}

fn sdk(endpoint: &str) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

impl Fleet {
    /// Starts everything except relays.
    ///
    /// # Panics
    /// If the loopback address has no port left, or the embedded engines don't start.
    pub async fn start() -> Self {
        Self::begin(false).await
    }

    /// Starts everything except relays and runners: the relays call the agents.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub async fn without_runners() -> Self {
        Self::begin(true).await
    }

    async fn begin(relays_run: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Arc::new(Embedded::open(&dir.path().join("data"), Options::default()).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { engine.serve(listener, std::future::pending()).await });
        let sdk = sdk(&url);
        let names = Tables::with_prefix("fleet-");
        create_missing(&aws_sdk_dynamodb::Client::new(&sdk), &names)
            .await
            .unwrap();
        let urls = definitions::create_missing(&aws_sdk_sqs::Client::new(&sdk), "fleet-", N_SHARDS)
            .await
            .unwrap();
        let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let public_url = format!("http://{}", door.local_addr().unwrap());
        let owner = Owner {
            node: "fleet".to_owned(),
            life: "fleet".to_owned(),
        };
        let settings = Settings {
            allow_private: PrivateEndpoints::Allowed,
            root_token: Some(Secret::new(ADMIN_TOKEN)),
            relays_run,
            ..Settings::new(public_url.clone(), owner)
        };
        let store = Store::new(
            aws_sdk_dynamodb::Client::new(&sdk),
            names.clone(),
            Keyring::new([0xab; 32]),
        );
        let queues = Queues::new(aws_sdk_sqs::Client::new(&sdk), urls.clone());
        let world = World::new(store, queues, registry::ALL, Clock::system(), settings);
        let (stop, stopped) = watch::channel(false);
        let concurrency = Concurrency {
            dispatchers: 8,
            runs: 512,
        };
        tokio::spawn(pollers::dispatch(world.clone(), concurrency, stopped.clone()));
        if !relays_run {
            tokio::spawn(pollers::run(world.clone(), concurrency, stopped));
        }
        tokio::spawn(async move { axum::serve(door, tieline_admin::router(world)).await });
        Self {
            console: Console::new(public_url),
            tables: Gate::start(&url).await,
            queues: Gate::start(&url).await,
            names,
            urls,
            relays_run,
            dir,
            _stop: stop,
        }
    }

    /// Creates these bots and binds them to an agent.
    ///
    /// # Panics
    /// If the API refuses.
    pub async fn bind(&self, integrations: Vec<Value>, agent: &Value) {
        let agent = self.console.create("agents", agent).await.unwrap();
        let binding = stream::iter(integrations).for_each_concurrent(8, async |integration| {
            let id = self.console.create("integrations", &integration).await.unwrap();
            let trigger = json!({ "integrationId": id, "agentId": agent, "enabled": true });
            self.console.create("triggers", &trigger).await.unwrap();
        });
        binding.await;
    }

    /// Starts another relay process.
    ///
    /// # Panics
    /// If it can't be started.
    #[must_use]
    pub fn relay(&self, name: &str) -> Relay {
        let queues = self.urls.relay.join(",");
        let env = [
            ("AWS_ENDPOINT_URL_DYNAMODB", self.tables.url.as_str()),
            ("AWS_ENDPOINT_URL_SQS", self.queues.url.as_str()),
            (variables::CONFIG_TABLE, self.names.config.as_str()),
            (variables::STATE_TABLE, self.names.state.as_str()),
            (variables::LEASES_TABLE, self.names.leases.as_str()),
            (variables::INBOUND_QUEUE, self.urls.inbound.as_str()),
            (variables::WORK_QUEUE, self.urls.work.as_str()),
            (variables::RELAY_QUEUES, queues.as_str()),
            (variables::PUBLIC_URL, "http://127.0.0.1:9"),
            (variables::MASTER_KEY, KEY),
            (variables::ALLOW_PRIVATE, "true"),
            (variables::RUNS, if self.relays_run { "container" } else { "lambda" }),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Relay::start(self.dir.path(), name, &env.into()).unwrap()
    }
}
