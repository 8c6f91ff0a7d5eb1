//! `tieline doctor`: diagnoses an integration and prints what to do.

pub(crate) mod remedy;

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::args::{Doctor, Output};
use crate::client::{self, ApiError, Client};
use crate::color::{self, Color};
use crate::kind::Kind;
use crate::terminal::{self, one_line};
use crate::{output, table};

/// Examines an integration. Fails if something is wrong with it.
///
/// # Errors
/// If it can't be examined.
pub async fn run(args: Doctor) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    let Some(which) = args.integration.as_deref().filter(|_| !args.all) else {
        return all(&client, &args.bridge.org, args.output).await;
    };
    let integration = integration_id(&client, which).await?;
    let found = examine(&client, &integration).await?;
    if !output::structured(&found, Kind::Integrations, args.output)? {
        let command = remedy::command(&found, which, &args.bridge.org);
        terminal::line(&painted(&report(&found, command.as_deref())))?;
    }
    Ok(verdict(found["cause"].is_null()))
}

async fn examine(client: &Client, integration: &str) -> Result<Value, ApiError> {
    let path = ["integrations", integration, "doctor"];
    client.post(&path, &client::nothing()).await
}

const fn verdict(is_well: bool) -> ExitCode {
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Examines every integration of the organization sequentially, because each examination calls a platform and an agent.
async fn all(client: &Client, organization: &str, output: Output) -> anyhow::Result<ExitCode> {
    let mut examined = Vec::new();
    for integration in client.all(Kind::Integrations).await? {
        let id = integration["id"].as_str().context("the integration has no id")?;
        let found = match examine(client, id).await {
            Ok(found) => found,
            // Deleted since it was listed.
            Err(error) if error.is_missing() => continue,
            Err(error) => return Err(error.into()),
        };
        examined.push(
            json!({ "id": id, "name": integration["name"], "platform": integration["platform"], "doctor": found }),
        );
    }
    let is_well = examined.iter().all(|one| one["doctor"]["cause"].is_null());
    let rows: Vec<Vec<String>> = examined.iter().map(|one| summary(one, organization)).collect();
    if !output::structured(&json!({ "items": examined }), Kind::Integrations, output)? {
        terminal::line(&painted(&table::draw(
            &["INTEGRATION", "PLATFORM", "", "CAUSE", "NEXT", "RUN"],
            &rows,
        )))?;
    }
    Ok(verdict(is_well))
}

fn summary(one: &Value, organization: &str) -> Vec<String> {
    let text = |value: &Value| value.as_str().map(one_line).unwrap_or_default();
    let found = &one["doctor"];
    let sign = if found["cause"].is_null() { "ok" } else { "FAILED" };
    let command = remedy::command(found, one["name"].as_str().unwrap_or_default(), organization);
    vec![
        text(&one["name"]),
        text(&one["platform"]),
        sign.to_owned(),
        text(&found["cause"]),
        text(&found["next"]),
        command.as_deref().map(one_line).unwrap_or_default(),
    ]
}

/// The symbols of checks, with their colours.
pub(crate) const SIGNS: [(&str, Color); 4] = [
    ("  FAILED", Color::Red),
    ("  warning", Color::Yellow),
    ("  unknown", Color::Yellow),
    ("  ok", Color::Green),
];

/// The lines of a table with coloured symbols, on a terminal.
fn painted(drawn: &str) -> String {
    let is_on = color::is_on();
    let lines = drawn.lines().map(|line| color::paint(line, &SIGNS, is_on));
    lines.collect::<Vec<_>>().join("\n")
}

/// The id of the integration with this id or name.
///
/// # Errors
/// If there is none.
pub async fn integration_id(client: &Client, which: &str) -> anyhow::Result<String> {
    let found = client.find(Kind::Integrations, which).await?;
    Ok(found["id"].as_str().context("the integration has no id")?.to_owned())
}

/// The checks, and at the end, where it is noticed first, the next step and the command for it.
fn report(found: &Value, command: Option<&str>) -> String {
    let checks = found["checks"].as_array().into_iter().flatten();
    let rows: Vec<Vec<String>> = checks.map(row).collect();
    let checks = table::draw(&["CHECK", "", "DETAIL"], &rows);
    let text = |field: &str| found[field].as_str().map(one_line);
    let Some(cause) = text("cause") else {
        return format!("{checks}\n\nAll is well.");
    };
    let mut report = format!("{checks}\n\nCause: {cause}");
    for (label, line) in [("Next: ", text("next")), ("Run:  ", command.map(one_line))] {
        if let Some(line) = line {
            report.push_str(&format!("\n{label} {line}"));
        }
    }
    report
}

fn row(check: &Value) -> Vec<String> {
    let text = |field: &str| check[field].as_str().map(one_line).unwrap_or_default();
    let sign = match (check["level"].as_str(), check["ok"].as_bool()) {
        (Some("warning"), _) => "warning",
        (Some("unknown"), _) => "unknown",
        (_, Some(true)) => "ok",
        (_, Some(false)) => "FAILED",
        // Nothing to check.
        (_, None) => "-",
    };
    vec![text("name"), sign.to_owned(), text("detail")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_ends_with_the_cause_and_the_next_step() {
        let found = json!({ "cause": "no trigger", "next": "create one",
            "checks": [{ "name": "trigger", "ok": false, "detail": "none" }, { "name": "agent", "ok": null, "detail": "" },
                { "name": "speed", "ok": true, "level": "warning", "detail": "slow" }] });
        assert_eq!(
            report(&found, Some("tieline start Bot")),
            "CHECK             DETAIL\ntrigger  FAILED   none\nagent    -\nspeed    warning  slow\n\nCause: no trigger\nNext:  create one\nRun:   tieline start Bot"
        );
        assert!(report(&json!({ "cause": null, "checks": [] }), None).ends_with("All is well."));
    }
}
