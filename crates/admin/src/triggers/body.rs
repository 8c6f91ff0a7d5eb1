//! Request and response bodies of triggers.

use serde::{Deserialize, Serialize};
use tieline_core::access::Access;
use tieline_core::ids::{AgentId, ChatId, IntegrationId, OrganizationId, SenderId, TriggerId};
use tieline_core::timestamp::Timestamp;
use tieline_core::trigger::{BusyPolicy, GroupMessages, SessionScope, Trigger, TriggerSettings};
use tieline_store::config::trigger::TriggerRecord;
use utoipa::ToSchema;

use super::question_limits::{QuietHoursBody, per_minute};
use super::redaction::{RedactionPatch, RedactionView};
use super::routes::{self, RouteBody};
use crate::audit::{self, Shown};
use crate::body::nullable;
use crate::etag::{self, Versioned};
use crate::problem::{FieldErrors, Problem};
use crate::{schema, validation};

/// Maximum idle time of a session: a year.
const MAX_SESSION_TIMEOUT_SECONDS: u32 = 366 * 24 * 3600;
/// Maximum aggregation window: the longest time a queue can delay a wake-up.
const MAX_SUMMARY_WINDOW_SECONDS: u32 = 900;
/// Maximum length of a welcome text, in characters.
const MAX_WELCOME_CHARS: usize = 2000;
/// Field name: rate limit of one person's questions.
const PER_PERSON: &str = "maxMessagesPerPersonPerMinute";
/// Maximum number of entries of an access list.
const MAX_ACCESS_ENTRIES: usize = 1000;
/// Maximum number of group messages sent along with a question.
const MAX_GROUP_CONTEXT: u32 = 50;

/// Which agent answers for which bot, and how.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Trigger)]
pub(crate) struct TriggerView {
    id: String,
    integration_id: String,
    agent_id: String,
    enabled: bool,
    session_timeout_seconds: u32,
    summary_window_seconds: u32,
    #[schema(value_type = schema::SessionScope)]
    session_scope: SessionScope,
    #[schema(value_type = schema::BusyPolicy)]
    busy_policy: BusyPolicy,
    access: AccessView,
    /// Text shown to a person who opens the chat.
    welcome: Option<String>,
    task_mode: bool,
    quiet_hours: Option<QuietHoursBody>,
    max_messages_per_person_per_minute: Option<u32>,
    redaction: RedactionView,
    /// Other agents, and which messages they answer. The first match counts; messages that match none go to `agentId`.
    routes: Vec<RouteBody>,
    /// Whether people may choose among all agents of the organization.
    agent_choice: bool,
    /// How many of the latest group messages that were not addressed to the bot are sent along with a question.
    group_context: u32,
    /// Which messages in groups are answered.
    #[schema(value_type = schema::GroupMessages)]
    group_messages: GroupMessages,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// The entity tag, for `If-Match`.
    etag: String,
    /// With `deleted=true`: when it was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    deleted_at: Option<Timestamp>,
}

impl Versioned for TriggerView {
    fn etag(&self) -> &str {
        &self.etag
    }
}

/// Who may use the bot. If all lists are empty: everybody.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Access)]
pub(crate) struct AccessView {
    /// Platform ids of people who may use it, in any chat.
    users: Vec<String>,
    /// Platform ids of chats, direct or group, in which everybody may use it.
    chats: Vec<String>,
    /// Whether a stranger is shown a pairing code in a direct chat. Until an operator approves it they may not use the bot.
    pairing: bool,
}

/// A new trigger.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewTrigger {
    integration_id: String,
    agent_id: String,
    /// Default: true.
    enabled: Option<bool>,
    /// After this idle time the next message starts a new session. Default: 3600.
    session_timeout_seconds: Option<u32>,
    /// Messages within this time of each other are merged. Default: 0 (never).
    summary_window_seconds: Option<u32>,
    /// Who shares a conversation in a group. Default: `sender`.
    #[schema(value_type = Option<schema::SessionScope>)]
    session_scope: Option<SessionScope>,
    /// What a message does while a run is in progress. Default: `queue`.
    #[schema(value_type = Option<schema::BusyPolicy>)]
    busy_policy: Option<BusyPolicy>,
    access: Option<AccessPatch>,
    /// Text shown to a person who opens the chat.
    welcome: Option<String>,
    /// Whether the task commands work in direct chats. Default: false.
    task_mode: Option<bool>,
    /// When no questions are answered. Default: never.
    quiet_hours: Option<QuietHoursBody>,
    /// How many questions one person may ask per minute. Default: no limit.
    #[schema(minimum = 1)]
    max_messages_per_person_per_minute: Option<u32>,
    /// What happens to credentials. Default: nothing.
    redaction: Option<RedactionPatch>,
    /// Other agents, and which messages they answer. Default: none.
    #[schema(max_items = 20)]
    routes: Option<Vec<RouteBody>>,
    /// Whether people may choose among all agents of the organization. Default: false.
    agent_choice: Option<bool>,
    /// How many of the latest group messages that were not addressed to the bot are sent along with a question. Default: 0. They are stored
    /// for at most a day. Only where the platform delivers them (`abilities.hearsGroups`).
    #[schema(maximum = 50)]
    group_context: Option<u32>,
    /// Which messages in groups are answered. Default: `mentioned`. `all` only where the platform delivers them.
    #[schema(value_type = Option<schema::GroupMessages>)]
    group_messages: Option<GroupMessages>,
}

/// Changes of a trigger. Absent fields keep their values.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TriggerPatch {
    integration_id: Option<String>,
    agent_id: Option<String>,
    enabled: Option<bool>,
    session_timeout_seconds: Option<u32>,
    summary_window_seconds: Option<u32>,
    #[schema(value_type = Option<schema::SessionScope>)]
    session_scope: Option<SessionScope>,
    #[schema(value_type = Option<schema::BusyPolicy>)]
    busy_policy: Option<BusyPolicy>,
    access: Option<AccessPatch>,
    /// Null: none.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    welcome: Option<Option<String>>,
    task_mode: Option<bool>,
    /// Null: never.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<QuietHoursBody>)]
    quiet_hours: Option<Option<QuietHoursBody>>,
    /// Null: no limit.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    max_messages_per_person_per_minute: Option<Option<u32>>,
    redaction: Option<RedactionPatch>,
    /// The complete list: it replaces the old one.
    #[schema(max_items = 20)]
    routes: Option<Vec<RouteBody>>,
    agent_choice: Option<bool>,
    #[schema(maximum = 50)]
    group_context: Option<u32>,
    #[schema(value_type = Option<schema::GroupMessages>)]
    group_messages: Option<GroupMessages>,
}

/// Changes of who may use the bot. Absent fields keep their values.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AccessPatch {
    users: Option<Vec<String>>,
    chats: Option<Vec<String>>,
    pairing: Option<bool>,
}

impl NewTrigger {
    /// Validates a new trigger.
    pub(super) fn read(self, id: TriggerId, organization: OrganizationId) -> Result<Trigger, Problem> {
        let blank = Trigger {
            id,
            organization,
            integration: IntegrationId::new(validation::named_id(&self.integration_id)),
            agent: AgentId::new(validation::named_id(&self.agent_id)),
            enabled: true,
            settings: TriggerSettings::default(),
        };
        let patch = TriggerPatch {
            integration_id: None,
            agent_id: None,
            enabled: self.enabled,
            session_timeout_seconds: self.session_timeout_seconds,
            summary_window_seconds: self.summary_window_seconds,
            session_scope: self.session_scope,
            busy_policy: self.busy_policy,
            access: self.access,
            welcome: Some(self.welcome),
            task_mode: self.task_mode,
            quiet_hours: Some(self.quiet_hours),
            max_messages_per_person_per_minute: Some(self.max_messages_per_person_per_minute),
            redaction: self.redaction,
            routes: self.routes,
            agent_choice: self.agent_choice,
            group_context: self.group_context,
            group_messages: self.group_messages,
        };
        patch.apply(blank)
    }
}

impl TriggerPatch {
    /// Validates the changes and returns the trigger with them applied.
    pub(super) fn apply(&self, before: Trigger) -> Result<Trigger, Problem> {
        let old = before.settings;
        let mut errors = FieldErrors::default();
        let settings = TriggerSettings {
            session_timeout_seconds: errors
                .keep(at_most(
                    "sessionTimeoutSeconds",
                    self.session_timeout_seconds.unwrap_or(old.session_timeout_seconds),
                    MAX_SESSION_TIMEOUT_SECONDS,
                ))
                .unwrap_or_default(),
            summary_window_seconds: errors
                .keep(at_most(
                    "summaryWindowSeconds",
                    self.summary_window_seconds.unwrap_or(old.summary_window_seconds),
                    MAX_SUMMARY_WINDOW_SECONDS,
                ))
                .unwrap_or_default(),
            session_scope: self.session_scope.unwrap_or(old.session_scope),
            busy_policy: self.busy_policy.unwrap_or(old.busy_policy),
            access: errors
                .keep(self.access.clone().unwrap_or_default().apply(old.access))
                .unwrap_or_default(),
            welcome: errors
                .keep(welcome(self.welcome.clone().unwrap_or(old.welcome)))
                .flatten(),
            task_mode: self.task_mode.unwrap_or(old.task_mode),
            quiet_hours: match &self.quiet_hours {
                Some(hours) => hours.as_ref().and_then(|hours| errors.keep(hours.read())),
                None => old.quiet_hours,
            },
            max_messages_per_person_per_minute: match self.max_messages_per_person_per_minute {
                Some(limit) => errors.keep(per_minute(PER_PERSON, limit)).flatten(),
                None => old.max_messages_per_person_per_minute,
            },
            redaction: errors
                .keep(self.redaction.clone().unwrap_or_default().apply(old.redaction))
                .unwrap_or_default(),
            routes: match &self.routes {
                Some(given) => errors.keep(routes::read(given)).unwrap_or_default(),
                None => old.routes,
            },
            agent_choice: self.agent_choice.unwrap_or(old.agent_choice),
            group_context: errors
                .keep(at_most(
                    "groupContext",
                    self.group_context.unwrap_or(old.group_context),
                    MAX_GROUP_CONTEXT,
                ))
                .unwrap_or_default(),
            group_messages: self.group_messages.unwrap_or(old.group_messages),
        };
        errors.end()?;
        Ok(Trigger {
            integration: self
                .integration_id
                .as_deref()
                .map_or(before.integration, |id| IntegrationId::new(validation::named_id(id))),
            agent: self
                .agent_id
                .as_deref()
                .map_or(before.agent, |id| AgentId::new(validation::named_id(id))),
            enabled: self.enabled.unwrap_or(before.enabled),
            settings,
            ..before
        })
    }
}

impl AccessPatch {
    fn apply(self, before: Access) -> Result<Access, Problem> {
        let users = self
            .users
            .map(|ids| validation::platform_ids("access.users", ids, MAX_ACCESS_ENTRIES))
            .transpose()?;
        let chats = self
            .chats
            .map(|ids| validation::platform_ids("access.chats", ids, MAX_ACCESS_ENTRIES))
            .transpose()?;
        Ok(Access {
            users: users.map_or(before.users, |ids| ids.into_iter().map(SenderId::new).collect()),
            chats: chats.map_or(before.chats, |ids| ids.into_iter().map(ChatId::new).collect()),
            pairing: self.pairing.unwrap_or(before.pairing),
        })
    }
}

fn at_most(field: &str, number: u32, max: u32) -> Result<u32, Problem> {
    if number > max {
        return Err(Problem::invalid(field, &format!("must be at most {max}")));
    }
    Ok(number)
}

fn welcome(text: Option<String>) -> Result<Option<String>, Problem> {
    let text = validation::optional_text(text);
    if text
        .as_ref()
        .is_some_and(|text| text.chars().count() > MAX_WELCOME_CHARS)
    {
        return Err(Problem::invalid("welcome", "must have at most 2000 characters"));
    }
    Ok(text)
}

impl TriggerView {
    /// Marks it as deleted at this time.
    pub(super) fn deleted(self, at: Timestamp) -> Self {
        Self {
            deleted_at: Some(at),
            ..self
        }
    }

    pub(super) fn of(record: TriggerRecord) -> Self {
        let TriggerRecord {
            trigger,
            created_at,
            updated_at,
            version,
        } = record;
        let settings = trigger.settings;
        Self {
            id: trigger.id.to_string(),
            integration_id: trigger.integration.to_string(),
            agent_id: trigger.agent.to_string(),
            enabled: trigger.enabled,
            session_timeout_seconds: settings.session_timeout_seconds,
            summary_window_seconds: settings.summary_window_seconds,
            session_scope: settings.session_scope,
            busy_policy: settings.busy_policy,
            access: AccessView::of(settings.access),
            welcome: settings.welcome,
            task_mode: settings.task_mode,
            quiet_hours: settings.quiet_hours.map(QuietHoursBody::of),
            max_messages_per_person_per_minute: settings.max_messages_per_person_per_minute,
            redaction: RedactionView::of(settings.redaction),
            routes: settings.routes.into_iter().map(RouteBody::of).collect(),
            agent_choice: settings.agent_choice,
            group_context: settings.group_context,
            group_messages: settings.group_messages,
            created_at,
            updated_at,
            etag: etag::of_version(version),
            deleted_at: None,
        }
    }
}

/// The changeable fields of a trigger, for the audit log.
pub(super) fn shown(trigger: &Trigger) -> Shown {
    let settings = &trigger.settings;
    audit::shown(serde_json::json!({
        "integrationId": trigger.integration, "agentId": trigger.agent, "enabled": trigger.enabled,
        "sessionTimeoutSeconds": settings.session_timeout_seconds,
        "summaryWindowSeconds": settings.summary_window_seconds,
        "sessionScope": settings.session_scope, "busyPolicy": settings.busy_policy,
        "access": AccessView::of(settings.access.clone()),
        "welcome": settings.welcome, "taskMode": settings.task_mode,
        "quietHours": settings.quiet_hours, "maxMessagesPerPersonPerMinute": settings.max_messages_per_person_per_minute,
        "redaction": settings.redaction, "routes": settings.routes, "agentChoice": settings.agent_choice,
        "groupContext": settings.group_context, "groupMessages": settings.group_messages,
    }))
}

impl AccessView {
    fn of(access: Access) -> Self {
        Self {
            users: access.users.iter().map(ToString::to_string).collect(),
            chats: access.chats.iter().map(ToString::to_string).collect(),
            pairing: access.pairing,
        }
    }
}
