//! `tieline apply`: makes a bridge be as a file says.
//!
//! Everything goes through the management API, alike on this machine and against a deployed stack. What the file doesn't
//! name stays as it is. The whole file is read and its names are looked up before anything changes.

mod change;
mod current;
mod expand;
pub mod file;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Map, Value};

use self::current::Current;
use self::file::{Entry, File, OrganizationEntry, TriggerEntry};
use crate::args::Apply;
use crate::client::Client;
use crate::kind::Kind;
use crate::terminal;

/// Applies a file, and prints what changes.
///
/// # Errors
/// If the file can't be read, or the bridge refuses a part of it.
pub async fn run(args: Apply) -> anyhow::Result<ExitCode> {
    let file = read(&args.file)?;
    let client = Client::new(&args.bridge)?;
    let mut show = |line: &str| terminal::line(line).map_err(Into::into);
    let done = apply(&client, &file, args.dry_run, &mut show).await?;
    show(&done.sentence(args.dry_run))?;
    Ok(ExitCode::SUCCESS)
}

/// Reads a file, or standard input if it is `-`.
///
/// # Errors
/// If it can't be read, or can't be applied as it is written.
pub fn read(path: &Path) -> anyhow::Result<File> {
    let name = path.display();
    let mut text = String::new();
    let taken = if path == Path::new("-") {
        std::io::stdin().lock().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(path).map(|read| text = read)
    };
    taken.with_context(|| format!("can't read {name}"))?;
    file::read(&text, |name| std::env::var(name).ok()).with_context(|| format!("can't apply {name}"))
}

/// How much was done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    n_created: usize,
    n_updated: usize,
    n_unchanged: usize,
}

impl Done {
    /// One line about it.
    #[must_use]
    pub fn sentence(&self, dry_run: bool) -> String {
        let (created, updated, unchanged) = (self.n_created, self.n_updated, self.n_unchanged);
        let tail = if dry_run { " (dry run: nothing was changed)" } else { "" };
        format!("{created} created, {updated} updated, {unchanged} unchanged{tail}")
    }
}

/// Who is shown what changes.
pub type Show<'a> = &'a mut (dyn FnMut(&str) -> anyhow::Result<()> + Send);

/// Makes the bridge be as the file says.
///
/// # Errors
/// If a name leads nowhere: nothing has been changed then. If the bridge refuses a part: what was shown before has been done.
pub async fn apply(client: &Client, file: &File, dry_run: bool, show: Show<'_>) -> anyhow::Result<Done> {
    let mut standing = Vec::new();
    for wanted in &file.organizations {
        let id = wanted.id.as_deref().unwrap_or_else(|| client.organization());
        let found = Current::look(&client.within(id)).await?;
        found.check(wanted)?;
        standing.push(found);
    }
    let mut work = Work {
        dry_run,
        show,
        done: Done::default(),
    };
    for (wanted, found) in file.organizations.iter().zip(standing) {
        work.organization(wanted, found).await?;
    }
    Ok(work.done)
}

struct Work<'a> {
    dry_run: bool,
    show: Show<'a>,
    done: Done,
}

/// What is about to be created or changed.
struct Item<'a> {
    client: &'a Client,
    kind: Kind,
    entry: &'a Entry,
}

impl Item<'_> {
    fn title(&self) -> String {
        let (kind, name) = (self.kind.singular(), terminal::one_line(&self.entry.name));
        match self.client.organization() {
            "default" => format!("{kind} {name}"),
            _ if self.kind == Kind::Organizations => format!("{kind} {name}"),
            organization => format!("{kind} {name} of {organization}"),
        }
    }
}

impl Work<'_> {
    async fn organization(&mut self, wanted: &OrganizationEntry, mut found: Current) -> anyhow::Result<()> {
        let client = found.client.clone();
        self.settings(wanted, &found).await?;
        for entry in &wanted.agents {
            let item = Item {
                client: &client,
                kind: Kind::Agents,
                entry,
            };
            let made = self.named(&item, current::named(&found.agents, &entry.name)).await?;
            current::put(&mut found.agents, made);
        }
        for entry in &wanted.integrations {
            let item = Item {
                client: &client,
                kind: Kind::Integrations,
                entry,
            };
            let made = self
                .named(&item, current::named(&found.integrations, &entry.name))
                .await?;
            current::put(&mut found.integrations, made);
        }
        self.triggers(&wanted.triggers, &found).await
    }

    /// The organization itself. The lists at the top of a file say nothing about theirs.
    async fn settings(&mut self, wanted: &OrganizationEntry, found: &Current) -> anyhow::Result<()> {
        let Some(id) = &wanted.id else { return Ok(()) };
        let item = Item {
            client: &found.client,
            kind: Kind::Organizations,
            entry: &wanted.settings,
        };
        let mut body = wanted.settings.fields.clone();
        body.insert("id".to_owned(), id.as_str().into());
        match &found.organization {
            None => {
                let made = self.create(&item, async |client| {
                    client
                        .post_root(&["api", "v1", "orgs"], &Value::Object(body.clone()))
                        .await
                });
                made.await.map(drop)
            }
            Some(current) => self.update(&item, current, &[]).await.map(drop),
        }
    }

    /// An agent or an integration. Gives it as it stands then.
    async fn named(&mut self, item: &Item<'_>, current: Option<&Value>) -> anyhow::Result<Value> {
        let Some(current) = current else {
            let body = Value::Object(item.entry.fields.clone());
            let path = [item.kind.plural()];
            let made = self
                .create(item, async |client| client.post(&path, &body).await)
                .await?;
            return Ok(made.unwrap_or_else(|| Value::Object(item.entry.fields.clone())));
        };
        if item.kind == Kind::Integrations {
            let (is, wanted) = (&current["platform"], item.entry.fields.get("platform"));
            ensure!(
                wanted.is_none_or(|wanted| wanted == is),
                "{}: it is on {is}, and an integration can't move to another platform; give the new one another name",
                item.title()
            );
        }
        let id = current["id"].as_str().unwrap_or_default().to_owned();
        self.update(item, current, &[item.kind.plural(), &id]).await
    }

    /// All triggers of an organization: those that are switched off first, so that they make room for others.
    async fn triggers(&mut self, wanted: &[TriggerEntry], found: &Current) -> anyhow::Result<()> {
        let exact: Vec<Option<&Value>> = wanted.iter().map(|trigger| found.trigger(trigger)).collect();
        let mut taken: BTreeSet<&str> = exact
            .iter()
            .flatten()
            .filter_map(|trigger| trigger["id"].as_str())
            .collect();
        let mut ordered: Vec<_> = wanted.iter().zip(exact).collect();
        ordered.sort_by_key(|(trigger, _)| trigger.is_enabled());
        for (trigger, exact) in ordered {
            let in_force = exact.filter(|exact| exact["enabled"] == true);
            // One that is switched off gives way to a rival in force: a bot can't have both, and the file's agent is to answer.
            let current = in_force.or_else(|| found.rival(trigger, &taken)).or(exact);
            taken.extend(current.and_then(|current| current["id"].as_str()));
            self.trigger(trigger, current, found).await?;
        }
        Ok(())
    }

    async fn trigger(&mut self, wanted: &TriggerEntry, current: Option<&Value>, found: &Current) -> anyhow::Result<()> {
        let agent = current::id_of(&found.agents, &wanted.agent);
        let integration = current::id_of(&found.integrations, &wanted.integration);
        let mut entry = wanted.entry.clone();
        let item = |entry| Item {
            client: &found.client,
            kind: Kind::Triggers,
            entry,
        };
        let Some(current) = current else {
            entry.fields.extend(named_ids(integration, agent));
            let body = Value::Object(entry.fields.clone());
            let item = item(&entry);
            let made = self.create(&item, async |client| client.post(&["triggers"], &body).await);
            return made.await.map(drop);
        };
        // What a file doesn't say stays, but for this: the file was checked as if on were said.
        if wanted.is_on_unsaid() {
            entry.fields.insert("enabled".to_owned(), true.into());
            entry.written.insert("enabled".to_owned(), true.into());
        }
        let id = current["id"].as_str().unwrap_or_default().to_owned();
        // Shown by its name, compared by its id.
        let mut shown = current.clone();
        if current["agentId"].as_str() != agent {
            // Where nothing is done, an agent of the same file has no id yet; its name is as different.
            let agent = agent.unwrap_or(&wanted.agent);
            entry.fields.extend(named_ids(None, Some(agent)));
            entry.written.insert("agentId".to_owned(), wanted.agent.clone().into());
            shown["agentId"] = current::name_of(&found.agents, &current["agentId"]);
        }
        self.update(&item(&entry), &shown, &["triggers", &id]).await.map(drop)
    }

    /// Creates something and shows it. Nothing is made, and nothing given, if all is only for show.
    async fn create(
        &mut self,
        item: &Item<'_>,
        make: impl AsyncFn(&Client) -> Result<Value, crate::client::ApiError>,
    ) -> anyhow::Result<Option<Value>> {
        let made = match self.dry_run {
            true => None,
            false => Some(make(item.client).await.with_context(|| item.title())?),
        };
        self.done.n_created += 1;
        self.show('+', item, &change::of_new(item.entry))?;
        Ok(made)
    }

    /// Changes what is different and shows it. Gives it as it stands then.
    async fn update(&mut self, item: &Item<'_>, current: &Value, path: &[&str]) -> anyhow::Result<Value> {
        let change::Difference {
            mut lines,
            secrets,
            patch,
        } = change::between(current, item.entry);
        let mut after = current.clone();
        if !self.dry_run && !patch.is_empty() {
            let patch = Value::Object(patch);
            after = item.client.patch(path, &patch).await.with_context(|| item.title())?;
            // Only the bridge can compare secrets; it keeps the time if nothing is new.
            if lines.is_empty() && after["updatedAt"] != current["updatedAt"] {
                lines.push(new_secrets(&secrets));
            }
        } else if self.dry_run && !secrets.is_empty() {
            let secrets = secrets.join(", ");
            (self.show)(&format!("? {}: compared when applied: {secrets}", item.title()))?;
        }
        if lines.is_empty() {
            self.done.n_unchanged += 1;
        } else {
            self.done.n_updated += 1;
            self.show('~', item, &lines)?;
        }
        Ok(after)
    }

    fn show(&mut self, sign: char, item: &Item<'_>, lines: &[String]) -> anyhow::Result<()> {
        (self.show)(&format!("{sign} {}", item.title()))?;
        for line in lines {
            (self.show)(&format!("    {line}"))?;
        }
        Ok(())
    }
}

/// The bridge tells that a secret is new, not which one.
fn new_secrets(secrets: &[String]) -> String {
    match secrets {
        [one] => format!("{one}: *** -> ***"),
        several => format!("some of {}: *** -> ***", several.join(", ")),
    }
}

fn named_ids(integration: Option<&str>, agent: Option<&str>) -> Map<String, Value> {
    let ids = [("integrationId", integration), ("agentId", agent)];
    let known = ids
        .into_iter()
        .filter_map(|(name, id)| Some((name.to_owned(), id?.into())));
    known.collect()
}

/// A name that leads nowhere.
fn no_such(kind: Kind, name: &str, trigger: &TriggerEntry, organization: &str) -> anyhow::Result<()> {
    let (kind, trigger) = (kind.singular(), &trigger.entry.name);
    bail!("trigger {trigger}: there is no {kind} {name:?} in the file or in the organization {organization:?}")
}
