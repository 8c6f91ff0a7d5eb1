//! Plans the triggers: which agent answers for which bot.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use tieline_core::ids::{AgentId, TriggerId};
use tieline_core::trigger::Trigger;
use tieline_store::config::trigger::TriggerRecord;

use super::{Planner, Write, without};
use crate::apply::attempt::attempt;
use crate::apply::change::{Change, Kind};
use crate::apply::difference;
use crate::apply::file::TriggerEntry;
use crate::apply::forms::{TriggerForm, fields};
use crate::apply::mistakes::Mistakes;
use crate::apply::positions::join;
use crate::body;
use crate::problem::Problem;
use crate::triggers::{self, platform_fit};

/// Maximum number of names that a mistake lists as allowed.
const MAX_LISTED: usize = 100;

/// The names of the integrations and agents of the organization and the file.
struct KnownNames<'a> {
    integrations: BTreeSet<&'a str>,
    agents: BTreeSet<&'a str>,
}

/// A name of an agent or integration that doesn't exist, with the allowed names if they are few enough to be listed with each mistake.
pub(super) fn unknown_name(kind: &'static str, name: &str, known: &BTreeSet<&str>) -> Problem {
    let reason = format!("`{name}`: there is no {kind} of this name in the file or in the organization");
    let listed = known.iter().copied().filter(|_| known.len() <= MAX_LISTED);
    Problem::invalid(kind, &reason).allowing(listed)
}

impl<'a> Planner<'a> {
    /// Plans all triggers: disabling ones first, so that others can take over their bots.
    pub(super) fn triggers(&mut self, mistakes: &mut Mistakes<'_>) {
        let mut found: Vec<(&TriggerEntry, Option<&TriggerRecord>)> = Vec::new();
        let known = self.known_names();
        for wanted in &self.wanted.entry.triggers {
            if self.names_resolve(wanted, &known, mistakes) {
                found.push((wanted, self.exact(wanted)));
            } else {
                self.check_values(wanted, mistakes);
            }
        }
        let mut taken: BTreeSet<String> = found
            .iter()
            .filter_map(|(_, exact)| exact.map(|exact| exact.trigger.id.to_string()))
            .collect();
        found.sort_by_key(|(wanted, _)| wanted.is_enabled());
        for (wanted, exact) in found {
            let in_force = exact.filter(|exact| exact.trigger.enabled);
            // A disabled trigger gives way to an enabled rival: a bot can't have both, and the file's agent is to answer.
            let current = in_force.or_else(|| self.rival(wanted, &taken)).or(exact);
            taken.extend(current.map(|current| current.trigger.id.to_string()));
            match current {
                Some(current) => self.changed_trigger(wanted, current, mistakes),
                None => self.new_trigger(wanted, mistakes),
            }
        }
    }

    /// The names that triggers can refer to.
    fn known_names(&self) -> KnownNames<'_> {
        let integrations = self.integrations.keys().map(String::as_str);
        // Integrations of the file count as known even if they are invalid: their mistakes are reported at their own entries.
        let entries = self.wanted.entry.integrations.iter().map(|it| &*it.name);
        KnownNames {
            integrations: integrations.chain(entries).collect(),
            agents: self.agents.keys().map(String::as_str).collect(),
        }
    }

    /// Whether both names refer to existing resources; notes those that don't.
    fn names_resolve(&self, wanted: &TriggerEntry, known: &KnownNames<'_>, mistakes: &mut Mistakes<'_>) -> bool {
        if mistakes.has_more() {
            return false;
        }
        let mut resolve = true;
        for (field, name, known) in [
            ("integration", &wanted.integration, &known.integrations),
            ("agent", &wanted.agent, &known.agents),
        ] {
            if !known.contains(name.as_str()) {
                mistakes.problem(&join(&wanted.entry.at, field), &unknown_name(field, name, known));
                resolve = false;
            }
        }
        for (at, name) in route_agents(&wanted.entry.fields) {
            if mistakes.has_more() {
                break;
            }
            if let Some(name) = name.filter(|name| !known.agents.contains(*name)) {
                let field = join(&wanted.entry.at, &format!("routes[{at}].agent"));
                mistakes.problem(&field, &unknown_name("agent", name, &known.agents));
                resolve = false;
            }
        }
        resolve && self.integrations.contains_key(&wanted.integration)
    }

    /// Notes the other mistakes of a trigger whose names don't resolve, so that all are reported at once.
    fn check_values(&self, wanted: &TriggerEntry, mistakes: &mut Mistakes<'_>) {
        let entry = &wanted.entry;
        let read = |fields: Map<String, Value>| {
            let mut fields = self.with_ids(wanted, fields);
            for id in ["integrationId", "agentId"] {
                fields.entry(id).or_insert_with(|| "unknown".into());
            }
            let (id, organization) = (TriggerId::new("unknown"), self.wanted.scope.organization.clone());
            triggers::read_new(id, organization, body::parse_value(Value::Object(fields))?)
        };
        attempt(&entry.at, &entry.fields, mistakes, read);
    }

    /// The fields in the API's shape: ids instead of names.
    fn with_ids(&self, wanted: &TriggerEntry, mut fields: Map<String, Value>) -> Map<String, Value> {
        fields.extend(self.ids(wanted));
        let routes = fields.get_mut("routes").and_then(Value::as_array_mut);
        for route in routes.into_iter().flatten().filter_map(Value::as_object_mut) {
            if let Some(agent) = route.get_mut("agent")
                && let Some(id) = agent.as_str().and_then(|name| self.agents.get(name))
            {
                *agent = id.as_str().into();
            }
        }
        fields
    }

    /// The name of an agent after the change.
    pub(super) fn name_of(&self, id: &AgentId) -> Option<String> {
        let mut agents = self.agents.iter();
        agents.find(|(_, known)| *known == id).map(|(name, _)| name.clone())
    }

    /// The trigger between this integration and this agent; if there are several, the enabled one.
    fn exact(&self, wanted: &TriggerEntry) -> Option<&'a TriggerRecord> {
        let integration = &self.integrations.get(&wanted.integration)?.id;
        let agent = self.agents.get(&wanted.agent)?;
        let same = |it: &&TriggerRecord| it.trigger.integration == *integration && it.trigger.agent == *agent;
        let found = self.current.triggers.iter().filter(same);
        found.max_by_key(|it| it.trigger.enabled)
    }

    /// The enabled trigger that binds the integration to another agent and that no other entry of the file refers to.
    fn rival(&self, wanted: &TriggerEntry, taken: &BTreeSet<String>) -> Option<&'a TriggerRecord> {
        if !wanted.is_enabled() {
            return None;
        }
        let integration = &self.integrations.get(&wanted.integration)?.id;
        let mut others = self.current.triggers.iter();
        others.find(|it| {
            it.trigger.enabled && it.trigger.integration == *integration && !taken.contains(it.trigger.id.as_str())
        })
    }

    fn ids(&self, wanted: &TriggerEntry) -> Map<String, Value> {
        let integration = self.integrations.get(&wanted.integration).map(|it| it.id.as_str());
        let agent = self.agents.get(&wanted.agent).map(|id| id.as_str());
        let ids = [("integrationId", integration), ("agentId", agent)];
        let known = ids
            .into_iter()
            .filter_map(|(name, id)| Some((name.to_owned(), id?.into())));
        known.collect()
    }

    fn new_trigger(&mut self, wanted: &TriggerEntry, mistakes: &mut Mistakes<'_>) {
        let entry = &wanted.entry;
        let id = self.wanted.fresh.trigger_between(&wanted.integration, &wanted.agent);
        let read = |fields: Map<String, Value>| {
            let new = body::parse_value(Value::Object(self.with_ids(wanted, fields)))?;
            let trigger = triggers::read_new(id.clone(), self.wanted.scope.organization.clone(), new)?;
            self.fits(wanted, &trigger)?;
            self.is_allowed(wanted, &trigger)?;
            Ok(trigger)
        };
        if let Some(trigger) = attempt(&entry.at, &entry.fields, mistakes, read) {
            let shown = difference::of_new(&entry.written, &|_| false);
            let change = Change::created(Kind::Trigger, &entry.name, Some(id.as_str()), shown);
            self.step(Write::CreateTrigger(trigger), change);
        }
    }

    fn changed_trigger(&mut self, wanted: &TriggerEntry, current: &TriggerRecord, mistakes: &mut Mistakes<'_>) {
        let entry = &wanted.entry;
        let before = &current.trigger;
        let mut patch = entry.fields.clone();
        // Absent fields keep their values, except `enabled`: the file was checked as if it said true.
        if wanted.is_on_unsaid() {
            patch.insert("enabled".to_owned(), true.into());
        }
        let read = |fields: Map<String, Value>| {
            let patch = body::parse_value(Value::Object(self.with_ids(wanted, fields)))?;
            let after = triggers::read_patch(before.clone(), &patch)?;
            if platform_fit::asks_more(before, &after) {
                self.fits(wanted, &after)?;
            }
            self.is_allowed(wanted, &after)?;
            Ok(after)
        };
        let Some(after) = attempt(&entry.at, &patch, mistakes, read) else {
            return;
        };
        if after == *before {
            self.plan.n_unchanged += 1;
            return;
        }
        let agent = self.current.agents.iter().find(|it| it.agent.id == before.agent);
        let agent = agent.map_or(before.agent.as_str(), |it| &it.agent.name);
        let name_of = |id: &AgentId| self.name_of(id);
        let old = fields(&TriggerForm::of(before, &wanted.integration, agent, name_of));
        let new = fields(&TriggerForm::of(&after, &wanted.integration, &wanted.agent, name_of));
        let written = without(&entry.written, &["integration", "agent"]);
        let shown = difference::between(&old, &new, &written, &|_| false);
        let change = Change::updated(Kind::Trigger, &entry.name, before.id.as_str(), shown);
        let (before, after) = (Box::new(current.clone()), Box::new(after));
        self.step(Write::UpdateTrigger { before, after }, change);
    }

    /// Whether the platform can do what the trigger asks for.
    fn fits(&self, wanted: &TriggerEntry, trigger: &Trigger) -> Result<(), Problem> {
        match self.integrations.get(&wanted.integration) {
            Some(planned) => platform_fit::fits(self.state, trigger, &planned.platform, planned.settings.mode),
            None => Ok(()),
        }
    }
}

/// The agents that the routes of a trigger name, with the position of each route; `None` if the value isn't a string.
pub(super) fn route_agents(fields: &Map<String, Value>) -> impl Iterator<Item = (usize, Option<&str>)> {
    let routes = fields.get("routes").and_then(Value::as_array);
    let agents = routes.into_iter().flatten().enumerate();
    agents.map(|(at, route)| (at, route.get("agent").and_then(Value::as_str)))
}
