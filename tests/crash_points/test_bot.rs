//! The configuration of a scenario (a bot, an agent and a trigger between them), and the requests of its platforms.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tieline_bridge::operator::Operator;
use tieline_bridge::receive::receive;
use tieline_bridge::world::{World, random};
use tieline_core::account::{ConnectionMode, Credentials, Endpoints};
use tieline_core::agent::{Agent, AgentConfig};
use tieline_core::http_types::WebhookRequest;
use tieline_core::ids::{AgentId, IntegrationId, OrganizationId, TriggerId, fresh};
use tieline_core::notice::Language;
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_core::trigger::{Trigger, TriggerSettings};
use tieline_store::config::integration::{IntegrationSettings, NewIntegration};
use tieline_store::config::organization::DEFAULT;
use tieline_store::config::trigger::Rival;
use tieline_store::config::{agent, integration, trigger};

use crate::chat::ChatServer;

const CLIENT_SECRET: &str = "a secret of the tests";

/// The platform of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// Our own channel: answers are polled.
    Web,
    /// Answers are pushed, and the platform has no idempotency key.
    DingTalk,
    /// Like `DingTalk`, with answers that are streamed on a card.
    DingTalkCards,
}

/// A bot that people can write to.
#[derive(Debug, Clone)]
pub(crate) struct Bot {
    pub(crate) id: IntegrationId,
    /// Path of its chat.
    pub(crate) chat: String,
    over: Over,
    chat_url: String,
}

/// Creates bot, agent (with these settings) and trigger.
pub(crate) async fn set_up(world: &World, over: Over, ask: &Value, chat: &ChatServer, window: Duration) -> Bot {
    let now = world.clock.now();
    let organization = OrganizationId::new(DEFAULT);
    let id = AgentId::new(fresh("agt", random()));
    let asked = Agent {
        name: format!("Agent {id}"),
        id,
        organization: organization.clone(),
        protocol: ask["protocol"].as_str().unwrap().to_owned(),
        config: AgentConfig::new(ask["config"].as_object().unwrap().clone()),
    };
    let asked = agent::create(&world.store, asked, now).await.unwrap();
    let (platform, credentials) = match over {
        Over::Web => ("web", Credentials::default()),
        Over::DingTalk | Over::DingTalkCards => {
            let fields = [("clientId", "ding1"), ("clientSecret", CLIENT_SECRET)];
            ("dingtalk", fields.into_iter().collect())
        }
    };
    let new = NewIntegration {
        id: IntegrationId::new(fresh("int", random())),
        organization: organization.clone(),
        platform: platform.to_owned(),
        id_key: random(),
    };
    let addresses = ["apiBase", "oapiBase"].map(|name| (name.to_owned(), chat.url.clone()));
    let settings = IntegrationSettings {
        name: format!("Bot {}", new.id),
        mode: ConnectionMode::Webhook,
        credentials,
        endpoints: match over {
            Over::Web => Endpoints::default(),
            Over::DingTalk | Over::DingTalkCards => addresses.into_iter().collect(),
        },
        language: Language::default(),
        streaming: [Over::Web, Over::DingTalkCards].contains(&over),
        thinking: ThinkingDisplay::default(),
        allowed_agents: None,
        enabled: true,
        account_key: None,
    };
    let bot = integration::create(&world.store, new, settings, now).await.unwrap();
    let binding = Trigger {
        id: TriggerId::new(fresh("trg", random())),
        organization,
        integration: bot.id.clone(),
        agent: asked.agent.id,
        enabled: true,
        settings: TriggerSettings {
            summary_window_seconds: u32::try_from(window.as_secs()).unwrap(),
            ..TriggerSettings::default()
        },
    };
    trigger::create(&world.store, binding, Rival::Respect, now)
        .await
        .unwrap();
    Bot {
        over,
        id: bot.id,
        chat: "1".to_owned(),
        chat_url: format!("{}/session", chat.url),
    }
}

impl Bot {
    /// Delivers a message as the platform does. Returns whether it was acknowledged.
    pub(crate) async fn receive(&self, world: &World, id: &str, text: &str) -> bool {
        let (platform, request) = match self.over {
            Over::Web => ("web", self.on_web(id, text)),
            Over::DingTalk | Over::DingTalkCards => {
                let said = json!({ "msgtype": "text", "text": { "content": text } });
                ("dingtalk", self.on_dingtalk(world, id, said))
            }
        };
        let answer = receive(world, platform, &self.id, &request, Some(&Operator::Root)).await;
        answer.status / 100 == 2
    }

    fn on_web(&self, id: &str, text: &str) -> WebhookRequest {
        let chat = format!("chat{}", self.chat);
        let body = json!({ "text": text, "chatId": chat, "senderId": "sender1", "messageId": id });
        posted(&body, Vec::new())
    }

    /// DingTalk's callback for a message: `said` has the message type and its content.
    pub(crate) fn on_dingtalk(&self, world: &World, id: &str, said: Value) -> WebhookRequest {
        let now_ms = world.clock.now().as_millis();
        let mut body = json!({
            "conversationId": format!("cid{}", self.chat), "conversationType": "1", "msgId": id, "createAt": now_ms,
            "chatbotUserId": "bot1", "robotCode": "ding1", "senderId": "$:LWCP_v1:$sender1", "senderNick": "A", "senderStaffId": "staff1",
            "sessionWebhook": self.chat_url, "sessionWebhookExpiredTime": now_ms + 5_400_000,
        });
        if let (Value::Object(body), Value::Object(said)) = (&mut body, said) {
            body.extend(said);
        }
        let timestamp = now_ms.to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(CLIENT_SECRET.as_bytes()).unwrap();
        mac.update(format!("{timestamp}\n{CLIENT_SECRET}").as_bytes());
        let sign = STANDARD.encode(mac.finalize().into_bytes());
        posted(
            &body,
            vec![("timestamp".to_owned(), timestamp), ("sign".to_owned(), sign)],
        )
    }
}

fn posted(body: &Value, headers: Vec<(String, String)>) -> WebhookRequest {
    WebhookRequest {
        method: "POST".to_owned(),
        query: String::new(),
        headers,
        body: body.to_string().into_bytes(),
    }
}
