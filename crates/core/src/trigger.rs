//! Triggers: which agent answers for which bot, and with which settings.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::access::Access;
use crate::connector::Unaddressed;
use crate::event::Chat;
use crate::ids::{AgentId, ChatId, IntegrationId, OrganizationId, SenderId, TriggerId};
use crate::quiet_hours::QuietHours;
use crate::redaction::Redaction;
use crate::routes::Route;
use crate::session::Session;

/// Binds one integration to one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// The trigger.
    pub id: TriggerId,
    /// The organization that owns it, its integration and its agent.
    pub organization: OrganizationId,
    /// The bot.
    pub integration: IntegrationId,
    /// The agent.
    pub agent: AgentId,
    /// Whether it is in force. At most one enabled trigger per integration.
    pub enabled: bool,
    /// Its settings.
    pub settings: TriggerSettings,
}

impl Trigger {
    /// The agent of a message: of the first route that matches it, else the trigger's own.
    #[must_use]
    pub fn agent_for(&self, chat: &Chat, sender: &SenderId, text: &str) -> &AgentId {
        let mut routes = self.settings.routes.iter();
        let route = routes.find(|route| route.matches(chat, sender, text));
        route.map_or(&self.agent, |route| &route.agent)
    }

    /// Whether any of its lists names chats, and not this one.
    #[must_use]
    pub fn lists_other_chats(&self, chat: &ChatId) -> bool {
        let of_routes = self.settings.routes.iter().map(|route| &route.chats);
        std::iter::once(&self.settings.access.chats)
            .chain(of_routes)
            .any(|list| !list.is_empty() && !list.contains(chat))
    }

    /// Adds the present id of a chat to the lists that have its old one.
    pub fn add_other_id(&mut self, old: &ChatId, new: &ChatId) {
        let TriggerSettings { access, routes, .. } = &mut self.settings;
        let of_routes = routes.iter_mut().map(|route| &mut route.chats);
        let lists = std::iter::once(&mut access.chats).chain(of_routes);
        for list in lists.filter(|list| list.contains(old)) {
            list.push(new.clone());
        }
    }

    /// Its agents, without duplicates: its own first.
    #[must_use]
    pub fn agents(&self) -> Vec<&AgentId> {
        let mut agents = vec![&self.agent];
        for route in &self.settings.routes {
            if !agents.contains(&&route.agent) {
                agents.push(&route.agent);
            }
        }
        agents
    }

    /// Whether people may list agents and choose one.
    #[must_use]
    pub const fn offers_agents(&self) -> bool {
        self.settings.agent_choice || !self.settings.routes.is_empty()
    }

    /// Whether a session's agent still answers here.
    #[must_use]
    pub fn allows(&self, session: &Session) -> bool {
        (self.settings.agent_choice && session.chosen) || self.agents().contains(&&session.agent)
    }
}

/// Settings of a trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TriggerSettings {
    /// Idle timeout: after a longer pause the next message starts a new session.
    pub session_timeout_seconds: u32,
    /// Messages that follow each other within this time are merged. 0: never.
    pub summary_window_seconds: u32,
    /// Which people share a conversation in a group.
    pub session_scope: SessionScope,
    /// What a message does to a running answer.
    pub busy_policy: BusyPolicy,
    /// Which people may use the bot.
    pub access: Access,
    /// The welcome text for a person who opens the chat.
    pub welcome: Option<String>,
    /// Whether the task commands work in direct chats.
    pub task_mode: bool,
    /// When no questions are answered.
    pub quiet_hours: Option<QuietHours>,
    /// How many questions one person may ask per minute.
    pub max_messages_per_person_per_minute: Option<u32>,
    /// How credentials are treated.
    pub redaction: Redaction,
    /// Other agents, and which messages they answer. The first match counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Whether people may choose among all agents of the organization.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub agent_choice: bool,
    /// How many of the latest group messages not addressed to the bot are sent with a question as context. 0: none is kept.
    #[serde(skip_serializing_if = "is_zero")]
    pub group_context: u32,
    /// Which messages in groups are answered.
    #[serde(skip_serializing_if = "GroupMessages::is_default")]
    pub group_messages: GroupMessages,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Default for TriggerSettings {
    fn default() -> Self {
        Self {
            session_timeout_seconds: 3600,
            summary_window_seconds: 0,
            session_scope: SessionScope::Sender,
            busy_policy: BusyPolicy::Queue,
            access: Access::default(),
            welcome: None,
            task_mode: false,
            quiet_hours: None,
            max_messages_per_person_per_minute: None,
            redaction: Redaction::default(),
            routes: Vec::new(),
            agent_choice: false,
            group_context: 0,
            group_messages: GroupMessages::Mentioned,
        }
    }
}

impl TriggerSettings {
    /// The idle timeout.
    #[must_use]
    pub const fn session_timeout(&self) -> Duration {
        Duration::from_secs(self.session_timeout_seconds as u64)
    }

    /// The merge window.
    #[must_use]
    pub const fn window(&self) -> Duration {
        Duration::from_secs(self.summary_window_seconds as u64)
    }

    /// How to handle what is said in groups and not to the bot.
    #[must_use]
    pub const fn unaddressed(&self) -> Unaddressed {
        match (self.group_messages, self.group_context) {
            (GroupMessages::All, _) => Unaddressed::Answered,
            (GroupMessages::Mentioned, 0) => Unaddressed::Ignored,
            (GroupMessages::Mentioned, _) => Unaddressed::Kept,
        }
    }
}

/// Which people share a conversation in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionScope {
    /// Each person has their own.
    #[default]
    Sender,
    /// The whole chat shares one.
    Chat,
}

/// Which messages in groups are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupMessages {
    /// Those that mention the bot or reply to it.
    #[default]
    Mentioned,
    /// All that the platform delivers.
    All,
}

impl GroupMessages {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What a message does to a running answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BusyPolicy {
    /// It waits in the mailbox.
    #[default]
    Queue,
    /// It stops the answer.
    Interrupt,
}
