//! Tables and queues of one test, and processes over them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tieline_bridge::clock::Clock;
use tieline_bridge::connections::{Connections, Options};
use tieline_bridge::world::{Settings, World, random};
use tieline_connectors::registry;
use tieline_core::account::{ConnectionMode, Credentials, Endpoints};
use tieline_core::agent::{Agent, AgentConfig};
use tieline_core::conversation::Owner;
use tieline_core::envelope::Envelope;
use tieline_core::ids::{AgentId, IntegrationId, OrganizationId, TriggerId};
use tieline_core::notice::Language;
use tieline_core::outbound_url::PrivateEndpoints;
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_core::trigger::{Trigger, TriggerSettings};
use tieline_embedded::{
    ACCESS_KEY_ID, CrashPoint, ENDPOINT_URL, Embedded, Moment, Observer, REGION, SECRET_ACCESS_KEY, Service, Verdict,
};
use tieline_queue::receive::{self, Received};
use tieline_queue::{Queues, Urls, definitions};
use tieline_store::config::agent;
use tieline_store::config::desired_connections::{self, Compare};
use tieline_store::config::integration::{self, IntegrationSettings, NewIntegration};
use tieline_store::config::trigger::{self, Rival};
use tieline_store::status::{self, Status};
use tieline_store::{Keyring, Store, Tables, create_missing};

use crate::platform::Platform;
use crate::table_calls::TableReads;

const SHARDS: usize = 8;
/// How long a test waits for anything before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Tables and queues, shared by the processes of a test.
pub(crate) struct TestCluster {
    engine: Embedded,
    outage: Outage,
    urls: Urls,
    tables: Tables,
    pub(crate) reads: TableReads,
    pub(crate) platform: Platform,
}

/// Which services answer every changing call with an error, and which other faults are injected.
#[derive(Clone, Default)]
struct Outage {
    tables: Arc<AtomicBool>,
    queues: Arc<AtomicBool>,
    /// The table of leases doesn't answer.
    shards: Arc<AtomicBool>,
    /// Of how many writes of a shard's holder the response gets lost.
    answers: Arc<AtomicUsize>,
}

impl Outage {
    fn of(&self, service: Service) -> &AtomicBool {
        match service {
            Service::DynamoDb => &self.tables,
            Service::Sqs => &self.queues,
        }
    }

    fn decide(&self, point: &CrashPoint<'_>) -> Verdict {
        let of_a_shard = point.service == Service::DynamoDb
            && point.operation == "UpdateItem"
            && String::from_utf8_lossy(point.request).contains("SHARD#");
        let take_one = |left: usize| left.checked_sub(1);
        let loses = || {
            self.answers
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take_one)
                .is_ok()
        };
        let fails = self.of(point.service).load(Ordering::Relaxed)
            || of_a_shard && self.shards.load(Ordering::Relaxed)
            || of_a_shard && point.moment == Moment::After && loses();
        if fails { Verdict::Fail } else { Verdict::Proceed }
    }
}

/// A process.
pub(crate) struct Process {
    pub(crate) world: World,
    pub(crate) connections: Arc<Connections>,
}

/// Short times, for a fast test.
pub(crate) fn options() -> Options {
    Options {
        heartbeat: Duration::from_millis(300),
        lease: Duration::from_millis(1500),
        tick: Duration::from_millis(100),
        hurried: Duration::from_millis(50),
        linger: Duration::from_secs(5),
        ..Options::default()
    }
}

impl TestCluster {
    pub(crate) async fn new() -> Self {
        let outage = Outage::default();
        let watched = outage.clone();
        let observer = Observer::new(move |point| watched.decide(point));
        let options = tieline_embedded::Options {
            observer: Some(observer),
            ..tieline_embedded::Options::default()
        };
        let engine = Embedded::in_memory(options).unwrap();
        let tables = Tables::with_prefix("test-");
        let reads = TableReads::default();
        let (dynamo, sqs) = clients(engine.http_client());
        create_missing(&dynamo, &tables).await.unwrap();
        let urls = definitions::create_missing(&sqs, "test-", SHARDS).await.unwrap();
        // The agent that all triggers name.
        let cluster = Self {
            engine,
            outage,
            urls,
            tables,
            reads,
            platform: Platform::start().await,
        };
        let world = cluster.world("setup");
        let echo = Agent {
            id: AgentId::new("agt_1"),
            organization: OrganizationId::new("default"),
            name: "echo".to_owned(),
            protocol: "echo".to_owned(),
            config: AgentConfig::new(serde_json::Map::new()),
        };
        let now = world.clock.now();
        tieline_store::config::organization::get(&world.store, &OrganizationId::new("default"), now)
            .await
            .unwrap();
        agent::create(&world.store, echo, now).await.unwrap();
        desired_connections::complete(&world.store, Compare::IfChanged)
            .await
            .unwrap();
        cluster
    }

    /// A raw client, without the checks of the store, and the name of the table `config`.
    pub(crate) fn config(&self) -> (aws_sdk_dynamodb::Client, String) {
        let (dynamo, _) = clients(self.engine.http_client());
        (dynamo, self.tables.config.clone())
    }

    /// Makes a service fail, or work again.
    pub(crate) fn fail(&self, service: Service, fails: bool) {
        self.outage.of(service).store(fails, Ordering::Relaxed);
    }

    /// Makes every change of a shard's holder fail, or work again.
    pub(crate) fn fail_shards(&self, fails: bool) {
        self.outage.shards.store(fails, Ordering::Relaxed);
    }

    /// Applies the next `n` changes of shards' holders, but loses their responses.
    pub(crate) fn lose_answers(&self, n: usize) {
        self.outage.answers.store(n, Ordering::Relaxed);
    }

    /// The world of a process of that name.
    pub(crate) fn world(&self, node: &str) -> World {
        let (dynamo, sqs) = clients(self.reads.client(node, self.engine.http_client()));
        let owner = Owner {
            node: node.to_owned(),
            life: format!("{:x}", u64::from_ne_bytes(random())),
        };
        let mut settings = Settings::new("https://bridge.example".to_owned(), owner);
        settings.allow_private = PrivateEndpoints::Allowed;
        World::new(
            Store::new(dynamo, self.tables.clone(), Keyring::new([7; 32])),
            Queues::new(sqs, self.urls.clone()),
            registry::ALL,
            Clock::system(),
            settings,
        )
    }

    pub(crate) fn process(&self, node: &str) -> Process {
        self.process_with(node, options())
    }

    pub(crate) fn process_with(&self, node: &str, options: Options) -> Process {
        let world = self.world(node);
        let connections = Arc::new(Connections::start(world.clone(), options).unwrap());
        Process { world, connections }
    }

    /// A WeCom bot with a trigger.
    pub(crate) async fn wecom(&self, world: &World, name: &str) -> IntegrationId {
        let endpoint = ("wsUrl".to_owned(), format!("ws://127.0.0.1:{}", self.platform.port));
        let credentials = Credentials::from_iter([("botId", name), ("secret", "s3cret")]);
        self.bot(world, "wecom", name, credentials, Endpoints::from([endpoint]))
            .await
    }

    /// A DingTalk robot with a trigger.
    pub(crate) async fn dingtalk(&self, world: &World, name: &str) -> IntegrationId {
        let endpoint = ("apiBase".to_owned(), format!("http://127.0.0.1:{}", self.platform.port));
        let credentials = Credentials::from_iter([("clientId", name), ("clientSecret", "s3cret")]);
        self.bot(world, "dingtalk", name, credentials, Endpoints::from([endpoint]))
            .await
    }

    /// A bot of personal WeChat, which is polled, with a trigger.
    pub(crate) async fn wechat(&self, world: &World, name: &str, api_base: &str) -> IntegrationId {
        let endpoint = ("apiBase".to_owned(), api_base.to_owned());
        let bot_id = format!("{name}@im.bot");
        let credentials = Credentials::from_iter([("botToken", name), ("botId", &bot_id), ("userId", "o1@im.wechat")]);
        self.bot(world, "wechat", name, credentials, Endpoints::from([endpoint]))
            .await
    }

    async fn bot(
        &self,
        world: &World,
        platform: &str,
        name: &str,
        credentials: Credentials,
        endpoints: Endpoints,
    ) -> IntegrationId {
        let id = IntegrationId::new(format!("int_{name}"));
        let new = NewIntegration {
            id: id.clone(),
            organization: OrganizationId::new("default"),
            platform: platform.to_owned(),
            id_key: random(),
        };
        let settings = IntegrationSettings {
            name: name.to_owned(),
            mode: ConnectionMode::LongConnection,
            credentials,
            endpoints,
            language: Language::Chinese,
            streaming: true,
            thinking: ThinkingDisplay::default(),
            allowed_agents: None,
            enabled: true,
            account_key: None,
        };
        let now = world.clock.now();
        integration::create(&world.store, new, settings, now).await.unwrap();
        // Triggers of one agent are counted on its item, so concurrent writes conflict.
        loop {
            match trigger::create(&world.store, binding(name, &id), Rival::Respect, now).await {
                Ok(_) => return id,
                Err(trigger::TriggerError::Store(tieline_store::StoreError::Conflict)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn binding(name: &str, id: &IntegrationId) -> Trigger {
    Trigger {
        id: TriggerId::new(format!("trg_{name}")),
        organization: OrganizationId::new("default"),
        integration: id.clone(),
        agent: AgentId::new("agt_1"),
        enabled: true,
        settings: TriggerSettings::default(),
    }
}

fn clients(http_client: SharedHttpClient) -> (aws_sdk_dynamodb::Client, aws_sdk_sqs::Client) {
    let keys = aws_sdk_sqs::config::Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "test");
    let sdk = aws_config::SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::from_static(REGION))
        .endpoint_url(ENDPOINT_URL)
        .credentials_provider(aws_sdk_sqs::config::SharedCredentialsProvider::new(keys))
        .http_client(http_client)
        .build();
    (aws_sdk_dynamodb::Client::new(&sdk), aws_sdk_sqs::Client::new(&sdk))
}

impl Process {
    pub(crate) async fn status(&self, id: &IntegrationId) -> Status {
        status::seen(&self.world.store, id, self.world.shard_of(id), self.world.clock.now())
            .await
            .unwrap()
    }

    /// The messages on the queue, each once, in the order of the queue.
    pub(crate) async fn take_events(&self, n: usize) -> Vec<String> {
        take_events(&self.world, n).await
    }
}

/// Receives events from the queue until there are `n`, and then for a moment more, so that one too many shows.
pub(crate) async fn take_events(world: &World, n: usize) -> Vec<String> {
    let url = &world.queues.urls().inbound;
    let mut taken = Vec::new();
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let enough = taken.len() >= n;
        let wait = if enough { Duration::ZERO } else { Duration::from_secs(1) };
        let events: Vec<Received<Envelope>> = receive::receive(&world.queues, url, 10, wait).await.unwrap();
        if events.is_empty() && (enough || tokio::time::Instant::now() > end) {
            return taken;
        }
        let receipts: Vec<_> = events.iter().map(|event| event.receipt.clone()).collect();
        receive::delete(&world.queues, url, &receipts).await.unwrap();
        taken.extend(events.into_iter().map(|event| {
            let Some(Envelope::V1(envelope)) = event.message else {
                panic!("an event can be read")
            };
            envelope.message.as_str().to_owned()
        }));
    }
}

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn until<F: AsyncFnMut() -> bool>(what: &str, mut is_so: F) -> impl Future<Output = ()> {
    let what = what.to_owned();
    async move {
        let end = tokio::time::Instant::now() + PATIENCE;
        while !is_so().await {
            assert!(tokio::time::Instant::now() < end, "in vain: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
