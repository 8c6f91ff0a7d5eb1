//! What the management API reports of agents and their protocols.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tieline_agents::answer_memory::AnswerMemory;
use tieline_agents::config::InvalidConfig;
use tieline_agents::env::Env as AgentEnv;
use tieline_agents::protocol::Protocol;
use tieline_core::agent::{Agent, AgentConfig, AgentFailure};
use tieline_core::ids::OrganizationId;
use tieline_core::notice::Language;

use crate::memory_budget::MemoryPermit;
use crate::world::{World, chance};

/// How long an answer that grows waits for memory, unread meanwhile.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// An agent protocol.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentProtocol {
    /// The name used in the API.
    pub word: &'static str,
    /// The name people know.
    pub name: &'static str,
    /// JSON Schema of `config`.
    pub schema: Value,
}

/// What the settings of an agent contain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentFacts {
    /// Fields and the addresses in them, which will be called.
    pub addresses: Vec<(String, String)>,
}

impl AgentFacts {
    /// Fields and the addresses in them.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, &str)> {
        self.addresses.iter().map(|(field, address)| (&**field, &**address))
    }
}

/// Why settings of an agent can't be used. Never contains a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAgent {
    /// No such protocol; the message lists those there are.
    #[error("{0}")]
    UnknownProtocol(String),
    /// The protocol has no such field.
    #[error("{field} is not a field of this protocol")]
    UnknownField {
        /// Its name.
        field: String,
        /// The fields of the protocol.
        known: Vec<&'static str>,
    },
    /// A field is missing or can't be what it claims.
    #[error("{field} {reason}")]
    Field {
        /// Its path in the settings.
        field: String,
        /// What is wrong with it, to follow the name in a sentence.
        reason: Cow<'static, str>,
        /// The words it can be, if it is one of a few.
        allowed: &'static [&'static str],
    },
}

impl From<InvalidConfig> for InvalidAgent {
    fn from(invalid: InvalidConfig) -> Self {
        match invalid {
            InvalidConfig::UnknownProtocol(_) => Self::UnknownProtocol(invalid.to_string()),
            InvalidConfig::UnknownField { field, known } => Self::UnknownField { field, known },
            InvalidConfig::Field { field, reason, allowed } => Self::Field { field, reason, allowed },
        }
    }
}

/// The protocols that can be spoken, described in `language`.
#[must_use]
pub fn protocols(language: Language) -> Vec<AgentProtocol> {
    let protocols = Protocol::ALL.iter().map(|protocol| AgentProtocol {
        word: protocol.manifest().word,
        name: protocol.manifest().name,
        schema: protocol.schema(language),
    });
    protocols.collect()
}

/// Whether a field of this protocol is masked in every answer. A protocol that isn't known (any more) has only secrets.
#[must_use]
pub fn is_secret(protocol: &str, field: &str) -> bool {
    Protocol::named(protocol).is_none_or(|protocol| protocol.secret_fields().any(|secret| secret == field))
}

/// Whether a field with this name is a number or a boolean, in every protocol that has one.
#[must_use]
pub fn is_typed(field: &str) -> bool {
    let mut fields = Protocol::ALL.iter().flat_map(|protocol| protocol.manifest().fields);
    fields.any(|known| known.name == field && known.kind.is_typed())
}

/// The names of a protocol's secret fields.
#[must_use]
pub fn secret_fields(protocol: &str) -> Vec<&'static str> {
    Protocol::named(protocol).map_or_else(Vec::new, |protocol| protocol.secret_fields().collect())
}

/// Checks the settings of an agent.
///
/// # Errors
/// Everything that is wrong, at least one [`InvalidAgent`].
pub fn check(protocol: &str, config: &AgentConfig) -> Result<AgentFacts, Vec<InvalidAgent>> {
    let adapter = Protocol::parse_all(protocol, config)
        .map_err(|mistakes| mistakes.into_iter().map(InvalidAgent::from).collect::<Vec<_>>())?;
    let addresses = adapter
        .addresses()
        .map(|address| (field_of(config, address), address.to_owned()));
    Ok(AgentFacts {
        addresses: addresses.collect(),
    })
}

fn field_of(config: &AgentConfig, address: &str) -> String {
    let mut fields = config.settings().iter();
    let found = fields.find(|(_, value)| value.as_str().is_some_and(|text| text.trim() == address));
    found.map_or_else(String::new, |(name, _)| name.clone())
}

/// Asks an agent for a sign of life.
///
/// # Errors
/// [`AgentFailure`] with the cause, for the operator.
pub async fn probe(world: &World, agent: &Agent) -> Result<(), AgentFailure> {
    let adapter = Protocol::parse(&agent.protocol, &agent.config).map_err(|invalid| AgentFailure {
        code: "config_invalid".to_owned(),
        message: invalid.to_string(),
        retryable: false,
    })?;
    let memory = answer_memory(world, &agent.organization);
    adapter.probe(&agent_env(world, memory)).await
}

/// Memory of one answer of an organization's agents. Held until it, and every environment that it was given to, is dropped.
pub(crate) fn answer_memory(world: &World, organization: &OrganizationId) -> AnswerMemory {
    let budget = Arc::clone(&world.answer_budget);
    let organization = organization.clone();
    let permits: Arc<Mutex<Vec<MemoryPermit>>> = Arc::default();
    AnswerMemory::new(move |n_bytes| {
        let (budget, organization, permits) = (Arc::clone(&budget), organization.clone(), Arc::clone(&permits));
        Box::pin(async move {
            let Some(permit) = budget.take(&organization, n_bytes, ANSWER_PATIENCE).await else {
                return false;
            };
            permits.lock().unwrap_or_else(PoisonError::into_inner).push(permit);
            true
        })
    })
}

/// What agents' adapters need of the world.
pub(crate) fn agent_env(world: &World, memory: AnswerMemory) -> AgentEnv {
    let clock = world.clock;
    AgentEnv {
        http: world.http.client().clone(),
        now: Arc::new(move || clock.now()),
        random: Arc::new(chance),
        allow_private: world.settings.allow_private.clone(),
        aws_credentials: world.settings.aws_credentials.clone(),
        memory,
        backoff: tieline_agents::env::BACKOFF,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tieline_connectors::registry;

    use super::*;
    use crate::test_support;

    #[tokio::test]
    async fn answers_take_memory_until_the_run_drops_them() {
        let (_engines, world) = test_support::world(registry::ALL).await;
        let (greedy, modest) = (OrganizationId::new("greedy"), OrganizationId::new("modest"));
        let share = world.settings.max_answers_bytes / 2;
        let (first, second) = (answer_memory(&world, &greedy), answer_memory(&world, &greedy));
        let adapter = agent_env(&world, first.clone());
        first.reserve(share).await.unwrap();
        assert!(second.reserve(share).now_or_never().is_none(), "it waits");
        // Short answers are not counted, and other organizations have their own share.
        second.reserve(64 * 1024).await.unwrap();
        answer_memory(&world, &modest).reserve(share).await.unwrap();
        drop(first);
        assert!(second.reserve(share).now_or_never().is_none());
        drop(adapter);
        second.reserve(share).await.unwrap();
    }
}
