//! First start: creates a bot to talk to, so that nothing needs to be configured.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;
use tieline_bridge::world::{World, random};
use tieline_connectors::registry;
use tieline_core::account::{ConnectionMode, Credentials, Endpoints};
use tieline_core::agent::{Agent, AgentConfig};
use tieline_core::ids::{AgentId, IntegrationId, OrganizationId, TriggerId, fresh_at};
use tieline_core::notice::Language;
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_core::timestamp::Timestamp;
use tieline_core::trigger::{Trigger, TriggerSettings};
use tieline_store::config::agent::{self, AgentError};
use tieline_store::config::integration::{self, IntegrationError, IntegrationSettings, NewIntegration};
use tieline_store::config::organization::{self, DEFAULT};
use tieline_store::config::trigger::{self, Rival, TriggerError};

/// Marker file: this directory has been seeded, so resources that its owner deletes stay deleted.
const MARKER: &str = "seeded";

/// Delay between two parts of the echo: long enough to be visible, because the echo demonstrates streaming.
const ECHO_DELAY_MS: u64 = 150;

/// The language of a locale, chosen as in the console: Chinese for Chinese locales, else English.
#[must_use]
pub fn language_of(locale: &str) -> Language {
    match locale.to_ascii_lowercase().starts_with("zh") {
        true => Language::Chinese,
        false => Language::English,
    }
}

/// Creates an echo agent, a web integration in `language` and a trigger between them, at the first start.
///
/// A start that was interrupted may have created some of them; the next one finds them by name.
///
/// # Errors
/// The store's.
pub async fn seed(world: &World, dir: &Path, language: Language) -> anyhow::Result<()> {
    let marker = dir.join(MARKER);
    if marker.exists() {
        return Ok(());
    }
    let now = world.clock.now();
    let organization = OrganizationId::new(DEFAULT);
    organization::get(&world.store, &organization, now).await?;
    let agent = echo(world, &organization, now)
        .await
        .context("can't make the echo agent")?;
    let integration = playground(world, &organization, language, now)
        .await
        .context("can't make the playground")?;
    let binding = Trigger {
        id: TriggerId::new(fresh_at("trg", now, random())),
        organization,
        integration,
        agent,
        enabled: true,
        settings: TriggerSettings::default(),
    };
    match trigger::create(&world.store, binding, Rival::Respect, now).await {
        Ok(_) | Err(TriggerError::AlreadyBound(_)) => {}
        Err(error) => return Err(error).context("can't bind the playground"),
    }
    fs::write(&marker, "").context("can't mark the data directory")
}

async fn echo(world: &World, organization: &OrganizationId, now: Timestamp) -> anyhow::Result<AgentId> {
    let echo = Agent {
        id: AgentId::new(fresh_at("agt", now, random())),
        organization: organization.clone(),
        name: "Echo".to_owned(),
        protocol: "echo".to_owned(),
        config: AgentConfig::new([("delayMillis".to_owned(), json!(ECHO_DELAY_MS))].into_iter().collect()),
    };
    let name = echo.name.clone();
    match agent::create(&world.store, echo, now).await {
        Ok(made) => Ok(made.agent.id),
        Err(AgentError::NameTaken(_)) => {
            let known = agent::list(&world.store, organization, None, 100).await?.items;
            let found = known.into_iter().find(|record| record.agent.name == name);
            Ok(found
                .context("the name is taken, but by no item that can be found")?
                .agent
                .id)
        }
        Err(error) => Err(error.into()),
    }
}

async fn playground(
    world: &World,
    organization: &OrganizationId,
    language: Language,
    now: Timestamp,
) -> anyhow::Result<IntegrationId> {
    let new = NewIntegration {
        id: IntegrationId::new(fresh_at("int", now, random())),
        organization: organization.clone(),
        platform: registry::own_channel().platform.to_owned(),
        id_key: random(),
    };
    let settings = IntegrationSettings {
        name: "Playground".to_owned(),
        mode: ConnectionMode::Webhook,
        credentials: Credentials::default(),
        endpoints: Endpoints::default(),
        language,
        streaming: true,
        thinking: ThinkingDisplay::default(),
        allowed_agents: None,
        enabled: true,
        account_key: None,
    };
    let name = settings.name.clone();
    match integration::create(&world.store, new, settings, now).await {
        Ok(made) => Ok(made.id),
        Err(IntegrationError::NameTaken(_)) => {
            let known = integration::list(&world.store, organization, None, 100).await?.items;
            let found = known.into_iter().find(|record| record.name == name);
            Ok(found.context("the name is taken, but by no item that can be found")?.id)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_chinese_locales_select_chinese() {
        for locale in ["", "C.UTF-8", "en_US.UTF-8", "de_DE"] {
            assert_eq!(language_of(locale), Language::English, "{locale}");
        }
        assert_eq!(language_of("zh_CN.UTF-8"), Language::Chinese);
    }
}
