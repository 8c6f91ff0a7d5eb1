//! Plans which agents may answer for an integration.

use serde_json::{Map, Value};
use tieline_core::trigger::Trigger;
use tieline_store::config::integration::{IntegrationRecord, IntegrationSettings};

use super::triggers::unknown_name;
use super::{Planner, Write};
use crate::apply::change::{Change, Kind};
use crate::apply::file::{Entry, TriggerEntry};
use crate::apply::mistakes::Mistakes;
use crate::apply::positions::join;
use crate::integrations::allowed_agents::{FIELD, in_use};
use crate::problem::Problem;
use crate::triggers;

/// An integration that will no longer allow an agent of its enabled trigger: it is changed after the trigger.
pub(super) struct RestrictedIntegration {
    at: String,
    /// Number of steps before those of the triggers.
    n_steps_before: usize,
    before: IntegrationRecord,
    settings: IntegrationSettings,
    change: Change,
}

impl<'a> Planner<'a> {
    /// The fields of an integration in the API's shape: ids of the allowed agents instead of their names. Notes unknown names.
    pub(super) fn with_allowed_ids(&self, entry: &Entry, mistakes: &mut Mistakes<'_>) -> Map<String, Value> {
        let mut fields = entry.fields.clone();
        let names = fields.get_mut(FIELD).and_then(Value::as_array_mut);
        for (at, value) in names.into_iter().flatten().enumerate() {
            // A value of another type is reported when the fields are read.
            let Some(name) = value.as_str() else { continue };
            if let Some(id) = self.agents.get(name) {
                *value = id.as_str().into();
            } else if !mistakes.has_more() {
                let known = self.agents.keys().map(String::as_str).collect();
                mistakes.problem(
                    &join(&entry.at, &format!("{FIELD}[{at}]")),
                    &unknown_name("agent", name, &known),
                );
            }
        }
        fields
    }

    /// Plans the change of an integration. It comes before the triggers, which may need what it allows, unless it takes an agent from its trigger.
    pub(super) fn change_integration(
        &mut self,
        entry: &Entry,
        before: &IntegrationRecord,
        settings: IntegrationSettings,
        change: Change,
    ) {
        let bound = self.bound(before);
        if bound.is_some_and(|trigger| settings.refused(trigger).is_some()) {
            self.restricted.push(RestrictedIntegration {
                at: entry.at.clone(),
                n_steps_before: self.plan.steps.len(),
                before: before.clone(),
                settings,
                change,
            });
            return;
        }
        let before = before.clone();
        self.step(Write::UpdateIntegration { before, settings }, change);
    }

    /// Plans the changes that wait for the triggers, after those.
    pub(super) fn restrict_agents(&mut self, mistakes: &mut Mistakes<'_>) {
        let mut n_inserted = 0;
        for restricted in std::mem::take(&mut self.restricted) {
            let RestrictedIntegration {
                at,
                n_steps_before,
                before,
                settings,
                change,
            } = restricted;
            let field = join(&at, FIELD);
            let bound = self.bound(&before);
            if let Some(bound) = bound.filter(|bound| !self.is_changed(bound)) {
                let agent = self.name_of(&bound.agent);
                let agent = agent.as_deref().unwrap_or(bound.agent.as_str());
                mistakes.problem(&field, &in_use(agent, bound.id.as_str()));
            } else if self.uses_others(&before) {
                let preparing = allow_both(&before, &settings);
                let change = Change::updated(Kind::Integration, &before.name, before.id.as_str(), Vec::new());
                let write = Write::UpdateIntegration {
                    before: before.clone(),
                    settings: preparing,
                };
                self.plan.steps.insert(n_steps_before + n_inserted, (write, change));
                n_inserted += 1;
            }
            self.step(Write::UpdateIntegration { before, settings }, change);
        }
    }

    /// Whether the integration of a trigger will allow its agents.
    pub(super) fn is_allowed(&self, wanted: &TriggerEntry, trigger: &Trigger) -> Result<(), Problem> {
        let planned = self.integrations.get(&wanted.integration);
        let Some(planned) = planned.filter(|_| trigger.enabled) else {
            return Ok(());
        };
        match planned.settings.refused(trigger) {
            Some(refused) => Err(triggers::not_allowed(trigger, refused)),
            None => Ok(()),
        }
    }

    /// The enabled trigger of an integration before the change.
    fn bound(&self, integration: &IntegrationRecord) -> Option<&'a Trigger> {
        let mut triggers = self.current.triggers.iter().map(|record| &record.trigger);
        triggers.find(|trigger| trigger.enabled && trigger.integration == integration.id)
    }

    /// Whether the plan changes or deletes this trigger.
    fn is_changed(&self, trigger: &Trigger) -> bool {
        let mut writes = self.plan.steps.iter().map(|(write, _)| write);
        writes.any(|write| match write {
            Write::UpdateTrigger { before, .. } => before.trigger.id == trigger.id,
            Write::DeleteTrigger(record) => record.trigger.id == trigger.id,
            _ => false,
        })
    }

    /// Whether the plan binds the integration to an agent that it doesn't allow before the change.
    fn uses_others(&self, integration: &IntegrationRecord) -> bool {
        let mut writes = self.plan.steps.iter().map(|(write, _)| write);
        writes.any(|write| {
            let trigger = match write {
                Write::CreateTrigger(trigger) => trigger,
                Write::UpdateTrigger { after, .. } => after,
                _ => return false,
            };
            trigger.enabled && trigger.integration == integration.id && integration.refused(trigger).is_some()
        })
    }
}

/// The settings while the trigger moves from an agent that is allowed before the change to one that is allowed after it.
fn allow_both(before: &IntegrationRecord, after: &IntegrationSettings) -> IntegrationSettings {
    let mut both = before.allowed_agents.clone().unwrap_or_default();
    both.extend(
        after
            .allowed_agents
            .iter()
            .flatten()
            .filter(|agent| !before.allows(agent))
            .cloned(),
    );
    IntegrationSettings {
        allowed_agents: Some(both),
        ..after.clone()
    }
}

/// The agents that an integration allows, with their positions; `None` if the value isn't a string.
pub(super) fn names(fields: &Map<String, Value>) -> impl Iterator<Item = (usize, Option<&str>)> {
    let names = fields.get(FIELD).and_then(Value::as_array);
    names.into_iter().flatten().map(Value::as_str).enumerate()
}
