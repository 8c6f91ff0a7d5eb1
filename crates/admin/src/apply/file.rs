//! The structure of a file. Only the shape is checked here; the API's own rules are applied later, object by object.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::mistakes::Mistakes;
use super::positions::join;

/// An organization and what it owns, as written in the file.
#[derive(Debug, Default)]
pub(super) struct OrganizationEntry {
    /// Its path in the file; empty if the lists are at the top level.
    pub(super) at: String,
    /// Its name and limits, if given.
    pub(super) settings: Entry,
    /// Its mapper, if the file mentions it.
    pub(super) mapper: Option<Entry>,
    /// Its notification settings, if the file mentions them.
    pub(super) notify: Option<Entry>,
    /// Its agents.
    pub(super) agents: Vec<Entry>,
    /// Its integrations.
    pub(super) integrations: Vec<Entry>,
    /// Its triggers.
    pub(super) triggers: Vec<TriggerEntry>,
}

/// A named object of the file.
#[derive(Debug, Default, Clone)]
pub(super) struct Entry {
    /// Its path in the file.
    pub(super) at: String,
    /// Its name, unique in its list.
    pub(super) name: String,
    /// Its fields in the API's shape, with variables expanded.
    pub(super) fields: Map<String, Value>,
    /// The same fields as written, with variables unexpanded: safe to show.
    pub(super) written: Map<String, Value>,
}

/// A trigger. It has no name of its own; it names an integration and an agent.
#[derive(Debug, Clone)]
pub(super) struct TriggerEntry {
    /// The integration's name.
    pub(super) integration: String,
    /// The agent's name.
    pub(super) agent: String,
    /// The other fields. Its name is the trigger's title in responses.
    pub(super) entry: Entry,
}

/// Lists that belong to an organization: below its entry, or at the top level of a file without `organizations`.
const LISTS: [&str; 4] = ["agents", "integrations", "triggers", "notify"];
const TOP_KEYS: [&str; 5] = ["organizations", "agents", "integrations", "triggers", "notify"];
const ORGANIZATION_KEYS: [&str; 8] = [
    "id",
    "name",
    "limits",
    "mapper",
    "agents",
    "integrations",
    "triggers",
    "notify",
];

/// The fields of a trigger: those of the API, with names in place of ids.
const TRIGGER_KEYS: [&str; 17] = [
    "integration",
    "agent",
    "enabled",
    "sessionTimeoutSeconds",
    "summaryWindowSeconds",
    "sessionScope",
    "busyPolicy",
    "access",
    "welcome",
    "taskMode",
    "quietHours",
    "maxMessagesPerPersonPerMinute",
    "redaction",
    "routes",
    "agentChoice",
    "groupContext",
    "groupMessages",
];

/// The entry of the organization `id`. `None`, with a mistake noted, if the file can't be read.
pub(super) fn read(
    id: &str,
    (filled, written): (Value, Value),
    mistakes: &mut Mistakes<'_>,
) -> Option<OrganizationEntry> {
    let mut top = entry("", (filled, written), mistakes)?;
    let Some(listed) = top.take("organizations") else {
        let owner = lists("", &mut top, mistakes);
        top.refuse_others(&[], &TOP_KEYS, mistakes);
        return Some(owner);
    };
    let doubled = LISTS.iter().filter(|name| top.fields.contains_key(**name));
    for name in doubled {
        mistakes.invalid(
            name,
            "and organizations exclude each other: put it below its organization",
        );
    }
    top.refuse_others(&LISTS, &TOP_KEYS, mistakes);
    let mut named = organizations(listed, mistakes);
    if let Some(found) = named.remove(id) {
        return Some(organization(found, mistakes));
    }
    if mistakes.is_empty() {
        let ids: Vec<&str> = named.keys().map(String::as_str).collect();
        let reason = format!("must name the organization `{id}`; the file names: {}", ids.join(", "));
        mistakes.invalid("organizations", &reason);
    }
    None
}

/// The ids of all organizations that a file names, with their entries. Empty if its lists are at the top level.
fn organizations(listed: (Value, Value), mistakes: &mut Mistakes<'_>) -> BTreeMap<String, Entry> {
    let mut named = BTreeMap::new();
    for mut entry in entries("organizations", listed, mistakes) {
        let Some(id) = entry.text("id", mistakes) else {
            continue;
        };
        entry.name.clone_from(&id);
        if let Some(first) = named.get(&id) {
            let first: &Entry = first;
            let reason = format!("`{id}` is a duplicate of {}.id", first.at);
            mistakes.invalid(&join(&entry.at, "id"), &reason);
            continue;
        }
        named.insert(id, entry);
    }
    named
}

fn organization(mut settings: Entry, mistakes: &mut Mistakes<'_>) -> OrganizationEntry {
    let at = settings.at.clone();
    let owner = lists(&at, &mut settings, mistakes);
    let mapper = mapper(&mut settings);
    settings.refuse_others(&["name", "limits"], &ORGANIZATION_KEYS, mistakes);
    OrganizationEntry {
        at,
        settings,
        mapper,
        ..owner
    }
}

/// Removes the mapper from an organization's fields and returns it. Null counts as given: it deletes the mapper.
fn mapper(settings: &mut Entry) -> Option<Entry> {
    let take = |fields: &mut Map<String, Value>| {
        let taken = fields.remove("mapper")?;
        Some(Map::from_iter([("mapper".to_owned(), taken)]))
    };
    Some(Entry {
        at: settings.at.clone(),
        name: settings.name.clone(),
        fields: take(&mut settings.fields)?,
        written: take(&mut settings.written).unwrap_or_default(),
    })
}

/// Removes the three lists and the notification settings from an organization's fields, or from the file's top level.
fn lists(at: &str, from: &mut Entry, mistakes: &mut Mistakes<'_>) -> OrganizationEntry {
    let mut take = |name: &str, mistakes: &mut Mistakes<'_>| {
        let found = from.take(name);
        found.map_or_else(Vec::new, |found| entries(&join(at, name), found, mistakes))
    };
    let agents = take("agents", mistakes);
    let integrations = take("integrations", mistakes);
    let triggers = take("triggers", mistakes);
    let triggers = triggers
        .into_iter()
        .filter_map(|entry| trigger(entry, mistakes))
        .collect();
    let notify = from.take("notify");
    let notify = notify.and_then(|found| entry(&join(at, "notify"), found, mistakes));
    OrganizationEntry {
        notify,
        agents: with_names(agents, mistakes),
        integrations: with_names(integrations, mistakes),
        triggers: check_triggers(triggers, mistakes),
        ..OrganizationEntry::default()
    }
}

fn with_names(entries: Vec<Entry>, mistakes: &mut Mistakes<'_>) -> Vec<Entry> {
    let mut places: BTreeMap<String, String> = BTreeMap::new();
    let mut named = Vec::new();
    for mut entry in entries {
        let name = entry.fields.get("name").and_then(Value::as_str).unwrap_or_default();
        let name = name.trim().to_owned();
        let field = join(&entry.at, "name");
        if name.is_empty() {
            mistakes.invalid(&field, "must be a text that is not empty");
            continue;
        }
        if let Some(first) = places.get(&name) {
            mistakes.invalid(&field, &format!("`{name}` is a duplicate of {first}"));
            continue;
        }
        places.insert(name.clone(), field);
        // `name` also stays among the fields because it is a field of the API, with the value that will be saved.
        entry.fields.insert("name".to_owned(), name.as_str().into());
        entry.name = name;
        named.push(entry);
    }
    named
}

fn trigger(mut entry: Entry, mistakes: &mut Mistakes<'_>) -> Option<TriggerEntry> {
    let integration = entry.text("integration", mistakes);
    let agent = entry.text("agent", mistakes);
    entry.refuse_others(&TRIGGER_KEYS, &TRIGGER_KEYS, mistakes);
    let (integration, agent) = (integration?, agent?);
    entry.name = format!("{integration} -> {agent}");
    Some(TriggerEntry {
        integration,
        agent,
        entry,
    })
}

/// Each pair has one trigger, and each bot has one enabled trigger.
fn check_triggers(triggers: Vec<TriggerEntry>, mistakes: &mut Mistakes<'_>) -> Vec<TriggerEntry> {
    let (mut pairs, mut bound) = (BTreeSet::new(), BTreeMap::new());
    let mut checked = Vec::new();
    for trigger in triggers {
        let (at, integration) = (&trigger.entry.at, &trigger.integration);
        if !pairs.insert((integration.clone(), trigger.agent.clone())) {
            mistakes.invalid(
                at,
                &format!("is a duplicate: `{}` has a trigger already", trigger.entry.name),
            );
            continue;
        }
        if trigger.is_enabled()
            && let Some(first) = bound.insert(integration.clone(), at.clone())
        {
            let reason = format!(
                "would be a second enabled trigger of `{integration}`, after {first}; at most one can be enabled"
            );
            mistakes.invalid(at, &reason);
            continue;
        }
        checked.push(trigger);
    }
    checked
}

impl TriggerEntry {
    /// Whether the trigger will be enabled. Default: true.
    pub(super) fn is_enabled(&self) -> bool {
        self.entry.fields.get("enabled") != Some(&Value::Bool(false))
    }

    /// Whether the trigger will be enabled only by default, because the file doesn't say.
    pub(super) fn is_on_unsaid(&self) -> bool {
        self.entry.fields.get("enabled").is_none_or(Value::is_null)
    }
}

impl Entry {
    /// Removes a field and returns it, expanded and as written.
    fn take(&mut self, name: &str) -> Option<(Value, Value)> {
        let filled = self.fields.remove(name)?;
        let written = self.written.remove(name).unwrap_or_default();
        (!filled.is_null()).then_some((filled, written))
    }

    fn text(&mut self, name: &str, mistakes: &mut Mistakes<'_>) -> Option<String> {
        match self.take(name) {
            Some((Value::String(text), _)) if !text.trim().is_empty() => Some(text.trim().to_owned()),
            _ => {
                mistakes.invalid(&join(&self.at, name), "must be a text that is not empty");
                None
            }
        }
    }

    /// Reports all fields except those in `kept` as unknown.
    fn refuse_others(&mut self, kept: &[&str], known: &[&str], mistakes: &mut Mistakes<'_>) {
        let others: Vec<String> = self
            .fields
            .keys()
            .filter(|key| !kept.contains(&key.as_str()))
            .cloned()
            .collect();
        for key in others {
            self.fields.remove(&key);
            mistakes.unknown(&join(&self.at, &key), known);
        }
    }
}

fn entry(at: &str, pair: (Value, Value), mistakes: &mut Mistakes<'_>) -> Option<Entry> {
    if let (Value::Object(fields), Value::Object(written)) = pair {
        return Some(Entry {
            at: at.to_owned(),
            name: String::new(),
            fields,
            written,
        });
    }
    if at.is_empty() {
        mistakes.invalid("", &format!("must be keys with values: {}", TOP_KEYS.join(", ")));
    } else {
        mistakes.invalid(at, "must be keys with values");
    }
    None
}

fn entries(at: &str, (filled, written): (Value, Value), mistakes: &mut Mistakes<'_>) -> Vec<Entry> {
    let (Value::Array(filled), Value::Array(written)) = (filled, written) else {
        mistakes.invalid(at, "must be a list");
        return Vec::new();
    };
    let pairs = filled.into_iter().zip(written).enumerate();
    pairs
        .filter_map(|(index, pair)| entry(&format!("{at}[{index}]"), pair, mistakes))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::json;
    use tieline_core::trigger::Trigger;

    use super::*;
    use crate::body;
    use crate::problem::Problem;
    use crate::triggers;

    /// The fields that the API lists for an unknown one in the changes that `read` validates.
    fn listed<T: DeserializeOwned>(_read: fn(Trigger, &T) -> Result<Trigger, Problem>) -> Option<Value> {
        let unknown = body::parse_value::<T>(json!({ "x": null })).err()?;
        unknown.member("allowed").cloned()
    }

    #[test]
    fn fields_of_a_trigger_are_those_of_the_api_with_names_for_ids() {
        let of_file = TRIGGER_KEYS.map(|key| match key {
            "integration" | "agent" => format!("{key}Id"),
            other => other.to_owned(),
        });
        assert_eq!(listed(triggers::read_patch), Some(json!(of_file)));
    }
}
