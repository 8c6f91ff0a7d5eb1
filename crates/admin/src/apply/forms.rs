//! Resources in the form in which a file contains them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use tieline_bridge::agents as bridge_agents;
use tieline_core::account::ConnectionMode;
use tieline_core::agent::Agent;
use tieline_core::connector::Manifest;
use tieline_core::ids::AgentId;
use tieline_core::notice::Language;
use tieline_core::routes::Route;
use tieline_core::thinking_display::{ReasoningDetail, ThinkingSign};
use tieline_core::trigger::{Trigger, TriggerSettings};
use tieline_store::config::integration::IntegrationSettings;

use crate::integrations::view;
use crate::mask::{self, MASK};

/// An agent in a file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AgentForm {
    pub(super) name: String,
    protocol: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    config: Map<String, Value>,
}

/// An integration in a file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IntegrationForm {
    pub(super) name: String,
    platform: String,
    connection_mode: ConnectionMode,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    credentials: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    endpoints: BTreeMap<String, String>,
    language: Language,
    streaming: bool,
    reasoning: Option<ReasoningDetail>,
    thinking_sign: ThinkingSign,
    allowed_agents: Option<Vec<String>>,
    enabled: bool,
}

/// A trigger in a file: it names its integration and its agent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TriggerForm {
    pub(super) integration: String,
    pub(super) agent: String,
    pub(super) enabled: bool,
    #[serde(flatten)]
    settings: TriggerSettings,
}

impl AgentForm {
    /// Includes secrets: only for comparing.
    pub(super) fn of(agent: &Agent) -> Self {
        Self {
            name: agent.name.clone(),
            protocol: agent.protocol.clone(),
            config: agent.config.settings().clone(),
        }
    }

    /// `***` replaces each secret.
    pub(super) fn masked(agent: &Agent) -> Self {
        let config = mask::masked(agent.config.settings(), |field| {
            bridge_agents::is_secret(&agent.protocol, field)
        });
        Self {
            config,
            ..Self::of(agent)
        }
    }
}

impl IntegrationForm {
    /// Includes secrets: only for comparing. Leaves out allowed agents that don't exist any more: they can't be named.
    pub(super) fn of(
        platform: &str,
        settings: &IntegrationSettings,
        name_of: impl Fn(&AgentId) -> Option<String>,
    ) -> Self {
        let credentials = settings.credentials.iter();
        let allowed = settings.allowed_agents.as_ref();
        Self {
            name: settings.name.clone(),
            platform: platform.to_owned(),
            connection_mode: settings.mode,
            // An empty credential is the same as none.
            credentials: credentials
                .map(|(name, value)| (name.to_owned(), value.expose().to_owned()))
                .filter(|(_, value)| !value.is_empty())
                .collect(),
            endpoints: settings.endpoints.clone(),
            language: settings.language,
            streaming: settings.streaming,
            reasoning: settings.thinking.reasoning,
            thinking_sign: settings.thinking.sign,
            allowed_agents: allowed.map(|ids| ids.iter().filter_map(name_of).collect()),
            enabled: settings.enabled,
        }
    }

    /// `***` replaces each secret.
    pub(super) fn masked(
        platform: &str,
        manifest: Option<&Manifest>,
        settings: &IntegrationSettings,
        name_of: impl Fn(&AgentId) -> Option<String>,
    ) -> Self {
        let mut form = Self::of(platform, settings, name_of);
        for (name, value) in &mut form.credentials {
            if view::is_secret(manifest, name) {
                MASK.clone_into(value);
            }
        }
        form
    }
}

impl TriggerForm {
    /// Leaves out routes to agents that don't exist any more: they have no effect and can't be named.
    pub(super) fn of(
        trigger: &Trigger,
        integration: &str,
        agent: &str,
        name_of: impl Fn(&AgentId) -> Option<String>,
    ) -> Self {
        let named = |route: &Route| {
            let agent = AgentId::new(name_of(&route.agent)?);
            Some(Route { agent, ..route.clone() })
        };
        let mut settings = trigger.settings.clone();
        settings.routes = settings.routes.iter().filter_map(named).collect();
        Self {
            integration: integration.to_owned(),
            agent: agent.to_owned(),
            enabled: trigger.enabled,
            settings,
        }
    }
}

/// The fields of a form.
pub(super) fn fields(form: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(form) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}
