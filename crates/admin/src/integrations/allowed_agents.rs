//! The agents that may answer for an integration.

use tieline_core::ids::{AgentId, OrganizationId};
use tieline_store::config::agent;
use tieline_store::config::integration::IntegrationSettings;

use crate::problem::Problem;
use crate::state::AdminState;
use crate::validation;

/// The field's name.
pub(crate) const FIELD: &str = "allowedAgents";
/// Maximum number of agents.
const MAX_AGENTS: usize = 50;

/// Validates a list, without duplicates.
pub(super) fn read(ids: &[String]) -> Result<Vec<AgentId>, Problem> {
    if ids.len() > MAX_AGENTS {
        return Err(Problem::invalid(FIELD, &format!("has more than {MAX_AGENTS} entries")));
    }
    let mut agents = Vec::with_capacity(ids.len());
    for agent in ids.iter().map(|id| AgentId::new(validation::named_id(id))) {
        if !agents.contains(&agent) {
            agents.push(agent);
        }
    }
    Ok(agents)
}

/// Checks that the organization has each agent that is new in the list. An agent that was deleted since it was named blocks no other change.
pub(super) async fn check(
    state: &AdminState,
    organization: &OrganizationId,
    before: Option<&[AgentId]>,
    settings: &IntegrationSettings,
) -> Result<(), Problem> {
    for (at, id) in settings.allowed_agents.iter().flatten().enumerate() {
        let is_known = before.is_some_and(|before| before.contains(id));
        if !is_known && agent::get(&state.world.store, organization, id).await?.is_none() {
            return Err(Problem::agent_not_found().on(format!("{FIELD}[{at}]")));
        }
    }
    Ok(())
}

/// An integration whose enabled trigger uses an agent that the list doesn't name.
pub(crate) fn in_use(agent: &str, trigger: &str) -> Problem {
    let detail = format!(
        "the enabled trigger {trigger} uses the agent {agent}, which the list doesn't name; move or disable it first"
    );
    Problem::conflict("agent_not_allowed", detail).on(FIELD)
}
