//! A trigger as an item of the table: its own, or the copy beside its integration.

use serde::{Deserialize, Serialize};
use tieline_core::access::Access;
use tieline_core::ids::{AgentId, ChatId, IntegrationId, OrganizationId, SenderId, TriggerId};
use tieline_core::quiet_hours::{QuietHours, TimeOfDay, UtcOffset};
use tieline_core::redaction::{Incoming, Outgoing, Redaction};
use tieline_core::routes::Route;
use tieline_core::timestamp::{Timestamp, millis};
use tieline_core::trigger::{BusyPolicy, GroupMessages, SessionScope, Trigger, TriggerSettings};

use super::integration_key::{self, BOUND};
use crate::error::StoreError;
use crate::item::{self, Item};

/// A trigger as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerRecord {
    /// The trigger.
    pub trigger: Trigger,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Incremented with every change.
    pub version: u64,
}

/// The items of a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TriggerItem {
    /// Its own.
    Own,
    /// The copy that the hot path reads with the integration.
    Bound,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1(StoredV1),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredV1 {
    id: TriggerId,
    organization: OrganizationId,
    integration: IntegrationId,
    agent: AgentId,
    enabled: bool,
    settings: SettingsV1,
    #[serde(with = "millis")]
    created_at: Timestamp,
    #[serde(with = "millis")]
    updated_at: Timestamp,
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SettingsV1 {
    session_timeout_seconds: u32,
    summary_window_seconds: u32,
    session_scope: SessionScope,
    busy_policy: BusyPolicy,
    #[serde(default)]
    users: Vec<SenderId>,
    #[serde(default)]
    chats: Vec<ChatId>,
    #[serde(default)]
    pairing: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    welcome: Option<String>,
    #[serde(default)]
    task_mode: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quiet_hours: Option<QuietHoursV1>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_messages_per_person_per_minute: Option<u32>,
    #[serde(default)]
    redaction: RedactionV1,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    routes: Vec<RouteV1>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    agent_choice: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    group_context: u32,
    #[serde(default)]
    group_messages: GroupMessages,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RouteV1 {
    agent: AgentId,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    chats: Vec<ChatId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    users: Vec<SenderId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_word: Option<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RedactionV1 {
    incoming: Incoming,
    outgoing: Outgoing,
    patterns: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct QuietHoursV1 {
    from: TimeOfDay,
    to: TimeOfDay,
    utc_offset: UtcOffset,
}

pub(super) fn write(record: &TriggerRecord, item: TriggerItem) -> Result<Item, StoreError> {
    let trigger = record.trigger.clone();
    let (pk, sk) = match item {
        TriggerItem::Own => (pk(&trigger.organization), sk(&trigger.id)),
        TriggerItem::Bound => (integration_key::pk(&trigger.integration), BOUND.to_owned()),
    };
    let stored = Stored::V1(StoredV1 {
        id: trigger.id,
        organization: trigger.organization,
        integration: trigger.integration,
        agent: trigger.agent,
        enabled: trigger.enabled,
        settings: trigger.settings.into(),
        created_at: record.created_at,
        updated_at: record.updated_at,
        version: record.version,
    });
    item::write("trigger", &pk, &sk, &stored)
}

/// Reads the trigger of an item, its own or the integration's copy.
pub(super) fn read(item: Item) -> Result<TriggerRecord, StoreError> {
    let Stored::V1(stored) = item::read("trigger", item)?;
    Ok(TriggerRecord {
        trigger: Trigger {
            id: stored.id,
            organization: stored.organization,
            integration: stored.integration,
            agent: stored.agent,
            enabled: stored.enabled,
            settings: stored.settings.into(),
        },
        created_at: stored.created_at,
        updated_at: stored.updated_at,
        version: stored.version,
    })
}

pub(super) fn pk(organization: &OrganizationId) -> String {
    format!("ORG#{organization}")
}

pub(super) fn sk(id: &TriggerId) -> String {
    format!("TRG#{id}")
}

impl From<TriggerSettings> for SettingsV1 {
    fn from(settings: TriggerSettings) -> Self {
        Self {
            session_timeout_seconds: settings.session_timeout_seconds,
            summary_window_seconds: settings.summary_window_seconds,
            session_scope: settings.session_scope,
            busy_policy: settings.busy_policy,
            users: settings.access.users,
            chats: settings.access.chats,
            pairing: settings.access.pairing,
            welcome: settings.welcome,
            task_mode: settings.task_mode,
            quiet_hours: settings.quiet_hours.map(|hours| QuietHoursV1 {
                from: hours.from,
                to: hours.to,
                utc_offset: hours.utc_offset,
            }),
            max_messages_per_person_per_minute: settings.max_messages_per_person_per_minute,
            redaction: RedactionV1 {
                incoming: settings.redaction.incoming,
                outgoing: settings.redaction.outgoing,
                patterns: settings.redaction.patterns,
            },
            routes: settings.routes.into_iter().map(RouteV1::from).collect(),
            agent_choice: settings.agent_choice,
            group_context: settings.group_context,
            group_messages: settings.group_messages,
        }
    }
}

impl From<SettingsV1> for TriggerSettings {
    fn from(stored: SettingsV1) -> Self {
        Self {
            session_timeout_seconds: stored.session_timeout_seconds,
            summary_window_seconds: stored.summary_window_seconds,
            session_scope: stored.session_scope,
            busy_policy: stored.busy_policy,
            access: Access {
                users: stored.users,
                chats: stored.chats,
                pairing: stored.pairing,
            },
            welcome: stored.welcome,
            task_mode: stored.task_mode,
            quiet_hours: stored.quiet_hours.map(|hours| QuietHours {
                from: hours.from,
                to: hours.to,
                utc_offset: hours.utc_offset,
            }),
            max_messages_per_person_per_minute: stored.max_messages_per_person_per_minute,
            redaction: Redaction {
                incoming: stored.redaction.incoming,
                outgoing: stored.redaction.outgoing,
                patterns: stored.redaction.patterns,
            },
            routes: stored.routes.into_iter().map(Route::from).collect(),
            agent_choice: stored.agent_choice,
            group_context: stored.group_context,
            group_messages: stored.group_messages,
        }
    }
}

impl From<Route> for RouteV1 {
    fn from(route: Route) -> Self {
        let Route {
            agent,
            chats,
            users,
            first_word,
        } = route;
        Self {
            agent,
            chats,
            users,
            first_word,
        }
    }
}

impl From<RouteV1> for Route {
    fn from(stored: RouteV1) -> Self {
        let RouteV1 {
            agent,
            chats,
            users,
            first_word,
        } = stored;
        Self {
            agent,
            chats,
            users,
            first_word,
        }
    }
}
