//! Deleting.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::lifecycle::{Trigger, left_alone, text, with_impact};
use crate::args::{Consent, Delete, TokenDelete};
use crate::client::Client;
use crate::confirm::{self, Answer};
use crate::kind::Kind;
use crate::terminal;

/// Deletes an object.
///
/// # Errors
/// If there is none; if there is no terminal to confirm it.
pub async fn delete(args: Delete) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    remove(&client, args.kind, &args.id, args.consent).await
}

/// Deletes a token.
///
/// # Errors
/// As [`delete`].
pub async fn delete_token(args: TokenDelete) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    remove(&client, Kind::Tokens, &args.id, args.consent).await
}

async fn remove(client: &Client, kind: Kind, which: &str, consent: Consent) -> anyhow::Result<ExitCode> {
    let (id, name, affected) = look_up(client, kind, which).await?;
    let title = format!("{} {name}", kind.singular());
    if confirm::ask(&with_impact(&format!("delete the {title}"), &affected), consent.yes)? == Answer::No {
        return left_alone();
    }
    // The operator has seen what uses it: its triggers are deleted too.
    let force: &[(&str, &str)] = match kind {
        Kind::Integrations | Kind::Agents => &[("force", "true")],
        _ => &[],
    };
    client.delete(&[kind.plural(), &id], force).await?;
    terminal::line(&format!("{title} deleted"))?;
    Ok(ExitCode::SUCCESS)
}

/// Id, name and impact.
async fn look_up(client: &Client, kind: Kind, which: &str) -> anyhow::Result<(String, String, Value)> {
    match kind {
        Kind::Triggers => {
            let found = Trigger::find(client, which).await?;
            let affected = client.get(&["integrations", &found.integration, "impact"], &[]).await?;
            Ok((found.id, found.name, affected))
        }
        Kind::Tokens => {
            let found = client.all(kind).await?.into_iter();
            let mut found = found.filter(|token| token["id"] == which || token["name"] == which);
            let token = found.next().with_context(|| format!("there is no token {which:?}"))?;
            if let Some(other) = found.next() {
                bail!(
                    "several tokens are called {which:?}; say which by id: {}, {}, …",
                    text(&token["id"]),
                    text(&other["id"])
                );
            }
            Ok((text(&token["id"]), text(&token["name"]), Value::Null))
        }
        Kind::Integrations | Kind::Agents | Kind::Users => {
            let found = client.find(kind, which).await?;
            let id = text(&found["id"]);
            let affected = match kind {
                Kind::Integrations => client.get(&["integrations", &id, "impact"], &[]).await?,
                Kind::Agents => in_use(client, &id).await?,
                _ => Value::Null,
            };
            Ok((id, text(&found["name"]), affected))
        }
        Kind::Organizations | Kind::Messages | Kind::Conversations | Kind::DeadLetters | Kind::Platforms => {
            bail!("{} can't be deleted", kind.plural())
        }
    }
}

/// Whether a trigger uses an agent, for all messages or for those of a route.
fn uses(trigger: &Value, agent: &str) -> bool {
    let mut routes = trigger["routes"].as_array().into_iter().flatten();
    trigger["agentId"] == agent || routes.any(|route| route["agent"] == agent)
}

/// Who is affected when an agent is deleted: the people on the integrations that it answers for.
async fn in_use(client: &Client, agent: &str) -> anyhow::Result<Value> {
    let triggers = client.all(Kind::Triggers).await?.into_iter();
    let bound: Vec<Value> = triggers
        .filter(|trigger| trigger["enabled"] == true && uses(trigger, agent))
        .collect();
    let mut total = serde_json::json!({ "triggers": bound, "atLeast": false });
    for trigger in &bound {
        let integration = text(&trigger["integrationId"]);
        let affected = client.get(&["integrations", &integration, "impact"], &[]).await?;
        for field in ["conversations", "openRuns", "pendingMessages"] {
            let sum = total[field].as_u64().unwrap_or_default() + affected[field].as_u64().unwrap_or_default();
            total[field] = sum.into();
        }
        if affected["atLeast"] == true {
            total["atLeast"] = true.into();
        }
    }
    Ok(total)
}
