//! Starting and stopping integrations, enabling and disabling triggers, and tests.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::args::{Disable, Enable, Integration, Stop, Test};
use crate::client::{self, Client};
use crate::confirm::{self, Answer};
use crate::doctor::{integration_id, remedy};
use crate::kind::Kind;
use crate::terminal::{self, one_line};
use crate::{color, impact, output, table};

/// Starts an integration.
///
/// # Errors
/// If there is none, or it can't be started.
pub async fn start(args: Integration) -> anyhow::Result<ExitCode> {
    set(&args, "start", "started").await
}

/// Restarts an integration.
///
/// # Errors
/// As [`start`].
pub async fn restart(args: Integration) -> anyhow::Result<ExitCode> {
    set(&args, "restart", "restarted").await
}

async fn set(args: &Integration, verb: &str, done: &str) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    let id = integration_id(&client, &args.integration).await?;
    let after = client.post(&["integrations", &id, verb], &client::nothing()).await?;
    terminal::line(&format!("integration {} {done}", text(&after["name"])))?;
    Ok(ExitCode::SUCCESS)
}

/// Stops an integration.
///
/// # Errors
/// As [`start`]; if there is no terminal to confirm it.
pub async fn stop(args: Stop) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    let found = client.find(Kind::Integrations, &args.integration).await?;
    let id = found["id"].as_str().context("the integration has no id")?;
    let affected = client.get(&["integrations", id, "impact"], &[]).await?;
    let what = with_impact(&format!("stop the integration {}", text(&found["name"])), &affected);
    if confirm::ask(&what, args.consent.yes)? == Answer::No {
        return left_alone();
    }
    client.post(&["integrations", id, "stop"], &client::nothing()).await?;
    terminal::line(&format!("integration {} stopped", text(&found["name"])))?;
    Ok(ExitCode::SUCCESS)
}

/// Enables a trigger.
///
/// # Errors
/// If there is none, or another trigger binds its integration.
pub async fn enable(args: Enable) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    let trigger = Trigger::find(&client, &args.trigger).await?;
    let mut displaced = None;
    if args.takeover {
        displaced = rival(&client, &trigger).await?;
        let affected = client
            .get(&["integrations", &trigger.integration, "impact"], &[])
            .await?;
        let what = format!(
            "give the integration of {} to its agent, and disable the trigger that has it",
            trigger.name
        );
        if confirm::ask(&with_impact(&what, &affected), args.consent.yes)? == Answer::No {
            return left_alone();
        }
    }
    let takeover = if args.takeover { "true" } else { "false" };
    let query = [("takeover", takeover)];
    client
        .patch_with(&["triggers", &trigger.id], &query, &json!({ "enabled": true }))
        .await?;
    terminal::line(&format!("trigger {} enabled", trigger.name))?;
    if let Some(id) = displaced {
        let command = remedy::within(format!("tieline enable {id} --takeover"), client.organization());
        terminal::line(&format!("to go back: {command}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The id of the trigger that has the integration of `trigger` now, if it is another one.
async fn rival(client: &Client, trigger: &Trigger) -> anyhow::Result<Option<String>> {
    let is_rival = |other: &Value| {
        other["enabled"] == true && other["integrationId"] == *trigger.integration && other["id"] != *trigger.id
    };
    let found = client.all(Kind::Triggers).await?.into_iter().find(is_rival);
    Ok(found.map(|rival| text(&rival["id"])))
}

/// Disables a trigger.
///
/// # Errors
/// If there is none; if there is no terminal to confirm it.
pub async fn disable(args: Disable) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    let trigger = Trigger::find(&client, &args.trigger).await?;
    let affected = client
        .get(&["integrations", &trigger.integration, "impact"], &[])
        .await?;
    let what = with_impact(&format!("disable the trigger {}", trigger.name), &affected);
    if confirm::ask(&what, args.consent.yes)? == Answer::No {
        return left_alone();
    }
    client
        .patch(&["triggers", &trigger.id], &json!({ "enabled": false }))
        .await?;
    terminal::line(&format!("trigger {} disabled", trigger.name))?;
    Ok(ExitCode::SUCCESS)
}

/// Tests a platform or an agent. Fails if it doesn't work.
///
/// # Errors
/// If the test can't be run.
pub async fn test(args: Test) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    let (kind, found) = match (&args.integration, &args.agent) {
        (Some(which), _) => {
            let id = integration_id(&client, which).await?;
            let tested = client.post(&["integrations", &id, "test"], &client::nothing()).await?;
            (Kind::Integrations, tested)
        }
        (None, Some(which)) => {
            let agent = client.find(Kind::Agents, which).await?;
            let id = agent["id"].as_str().context("the agent has no id")?;
            let tested = client.post(&["agents", id, "test"], &client::nothing()).await?;
            (Kind::Agents, tested)
        }
        (None, None) => bail!("say which integration, or which agent with --agent"),
    };
    if !output::structured(&found, kind, args.output)? {
        terminal::line(&report(&found))?;
    }
    Ok(if found["ok"] == true {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn report(found: &Value) -> String {
    let Some(checks) = found["checks"].as_array() else {
        // With a code the agent is fine but slow.
        let sign = match (found["ok"] == true, found["code"].is_null()) {
            (true, true) => "ok",
            (true, false) => "warning",
            (false, _) => "FAILED",
        };
        let line = format!("  {sign}  {}  {} ms", text(&found["detail"]), found["millis"]);
        return color::paint(&line, &crate::doctor::SIGNS, color::is_on());
    };
    let row = |check: &Value| {
        let sign = if check["ok"] == true { "ok" } else { "FAILED" };
        let millis = check["millis"]
            .as_u64()
            .map_or_else(String::new, |millis| format!("{millis} ms"));
        vec![text(&check["name"]), sign.to_owned(), millis, text(&check["detail"])]
    };
    let rows: Vec<Vec<String>> = checks.iter().map(row).collect();
    let drawn = table::draw(&["CHECK", "", "TIME", "DETAIL"], &rows);
    let lines = drawn
        .lines()
        .map(|line| color::paint(line, &crate::doctor::SIGNS, color::is_on()));
    lines.collect::<Vec<_>>().join("\n")
}

/// A trigger named on the command line.
pub(super) struct Trigger {
    pub(super) id: String,
    pub(super) integration: String,
    /// Its integration and agent.
    pub(super) name: String,
}

impl Trigger {
    /// Finds it by its id, by `INTEGRATION -> AGENT`, or by its integration, if that has no other.
    pub(super) async fn find(client: &Client, which: &str) -> anyhow::Result<Self> {
        let all = client.all(Kind::Triggers).await?;
        let integrations = client.all(Kind::Integrations).await?;
        let agents = client.all(Kind::Agents).await?;
        let name_of = |items: &[Value], id: &Value| {
            let found = items.iter().find(|item| item["id"] == *id);
            found.map_or_else(|| text(id), |item| text(&item["name"]))
        };
        let known: Vec<Self> = all
            .iter()
            .map(|trigger| {
                let integration = name_of(&integrations, &trigger["integrationId"]);
                let agent = name_of(&agents, &trigger["agentId"]);
                Self {
                    id: text(&trigger["id"]),
                    integration: text(&trigger["integrationId"]),
                    name: format!("{integration} -> {agent}"),
                }
            })
            .collect();
        let is_exact = |it: &&Self| it.id == which || it.name == which;
        if let Some(at) = known.iter().position(|it| is_exact(&it)) {
            return known.into_iter().nth(at).context("there is no trigger");
        }
        let prefix = format!("{which} -> ");
        let mut of_integration: Vec<Self> = known
            .into_iter()
            .filter(|it| it.integration == which || it.name.starts_with(&prefix))
            .collect();
        match of_integration.len() {
            0 => bail!("there is no trigger with the id {which:?}, nor of an integration of this id or name"),
            1 => of_integration.pop().context("there is no trigger"),
            _ => {
                let names: Vec<String> = of_integration
                    .into_iter()
                    .map(|it| format!("{} ({})", it.id, it.name))
                    .collect();
                bail!("{which:?} has several triggers; say which: {}", names.join(", "))
            }
        }
    }
}

pub(super) fn with_impact(what: &str, affected: &Value) -> String {
    let lines = impact::lines(affected);
    if lines.is_empty() {
        return what.to_owned();
    }
    let lines: Vec<String> = lines.into_iter().map(|line| format!("\n    {line}")).collect();
    format!("{what}{}", lines.concat())
}

/// The output if the operator declined.
pub(super) fn left_alone() -> anyhow::Result<ExitCode> {
    terminal::aside("nothing was changed");
    Ok(ExitCode::FAILURE)
}

pub(super) fn text(value: &Value) -> String {
    one_line(value.as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn slow_agent_is_reported_as_a_warning() {
        let found = |ok: bool, code: Value| json!({ "ok": ok, "code": code, "detail": "words", "millis": 20_004 });
        for (found, sign) in [
            (found(true, Value::Null), "ok"),
            (found(true, json!("idle_timeout")), "warning"),
            (found(false, json!("connect")), "FAILED"),
        ] {
            assert_eq!(report(&found), format!("  {sign}  words  20004 ms"));
        }
    }
}
