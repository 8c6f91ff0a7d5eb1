//! A bot, its echo agent, and the trigger between them.

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
    AgentId, ChatId, ConversationId, IdMint, IntegrationId, MessageId, OrganizationId, PlatformMessageId, ReplyId,
    SenderId, TriggerId,
};
use tieline_core::notice::Language;
use tieline_core::secret::Secret;
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_core::timestamp::Timestamp;
use tieline_core::trigger::{BusyPolicy, SessionScope, Trigger, TriggerSettings};
use tieline_store::Store;
use tieline_store::config::integration::{IntegrationSettings, NewIntegration};
use tieline_store::config::organization::DEFAULT;
use tieline_store::config::trigger::Rival;
use tieline_store::config::{agent, integration, trigger};
use tokio::time::Duration;

use crate::platform::BOT_NAME;

/// Limit of everything in a run except the agent.
const PATIENCE: Duration = Duration::from_secs(3);

/// Key of the bot's ids.
const ID_KEY: [u8; 32] = [5; 32];
/// The bot's user id at a platform to which answers are pushed.
const BOT_ID: &str = "7012345678";

/// How answers get into a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    /// Readers fetch them: our own channel.
    Pulled,
    /// They are pushed to a platform: Telegram. The first chat is with one person, the others are groups.
    Pushed,
}

impl Channel {
    pub(crate) const fn platform(self) -> &'static str {
        match self {
            Self::Pulled => "web",
            Self::Pushed => "telegram",
        }
    }

    fn credentials(self) -> Credentials {
        let mut credentials = Credentials::default();
        if self == Self::Pushed {
            credentials.set("botToken", Secret::new(format!("{BOT_ID}:simulated")));
            credentials.set("botUsername", Secret::new(BOT_NAME));
        }
        credentials
    }
}

/// Settings of the bot and its agent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) channel: Channel,
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

pub(crate) fn organization() -> OrganizationId {
    OrganizationId::new(DEFAULT)
}

pub(crate) fn bot() -> IntegrationId {
    IntegrationId::new("int_0123456789abcdef01234567")
}

/// The person of a chat.
pub(crate) fn sender(channel: Channel, chat: usize) -> SenderId {
    SenderId::new(match channel {
        Channel::Pulled => format!("sender{chat}"),
        Channel::Pushed => pushed_sender(chat).to_string(),
    })
}

fn pushed_sender(chat: usize) -> i64 {
    77_000_000 + i64::try_from(chat).unwrap()
}

/// The id of a chat at a platform to which answers are pushed.
pub(crate) fn pushed_chat(chat: usize) -> i64 {
    if is_group(chat) {
        -88_000_000 - i64::try_from(chat).unwrap()
    } else {
        pushed_sender(chat)
    }
}

const fn is_group(chat: usize) -> bool {
    chat > 0
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
        platform: manner.channel.platform().to_owned(),
        id_key: ID_KEY,
    };
    let settings = IntegrationSettings {
        name: "Web".to_owned(),
        mode: ConnectionMode::Webhook,
        credentials: manner.channel.credentials(),
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
pub(crate) fn conversation(channel: Channel, chat: usize) -> ConversationId {
    let (kind, id) = match channel {
        Channel::Pulled => (ChatKind::Direct, format!("chat{chat}")),
        Channel::Pushed if is_group(chat) => (ChatKind::Group, pushed_chat(chat).to_string()),
        Channel::Pushed => (ChatKind::Direct, pushed_chat(chat).to_string()),
    };
    let key = ConversationKey::of(
        &organization(),
        &bot(),
        &Chat {
            kind,
            id: ChatId::new(id),
            thread: None,
        },
        &sender(channel, chat),
        SessionScope::Sender,
    );
    key.id()
}

/// A message that a person writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) chat: usize,
    /// Its number in the chat.
    pub(crate) number: usize,
    pub(crate) text: String,
    /// When the person wrote it, by the platform's clock.
    pub(crate) at: Timestamp,
}

/// Posts a message. `None`: it was not acknowledged.
pub(crate) async fn post(world: &World, channel: Channel, written: &Written) -> Option<Accepted> {
    let (body, headers) = match channel {
        Channel::Pulled => (polled_message(written), Vec::new()),
        Channel::Pushed => {
            let secret = IdMint::new(&ID_KEY).other("tl_", BOT_ID);
            let header = "x-telegram-bot-api-secret-token".to_owned();
            (update(written), vec![(header, secret)])
        }
    };
    let request = WebhookRequest {
        method: "POST".to_owned(),
        query: String::new(),
        headers,
        body: body.to_string().into_bytes(),
    };
    let answer = receive(world, channel.platform(), &bot(), &request, Some(&Operator::Root)).await;
    if answer.status / 100 != 2 {
        return None;
    }
    match channel {
        Channel::Pulled => {
            let told: Value = serde_json::from_slice(&answer.body).ok()?;
            Some(Accepted {
                message: MessageId::new(told["messageId"].as_str()?),
                reply: ReplyId::new(told["replyId"].as_str()?),
            })
        }
        Channel::Pushed => {
            let (id, ids) = (
                PlatformMessageId::new(update_id(written).to_string()),
                IdMint::new(&ID_KEY),
            );
            Some(Accepted {
                message: ids.message(&id),
                reply: ids.reply(&id),
            })
        }
    }
}

fn polled_message(written: &Written) -> Value {
    let Written { chat, number, text, .. } = written;
    json!({
        "text": text,
        "chatId": format!("chat{chat}"),
        "senderId": sender(Channel::Pulled, *chat).as_str(),
        "messageId": format!("m{chat}.{number}"),
    })
}

const fn update_id(written: &Written) -> usize {
    1000 * (written.chat + 1) + written.number
}

/// An update of the Bot API. In groups, people mention the bot.
fn update(written: &Written) -> Value {
    let Written { chat, number, text, .. } = written;
    let (text, entity) = match (is_group(*chat), text.split_once(' ').unwrap_or((text, ""))) {
        (false, _) => (text.clone(), None),
        (true, (command, rest)) if command.starts_with('/') => {
            let named = format!("{command}@{BOT_NAME}");
            let entity = json!({ "type": "bot_command", "offset": 0, "length": named.len() });
            (format!("{named} {rest}").trim_end().to_owned(), Some(entity))
        }
        (true, _) => {
            let entity = json!({ "type": "mention", "offset": 0, "length": BOT_NAME.len() + 1 });
            (format!("@{BOT_NAME} {text}"), Some(entity))
        }
    };
    let id = pushed_chat(*chat);
    json!({
        "update_id": update_id(written),
        "message": {
            "message_id": 100 + number,
            "date": written.at.as_secs(),
            "chat": { "id": id, "type": if is_group(*chat) { "group" } else { "private" }, "title": "A group" },
            "from": { "id": pushed_sender(*chat), "is_bot": false, "first_name": "A person" },
            "text": text,
            "entities": entity.into_iter().collect::<Vec<_>>(),
        },
    })
}
