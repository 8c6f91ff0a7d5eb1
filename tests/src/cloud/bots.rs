//! Bots, agents and triggers, put into the tables.

use anyhow::{Context as _, Result};
use serde_json::{Map, Value};
use tieline_bridge::world::random;
use tieline_core::account::{ConnectionMode, Credentials, Endpoints};
use tieline_core::agent::{Agent, AgentConfig};
use tieline_core::ids::{AgentId, IntegrationId, OrganizationId, TriggerId, fresh};
use tieline_core::notice::Language;
use tieline_core::timestamp::Timestamp;
use tieline_core::trigger::{Trigger, TriggerSettings};
use tieline_store::config::agent as agents;
use tieline_store::config::integration::{self as integrations, IntegrationSettings, NewIntegration};
use tieline_store::config::organization::{self, DEFAULT};
use tieline_store::config::trigger::{self as triggers, Rival};

use super::Cloud;

impl Cloud {
    /// A bot, an agent and a trigger between them. Gives the bot's id.
    ///
    /// # Errors
    /// If one can't be made.
    pub async fn bind(&self, integration: &Value, agent: &Value) -> Result<String> {
        // The default organization is made when it is first asked for.
        organization::get(&self.store, &OrganizationId::new(DEFAULT), now()).await?;
        let integration = self.integration(integration).await?;
        let binding = Trigger {
            id: TriggerId::new(fresh("trg", random())),
            organization: OrganizationId::new(DEFAULT),
            integration: integration.clone(),
            agent: self.agent(agent).await?,
            enabled: true,
            settings: TriggerSettings::default(),
        };
        triggers::create(&self.store, binding, Rival::Respect, now()).await?;
        Ok(integration.as_str().to_owned())
    }

    async fn agent(&self, agent: &Value) -> Result<AgentId> {
        let config = agent["config"].as_object().cloned().unwrap_or_else(Map::new);
        let agent = Agent {
            id: AgentId::new(fresh("agt", random())),
            organization: OrganizationId::new(DEFAULT),
            name: text(agent, "name")?,
            protocol: text(agent, "protocol")?,
            config: AgentConfig::new(config),
        };
        Ok(agents::create(&self.store, agent, now()).await?.agent.id)
    }

    async fn integration(&self, integration: &Value) -> Result<IntegrationId> {
        let new = NewIntegration {
            id: IntegrationId::new(fresh("int", random())),
            organization: OrganizationId::new(DEFAULT),
            platform: text(integration, "platform")?,
            id_key: random(),
        };
        let credentials: Credentials = match &integration["credentials"] {
            Value::Null => Credentials::default(),
            some => serde_json::from_value(some.clone())?,
        };
        let settings = IntegrationSettings {
            name: text(integration, "name")?,
            mode: ConnectionMode::Webhook,
            credentials,
            endpoints: Endpoints::default(),
            language: Language::default(),
            streaming: true,
            enabled: true,
            account_key: None,
        };
        Ok(integrations::create(&self.store, new, settings, now()).await?.id)
    }
}

fn text(value: &Value, field: &str) -> Result<String> {
    let found = value[field].as_str().map(str::to_owned);
    found.with_context(|| format!("{field} is missing"))
}

fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Timestamp::default().after(since_epoch)
}
