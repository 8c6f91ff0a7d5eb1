//! Handlers of agents: list, create, change, delete, restore and test them.

pub(crate) mod input;

use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use tieline_bridge::agents as bridge_agents;
use tieline_core::agent::{Agent, AgentFailure};
use tieline_core::ids::AgentId;
use tieline_core::notice::Language;
use tieline_core::timestamp::Timestamp;
use tieline_store::config::agent::{self as store_agent, AgentError, AgentRecord};
use tieline_store::config::trigger;
use utoipa::ToSchema;

use crate::audit::{Change, Shown};
use crate::auth::Scope;
use crate::body::{Body, Query};
use crate::etag::{self, IfMatch, Tagged, Versioned};
use crate::force::ForceQuery;
use crate::fresh::Fresh;
use crate::integrations::impact;
use crate::mask;
use crate::page::{self, KeptQuery, List};
use crate::path::Id;
use crate::problem::Problem;
use crate::retry::until_settled;
use crate::state::AdminState;
use crate::texts::{InLanguage, Text};

use input::{AgentPatch, NewAgent};

/// An agent: an HTTP endpoint that speaks an agent protocol.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Agent)]
pub(crate) struct AgentView {
    id: String,
    name: String,
    protocol: String,
    /// Settings in the shape of the protocol; see `agentProtocols` in `/api/v1/platforms`. Secret values are `"***"`.
    #[schema(value_type = Object)]
    config: Map<String, Value>,
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

impl Versioned for AgentView {
    fn etag(&self) -> &str {
        &self.etag
    }
}

/// Result of testing an agent.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentTest {
    ok: bool,
    /// A stable code, if the agent isn't reachable. With `ok` it is `idle_timeout`: the agent is slow.
    code: Option<String>,
    /// What happened, in one sentence.
    detail: String,
    millis: u64,
}

/// Lists the agents of an organization, oldest first, or with `deleted=true` the deleted ones.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/agents", tag = "agents", params(KeptQuery),
    responses((status = 200, body = List<AgentView>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    scope: Scope,
    Query(query): Query<KeptQuery>,
) -> Result<Json<List<AgentView>>, Problem> {
    let limit = page::limit(query.limit)?;
    let cursor = page::cursor(query.cursor.as_deref());
    if query.deleted {
        let (store, now) = (&state.world.store, state.now());
        let page = store_agent::list_deleted(store, &scope.organization, (cursor, limit), now).await?;
        return Ok(Json(List::of(page, |deleted| AgentView {
            deleted_at: Some(deleted.at),
            ..AgentView::of(deleted.record)
        })));
    }
    let page = store_agent::list(&state.world.store, &scope.organization, cursor, limit).await?;
    Ok(Json(List::of(page, AgentView::of)))
}

/// Creates an agent.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/agents", tag = "agents", request_body = NewAgent,
    responses((status = 201, body = AgentView), (status = 409, body = Problem, description = "`name_taken`")))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    scope: Scope,
    fresh: Fresh,
    Body(new): Body<NewAgent>,
) -> Result<Tagged<AgentView>, Problem> {
    let agent = input::read_new(&state, &scope.organization, fresh.agent(), new)?;
    let made = until_settled(|| async {
        if fresh.is_repeat()
            && let Some(made) = store_agent::get(&state.world.store, &scope.organization, &agent.id).await?
        {
            return Ok(made);
        }
        let store = scope.audited(&state, created(&agent));
        let made = store_agent::create(&store, agent.clone(), state.now()).await;
        made.map_err(plain)
    })
    .await?;
    Ok(Tagged::created(AgentView::of(made)))
}

/// Returns an agent. Secrets are masked.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/agents/{id}", tag = "agents", responses((status = 200, body = AgentView)))]
pub(crate) async fn get(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
) -> Result<Tagged<AgentView>, Problem> {
    find(&state, &scope, &id).await.map(AgentView::of).map(Tagged::ok)
}

/// Changes an agent. Absent fields keep their values, and so do secrets that are empty or `"***"`. Null removes a field. When an address
/// moves to another origin, every secret must be given again in the same request, or removed.
#[utoipa::path(patch, path = "/api/v1/orgs/{org}/agents/{id}", tag = "agents", request_body = AgentPatch,
    responses((status = 200, body = AgentView), (status = 409, body = Problem, description = "`name_taken`")))]
pub(crate) async fn patch(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    if_match: IfMatch,
    Body(patch): Body<AgentPatch>,
) -> Result<Tagged<AgentView>, Problem> {
    until_settled(|| async {
        let before = find(&state, &scope, &id).await?;
        if_match.check(&etag::of_version(before.version))?;
        let agent = input::read_patch(&state, &before.agent, &patch)?;
        let store = scope.audited(&state, updated(&before.agent, &agent));
        let after = store_agent::update(&store, &before, agent, state.now()).await;
        Ok(Tagged::ok(AgentView::of(after.map_err(plain)?)))
    })
    .await
}

/// Deletes an agent. It can be restored for 30 days.
#[utoipa::path(delete, path = "/api/v1/orgs/{org}/agents/{id}", tag = "agents", params(ForceQuery),
    responses((status = 204), (status = 409, body = Problem, description = "`in_use`, with `impact`")))]
pub(crate) async fn delete(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    if_match: IfMatch,
    Query(query): Query<ForceQuery>,
) -> Result<StatusCode, Problem> {
    until_settled(|| async {
        let before = find(&state, &scope, &id).await?;
        if_match.check(&etag::of_version(before.version))?;
        let agent = &before.agent.id;
        if query.force {
            let names = |trigger: &tieline_core::trigger::Trigger| trigger.enabled && trigger.agents().contains(&agent);
            for bound in trigger::naming(&state.world.store, &scope.organization, names).await? {
                crate::triggers::remove(&state, &scope, &bound).await?;
            }
        }
        let store = scope.audited(&state, deleted(&before.agent));
        match store_agent::delete(&store, &before, state.now()).await {
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

/// Restores an agent that was deleted in the last 30 days, with its secrets and id.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/agents/{id}/restore", tag = "agents",
    responses((status = 200, body = AgentView), (status = 409, body = Problem, description = "`name_taken`")))]
pub(crate) async fn restore(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
) -> Result<Tagged<AgentView>, Problem> {
    until_settled(|| async {
        let (id, now) = (AgentId::new(&*id), state.now());
        let found = store_agent::get_deleted(&state.world.store, &scope.organization, &id, now).await?;
        let found = found.ok_or_else(Problem::agent_not_found)?;
        let store = scope.audited(&state, restored(&found.record.agent));
        let restored = store_agent::restore(&store, &found, now).await.map_err(plain)?;
        Ok(Tagged::ok(AgentView::of(restored)))
    })
    .await
}

/// Tests whether an agent is reachable.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/agents/{id}/test", tag = "agents",
    responses((status = 200, body = AgentTest)))]
pub(crate) async fn test(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    InLanguage(language): InLanguage,
) -> Result<Json<AgentTest>, Problem> {
    let record = find(&state, &scope, &id).await?;
    let begun = Instant::now();
    let probed = bridge_agents::probe(&state.world, &record.agent).await;
    let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Json(tested(&record.agent, probed, millis, language)))
}

/// Code of an agent that doesn't answer a probe in time.
const IDLE_TIMEOUT: &str = "idle_timeout";

/// The result of a test. An agent that doesn't answer a probe in time may just be thinking: it is slow, as in the doctor's findings.
fn tested(agent: &Agent, probed: Result<(), AgentFailure>, millis: u64, language: Language) -> AgentTest {
    let (ok, code, detail) = match probed {
        Ok(()) => (true, None, Text::new("test_agent_answers")),
        Err(failure) if failure.code == IDLE_TIMEOUT => {
            let detail = Text::new("agent_slow")
                .with("agent", &agent.name)
                .with("host", host_of(agent))
                .with("seconds", millis / 1000);
            (true, Some(failure.code), detail)
        }
        Err(failure) => {
            let detail = Text::new("test_agent_fails").with("words", failure.message);
            (false, Some(failure.code), detail)
        }
    };
    AgentTest {
        ok,
        code,
        detail: detail.render(language),
        millis,
    }
}

fn host_of(agent: &Agent) -> String {
    let facts = bridge_agents::check(&agent.protocol, &agent.config).unwrap_or_default();
    let address = facts
        .addresses
        .first()
        .and_then(|(_, address)| reqwest::Url::parse(address).ok());
    let host = address.as_ref().and_then(reqwest::Url::host_str);
    host.unwrap_or("its address").to_owned()
}

/// The agent with this id, if the organization owns it.
pub(crate) async fn find(state: &AdminState, scope: &Scope, id: &str) -> Result<AgentRecord, Problem> {
    let found = store_agent::get(&state.world.store, &scope.organization, &AgentId::new(id)).await?;
    found.ok_or_else(Problem::agent_not_found)
}

/// Deletes an agent on condition that it is unchanged since it was read.
pub(crate) async fn remove(state: &AdminState, scope: &Scope, before: &AgentRecord) -> Result<(), Problem> {
    let store = scope.audited(state, deleted(&before.agent));
    store_agent::delete(&store, before, state.now()).await.map_err(plain)
}

/// Audit entry for creating an agent.
pub(crate) fn created(agent: &Agent) -> Change {
    Change::of("agent.create", target(agent)).to(shown(agent))
}

/// Audit entry for changing an agent.
pub(crate) fn updated(before: &Agent, after: &Agent) -> Change {
    Change::of("agent.update", target(after)).between(&shown(before), &shown(after))
}

/// Audit entry for deleting an agent.
pub(crate) fn deleted(agent: &Agent) -> Change {
    Change::of("agent.delete", target(agent)).from(shown(agent))
}

/// Audit entry for restoring a deleted agent.
pub(crate) fn restored(agent: &Agent) -> Change {
    Change::of("agent.restore", target(agent)).to(shown(agent))
}

/// Maps a store error to the problem that the API reports.
pub(crate) fn plain(error: AgentError) -> Problem {
    match error {
        AgentError::NameTaken(holder) => {
            let detail = format!("the agent {holder} has this name; choose another one");
            Problem::conflict("name_taken", detail).on("name").with("id", holder)
        }
        AgentError::InUse => Problem::conflict("in_use", "an enabled trigger uses this agent"),
        AgentError::Store(error) => error.into(),
    }
}

fn target(agent: &Agent) -> (&'static str, &str, Option<&str>) {
    ("agent", agent.id.as_str(), Some(&agent.name))
}

/// The changeable fields of an agent, for the audit log.
fn shown(agent: &Agent) -> Shown {
    let is_secret = |field: &str| bridge_agents::is_secret(&agent.protocol, field);
    let config = agent.config.settings();
    let masked = mask::masked(config, is_secret);
    let secrets: Map<String, Value> = config
        .iter()
        .filter(|(field, _)| is_secret(field))
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect();
    Shown {
        view: serde_json::json!({ "name": agent.name, "protocol": agent.protocol, "config": masked }),
        secrets: Map::from_iter([("config".to_owned(), Value::Object(secrets))]),
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
            etag: etag::of_version(record.version),
            deleted_at: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use tieline_core::agent::AgentConfig;
    use tieline_core::ids::OrganizationId;

    use super::*;

    #[test]
    fn slow_agent_is_not_failed() {
        let agent = Agent {
            id: AgentId::new("agt_1"),
            organization: OrganizationId::new("default"),
            name: "Sage".to_owned(),
            config: AgentConfig::new(Map::from_iter([
                ("baseUrl".to_owned(), "https://llm.example/v1".into()),
                ("model".to_owned(), "m".into()),
            ])),
            protocol: "openai_chat".to_owned(),
        };
        let failing = |code: &str, language| {
            let failure = AgentFailure {
                code: code.to_owned(),
                message: "words".to_owned(),
                retryable: true,
            };
            tested(&agent, Err(failure), 20_004, language)
        };
        for (language, word) in [(Language::English, "slow"), (Language::Chinese, "较慢")] {
            let slow = failing("idle_timeout", language);
            assert_eq!((slow.ok, slow.code.as_deref()), (true, Some("idle_timeout")));
            for part in [word, "Sage", "llm.example", "20"] {
                assert!(slow.detail.contains(part), "{}", slow.detail);
            }
        }
        assert!(!failing("connect", Language::English).ok);
        assert!(tested(&agent, Ok(()), 5, Language::English).code.is_none());
    }
}
