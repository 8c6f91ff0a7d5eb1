//! The file that is applied: what it may hold, checked before anything is done.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::expand::{self, MissingVariables};

/// Whom the lists at the top belong to is said by the caller.
#[derive(Debug)]
pub struct File {
    /// The organizations, in the order of the file.
    pub organizations: Vec<OrganizationEntry>,
}

/// An organization with what it owns.
#[derive(Debug, Default)]
pub struct OrganizationEntry {
    /// Its id; none for the lists at the top of the file.
    pub id: Option<String>,
    /// Its name and limits, as far as they are given.
    pub settings: Entry,
    /// Its agents.
    pub agents: Vec<Entry>,
    /// Its integrations.
    pub integrations: Vec<Entry>,
    /// Its triggers.
    pub triggers: Vec<TriggerEntry>,
}

/// Something with a name.
#[derive(Debug, Default, Clone)]
pub struct Entry {
    /// Its name, unique in its list.
    pub name: String,
    /// Its fields as in the API, with variables filled in.
    pub fields: Map<String, Value>,
    /// The same as written, with variables by name: fit to be shown.
    pub written: Map<String, Value>,
}

/// A trigger: it has no name, but names two others.
#[derive(Debug, Clone)]
pub struct TriggerEntry {
    /// The integration's name.
    pub integration: String,
    /// The agent's name.
    pub agent: String,
    /// The rest. Its name is how the trigger is called in messages.
    pub entry: Entry,
}

/// Why a file can't be applied.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Not YAML.
    #[error("not readable as YAML")]
    Yaml(#[source] serde_yaml_ng::Error),
    /// Variables of the environment that are not there.
    #[error(transparent)]
    Variables(#[from] MissingVariables),
    /// Something is not what it must be.
    #[error("{at}: expected {expected}")]
    Shape {
        /// Where.
        at: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// A key that nothing knows.
    #[error("{at}: unknown key `{key}`, expected one of {known}")]
    Unknown {
        /// Where.
        at: String,
        /// The key.
        key: String,
        /// Those that may stand there.
        known: &'static str,
    },
    /// Two of one name.
    #[error("{at}: `{name}` stands there twice")]
    Twice {
        /// Where.
        at: String,
        /// What.
        name: String,
    },
    /// Both ways of saying whose things are.
    #[error("lists at the top and `organizations` exclude each other: put the lists below their organization")]
    Both,
    /// Two enabled triggers for one bot.
    #[error("{at}: `{integration}` has two enabled triggers; at most one can be")]
    Rivals {
        /// Where.
        at: String,
        /// The bot.
        integration: String,
    },
}

/// Reads a file. `variable` knows the environment.
///
/// # Errors
/// [`FileError`], for the first thing that is wrong; missing variables are all named at once.
pub fn read(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<File, FileError> {
    let mut yaml: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).map_err(FileError::Yaml)?;
    yaml.apply_merge().map_err(FileError::Yaml)?;
    let written: Value = serde_yaml_ng::from_value(yaml).map_err(FileError::Yaml)?;
    // A file of nothing but comments asks for nothing.
    let written = if written.is_null() {
        Value::Object(Map::new())
    } else {
        written
    };
    let filled = expand::expand(&written, variable)?;
    let mut top = pair("the file", filled, written)?;
    let organizations = top.take("organizations");
    if let Some(listed) = organizations {
        if !top.fields.is_empty() {
            return Err(
                match top.known("the file", &["agents", "integrations", "triggers"], TOP_KEYS) {
                    Ok(()) => FileError::Both,
                    Err(unknown) => unknown,
                },
            );
        }
        let pairs = list("organizations", listed)?;
        let organizations = pairs.into_iter().enumerate();
        let organizations: Vec<_> = organizations
            .map(|(at, (filled, written))| named_organization(&format!("organizations[{at}]"), filled, written))
            .collect::<Result<_, _>>()?;
        unique(
            "organizations",
            organizations
                .iter()
                .filter_map(|organization| organization.id.as_deref()),
        )?;
        return Ok(File { organizations });
    }
    let owner = lists("", &mut top)?;
    top.known("the file", &[], TOP_KEYS)?;
    Ok(File {
        organizations: vec![owner],
    })
}

const TOP_KEYS: &str = "organizations, agents, integrations, triggers";
const ORGANIZATION_KEYS: &str = "id, name, limits, agents, integrations, triggers";

fn named_organization(at: &str, filled: Value, written: Value) -> Result<OrganizationEntry, FileError> {
    let mut settings = pair(at, filled, written)?;
    let id = settings.text(at, "id")?;
    let owner = lists(&format!("{at}."), &mut settings)?;
    settings.known(at, &["name", "limits"], ORGANIZATION_KEYS)?;
    settings.name.clone_from(&id);
    Ok(OrganizationEntry {
        id: Some(id),
        settings,
        ..owner
    })
}

/// Takes the three lists out of an organization, or of the file's top.
fn lists(at: &str, from: &mut Entry) -> Result<OrganizationEntry, FileError> {
    let mut take = |name: &str| -> Result<Vec<Entry>, FileError> {
        let Some(found) = from.take(name) else {
            return Ok(Vec::new());
        };
        let at = format!("{at}{name}");
        let pairs = list(&at, found)?.into_iter().enumerate();
        pairs
            .map(|(index, (filled, written))| pair(&format!("{at}[{index}]"), filled, written))
            .collect()
    };
    let (agents, integrations, triggers) = (take("agents")?, take("integrations")?, take("triggers")?);
    let triggers = triggers.into_iter().enumerate();
    let triggers: Vec<_> = triggers
        .map(|(index, entry)| trigger(&format!("{at}triggers[{index}]"), entry))
        .collect::<Result<_, _>>()?;
    check_triggers(&format!("{at}triggers"), &triggers)?;
    Ok(OrganizationEntry {
        agents: with_names(&format!("{at}agents"), agents)?,
        integrations: with_names(&format!("{at}integrations"), integrations)?,
        triggers,
        ..OrganizationEntry::default()
    })
}

fn with_names(at: &str, entries: Vec<Entry>) -> Result<Vec<Entry>, FileError> {
    let entries = entries.into_iter().enumerate();
    let named: Vec<Entry> = entries
        .map(|(index, mut entry)| {
            let name = entry
                .fields
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .trim()
                .to_owned();
            if name.is_empty() {
                return Err(shape(&format!("{at}[{index}].name"), "a name"));
            }
            // It stays among the fields, for it is one of the API's, and is there as it will be saved.
            entry.fields.insert("name".to_owned(), name.as_str().into());
            entry.name = name;
            Ok(entry)
        })
        .collect::<Result<_, _>>()?;
    unique(at, named.iter().map(|entry| &*entry.name))?;
    Ok(named)
}

fn trigger(at: &str, mut entry: Entry) -> Result<TriggerEntry, FileError> {
    let integration = entry.text(at, "integration")?;
    let agent = entry.text(at, "agent")?;
    for key in ["integrationId", "agentId", "id"] {
        if entry.fields.contains_key(key) {
            let (at, key) = (at.to_owned(), key.to_owned());
            let known = "integration and agent (names), and the trigger's settings";
            return Err(FileError::Unknown { at, key, known });
        }
    }
    entry.name = format!("{integration} -> {agent}");
    Ok(TriggerEntry {
        integration,
        agent,
        entry,
    })
}

fn check_triggers(at: &str, triggers: &[TriggerEntry]) -> Result<(), FileError> {
    unique(at, triggers.iter().map(|trigger| &*trigger.entry.name))?;
    let mut bound = BTreeSet::new();
    for trigger in triggers.iter().filter(|trigger| trigger.is_enabled()) {
        if !bound.insert(&trigger.integration) {
            let integration = trigger.integration.clone();
            return Err(FileError::Rivals {
                at: at.to_owned(),
                integration,
            });
        }
    }
    Ok(())
}

impl TriggerEntry {
    /// Whether it shall be in force: it shall, if nothing is said.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.entry.fields.get("enabled") != Some(&Value::Bool(false))
    }

    /// Whether it shall be in force only because nothing is said.
    pub(super) fn is_on_unsaid(&self) -> bool {
        self.entry.fields.get("enabled").is_none_or(Value::is_null)
    }
}

impl Entry {
    /// Takes a field out, filled and as written.
    fn take(&mut self, name: &str) -> Option<(Value, Value)> {
        let filled = self.fields.remove(name)?;
        let written = self.written.remove(name).unwrap_or_default();
        (!filled.is_null()).then_some((filled, written))
    }

    fn text(&mut self, at: &str, name: &str) -> Result<String, FileError> {
        match self.take(name) {
            Some((Value::String(text), _)) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
            _ => Err(shape(&format!("{at}.{name}"), "a text")),
        }
    }

    fn known(&self, at: &str, keys: &[&str], known: &'static str) -> Result<(), FileError> {
        match self.fields.keys().find(|key| !keys.contains(&key.as_str())) {
            Some(key) => Err(FileError::Unknown {
                at: at.to_owned(),
                key: key.clone(),
                known,
            }),
            None => Ok(()),
        }
    }
}

fn pair(at: &str, filled: Value, written: Value) -> Result<Entry, FileError> {
    match (filled, written) {
        (Value::Object(fields), Value::Object(written)) => Ok(Entry {
            name: String::new(),
            fields,
            written,
        }),
        _ => Err(shape(at, "keys with values")),
    }
}

fn list(at: &str, (filled, written): (Value, Value)) -> Result<Vec<(Value, Value)>, FileError> {
    match (filled, written) {
        (Value::Array(filled), Value::Array(written)) => Ok(filled.into_iter().zip(written).collect()),
        _ => Err(shape(at, "a list")),
    }
}

fn unique<'a>(at: &str, names: impl Iterator<Item = &'a str>) -> Result<(), FileError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            let (at, name) = (at.to_owned(), name.to_owned());
            return Err(FileError::Twice { at, name });
        }
    }
    Ok(())
}

fn shape(at: &str, expected: &'static str) -> FileError {
    FileError::Shape {
        at: at.to_owned(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn environment(name: &str) -> Option<String> {
        (name == "KEY").then(|| "s3".to_owned())
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        assert_eq!(read(text, environment).unwrap_err().to_string(), expected);
    }

    #[test]
    fn lists_at_the_top_belong_to_nobody_in_particular() {
        let text = "
agents: [{name: A, protocol: echo, config: {apiKey: '${KEY}'}}]
integrations: [{name: Bot, platform: web}]
triggers: [{integration: Bot, agent: A, sessionTimeoutSeconds: 60}]
";
        let file = read(text, environment).unwrap();
        let [organization] = &file.organizations[..] else {
            panic!("not one")
        };
        assert_eq!(organization.id, None);
        assert_eq!(organization.agents[0].fields["config"], json!({ "apiKey": "s3" }));
        assert_eq!(organization.agents[0].written["config"], json!({ "apiKey": "${KEY}" }));
        let trigger = &organization.triggers[0];
        assert_eq!((&*trigger.integration, &*trigger.agent), ("Bot", "A"));
        assert_eq!(
            Value::from(trigger.entry.fields.clone()),
            json!({ "sessionTimeoutSeconds": 60 })
        );
    }

    #[test]
    fn organizations_hold_their_own_lists() {
        let text = "organizations: [{id: a, name: A, agents: [{name: X}]}, {id: b, agents: [{name: X}]}]";
        let file = read(text, environment).unwrap();
        let ids: Vec<_> = file.organizations.iter().map(|one| one.id.as_deref()).collect();
        assert_eq!(ids, [Some("a"), Some("b")]);
        assert_eq!(
            Value::from(file.organizations[0].settings.fields.clone()),
            json!({ "name": "A" })
        );
        assert_eq!(file.organizations[1].agents[0].name, "X");
    }

    #[test]
    fn names_are_what_will_be_saved() {
        let file = read("agents: [{name: ' A '}]", environment).unwrap();
        let agent = &file.organizations[0].agents[0];
        assert_eq!((&*agent.name, &agent.fields["name"]), ("A", &json!("A")));
    }

    #[test]
    fn nothing_asks_for_nothing() {
        for text in ["", "# nothing\n", "agents:\n"] {
            assert!(read(text, environment).unwrap().organizations[0].agents.is_empty());
        }
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        check_refused("[]", "the file: expected keys with values");
        check_refused("agents: {}", "agents: expected a list");
        check_refused("agents: [{protocol: echo}]", "agents[0].name: expected a name");
        check_refused("agents: [{name: A}, {name: A}]", "agents: `A` stands there twice");
        check_refused(
            "agent: []",
            "the file: unknown key `agent`, expected one of organizations, agents, integrations, triggers",
        );
        check_refused(
            "organizations: [{id: a, bots: []}]",
            "organizations[0]: unknown key `bots`, expected one of id, name, limits, agents, integrations, triggers",
        );
        check_refused("triggers: [{agent: A}]", "triggers[0].integration: expected a text");
        check_refused(
            "triggers: [{integration: B, agent: A}, {integration: B, agent: C}]",
            "triggers: `B` has two enabled triggers; at most one can be",
        );
        check_refused(
            "organizations: []\nagents: []",
            "lists at the top and `organizations` exclude each other: put the lists below their organization",
        );
        check_refused("agents: [{name: '${NOPE}'}]", "environment variables are not set: NOPE");
    }
}
