//! Plans the deletion of resources that a file doesn't name.

use super::{Planner, Write};
use crate::apply::change::{Change, Kind};
use crate::integrations::impact;
use crate::problem::Problem;

impl Planner<'_> {
    /// Triggers are deleted first, because integrations and agents can't be deleted while an enabled trigger refers to them.
    pub(super) fn prune_triggers(&mut self) {
        let current = self.current;
        let kept: Vec<_> = self.wanted.entry.triggers.iter().collect();
        let updated: Vec<String> = self
            .plan
            .steps
            .iter()
            .filter_map(|(write, _)| match write {
                Write::UpdateTrigger { before, .. } => Some(before.trigger.id.to_string()),
                _ => None,
            })
            .collect();
        for record in &current.triggers {
            let trigger = &record.trigger;
            let integration = current.integrations.iter().find(|it| it.id == trigger.integration);
            let agent = current.agents.iter().find(|it| it.agent.id == trigger.agent);
            let integration = integration.map_or(trigger.integration.as_str(), |it| &it.name);
            let agent = agent.map_or(trigger.agent.as_str(), |it| &it.agent.name);
            let is_named = kept.iter().any(|it| it.integration == integration && it.agent == agent);
            if is_named || updated.iter().any(|id| id == trigger.id.as_str()) {
                continue;
            }
            let change = Change::deleted(Kind::Trigger, &format!("{integration} -> {agent}"), trigger.id.as_str());
            self.step(Write::DeleteTrigger(record.clone()), change);
        }
    }

    /// Integrations are deleted last: when a later write is rejected and an integration restored, it has lost its status and its poll cursor.
    pub(super) async fn prune_integrations(&mut self) -> Result<(), Problem> {
        let current = self.current;
        for record in &current.integrations {
            if self.named().1.contains(record.name.as_str()) {
                continue;
            }
            let impact = impact::of(self.state, &self.wanted.scope.organization, &record.id).await?;
            let change = Change::deleted(Kind::Integration, &record.name, record.id.as_str()).affecting(impact);
            self.step(Write::DeleteIntegration(record.clone()), change);
        }
        Ok(())
    }

    pub(super) async fn prune_agents(&mut self) -> Result<(), Problem> {
        let current = self.current;
        for record in &current.agents {
            if self.named().0.contains(record.agent.name.as_str()) {
                continue;
            }
            let impact = impact::of_agent(self.state, &self.wanted.scope.organization, &record.agent.id).await?;
            let id = record.agent.id.as_str();
            let change = Change::deleted(Kind::Agent, &record.agent.name, id).affecting(impact);
            self.step(Write::DeleteAgent(record.clone()), change);
        }
        Ok(())
    }
}
