//! A bot on our own channel, its echo agent, and the trigger between them.

use serde_json::{Value, json};
use tieline_bridge::operator::Operator;
use tieline_bridge::receive::receive;
use tieline_bridge::world::World;
use tieline_core::account::{ConnectionMode, Credentials, Endpoints};
use tieline_core::agent::{Agent, AgentConfig};
use tieline_core::conversation::ConversationKey;
use tieline_core::event::{Chat, ChatKind};
use tieline_core::http_types::WebhookRequest;
use tieline_core::ids::{
    AgentId, ChatId, ConversationId, IntegrationId, MessageId, OrganizationId, ReplyId, SenderId, TriggerId,
};
use tieline_core::notice::Language;
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_core::timestamp::Timestamp;
use tieline_core::trigger::{BusyPolicy, SessionScope, Trigger, TriggerSettings};
use tieline_store::Store;
use tieline_store::config::integration::{IntegrationSettings, NewIntegration};
use tieline_store::config::organization::DEFAULT;
use tieline_store::config::trigger::Rival;
use tieline_store::config::{agent, integration, trigger};
use tokio::time::Duration;

/// Limit of everything in a run except the agent.
const PATIENCE: Duration = Duration::from_secs(3);

/// Settings of the bot and its agent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) pieces: u64,
    pub(crate) delay_ms: u64,
    pub(crate) window_s: u32,
    pub(crate) busy: BusyPolicy,
}

impl Manner {
    /// The maximum duration of a run without faults.
    pub(crate) fn longest_run(self) -> Duration {
        // A person who keeps writing is answered after five windows.
        let gathering = 5 * Duration::from_secs(self.window_s.into());
        gathering + Duration::from_millis(self.pieces * self.delay_ms) + PATIENCE
    }
}

/// The channel's response to an accepted message.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) message: MessageId,
    pub(crate) reply: ReplyId,
}

fn organization() -> OrganizationId {
    OrganizationId::new(DEFAULT)
}

fn bot() -> IntegrationId {
    IntegrationId::new("int_0123456789abcdef01234567")
}

fn sender(chat: usize) -> String {
    format!("sender{chat}")
}

/// Creates bot, agent and trigger.
pub(crate) async fn set_up(store: &Store, manner: Manner, now: Timestamp) {
    let config = json!({ "pieces": manner.pieces, "delayMillis": manner.delay_ms });
    let asked = Agent {
        id: AgentId::new("agt_0123456789abcdef01234567"),
        organization: organization(),
        name: "Echo".to_owned(),
        protocol: "echo".to_owned(),
        config: AgentConfig::new(config.as_object().unwrap().clone()),
    };
    let asked = agent::create(store, asked, now).await.unwrap();
    let new = NewIntegration {
        id: bot(),
        organization: organization(),
        platform: "web".to_owned(),
        id_key: [5; 32],
    };
    let settings = IntegrationSettings {
        name: "Web".to_owned(),
        mode: ConnectionMode::Webhook,
        credentials: Credentials::default(),
        endpoints: Endpoints::default(),
        language: Language::English,
        streaming: true,
        thinking: ThinkingDisplay::default(),
        allowed_agents: None,
        enabled: true,
        account_key: None,
    };
    integration::create(store, new, settings, now).await.unwrap();
    let binding = Trigger {
        id: TriggerId::new("trg_0123456789abcdef01234567"),
        organization: organization(),
        integration: bot(),
        agent: asked.agent.id,
        enabled: true,
        settings: TriggerSettings {
            summary_window_seconds: manner.window_s,
            busy_policy: manner.busy,
            ..TriggerSettings::default()
        },
    };
    trigger::create(store, binding, Rival::Respect, now).await.unwrap();
}

/// The conversation of a chat.
pub(crate) fn conversation(chat: usize) -> ConversationId {
    let key = ConversationKey::of(
        &organization(),
        &bot(),
        &Chat {
            kind: ChatKind::Direct,
            id: ChatId::new(format!("chat{chat}")),
            thread: None,
        },
        &SenderId::new(sender(chat)),
        SessionScope::Sender,
    );
    key.id()
}

/// Posts a message. `None`: it was not acknowledged.
pub(crate) async fn post(world: &World, chat: usize, id: &str, text: &str) -> Option<Accepted> {
    let body = json!({ "text": text, "chatId": format!("chat{chat}"), "senderId": sender(chat), "messageId": id });
    let request = WebhookRequest {
        method: "POST".to_owned(),
        query: String::new(),
        headers: Vec::new(),
        body: body.to_string().into_bytes(),
    };
    let answer = receive(world, "web", &bot(), &request, Some(&Operator::Root)).await;
    let told: Value = (answer.status / 100 == 2).then(|| serde_json::from_slice(&answer.body).ok())??;
    Some(Accepted {
        message: MessageId::new(told["messageId"].as_str()?),
        reply: ReplyId::new(told["replyId"].as_str()?),
    })
}
