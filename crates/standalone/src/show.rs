//! `tieline get` and `tieline describe`.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};

use crate::args::{Get, Output};
use crate::client::Client;
use crate::kind::Kind;
use crate::terminal::{self, one_line};
use crate::{doctor, output, table};

mod watch;

/// Number of log lines of an integration that `describe` shows.
const LOG_LINES: usize = 10;

/// Lists resources, or shows one of them.
///
/// # Errors
/// If they can't be fetched.
pub async fn get(args: Get) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    let (items, more) = fetch(&client, &args).await?;
    show(&client, &args, &items, more).await?;
    if args.watch {
        watch::follow(&client, &args, items).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(client: &Client, args: &Get, items: &[Value], more: bool) -> anyhow::Result<()> {
    if !output::structured(&whole(items, args.id.is_some(), more), args.kind, args.output)? {
        let names = Names::look(client, args.kind).await?;
        terminal::line(&draw(args, items, &names))?;
        tell_of_more(more);
    }
    Ok(())
}

/// Shows resources, or one of them, with everything that belongs to them.
///
/// # Errors
/// If they can't be fetched.
pub async fn describe(args: Get) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    let (mut items, more) = fetch(&client, &args).await?;
    for item in &mut items {
        surround(&client, args.kind, item).await?;
    }
    if output::structured(&whole(&items, args.id.is_some(), more), args.kind, args.output)? {
        return Ok(ExitCode::SUCCESS);
    }
    let texts: Vec<String> = items.iter().map(described).collect();
    terminal::line(&texts.join("\n---\n"))?;
    tell_of_more(more);
    Ok(ExitCode::SUCCESS)
}

/// Written to standard error, so that standard output has only the listed lines. In JSON it is part of the output.
fn tell_of_more(more: bool) {
    if more {
        terminal::aside("there are more: raise --limit to see them");
    }
}

/// The output for programs.
fn whole(items: &[Value], is_one: bool, more: bool) -> Value {
    match (is_one, items) {
        (true, [item]) => item.clone(),
        _ => json!({ "items": items, "truncated": more }),
    }
}

/// The requested resources, and whether there are more.
async fn fetch(client: &Client, args: &Get) -> anyhow::Result<(Vec<Value>, bool)> {
    let filter = filter(args)?;
    let filter: Vec<(&str, &str)> = filter.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let kind = args.kind;
    let integration = match &args.integration {
        Some(which) if matches!(kind, Kind::Messages | Kind::Conversations) => {
            Some(doctor::integration_id(client, which).await?)
        }
        Some(_) => bail!("--integration is for messages and conversations only"),
        None => None,
    };
    match (kind, &args.id, &integration) {
        (Kind::Conversations, _, None) => bail!("conversations belong to an integration: say which with --integration"),
        (Kind::Conversations, id, Some(integration)) => {
            let path = client.own(&["integrations", integration, "conversations"]);
            let (items, more) = first(client, &path, &filter, limit_for(id.as_deref(), limit)).await?;
            one_of(items, kind, id.as_deref(), "id", more)
        }
        (Kind::Organizations, Some(id), _) => Ok((vec![client.within(id).get(&[], &[]).await?], false)),
        (Kind::Organizations, None, _) => first(client, &["api", "v1", "orgs"], &[], limit).await,
        (Kind::Platforms, id, _) => {
            let catalogue = client.get_root(&["api", "v1", "platforms"], &[]).await?;
            let items = catalogue["items"].as_array().cloned().unwrap_or_default();
            one_of(items, kind, id.as_deref(), platform_key(&catalogue), false)
        }
        (Kind::Tokens | Kind::DeadLetters, id, _) => {
            let path = client.own(&[kind.plural()]);
            let (items, more) = first(client, &path, &[], limit_for(id.as_deref(), limit)).await?;
            one_of(items, kind, id.as_deref(), "id", more)
        }
        (_, Some(id), _) => {
            let mut found = client.find(kind, id).await?;
            if kind == Kind::Integrations && is_for_people(args) {
                let id = found["id"].as_str().unwrap_or_default().to_owned();
                found["status"] = client.get(&["integrations", &id, "status"], &[]).await?;
            }
            Ok((vec![found], false))
        }
        (_, None, integration) => {
            let query = integration.as_deref().map(|id| ("integrationId", id));
            let query: Vec<_> = query.into_iter().chain(filter).collect();
            first(client, &client.own(&[kind.plural()]), &query, limit).await
        }
    }
}

/// The kinds that each filter applies to.
const FILTERED: [(&str, &[Kind]); 4] = [
    ("--since", &[Kind::Messages]),
    ("--state", &[Kind::Messages, Kind::Integrations]),
    ("--user", &[Kind::Messages]),
    ("--search", &[Kind::Messages, Kind::Conversations, Kind::Integrations]),
];

/// The query parameters of a list.
fn filter(args: &Get) -> anyhow::Result<Vec<(&'static str, String)>> {
    let given = [
        ("since", args.since.map(|since| since.to_string())),
        ("state", args.state.clone()),
        ("userId", args.user.clone()),
        ("search", args.search.clone()),
    ];
    let mut query = Vec::new();
    for ((flag, kinds), (name, value)) in FILTERED.into_iter().zip(given) {
        let Some(value) = value else { continue };
        if !kinds.contains(&args.kind) || args.id.is_some() {
            let kinds: Vec<&str> = kinds.iter().map(|kind| kind.plural()).collect();
            bail!("{flag} is for lists of {} only", kinds.join(", "));
        }
        query.push((name, value));
    }
    if args.kind == Kind::Integrations && args.id.is_none() && is_for_people(args) {
        query.push(("include", "status,agent".to_owned()));
    }
    Ok(query)
}

/// The first items of a list, and whether there are more. Requests one item more, because a page that is exactly full doesn't show whether
/// another follows.
async fn first(
    client: &Client,
    path: &[&str],
    query: &[(&str, &str)],
    limit: usize,
) -> anyhow::Result<(Vec<Value>, bool)> {
    let (mut items, _) = client.list(path, query, limit.saturating_add(1)).await?;
    let more = items.len() > limit;
    items.truncate(limit);
    Ok((items, more))
}

/// Whether the output is a table, which includes the status of bots. Programs get the resource as the API returns it.
fn is_for_people(args: &Get) -> bool {
    matches!(args.output, Output::Table | Output::Wide)
}

fn limit_for(id: Option<&str>, limit: usize) -> usize {
    if id.is_some() { usize::MAX } else { limit }
}

/// The one resource, from a list without an endpoint for a single item.
fn one_of(
    items: Vec<Value>,
    kind: Kind,
    id: Option<&str>,
    key: &str,
    more: bool,
) -> anyhow::Result<(Vec<Value>, bool)> {
    let Some(id) = id else { return Ok((items, more)) };
    let found = items.into_iter().find(|item| item[key] == id || item["name"] == id);
    let found = found.with_context(|| format!("there is no {} {id:?}", kind.singular()))?;
    Ok((vec![found], false))
}

fn platform_key(catalogue: &Value) -> &'static str {
    if catalogue["items"][0]["platform"].is_string() {
        "platform"
    } else {
        "id"
    }
}

/// Adds related resources.
async fn surround(client: &Client, kind: Kind, item: &mut Value) -> anyhow::Result<()> {
    let Some(id) = item["id"].as_str().map(str::to_owned) else {
        return Ok(());
    };
    match kind {
        Kind::Integrations => {
            item["status"] = client.get(&["integrations", &id, "status"], &[]).await?;
            item["triggers"] = bindings(client, "integrationId", &id).await?;
            let path = client.own(&["integrations", &id, "logs"]);
            item["logs"] = client.list(&path, &[], LOG_LINES).await?.0.into();
        }
        Kind::Agents => item["triggers"] = bindings(client, "agentId", &id).await?,
        Kind::Triggers => {
            let names = Names::look(client, kind).await?;
            item["integration"] = names.of(&item["integrationId"]).into();
            item["agent"] = names.of(&item["agentId"]).into();
        }
        Kind::Messages => *item = client.get(&["messages", &id], &[]).await?,
        _ => {}
    }
    Ok(())
}

async fn bindings(client: &Client, field: &str, id: &str) -> anyhow::Result<Value> {
    let names = Names::look(client, Kind::Triggers).await?;
    let triggers = client.all(Kind::Triggers).await?.into_iter();
    let bound = triggers.filter(|trigger| trigger[field] == id).map(|mut trigger| {
        trigger["integration"] = names.of(&trigger["integrationId"]).into();
        trigger["agent"] = names.of(&trigger["agentId"]).into();
        trigger
    });
    Ok(bound.collect())
}

fn described(item: &Value) -> String {
    let mut lines = Vec::new();
    tree("", item, &mut lines);
    lines.join("\n")
}

/// Each field on its own line, nested fields indented.
fn tree(indent: &str, value: &Value, lines: &mut Vec<String>) {
    let fields: Vec<(String, &Value)> = match value {
        Value::Object(fields) => ordered(fields),
        Value::Array(values) => values.iter().map(|value| ("-".to_owned(), value)).collect(),
        _ => return,
    };
    let inner = format!("{indent}  ");
    for (name, value) in fields {
        let name = if name == "-" {
            name
        } else {
            format!("{}:", one_line(&name))
        };
        match value {
            Value::Array(values) if values.is_empty() => lines.push(format!("{indent}{name} (none)")),
            Value::Object(fields) if fields.is_empty() => lines.push(format!("{indent}{name} (none)")),
            Value::Array(_) | Value::Object(_) => {
                lines.push(format!("{indent}{name}"));
                tree(&inner, value, lines);
            }
            plain => lines.push(format!("{indent}{name} {}", cell(plain))),
        }
    }
}

/// Id and name first.
fn ordered(fields: &Map<String, Value>) -> Vec<(String, &Value)> {
    let mut fields: Vec<_> = fields.iter().map(|(name, value)| (name.clone(), value)).collect();
    fields.sort_by_key(|(name, value)| {
        let place = ["id", "name"].iter().position(|first| first == name);
        (place.unwrap_or(2), value.is_object() || value.is_array())
    });
    fields
}

/// A column: its title and the path of its values. Ids of other resources are replaced by names.
type Column = (&'static str, &'static str);

const fn columns(kind: Kind) -> &'static [Column] {
    match kind {
        Kind::Organizations => &[
            ("ID", "/id"),
            ("NAME", "/name"),
            ("MAX RUNS", "/limits/maxConcurrentRuns"),
            ("CREATED", "/createdAt"),
        ],
        Kind::Integrations => &[
            ("ID", "/id"),
            ("NAME", "/name"),
            ("PLATFORM", "/platform"),
            ("MODE", "/connectionMode"),
            ("STARTED", "/enabled"),
            ("STATE", "/status/state"),
            ("UPDATED", "/updatedAt"),
        ],
        Kind::Agents => &[
            ("ID", "/id"),
            ("NAME", "/name"),
            ("PROTOCOL", "/protocol"),
            ("UPDATED", "/updatedAt"),
        ],
        Kind::Triggers => &[
            ("ID", "/id"),
            ("INTEGRATION", "/integrationId"),
            ("AGENT", "/agentId"),
            ("ENABLED", "/enabled"),
            ("UPDATED", "/updatedAt"),
        ],
        Kind::Users => &[
            ("ID", "/id"),
            ("NAME", "/name"),
            ("EMAIL", "/email"),
            ("SOURCE", "/source"),
            ("CREATED", "/createdAt"),
        ],
        Kind::Messages => &[
            ("ID", "/id"),
            ("STATE", "/state"),
            ("INTEGRATION", "/integrationId"),
            ("RECEIVED", "/receivedAt"),
            ("RUN", "/runId"),
        ],
        Kind::Conversations => &[
            ("ID", "/id"),
            ("TYPE", "/chatType"),
            ("CHAT", "/chatId"),
            ("SENDER", "/senderId"),
            ("SESSION", "/sessionId"),
            ("UPDATED", "/updatedAt"),
        ],
        Kind::DeadLetters => &[
            ("ID", "/id"),
            ("REASON", "/reason"),
            ("INTEGRATION", "/integrationId"),
            ("MESSAGE", "/messageId"),
            ("FAILED", "/failedAt"),
        ],
        Kind::Tokens => &[
            ("ID", "/id"),
            ("NAME", "/name"),
            ("ROLE", "/role"),
            ("CREATED", "/createdAt"),
        ],
        Kind::Platforms => &[
            ("PLATFORM", "/platform"),
            ("NAME", "/name"),
            ("RECOMMENDED", "/recommendedMode"),
        ],
    }
}

/// Additional columns of a wide table.
const fn more_columns(kind: Kind) -> &'static [Column] {
    match kind {
        Kind::Integrations => &[
            ("REASON", "/status/reason"),
            ("AGENT", "/agent/name"),
            ("CALLBACK", "/callbackUrl"),
        ],
        Kind::Agents => &[("ADDRESS", "/config/baseUrl"), ("CREATED", "/createdAt")],
        Kind::Triggers => &[
            ("SESSION SECONDS", "/sessionTimeoutSeconds"),
            ("WINDOW SECONDS", "/summaryWindowSeconds"),
            ("SCOPE", "/sessionScope"),
            ("BUSY", "/busyPolicy"),
        ],
        Kind::Users => &[("PLATFORM ID", "/externalId"), ("LINKED", "/linked")],
        Kind::Messages => &[
            ("SENDER", "/senderId"),
            ("REASON", "/reason"),
            ("CONVERSATION", "/conversationId"),
            ("PLATFORM ID", "/platformMessageId"),
        ],
        Kind::Conversations => &[
            ("THREAD", "/threadId"),
            ("RUNNING", "/running"),
            ("PENDING", "/pendingMessages"),
        ],
        Kind::DeadLetters => &[("CONVERSATION", "/conversationId"), ("RECEIVED", "/receivedAt")],
        Kind::Organizations | Kind::Tokens | Kind::Platforms => &[],
    }
}

fn draw(args: &Get, items: &[Value], names: &Names) -> String {
    let kind = args.kind;
    if items.is_empty() {
        return format!("no {}", kind.plural());
    }
    let titles: Vec<&str> = shown_columns(args).map(|(title, _)| title).collect();
    let rows: Vec<Vec<String>> = items.iter().map(|item| row(args, item, names)).collect();
    table::draw(&titles, &rows)
}

fn shown_columns(args: &Get) -> impl Iterator<Item = Column> {
    let more = match args.output {
        Output::Wide => more_columns(args.kind),
        _ => &[],
    };
    columns(args.kind).iter().chain(more).copied()
}

fn row(args: &Get, item: &Value, names: &Names) -> Vec<String> {
    shown_columns(args).map(|(_, at)| names.shown(at, item)).collect()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => one_line(text),
        other => one_line(&other.to_string()),
    }
}

/// Names of integrations and agents, by id.
#[derive(Default)]
struct Names(Map<String, Value>);

impl Names {
    /// Looks up the names that a table of this kind needs.
    async fn look(client: &Client, kind: Kind) -> anyhow::Result<Self> {
        let kinds: &[Kind] = match kind {
            Kind::Triggers => &[Kind::Integrations, Kind::Agents],
            Kind::Messages | Kind::DeadLetters => &[Kind::Integrations],
            _ => &[],
        };
        let mut names = Map::new();
        for kind in kinds {
            let known = client.all(*kind).await?;
            let known = known
                .into_iter()
                .filter_map(|item| Some((item["id"].as_str()?.to_owned(), item["name"].clone())));
            names.extend(known);
        }
        Ok(Self(names))
    }

    fn of(&self, id: &Value) -> String {
        let known = id.as_str().and_then(|id| self.0.get(id));
        cell(known.unwrap_or(id))
    }

    fn shown(&self, at: &str, item: &Value) -> String {
        self.of(item.pointer(at).unwrap_or(&Value::Null))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Bridge, Listing};

    /// The arguments of listing all resources of a kind.
    pub(super) fn args(kind: Kind, output: Output) -> Get {
        let bridge = Bridge {
            url: String::new(),
            admin_token: None,
            org: "default".to_owned(),
            data_dir: ".".into(),
        };
        Get::all_of(kind, Listing { output, bridge })
    }

    fn draw(kind: Kind, items: &[Value], names: &Names) -> String {
        super::draw(&args(kind, Output::Table), items, names)
    }

    #[test]
    fn tables_show_names_instead_of_ids() {
        let names = Names(Map::from_iter([
            ("int_1".to_owned(), "Desk".into()),
            ("agt_1".to_owned(), "Echo".into()),
        ]));
        let trigger = json!({ "id": "trg_1", "integrationId": "int_1", "agentId": "agt_1", "enabled": true });
        let drawn = draw(Kind::Triggers, &[trigger], &names);
        assert_eq!(
            drawn,
            "ID     INTEGRATION  AGENT  ENABLED  UPDATED\ntrg_1  Desk         Echo   yes      -"
        );
        assert_eq!(draw(Kind::Agents, &[], &names), "no agents");
        let letter =
            json!({ "id": "1-m", "reason": "timeout", "integrationId": "int_1", "messageId": "m", "failedAt": "now" });
        assert!(draw(Kind::DeadLetters, &[letter], &names).ends_with("timeout  Desk         m        now"));
    }

    #[test]
    fn nested_fields_are_indented() {
        let item =
            json!({ "config": { "model": "m" }, "list": [], "name": "A\u{1b}[2J", "id": "1", "tags": [{ "k": 1 }] });
        assert_eq!(
            described(&item),
            "id: 1\nname: A[2J\nconfig:\n  model: m\nlist: (none)\ntags:\n  -\n    k: 1"
        );
    }
}
