//! Tables and queues of one test, and processes over them.

use aws_sdk_sqs::config::{Credentials as Keys, SharedCredentialsProvider};
use tieline_bridge::clock::Clock;
use tieline_bridge::world::{Settings, World, random};
use tieline_connectors::registry;
use tieline_core::account::{ConnectionMode, Credentials, Endpoints};
use tieline_core::agent::{Agent, AgentConfig};
use tieline_core::conversation::Owner;
use tieline_core::ids::{AgentId, IntegrationId, OrganizationId, TriggerId, fresh};
use tieline_core::notice::Language;
use tieline_core::outbound_url::PrivateEndpoints;
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_core::trigger::{Trigger, TriggerSettings};
use tieline_embedded::{ACCESS_KEY_ID, ENDPOINT_URL, Embedded, Options, REGION, SECRET_ACCESS_KEY};
use tieline_queue::{Queues, Urls, definitions};
use tieline_store::config::integration::{IntegrationSettings, NewIntegration};
use tieline_store::config::organization::DEFAULT;
use tieline_store::config::trigger::Rival;
use tieline_store::config::{agent, integration, trigger};
use tieline_store::{Keyring, Store, Tables, create_missing};

/// Tables and queues of one test.
pub(crate) struct TestBridge {
    pub(crate) sqs: aws_sdk_sqs::Client,
    dynamo: aws_sdk_dynamodb::Client,
    tables: Tables,
    urls: Urls,
    _engine: Embedded,
}

impl TestBridge {
    pub(crate) async fn new() -> Self {
        let engine = Embedded::in_memory(Options::default()).unwrap();
        let keys = Keys::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "test");
        let sdk = aws_config::SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .region(aws_config::Region::from_static(REGION))
            .endpoint_url(ENDPOINT_URL)
            .credentials_provider(SharedCredentialsProvider::new(keys))
            .http_client(engine.http_client())
            .build();
        let (dynamo, sqs) = (aws_sdk_dynamodb::Client::new(&sdk), aws_sdk_sqs::Client::new(&sdk));
        let tables = Tables::with_prefix("test-");
        create_missing(&dynamo, &tables).await.unwrap();
        let urls = definitions::create_missing(&sqs, "test-", 1).await.unwrap();
        Self {
            sqs,
            dynamo,
            tables,
            urls,
            _engine: engine,
        }
    }

    /// The world of one more process.
    pub(crate) fn world(&self) -> World {
        self.world_over(self.urls.clone())
    }

    /// The world of a process that can't reach `work`.
    pub(crate) fn world_without_work(&self) -> World {
        let work = format!("{}-gone", self.urls.work);
        self.world_over(Urls {
            work,
            ..self.urls.clone()
        })
    }

    fn world_over(&self, urls: Urls) -> World {
        let owner = Owner {
            node: "node".to_owned(),
            life: "life".to_owned(),
        };
        let mut settings = Settings::new("https://bridge.example".to_owned(), owner);
        settings.allow_private = PrivateEndpoints::Allowed;
        World::new(
            Store::new(self.dynamo.clone(), self.tables.clone(), Keyring::new([7; 32])),
            Queues::new(self.sqs.clone(), urls),
            registry::ALL,
            Clock::system(),
            settings,
        )
    }
}

/// Makes a bot of our own channel with an echo behind it.
pub(crate) async fn web_bot(world: &World) -> IntegrationId {
    let (store, now, organization) = (&world.store, world.clock.now(), OrganizationId::new(DEFAULT));
    let echo = Agent {
        id: AgentId::new(fresh("agt", random())),
        organization: organization.clone(),
        name: "Echo".to_owned(),
        protocol: "echo".to_owned(),
        config: AgentConfig::default(),
    };
    let echo = agent::create(store, echo, now).await.unwrap();
    let new = NewIntegration {
        id: IntegrationId::new(fresh("int", random())),
        organization: organization.clone(),
        platform: "web".to_owned(),
        id_key: random(),
    };
    let settings = IntegrationSettings {
        name: "Web".to_owned(),
        mode: ConnectionMode::Webhook,
        credentials: Credentials::default(),
        endpoints: Endpoints::default(),
        language: Language::default(),
        streaming: true,
        thinking: ThinkingDisplay::default(),
        allowed_agents: None,
        enabled: true,
        account_key: None,
    };
    let bot = integration::create(store, new, settings, now).await.unwrap();
    let binding = Trigger {
        id: TriggerId::new(fresh("trg", random())),
        organization,
        integration: bot.id.clone(),
        agent: echo.agent.id,
        enabled: true,
        settings: TriggerSettings::default(),
    };
    trigger::create(store, binding, Rival::Respect, now).await.unwrap();
    bot.id
}
