//! A bridge in this process, with one bot, one agent and a trigger between them.

use std::time::Duration;

use serde_json::Value;
use tieline_bridge::receive::receive;
use tieline_bridge::world::{Settings, World, random};
use tieline_bridge::{dispatch, run};
use tieline_connectors::registry;
use tieline_core::account::{ConnectionMode, Credentials, Endpoints};
use tieline_core::agent::{Agent, AgentConfig};
use tieline_core::conversation::Owner;
use tieline_core::envelope::{Envelope, WakeUp};
use tieline_core::http_types::{WebhookAnswer, WebhookRequest};
use tieline_core::ids::{AgentId, IntegrationId, OrganizationId, TriggerId, fresh};
use tieline_core::notice::Language;
use tieline_core::outbound_url::PrivateEndpoints;
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_core::trigger::{Trigger, TriggerSettings};
use tieline_embedded::{Embedded, Options};
use tieline_queue::receive::{MAX_BATCH, delete, receive as take};
use tieline_standalone::local;
use tieline_store::config::integration::{IntegrationSettings, NewIntegration};
use tieline_store::config::organization::DEFAULT;
use tieline_store::config::trigger::Rival;
use tieline_store::config::{agent, integration, trigger};
use tieline_store::message::{self, Filter, MessageRecord};
use tieline_tests::agents::{FakeAgent, Manner};
use tokio::time::Instant;

/// Limit of every wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The bridge with its bot and agent.
pub(crate) struct TestBridge {
    pub(crate) world: World,
    pub(crate) agent: FakeAgent,
    pub(crate) bot: IntegrationId,
    platform: &'static str,
    embedded: Embedded,
}

impl TestBridge {
    /// A bridge with a bot, created from `integration` as an operator would.
    pub(crate) async fn open(platform: &'static str, integration: &Value, settings: TriggerSettings) -> Self {
        Self::open_with(Manner::default(), platform, integration, settings).await
    }

    /// Like [`Self::open`], with an agent of this manner.
    pub(crate) async fn open_with(
        manner: Manner,
        platform: &'static str,
        integration: &Value,
        settings: TriggerSettings,
    ) -> Self {
        Self::keyed(manner, platform, integration, settings, random()).await
    }

    /// Like [`Self::open_with`], with a bot whose ids and secrets are derived from this key.
    pub(crate) async fn keyed(
        manner: Manner,
        platform: &'static str,
        integration: &Value,
        settings: TriggerSettings,
        id_key: [u8; 32],
    ) -> Self {
        let embedded = Embedded::in_memory(Options::default()).unwrap();
        let world = start_process(&embedded).await;
        let agent = FakeAgent::start(manner).await;
        let agent_id = make_agent(&world, &agent).await;
        let bot = make_bot(&world, platform, integration, id_key).await;
        bind(&world, &bot, agent_id, settings).await;
        Self {
            world,
            agent,
            bot,
            platform,
            embedded,
        }
    }

    /// Goes on in another process, which remembers nothing of this one.
    pub(crate) async fn restart(&mut self) {
        self.world = start_process(&self.embedded).await;
    }

    /// Receives a webhook request.
    pub(crate) async fn receive(&self, request: &WebhookRequest) -> WebhookAnswer {
        receive(&self.world, self.platform, &self.bot, request, None).await
    }

    /// Works until nothing is due.
    pub(crate) async fn work(&self) {
        let done = async { while self.dispatch().await | self.run(None).await {} };
        tokio::time::timeout(PATIENCE, done).await.unwrap();
    }

    /// Dispatches the inbound events. Returns whether there were any.
    pub(crate) async fn dispatch(&self) -> bool {
        let (queues, url) = (&self.world.queues, &self.world.queues.urls().inbound);
        let received = take::<Envelope>(queues, url, MAX_BATCH, Duration::ZERO).await.unwrap();
        let receipts: Vec<_> = received.iter().map(|it| it.receipt.clone()).collect();
        let failed = dispatch::batch::dispatch_batch(&self.world, received).await;
        assert!(failed.is_empty(), "an event could not be dispatched");
        delete(queues, url, &receipts).await.unwrap();
        !receipts.is_empty()
    }

    /// Works what is due, in a process that must stop at `until`. Returns whether there was anything.
    pub(crate) async fn run(&self, until: Option<Instant>) -> bool {
        let (queues, url) = (&self.world.queues, &self.world.queues.urls().work);
        let received = take::<WakeUp>(queues, url, MAX_BATCH, Duration::ZERO).await.unwrap();
        let any = !received.is_empty();
        for it in received {
            let receipt = it.receipt.clone();
            if run::batch::run(&self.world, vec![it], until).await.is_empty() {
                delete(queues, url, &[receipt]).await.unwrap();
            }
        }
        any
    }

    /// All messages of the ledger, the oldest first.
    pub(crate) async fn ledger(&self) -> Vec<MessageRecord> {
        let organization = OrganizationId::new(DEFAULT);
        let now = self.world.clock.now();
        let found = message::list(&self.world.store, &organization, &Filter::default(), None, 100, now).await;
        let mut messages = found.unwrap().items;
        messages.sort_by_key(|it| it.received_at);
        messages
    }
}

async fn start_process(embedded: &Embedded) -> World {
    let owner = Owner {
        node: "bridge".to_owned(),
        life: hex::encode(random::<8>()),
    };
    let settings = Settings {
        allow_private: PrivateEndpoints::Allowed,
        ..Settings::new("http://127.0.0.1:1".to_owned(), owner)
    };
    local::world(embedded, [7; 32], registry::ALL, settings).await.unwrap()
}

async fn make_agent(world: &World, asked: &FakeAgent) -> AgentId {
    let settings = asked.as_webhook("Counting");
    let agent = Agent {
        id: AgentId::new(fresh("agt", random())),
        organization: OrganizationId::new(DEFAULT),
        name: "Counting".to_owned(),
        protocol: settings["protocol"].as_str().unwrap().to_owned(),
        config: AgentConfig::new(settings["config"].as_object().unwrap().clone()),
    };
    let made = agent::create(&world.store, agent, world.clock.now()).await.unwrap();
    made.agent.id
}

async fn make_bot(world: &World, platform: &str, integration: &Value, id_key: [u8; 32]) -> IntegrationId {
    let new = NewIntegration {
        id: IntegrationId::new(fresh("int", random())),
        organization: OrganizationId::new(DEFAULT),
        platform: platform.to_owned(),
        id_key,
    };
    let texts = |name: &str| {
        let fields = integration[name].as_object().unwrap().clone();
        fields
            .into_iter()
            .map(|(name, value)| (name, value.as_str().unwrap().to_owned()))
    };
    let settings = IntegrationSettings {
        name: "Bot".to_owned(),
        mode: serde_json::from_value::<ConnectionMode>(integration["connectionMode"].clone()).unwrap(),
        credentials: texts("credentials").collect::<Credentials>(),
        endpoints: texts("endpoints").collect::<Endpoints>(),
        language: Language::English,
        streaming: true,
        thinking: ThinkingDisplay::default(),
        allowed_agents: None,
        enabled: true,
        account_key: None,
    };
    let made = integration::create(&world.store, new, settings, world.clock.now()).await;
    made.unwrap().id
}

async fn bind(world: &World, bot: &IntegrationId, agent: AgentId, settings: TriggerSettings) {
    let binding = Trigger {
        id: TriggerId::new(fresh("trg", random())),
        organization: OrganizationId::new(DEFAULT),
        integration: bot.clone(),
        agent,
        enabled: true,
        settings,
    };
    let made = trigger::create(&world.store, binding, Rival::Respect, world.clock.now()).await;
    made.unwrap();
}
