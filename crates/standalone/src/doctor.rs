//! `tieline doctor`: what is wrong with an integration, and what to do about it.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::Value;

use crate::args::Integration;
use crate::client::{self, Client};
use crate::kind::Kind;
use crate::table;
use crate::terminal::{self, one_line};

/// Examines an integration. Fails if something is wrong with it.
///
/// # Errors
/// If it can't be examined.
pub async fn run(args: Integration) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.bridge)?;
    let integration = integration_id(&client, &args.integration).await?;
    let found = client
        .post(&["integrations", &integration, "doctor"], &client::nothing())
        .await?;
    terminal::line(&report(&found))?;
    Ok(if found["cause"].is_null() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The id of the integration with this id or name.
///
/// # Errors
/// If there is none.
pub async fn integration_id(client: &Client, which: &str) -> anyhow::Result<String> {
    let found = client.find(Kind::Integrations, which).await?;
    Ok(found["id"].as_str().context("the integration has no id")?.to_owned())
}

/// The checks, and below them, where it is seen first, what to do.
fn report(found: &Value) -> String {
    let checks = found["checks"].as_array().into_iter().flatten();
    let rows: Vec<Vec<String>> = checks.map(row).collect();
    let checks = table::draw(&["CHECK", "", "DETAIL"], &rows);
    let text = |field: &str| found[field].as_str().map(one_line);
    match (text("cause"), text("next")) {
        (None, _) => format!("{checks}\n\nAll is well."),
        (Some(cause), Some(next)) => format!("{checks}\n\nCause: {cause}\nNext:  {next}"),
        (Some(cause), None) => format!("{checks}\n\nCause: {cause}"),
    }
}

fn row(check: &Value) -> Vec<String> {
    let text = |field: &str| check[field].as_str().map(one_line).unwrap_or_default();
    let sign = match check["ok"].as_bool() {
        Some(true) => "ok",
        Some(false) => "FAILED",
        // Nothing to check there.
        None => "-",
    };
    vec![text("name"), sign.to_owned(), text("detail")]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn report_ends_with_the_cause_and_the_next_step() {
        let found = json!({ "cause": "no trigger", "next": "create one",
            "checks": [{ "name": "trigger", "ok": false, "detail": "none" }, { "name": "agent", "ok": null, "detail": "" }] });
        assert_eq!(
            report(&found),
            "CHECK            DETAIL\ntrigger  FAILED  none\nagent    -\n\nCause: no trigger\nNext:  create one"
        );
        assert!(report(&json!({ "cause": null, "checks": [] })).ends_with("All is well."));
    }
}
