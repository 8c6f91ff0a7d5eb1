//! Who is affected when an integration is stopped, deleted or rebound.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tieline_core::conversation::Conversation;
use tieline_core::ids::{AgentId, IntegrationId, OrganizationId};
use tieline_core::timestamp::Timestamp;
use tieline_core::trigger::Trigger;
use tieline_store::config::{agent, trigger};
use tieline_store::conversation;
use utoipa::ToSchema;

use super::find;
use crate::auth::Scope;
use crate::path::Id;
use crate::problem::Problem;
use crate::state::AdminState;

/// A conversation that changed within this time is active.
const ACTIVE: Duration = Duration::from_hours(7 * 24);
/// Maximum number of conversations examined. Beyond that the numbers are lower bounds.
const MAX_CONVERSATIONS: usize = 5000;
/// Page size of the reads.
const PAGE: usize = 200;

/// Who is affected when an integration is stopped, deleted, rebound, or gets other credentials.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Impact {
    /// Triggers that name it, enabled or not.
    triggers: Vec<AffectedTrigger>,
    /// Agents that answer through it.
    agents: Vec<AffectedAgent>,
    /// Conversations that were active in the last 7 days.
    conversations: usize,
    /// Runs in progress.
    open_runs: usize,
    /// Messages that wait for a run.
    pending_messages: usize,
    /// Whether the numbers are lower bounds because there are too many conversations to count.
    at_least: bool,
}

/// A trigger that names the integration.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AffectedTrigger {
    id: String,
    enabled: bool,
    integration_id: String,
    agent_id: String,
}

/// An agent that answers through the integration.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AffectedAgent {
    id: String,
    name: String,
}

/// Returns who is affected when the integration is stopped, deleted, rebound, or gets other credentials.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/integrations/{id}/impact", tag = "integrations",
    responses((status = 200, body = Impact)))]
pub(crate) async fn get(State(state): State<AdminState>, scope: Scope, Id(id): Id) -> Result<Json<Impact>, Problem> {
    let record = find(&state, &scope, &id).await?;
    Ok(Json(of(&state, &scope.organization, &record.id).await?))
}

/// Who is affected when the integration changes.
pub(crate) async fn of(
    state: &AdminState,
    organization: &OrganizationId,
    integration: &IntegrationId,
) -> Result<Impact, Problem> {
    let triggers = trigger::naming(&state.world.store, organization, |trigger| {
        trigger.integration == *integration
    })
    .await?;
    let mut impact = Impact::default();
    let mut agents: Vec<AgentId> = Vec::new();
    for record in triggers {
        impact.triggers.push(AffectedTrigger::of(&record.trigger));
        for agent in record.trigger.agents().into_iter().filter(|_| record.trigger.enabled) {
            if !agents.contains(agent) {
                agents.push(agent.clone());
            }
        }
    }
    for id in &agents {
        impact.agents.extend(affected_agent(state, organization, id).await?);
    }
    count_conversations(state, integration, &mut impact).await?;
    Ok(impact)
}

/// Who is affected when an agent is deleted: the impact on all integrations that it answers for.
pub(crate) async fn of_agent(
    state: &AdminState,
    organization: &OrganizationId,
    agent: &AgentId,
) -> Result<Impact, Problem> {
    let triggers = trigger::naming(&state.world.store, organization, |trigger| {
        trigger.agents().contains(&agent)
    })
    .await?;
    let mut impact = Impact::default();
    for record in &triggers {
        impact.triggers.push(AffectedTrigger::of(&record.trigger));
    }
    impact.agents.extend(affected_agent(state, organization, agent).await?);
    // An integration has at most one enabled trigger, so none is counted twice.
    for record in triggers.iter().filter(|record| record.trigger.enabled) {
        count_conversations(state, &record.trigger.integration, &mut impact).await?;
    }
    Ok(impact)
}

async fn affected_agent(
    state: &AdminState,
    organization: &OrganizationId,
    id: &AgentId,
) -> Result<Option<AffectedAgent>, Problem> {
    let found = agent::get(&state.world.store, organization, id).await?;
    Ok(found.map(|record| AffectedAgent {
        id: id.to_string(),
        name: record.agent.name,
    }))
}

impl AffectedTrigger {
    fn of(trigger: &Trigger) -> Self {
        Self {
            id: trigger.id.to_string(),
            enabled: trigger.enabled,
            integration_id: trigger.integration.to_string(),
            agent_id: trigger.agent.to_string(),
        }
    }
}

async fn count_conversations(
    state: &AdminState,
    integration: &IntegrationId,
    impact: &mut Impact,
) -> Result<(), Problem> {
    let now = state.now();
    let (mut seen, mut cursor) = (0, None);
    loop {
        let page = conversation::list(&state.world.store, integration, None, cursor.as_deref(), PAGE, now).await?;
        seen += page.items.len();
        for conversation in &page.items {
            impact.count(conversation, now);
        }
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(());
        }
        if seen >= MAX_CONVERSATIONS {
            impact.at_least = true;
            return Ok(());
        }
    }
}

impl Impact {
    /// An empty impact, for an integration of another organization, about which nothing may be disclosed.
    pub(crate) fn unknown() -> Self {
        Self {
            at_least: true,
            ..Self::default()
        }
    }

    fn count(&mut self, conversation: &Conversation, now: Timestamp) {
        self.conversations += usize::from(now.since(conversation.updated_at) <= ACTIVE);
        self.open_runs += usize::from(conversation.run.is_some());
        self.pending_messages += conversation.pending.len();
    }
}
