//! What an organization owns before a file is applied to it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::file::{OrganizationEntry, TriggerEntry};
use super::no_such;
use crate::client::{ApiError, Client};
use crate::kind::Kind;

/// An organization as it stands.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) client: Client,
    /// None if it isn't there yet.
    pub(super) organization: Option<Value>,
    pub(super) agents: Vec<Value>,
    pub(super) integrations: Vec<Value>,
    triggers: Vec<Value>,
}

impl Current {
    pub(super) async fn look(client: &Client) -> Result<Self, ApiError> {
        let organization = match client.get(&[], &[]).await {
            Ok(found) => Some(found),
            Err(error) if error.is_missing() => None,
            Err(error) => return Err(error),
        };
        let mut found = Self {
            client: client.clone(),
            organization,
            agents: Vec::new(),
            integrations: Vec::new(),
            triggers: Vec::new(),
        };
        if found.organization.is_some() {
            found.agents = client.all(Kind::Agents).await?;
            found.integrations = client.all(Kind::Integrations).await?;
            found.triggers = client.all(Kind::Triggers).await?;
        }
        Ok(found)
    }

    /// Whether every trigger of the file names what there is or will be.
    pub(super) fn check(&self, wanted: &OrganizationEntry) -> anyhow::Result<()> {
        let organization = self.client.organization();
        for trigger in &wanted.triggers {
            let (integration, agent) = (&trigger.integration, &trigger.agent);
            let in_file = wanted.integrations.iter().any(|entry| entry.name == *integration);
            if !in_file && named(&self.integrations, integration).is_none() {
                no_such(Kind::Integrations, integration, trigger, organization)?;
            }
            let in_file = wanted.agents.iter().any(|entry| entry.name == *agent);
            if !in_file && named(&self.agents, agent).is_none() {
                no_such(Kind::Agents, agent, trigger, organization)?;
            }
        }
        Ok(())
    }

    /// The trigger between these two; of several, the one in force.
    pub(super) fn trigger(&self, wanted: &TriggerEntry) -> Option<&Value> {
        let integration = id_of(&self.integrations, &wanted.integration)?;
        let agent = id_of(&self.agents, &wanted.agent)?;
        let same = |trigger: &&Value| trigger["integrationId"] == integration && trigger["agentId"] == agent;
        let found = self.triggers.iter().filter(same);
        found.max_by_key(|trigger| trigger["enabled"] == true)
    }

    /// The trigger that binds the integration to another agent, and that no other line of the file is about.
    pub(super) fn rival(&self, wanted: &TriggerEntry, taken: &BTreeSet<&str>) -> Option<&Value> {
        if !wanted.is_enabled() {
            return None;
        }
        let integration = id_of(&self.integrations, &wanted.integration)?;
        let mut free = self.triggers.iter().filter(|trigger| {
            let id = trigger["id"].as_str().unwrap_or_default();
            trigger["enabled"] == true && !taken.contains(id)
        });
        free.find(|trigger| trigger["integrationId"] == integration)
    }
}

pub(super) fn named<'a>(items: &'a [Value], name: &str) -> Option<&'a Value> {
    items.iter().find(|item| item["name"] == name)
}

/// Its id, if it has one already.
pub(super) fn id_of<'a>(items: &'a [Value], name: &str) -> Option<&'a str> {
    named(items, name)?["id"].as_str()
}

pub(super) fn name_of(items: &[Value], id: &Value) -> Value {
    let found = items.iter().find(|item| item["id"] == *id);
    found.map_or_else(|| id.clone(), |item| item["name"].clone())
}

/// Puts something new, or something newer, among the others.
pub(super) fn put(items: &mut Vec<Value>, item: Value) {
    items.retain(|known| known["name"] != item["name"]);
    items.push(item);
}
