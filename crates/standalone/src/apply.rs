//! `tieline apply`: makes a bridge match a file.
//!
//! The bridge parses and validates the file and returns the changes. This side only takes the values of variables from its environment, and
//! checks a file of several organizations for all of them before it applies the first.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tieline_admin::apply::expanded;

use crate::args::Apply;
use crate::client::{ApiError, Client};
use crate::confirm::{self, Answer};
use crate::impact;
use crate::terminal::{self, one_line};

/// Applies a file, and prints the changes.
///
/// # Errors
/// If the file can't be read, or the bridge refuses it.
pub async fn run(args: Apply) -> anyhow::Result<ExitCode> {
    let file = read(&args.file)?;
    let client = Client::new(&args.bridge)?;
    let options = Options {
        dry_run: args.dry_run,
        prune: args.prune,
        yes: args.consent.yes,
    };
    let mut show = |line: &str| terminal::line(line).map_err(Into::into);
    match apply(&client, &file, options, &mut show).await? {
        Some(done) => show(&done.sentence(options))?,
        None => terminal::aside("nothing was changed"),
    }
    Ok(ExitCode::SUCCESS)
}

/// A file's text and what must be known about it before the bridge parses it.
#[derive(Debug)]
pub struct File {
    /// Its name in messages.
    name: String,
    text: String,
    /// The variables that it may use, as far as they are set.
    variables: BTreeMap<String, String>,
    /// The organizations that it names. `None`: its lists are at the top level and belong to the caller's organization.
    organizations: Option<Vec<String>>,
}

/// Reads a file, or standard input if it is `-`.
///
/// # Errors
/// If it can't be read.
pub fn read(path: &Path) -> anyhow::Result<File> {
    let name = path.display().to_string();
    let mut text = String::new();
    let taken = if path == Path::new("-") {
        std::io::stdin().lock().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(path).map(|read| text = read)
    };
    taken.with_context(|| format!("can't read {name}"))?;
    let variables = variables(&text, |name| std::env::var(name).ok());
    Ok(File {
        organizations: organizations(&text, &variables),
        variables,
        name,
        text,
    })
}

/// The variables that a text may use, with their values.
fn variables(text: &str, value: impl Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    let pieces = text.split("${").skip(1);
    let names = pieces.filter_map(|piece| Some(piece.split_once('}')?.0));
    names.filter_map(|name| Some((name.to_owned(), value(name)?))).collect()
}

/// The ids of the organizations in a file, with variables expanded. `None` also for a file that can't be parsed: the bridge reports the
/// mistake.
fn organizations(text: &str, variables: &BTreeMap<String, String>) -> Option<Vec<String>> {
    let file: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).ok()?;
    let listed = file.get("organizations")?.as_sequence()?;
    let ids = listed.iter().filter_map(|one| one.get("id")?.as_str());
    let ids = ids.map(|id| expanded(id, variables).trim().to_owned());
    let mut ids: Vec<String> = ids.filter(|id| !id.is_empty()).collect();
    ids.dedup();
    // If there is a list without any readable id, the bridge rejects the file.
    (listed.is_empty() || !ids.is_empty()).then_some(ids)
}

/// Options of applying a file.
#[derive(Debug, Default, Clone, Copy)]
pub struct Options {
    /// Only show the changes.
    pub dry_run: bool,
    /// Delete what the file doesn't name.
    pub prune: bool,
    /// Don't ask before deleting.
    pub yes: bool,
}

/// The numbers of changes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    n_created: u64,
    n_updated: u64,
    n_unchanged: u64,
    n_deleted: u64,
}

impl Done {
    fn add(&mut self, applied: &Value) {
        let count = |field: &str| applied[field].as_u64().unwrap_or_default();
        self.n_created += count("created");
        self.n_updated += count("updated");
        self.n_unchanged += count("unchanged");
        self.n_deleted += count("deleted");
    }

    /// One line that summarizes the changes.
    #[must_use]
    pub fn sentence(&self, options: Options) -> String {
        let (created, updated, unchanged) = (self.n_created, self.n_updated, self.n_unchanged);
        let deleted = match options.prune {
            true => format!(", {} deleted", self.n_deleted),
            false => String::new(),
        };
        let tail = if options.dry_run {
            " (dry run: nothing was changed)"
        } else {
            ""
        };
        format!("{created} created, {updated} updated, {unchanged} unchanged{deleted}{tail}")
    }
}

/// Prints one line of the changes.
pub type Show<'a> = &'a mut (dyn FnMut(&str) -> anyhow::Result<()> + Send);

/// Makes the bridge match the file. `None`: the operator declined.
///
/// # Errors
/// If the file is rejected: nothing has been changed then. If an organization is rejected although its check succeeded: the organizations
/// before it have been applied, as was shown.
pub async fn apply(client: &Client, file: &File, options: Options, show: Show<'_>) -> anyhow::Result<Option<Done>> {
    let own = vec![client.organization().to_owned()];
    let organizations = file.organizations.as_ref().unwrap_or(&own);
    let mut done = Done::default();
    let is_checked_alone = organizations.len() > 1 || options.prune || options.dry_run;
    if is_checked_alone {
        let planned = check(client, file, organizations, options).await?;
        if options.dry_run {
            for (organization, planned) in &planned {
                present(organization, planned, show)?;
                done.add(planned);
            }
            return Ok(Some(done));
        }
        if agree_to_deletions(&planned, options)? == Answer::No {
            return Ok(None);
        }
    }
    for organization in organizations {
        let applied = post(client, file, organization, options).await;
        let applied = applied.map_err(|error| explain(file, vec![error]))?;
        present(organization, &applied, show)?;
        done.add(&applied);
    }
    Ok(Some(done))
}

/// Dry run for all organizations, so that all mistakes are reported at once.
async fn check(
    client: &Client,
    file: &File,
    organizations: &[String],
    options: Options,
) -> anyhow::Result<Vec<(String, Value)>> {
    let dry = Options {
        dry_run: true,
        ..options
    };
    let (mut planned, mut refused) = (Vec::new(), Vec::new());
    for organization in organizations {
        match post(client, file, organization, dry).await {
            Ok(plan) => planned.push((organization.clone(), plan)),
            Err(error) => refused.push(error),
        }
    }
    if refused.is_empty() {
        Ok(planned)
    } else {
        Err(explain(file, refused))
    }
}

async fn post(client: &Client, file: &File, organization: &str, options: Options) -> Result<Value, ApiError> {
    let text = |flag: bool| if flag { "true" } else { "false" };
    let query = [("dryRun", text(options.dry_run)), ("prune", text(options.prune))];
    let body = json!({ "file": file.text, "variables": file.variables });
    client.within(organization).post_with(&["apply"], &query, &body).await
}

/// All mistakes of a file, one per line with its position.
fn explain(file: &File, refused: Vec<ApiError>) -> anyhow::Error {
    let mut lines: Vec<String> = Vec::new();
    for error in &refused {
        for mistake in error.member("errors").and_then(Value::as_array).into_iter().flatten() {
            let text = |field: &str| one_line(mistake[field].as_str().unwrap_or_default());
            let (line, column) = (&mistake["line"], &mistake["column"]);
            let place = format!("{}:{line}:{column}", file.name);
            let line = match text("field") {
                field if field.is_empty() || text("detail").starts_with(&field) => {
                    format!("{place}: {}", text("detail"))
                }
                field => format!("{place}: {field}: {}", text("detail")),
            };
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    match refused.into_iter().find(|error| error.member("errors").is_none()) {
        Some(other) => anyhow::Error::from(other).context(format!("can't apply {}", file.name)),
        None => anyhow::anyhow!("can't apply {}; nothing was changed\n{}", file.name, lines.join("\n")),
    }
}

fn agree_to_deletions(planned: &[(String, Value)], options: Options) -> anyhow::Result<Answer> {
    let mut lines = Vec::new();
    for (organization, plan) in planned {
        for change in changes(plan).filter(|change| change["action"] == "delete") {
            lines.push(format!("- {}", title(organization, change)));
            lines.extend(
                impact::lines(&change["impact"])
                    .into_iter()
                    .map(|line| format!("    {line}")),
            );
        }
    }
    if lines.is_empty() {
        return Ok(Answer::Yes);
    }
    let what = format!("delete what the file doesn't name:\n{}", lines.join("\n"));
    confirm::ask(&what, options.yes)
}

fn changes(applied: &Value) -> impl Iterator<Item = &Value> {
    applied["changes"].as_array().into_iter().flatten()
}

fn title(organization: &str, change: &Value) -> String {
    let text = |field: &str| one_line(change[field].as_str().unwrap_or_default());
    let (kind, name) = (text("kind"), text("name"));
    if kind == "notify" {
        format!("notifications of {name}")
    } else if organization == "default" || kind == "organization" {
        format!("{kind} {name}")
    } else {
        format!("{kind} {name} of {organization}")
    }
}

fn present(organization: &str, applied: &Value, show: Show<'_>) -> anyhow::Result<()> {
    for change in changes(applied) {
        let sign = match change["action"].as_str() {
            Some("create") => '+',
            Some("delete") => '-',
            Some("update") => '~',
            _ => bail!("the bridge tells of a change that this command doesn't know; is it newer?"),
        };
        show(&format!("{sign} {}", title(organization, change)))?;
        for field in change["fields"].as_array().into_iter().flatten() {
            show(&format!("    {}", field_line(sign == '+', field)))?;
        }
        for line in impact::lines(&change["impact"]) {
            show(&format!("    {line}"))?;
        }
    }
    Ok(())
}

fn field_line(is_new: bool, field: &Value) -> String {
    let name = one_line(field["field"].as_str().unwrap_or_default());
    let (before, after) = (value(&field["before"]), value(&field["after"]));
    if is_new {
        format!("{name}: {after}")
    } else {
        format!("{name}: {before} -> {after}")
    }
}

fn value(value: &Value) -> String {
    match value {
        Value::Null => "(none)".to_owned(),
        Value::String(text) => one_line(text),
        other => one_line(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_variables_used_in_the_file_are_sent() {
        let text = "a: ${KEY}\nb: x${OTHER}y${UNSET}\nc: ${";
        let found = variables(text, |name| (name != "UNSET").then(|| format!("value of {name}")));
        let names: Vec<_> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["KEY", "OTHER"]);
    }

    #[test]
    fn organizations_are_read_from_the_file() {
        let variables = BTreeMap::from([("ORG".to_owned(), "acme ".to_owned())]);
        let ids = |text: &str| organizations(text, &variables);
        assert_eq!(ids("agents: []"), None);
        assert_eq!(
            ids("organizations: [{id: a}, {id: ' b '}]"),
            Some(vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(
            ids("organizations: [{id: '${ORG}'}, {id: '$${ORG}'}, {id: 'a-${UNSET}'}]"),
            Some(["acme", "${ORG}", "a-${UNSET}"].map(str::to_owned).to_vec())
        );
        assert_eq!(ids("organizations: []"), Some(Vec::new()));
        assert_eq!(ids("organizations: [{name: a}]"), None);
        assert_eq!(ids("organizations: [["), None);
    }

    #[test]
    fn deletions_are_counted_only_with_prune() {
        let mut done = Done::default();
        done.add(&json!({ "created": 1, "updated": 2, "unchanged": 3, "deleted": 4 }));
        assert_eq!(done.sentence(Options::default()), "1 created, 2 updated, 3 unchanged");
        let pruned = Options {
            prune: true,
            dry_run: true,
            ..Options::default()
        };
        assert_eq!(
            done.sentence(pruned),
            "1 created, 2 updated, 3 unchanged, 4 deleted (dry run: nothing was changed)"
        );
    }
}
