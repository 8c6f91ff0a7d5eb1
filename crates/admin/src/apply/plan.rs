//! Plans the writes that make an organization match a file. All checks happen here, before the first write.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use tieline_core::agent::Agent;
use tieline_core::ids::{AgentId, IntegrationId, OrganizationId};
use tieline_core::notice::Language;
use tieline_core::trigger::Trigger;
use tieline_store::config::agent::AgentRecord;
use tieline_store::config::integration::{IntegrationRecord, IntegrationSettings, NewIntegration};
use tieline_store::config::notify::{NotifyChannel, NotifySettings};
use tieline_store::config::organization::{Limits, Mapper, Organization};
use tieline_store::config::trigger::TriggerRecord;

use self::allowed_agents::RestrictedIntegration;
use super::attempt::attempt;
use super::change::{Change, Kind};
use super::current::Current;
use super::difference;
use super::file::{Entry, OrganizationEntry};
use super::forms::{AgentForm, IntegrationForm, fields};
use super::mistakes::Mistakes;
use super::positions::join;
use crate::auth::Scope;
use crate::fresh::Fresh;
use crate::problem::Problem;
use crate::state::AdminState;
use crate::{agents, body, integrations, organizations};

mod accounts;
mod allowed_agents;
mod mapper;
mod notify;
mod prune;
mod triggers;

/// The writes in execution order, each with the change that is shown for it.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<(Write, Change)>,
    pub(super) n_unchanged: usize,
}

/// One write.
pub(super) enum Write {
    CreateOrganization {
        id: OrganizationId,
        name: String,
        limits: Limits,
    },
    UpdateOrganization {
        before: Organization,
        name: String,
        limits: Limits,
    },
    SetMapper {
        /// The version of the mapper that is replaced; the write is conditional on it.
        version: u64,
        after: Option<Mapper>,
    },
    CreateAgent(Agent),
    UpdateAgent {
        before: AgentRecord,
        after: Agent,
    },
    CreateIntegration {
        new: NewIntegration,
        settings: IntegrationSettings,
    },
    UpdateIntegration {
        before: IntegrationRecord,
        settings: IntegrationSettings,
    },
    CreateTrigger(Trigger),
    UpdateTrigger {
        before: Box<TriggerRecord>,
        after: Box<Trigger>,
    },
    SaveNotify {
        before: Option<NotifySettings>,
        channel: NotifyChannel,
        language: Language,
    },
    DeleteTrigger(TriggerRecord),
    DeleteIntegration(IntegrationRecord),
    DeleteAgent(AgentRecord),
}

/// The request to apply a file.
pub(super) struct Wanted<'a> {
    /// The organization and the caller.
    pub(super) scope: &'a Scope,
    /// Source of the ids of new objects.
    pub(super) fresh: &'a Fresh,
    pub(super) entry: &'a OrganizationEntry,
    /// Whether the caller may create and change organizations.
    pub(super) is_root: bool,
    /// Whether resources that the file doesn't name are deleted.
    pub(super) prune: bool,
}

/// Plans the writes, and notes every mistake.
pub(super) async fn plan(
    state: &AdminState,
    wanted: &Wanted<'_>,
    current: &Current,
    mistakes: &mut Mistakes<'_>,
) -> Result<Plan, Problem> {
    let mut planner = Planner {
        state,
        wanted,
        current,
        plan: Plan::default(),
        agents: current
            .agents
            .iter()
            .map(|it| (it.agent.name.clone(), it.agent.id.clone()))
            .collect(),
        integrations: BTreeMap::new(),
        restricted: Vec::new(),
    };
    for record in &current.integrations {
        planner.know(
            record.id.clone(),
            &record.platform,
            record.settings(state.world.store.keyring())?,
        );
    }
    planner.organization(mistakes);
    planner.mapper(mistakes);
    for entry in &wanted.entry.agents {
        planner.agent(entry, mistakes);
    }
    for entry in &wanted.entry.integrations {
        planner.integration(entry, mistakes)?;
    }
    if mistakes.has_more() {
        return Ok(planner.plan);
    }
    accounts::check(&planner, mistakes).await?;
    planner.triggers(mistakes);
    planner.notify(mistakes);
    if wanted.prune && mistakes.is_empty() {
        planner.prune_triggers();
    }
    planner.restrict_agents(mistakes);
    if wanted.prune && mistakes.is_empty() {
        planner.prune_agents().await?;
        planner.prune_integrations().await?;
    }
    Ok(planner.plan)
}

struct Planner<'a> {
    state: &'a AdminState,
    wanted: &'a Wanted<'a>,
    current: &'a Current,
    plan: Plan,
    /// Agent ids by name, including agents that will be created.
    agents: BTreeMap<String, AgentId>,
    /// Integrations by name, including those that will be created, as they will be after the change.
    integrations: BTreeMap<String, PlannedIntegration>,
    /// Changes of integrations that wait for the triggers.
    restricted: Vec<RestrictedIntegration>,
}

/// An integration as it will be after the change.
struct PlannedIntegration {
    id: IntegrationId,
    platform: String,
    settings: IntegrationSettings,
}

impl Planner<'_> {
    fn know(&mut self, id: IntegrationId, platform: &str, settings: IntegrationSettings) {
        let planned = PlannedIntegration {
            id,
            platform: platform.to_owned(),
            settings,
        };
        self.integrations.insert(planned.settings.name.clone(), planned);
    }

    fn step(&mut self, write: Write, change: Change) {
        self.plan.steps.push((write, change));
    }

    /// Plans the organization's own changes. A file whose lists are at the top level doesn't change them.
    fn organization(&mut self, mistakes: &mut Mistakes<'_>) {
        let entry = &self.wanted.entry.settings;
        let at = &self.wanted.entry.at;
        if at.is_empty() {
            return;
        }
        let id = &self.wanted.scope.organization;
        let Some(before) = &self.current.organization else {
            let mut new = entry.fields.clone();
            new.insert("id".to_owned(), id.as_str().into());
            let read = |fields| organizations::read_new(body::parse_value(Value::Object(fields))?);
            if let Some((id, name, limits)) = attempt(at, &new, mistakes, read) {
                let change = Change::created(
                    Kind::Organization,
                    id.as_str(),
                    None,
                    difference::of_new(&entry.written, &|_| false),
                );
                self.step(Write::CreateOrganization { id, name, limits }, change);
            }
            return;
        };
        let read = |fields| organizations::read_patch(before, &body::parse_value(Value::Object(fields))?);
        let Some((name, limits)) = attempt(at, &entry.fields, mistakes, read) else {
            return;
        };
        let after = organizations::form(before, &name, limits);
        let found = difference::between(
            &organizations::form(before, &before.name, before.limits),
            &after,
            &entry.written,
            &|_| false,
        );
        if found.is_empty() {
            self.plan.n_unchanged += 1;
        } else if self.wanted.is_root {
            let (before, change) = (
                before.clone(),
                Change::updated(Kind::Organization, id.as_str(), id.as_str(), found),
            );
            self.step(Write::UpdateOrganization { before, name, limits }, change);
        } else {
            let reason = "may be changed with the root token only; leave name and limits out, or as they are";
            mistakes.invalid(at, reason);
        }
    }

    fn agent(&mut self, entry: &Entry, mistakes: &mut Mistakes<'_>) {
        let organization = &self.wanted.scope.organization;
        let Some(before) = self.current.agent(&entry.name) else {
            let id = self.wanted.fresh.agent_named(&entry.name);
            // Register the name even if the agent is invalid: triggers of the file may refer to it.
            self.agents.insert(entry.name.clone(), id.clone());
            let read = |fields| {
                let new = body::parse_value(Value::Object(fields))?;
                agents::input::read_new(self.state, organization, id.clone(), new)
            };
            if let Some(agent) = attempt(&entry.at, &entry.fields, mistakes, read) {
                let shown = difference::of_new(&entry.written, &secrets_of_agents(&[&agent]));
                let change = Change::created(Kind::Agent, &entry.name, Some(id.as_str()), shown);
                self.step(Write::CreateAgent(agent), change);
            }
            return;
        };
        let read =
            |fields| agents::input::read_patch(self.state, &before.agent, &body::parse_value(Value::Object(fields))?);
        let Some(after) = attempt(&entry.at, &entry.fields, mistakes, read) else {
            return;
        };
        if after == before.agent {
            self.plan.n_unchanged += 1;
            return;
        }
        let (old, new) = (fields(&AgentForm::of(&before.agent)), fields(&AgentForm::of(&after)));
        let shown = difference::between(&old, &new, &entry.written, &secrets_of_agents(&[&before.agent, &after]));
        let change = Change::updated(Kind::Agent, &entry.name, before.agent.id.as_str(), shown);
        let before = before.clone();
        self.step(Write::UpdateAgent { before, after }, change);
    }

    fn integration(&mut self, entry: &Entry, mistakes: &mut Mistakes<'_>) -> Result<(), Problem> {
        let Some(before) = self.current.integration(&entry.name) else {
            self.new_integration(entry, mistakes);
            return Ok(());
        };
        let mut wanted = self.with_allowed_ids(entry, mistakes);
        if let Some(platform) = wanted.remove("platform")
            && platform != before.platform.as_str()
        {
            let reason = format!(
                "can't change: the integration is on `{}`; give the new one another name",
                before.platform
            );
            mistakes.invalid(&join(&entry.at, "platform"), &reason);
            return Ok(());
        }
        let read =
            |fields| integrations::input::read_patch(self.state, before, &body::parse_value(Value::Object(fields))?);
        let Some(settings) = attempt(&entry.at, &wanted, mistakes, read) else {
            return Ok(());
        };
        let current = before.settings(self.state.world.store.keyring())?;
        let name_of = |id: &_| self.name_of(id);
        let old = fields(&IntegrationForm::of(&before.platform, &current, name_of));
        let new = fields(&IntegrationForm::of(&before.platform, &settings, name_of));
        let shown = difference::between(&old, &new, &entry.written, &self.secrets_of(&before.platform));
        self.know(before.id.clone(), &before.platform, settings.clone());
        if shown.is_empty() {
            self.plan.n_unchanged += 1;
            return Ok(());
        }
        let change = Change::updated(Kind::Integration, &entry.name, before.id.as_str(), shown);
        self.change_integration(entry, before, settings, change);
        Ok(())
    }

    fn new_integration(&mut self, entry: &Entry, mistakes: &mut Mistakes<'_>) {
        let read = |fields| integrations::input::read_new(self.state, body::parse_value(Value::Object(fields))?);
        let wanted = self.with_allowed_ids(entry, mistakes);
        let Some((platform, settings)) = attempt(&entry.at, &wanted, mistakes, read) else {
            return;
        };
        let new = NewIntegration {
            id: self.wanted.fresh.integration_named(&entry.name),
            organization: self.wanted.scope.organization.clone(),
            platform,
            id_key: tieline_bridge::world::random(),
        };
        let shown = difference::of_new(&entry.written, &self.secrets_of(&new.platform));
        let change = Change::created(Kind::Integration, &entry.name, Some(new.id.as_str()), shown);
        self.know(new.id.clone(), &new.platform, settings.clone());
        self.step(Write::CreateIntegration { new, settings }, change);
    }

    fn secrets_of(&self, platform: &str) -> impl Fn(&[&str]) -> bool + use<> {
        let manifest = self.state.world.connector(platform).map(|it| it.manifest());
        move |path| matches!(path, ["credentials", name, ..] if integrations::view::is_secret(manifest, name))
    }

    /// Agent and integration names that the file uses, in any place.
    fn named(&self) -> (BTreeSet<&str>, BTreeSet<&str>) {
        let entry = self.wanted.entry;
        let agents = entry.agents.iter().map(|it| &*it.name);
        let routes = entry
            .triggers
            .iter()
            .flat_map(|it| triggers::route_agents(&it.entry.fields));
        let allowed = entry
            .integrations
            .iter()
            .flat_map(|it| allowed_agents::names(&it.fields));
        let agents = agents.chain(routes.chain(allowed).filter_map(|(_, name)| name));
        let writer = entry.notify.as_ref().and_then(|notify| notify.fields.get("chat"));
        let writer = writer.and_then(|chat| chat.get("integration")?.as_str());
        let integrations = entry.integrations.iter().map(|it| &*it.name).chain(writer);
        (
            agents.chain(entry.triggers.iter().map(|it| &*it.agent)).collect(),
            integrations
                .chain(entry.triggers.iter().map(|it| &*it.integration))
                .collect(),
        )
    }
}

/// A field counts as secret if it is secret for any of these agents.
fn secrets_of_agents(agents: &[&Agent]) -> impl Fn(&[&str]) -> bool + use<> {
    let protocols: Vec<String> = agents.iter().map(|agent| agent.protocol.clone()).collect();
    move |path| match path {
        ["config", name, ..] => protocols
            .iter()
            .any(|protocol| tieline_bridge::agents::is_secret(protocol, name)),
        _ => false,
    }
}

/// An object's fields except those with these names.
fn without(fields: &Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    let kept = fields.iter().filter(|(name, _)| !names.contains(&name.as_str()));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}
