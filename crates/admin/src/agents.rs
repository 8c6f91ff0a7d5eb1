//! Agents: who answers.

use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tieline_bridge::agents::{self as bridge_agents, AgentFacts, InvalidAgent};
use tieline_core::agent::{Agent, AgentConfig};
use tieline_core::ids::{AgentId, OrganizationId};
use tieline_core::timestamp::Timestamp;
use tieline_store::config::agent::{self as store_agent, AgentError, AgentRecord};
use tieline_store::config::trigger;
use utoipa::ToSchema;

use crate::auth::Scope;
use crate::body::{Body, Query};
use crate::integrations::{ForceQuery, impact};
use crate::page::{self, List, PageQuery};
use crate::path::Id;
use crate::problem::Problem;
use crate::retry::until_settled;
use crate::state::AdminState;
use crate::{mask, secret_origin, validation};

/// A digital expert: an address that speaks an agent protocol.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Agent)]
pub(crate) struct AgentView {
    id: String,
    name: String,
    protocol: String,
    /// As the protocol has it; see `agentProtocols` in `/api/v1/platforms`. Secret values are `"***"`.
    #[schema(value_type = Object)]
    config: Map<String, Value>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

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

/// Changes of an agent. What is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AgentPatch {
    name: Option<String>,
    /// Another protocol begins with an empty `config`.
    protocol: Option<String>,
    #[schema(value_type = Option<Object>)]
    config: Option<Map<String, Value>>,
}

/// What an agent answered to a sign of life.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentTest {
    ok: bool,
    /// A stable word, if it isn't.
    code: Option<String>,
    /// What happened, in one sentence.
    detail: String,
    millis: u64,
}

/// Lists the agents of an organization, the oldest first.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/agents", tag = "agents", params(PageQuery),
    responses((status = 200, body = List<AgentView>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    scope: Scope,
    Query(query): Query<PageQuery>,
) -> Result<Json<List<AgentView>>, Problem> {
    let limit = page::limit(query.limit)?;
    let cursor = page::cursor(query.cursor.as_deref());
    let page = store_agent::list(&state.world.store, &scope.organization, cursor, limit).await?;
    Ok(Json(List::of(page, AgentView::of)))
}

/// Creates an agent.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/agents", tag = "agents", request_body = NewAgent,
    responses((status = 201, body = AgentView), (status = 409, body = Problem, description = "`name_taken`")))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    scope: Scope,
    Body(new): Body<NewAgent>,
) -> Result<(StatusCode, Json<AgentView>), Problem> {
    let agent = read_new(&state, &scope.organization, state.fresh_agent(), new)?;
    let made = until_settled(|| async {
        store_agent::create(&state.world.store, agent.clone(), state.now())
            .await
            .map_err(plain)
    })
    .await?;
    Ok((StatusCode::CREATED, Json(AgentView::of(made))))
}

/// A new agent, checked.
pub(crate) fn read_new(
    state: &AdminState,
    organization: &OrganizationId,
    id: AgentId,
    new: NewAgent,
) -> Result<Agent, Problem> {
    let agent = Agent {
        id,
        organization: organization.clone(),
        name: validation::name(&new.name)?,
        // A mask has nothing to stand for yet.
        config: AgentConfig::new(mask::patched(
            "config",
            &Map::new(),
            new.config.unwrap_or_default(),
            |_| true,
        )?),
        protocol: new.protocol,
    };
    check(state, &agent)?;
    Ok(agent)
}

/// Shows an agent. Secrets are masked.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/agents/{id}", tag = "agents", responses((status = 200, body = AgentView)))]
pub(crate) async fn get(State(state): State<AdminState>, scope: Scope, Id(id): Id) -> Result<Json<AgentView>, Problem> {
    find(&state, &scope, &id).await.map(AgentView::of).map(Json)
}

/// Changes an agent. What is absent stays; so does a secret that is empty or `"***"`. Null takes a field away. When an address moves to
/// another origin, every secret must be given again in the same request, or taken away.
#[utoipa::path(patch, path = "/api/v1/orgs/{org}/agents/{id}", tag = "agents", request_body = AgentPatch,
    responses((status = 200, body = AgentView), (status = 409, body = Problem, description = "`name_taken`")))]
pub(crate) async fn patch(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    Body(patch): Body<AgentPatch>,
) -> Result<Json<AgentView>, Problem> {
    until_settled(|| async {
        let before = find(&state, &scope, &id).await?;
        let agent = read_patch(&state, &before.agent, &patch)?;
        let after = store_agent::update(&state.world.store, &before, agent, state.now())
            .await
            .map_err(plain)?;
        Ok(Json(AgentView::of(after)))
    })
    .await
}

/// An agent with these changes, checked.
pub(crate) fn read_patch(state: &AdminState, before: &Agent, patch: &AgentPatch) -> Result<Agent, Problem> {
    let agent = patched(before, patch)?;
    let facts = check(state, &agent)?;
    check_secrets(before, &agent, patch, &facts)?;
    Ok(agent)
}

fn patched(before: &Agent, patch: &AgentPatch) -> Result<Agent, Problem> {
    let protocol = patch.protocol.clone().unwrap_or_else(|| before.protocol.clone());
    let nothing = Map::new();
    let kept = if protocol == before.protocol {
        before.config.settings()
    } else {
        &nothing
    };
    let config = mask::patched("config", kept, patch.config.clone().unwrap_or_default(), |field| {
        bridge_agents::is_secret(&protocol, field)
    })?;
    Ok(Agent {
        name: patch
            .name
            .as_deref()
            .map_or_else(|| Ok(before.name.clone()), validation::name)?,
        config: AgentConfig::new(config),
        protocol,
        ..before.clone()
    })
}

/// Deletes an agent.
#[utoipa::path(delete, path = "/api/v1/orgs/{org}/agents/{id}", tag = "agents", params(ForceQuery),
    responses((status = 204), (status = 409, body = Problem, description = "`in_use`, with `impact`")))]
pub(crate) async fn delete(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    Query(query): Query<ForceQuery>,
) -> Result<StatusCode, Problem> {
    until_settled(|| async {
        let before = find(&state, &scope, &id).await?;
        let agent = &before.agent.id;
        if query.force {
            let names = |trigger: &tieline_core::trigger::Trigger| trigger.enabled && trigger.agent == *agent;
            for bound in trigger::naming(&state.world.store, &scope.organization, names).await? {
                crate::triggers::remove(&state, &bound).await?;
            }
        }
        match store_agent::delete(&state.world.store, &before).await {
            Ok(()) => Ok(StatusCode::NO_CONTENT),
            Err(AgentError::InUse) => {
                let impact = impact::of_agent(&state, &scope.organization, agent).await?;
                Err(Problem::conflict("in_use", "an enabled trigger uses this agent").with("impact", impact))
            }
            Err(error) => Err(plain(error)),
        }
    })
    .await
}

/// Asks an agent for a sign of life.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/agents/{id}/test", tag = "agents",
    responses((status = 200, body = AgentTest)))]
pub(crate) async fn test(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
) -> Result<Json<AgentTest>, Problem> {
    let record = find(&state, &scope, &id).await?;
    let begun = Instant::now();
    let probed = bridge_agents::probe(&state.world, &record.agent).await;
    let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Json(match probed {
        Ok(()) => AgentTest {
            ok: true,
            code: None,
            detail: "the agent answers".to_owned(),
            millis,
        },
        Err(failure) => AgentTest {
            ok: false,
            code: Some(failure.code),
            detail: failure.message,
            millis,
        },
    }))
}

/// The agent, if the organization has it.
pub(crate) async fn find(state: &AdminState, scope: &Scope, id: &str) -> Result<AgentRecord, Problem> {
    let found = store_agent::get(&state.world.store, &scope.organization, &AgentId::new(id)).await?;
    found.ok_or_else(missing)
}

pub(crate) fn missing() -> Problem {
    Problem::not_found("agent_not_found", "agent")
}

/// Secrets that a patch keeps may go only where they went before.
fn check_secrets(before: &Agent, after: &Agent, patch: &AgentPatch, facts: &AgentFacts) -> Result<(), Problem> {
    if before.protocol != after.protocol {
        // Nothing was kept.
        return Ok(());
    }
    // Settings that can't be used any more have called nothing.
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
    let facts = bridge_agents::check(&agent.protocol, &agent.config).map_err(|invalid| match invalid {
        InvalidAgent::UnknownProtocol(reason) => {
            let known: Vec<_> = bridge_agents::protocols().iter().map(|known| known.word).collect();
            Problem::new(StatusCode::BAD_REQUEST, "invalid_field", reason)
                .on("protocol")
                .with("allowed", known)
        }
        InvalidAgent::UnknownField(field) => {
            Problem::unknown(format!("config.{field}")).allowing(config_fields(&agent.protocol))
        }
        InvalidAgent::Field { field, reason } => {
            let problem = Problem::invalid(format!("config.{field}"), reason);
            problem.allowing(config_choices(&agent.protocol, &field))
        }
    })?;
    for (field, address) in &facts.addresses {
        validation::address(&format!("config.{field}"), address, state.allow_private())?;
    }
    Ok(facts)
}

fn config_schema(protocol: &str) -> Value {
    let known = bridge_agents::protocols();
    let found = known.into_iter().find(|known| known.word == protocol);
    found.map_or(Value::Null, |known| known.schema)
}

/// The fields of a protocol's `config`.
fn config_fields(protocol: &str) -> Vec<String> {
    let schema = config_schema(protocol);
    let properties = schema["properties"].as_object();
    properties
        .into_iter()
        .flat_map(|fields| fields.keys().cloned())
        .collect()
}

/// The words of which a field of a protocol's `config` is one, if it is such a field.
fn config_choices(protocol: &str, field: &str) -> Vec<String> {
    let schema = config_schema(protocol);
    let words = schema["properties"][field]["enum"].as_array();
    let words = words.into_iter().flatten().filter_map(Value::as_str);
    words.map(str::to_owned).collect()
}

/// Deletes an agent as it was read.
pub(crate) async fn remove(state: &AdminState, before: &AgentRecord) -> Result<(), Problem> {
    store_agent::delete(&state.world.store, before).await.map_err(plain)
}

/// Says why an agent was not written.
pub(crate) fn plain(error: AgentError) -> Problem {
    match error {
        AgentError::NameTaken => {
            Problem::conflict("name_taken", "another agent of the organization has this name").on("name")
        }
        AgentError::InUse => Problem::conflict("in_use", "an enabled trigger uses this agent"),
        AgentError::Store(error) => error.into(),
    }
}

impl AgentView {
    fn of(record: AgentRecord) -> Self {
        let agent = record.agent;
        let config = mask::masked(agent.config.settings(), |field| {
            bridge_agents::is_secret(&agent.protocol, field)
        });
        Self {
            id: agent.id.to_string(),
            name: agent.name,
            protocol: agent.protocol,
            config,
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}
