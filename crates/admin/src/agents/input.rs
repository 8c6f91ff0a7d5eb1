//! Input of the agents API: new agents and changes, validated.

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};
use tieline_bridge::agents::{self as bridge_agents, AgentFacts, InvalidAgent};
use tieline_core::agent::{Agent, AgentConfig};
use tieline_core::ids::{AgentId, OrganizationId};
use tieline_core::notice::Language;
use utoipa::ToSchema;

use crate::problem::{FieldErrors, Problem};
use crate::state::AdminState;
use crate::validation::{self, Protocol};
use crate::{mask, secret_origin};

/// A new agent.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewAgent {
    /// Unique in the organization.
    name: String,
    /// See `agentProtocols` in `/api/v1/platforms`.
    protocol: String,
    #[schema(value_type = Option<Object>)]
    config: Option<Map<String, Value>>,
}

/// Changes of an agent. Absent fields keep their values.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AgentPatch {
    name: Option<String>,
    /// Another protocol starts with an empty `config`.
    protocol: Option<String>,
    #[schema(value_type = Option<Object>)]
    config: Option<Map<String, Value>>,
}

/// Validates the body of a new agent.
pub(crate) fn read_new(
    state: &AdminState,
    organization: &OrganizationId,
    id: AgentId,
    new: NewAgent,
) -> Result<Agent, Problem> {
    let mut errors = FieldErrors::default();
    let name = errors.keep(validation::name(&new.name));
    // There is no stored value yet that a mask could keep.
    let given = new.config.unwrap_or_default();
    let config = errors.keep(mask::patched("config", &Map::new(), given, |_| true));
    let is_config_read = config.is_some();
    let agent = Agent {
        id,
        organization: organization.clone(),
        name: name.unwrap_or_default(),
        config: AgentConfig::new(config.unwrap_or_default()),
        protocol: new.protocol,
    };
    if is_config_read {
        errors.keep(check(state, &agent));
    }
    errors.end()?;
    Ok(agent)
}

/// Validates the changes and returns the agent with them applied.
pub(crate) fn read_patch(state: &AdminState, before: &Agent, patch: &AgentPatch) -> Result<Agent, Problem> {
    let mut errors = FieldErrors::default();
    let name = patch.name.as_deref().map(validation::name).transpose();
    let name = errors.keep(name).flatten();
    let protocol = patch.protocol.clone().unwrap_or_else(|| before.protocol.clone());
    let config = errors.keep(patched_config(before, &protocol, patch));
    let is_config_read = config.is_some();
    let agent = Agent {
        name: name.unwrap_or_else(|| before.name.clone()),
        config: AgentConfig::new(config.unwrap_or_default()),
        protocol,
        ..before.clone()
    };
    if is_config_read && let Some(facts) = errors.keep(check(state, &agent)) {
        errors.keep(check_secrets(before, &agent, patch, &facts));
    }
    errors.end()?;
    Ok(agent)
}

/// The settings of an agent with the changes applied.
fn patched_config(before: &Agent, protocol: &str, patch: &AgentPatch) -> Result<Map<String, Value>, Problem> {
    let nothing = Map::new();
    let kept = if protocol == before.protocol {
        before.config.settings()
    } else {
        &nothing
    };
    mask::patched("config", kept, patch.config.clone().unwrap_or_default(), |field| {
        bridge_agents::is_secret(protocol, field)
    })
}

/// Kept secrets may be sent only to the origins they were sent to before.
fn check_secrets(before: &Agent, after: &Agent, patch: &AgentPatch, facts: &AgentFacts) -> Result<(), Problem> {
    if before.protocol != after.protocol {
        // Nothing was kept.
        return Ok(());
    }
    // Settings that don't pass the check have never been used for a call.
    let known = bridge_agents::check(&before.protocol, &before.config).unwrap_or_default();
    secret_origin::check(
        "config",
        before.config.settings(),
        patch.config.as_ref(),
        |field| bridge_agents::is_secret(&before.protocol, field),
        known.addresses(),
        facts.addresses(),
    )
}

fn check(state: &AdminState, agent: &Agent) -> Result<AgentFacts, Problem> {
    let mut errors = FieldErrors::default();
    let checked = bridge_agents::check(&agent.protocol, &agent.config);
    let facts = checked.unwrap_or_else(|mistakes| {
        mistakes.into_iter().for_each(|it| errors.add(explain(it)));
        AgentFacts::default()
    });
    for (field, address) in &facts.addresses {
        let field = format!("config.{field}");
        errors.keep(validation::address(
            &field,
            address,
            Protocol::Http,
            state.allow_private(),
        ));
    }
    errors.end()?;
    Ok(facts)
}

fn explain(invalid: InvalidAgent) -> Problem {
    match invalid {
        InvalidAgent::UnknownProtocol(reason) => {
            let known: Vec<_> = bridge_agents::protocols(Language::English)
                .iter()
                .map(|known| known.word)
                .collect();
            Problem::new(StatusCode::BAD_REQUEST, "invalid_field", reason)
                .on("protocol")
                .with("allowed", known)
        }
        InvalidAgent::UnknownField { field, known } => Problem::unknown(format!("config.{field}")).allowing(known),
        InvalidAgent::Field { field, reason, allowed } => {
            Problem::invalid(format!("config.{field}"), &reason).allowing(allowed.iter().copied())
        }
    }
}
