//! Checks the four places where an operator looks: status, doctor, log, overview.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::expected::{Expected, Injected};
use crate::organization::Organization;

/// Checks all four places.
pub(crate) async fn all(place: &Organization, injected: &Injected) -> anyhow::Result<()> {
    let (id, expected) = (&injected.integration, &injected.expected);
    status(place, id, expected).await.context("status")?;
    doctor(place, id, expected).await.context("doctor")?;
    log(place, id, expected).await.context("log")?;
    overview(place, id, expected).await.context("overview")
}

async fn status(place: &Organization, id: &str, expected: &Expected) -> anyhow::Result<()> {
    let (state, reason) = expected.status;
    let path = format!("/integrations/{id}/status");
    let is_so = |status: &Value| status["state"] == state && status["reason"].as_str() == reason;
    let status = place
        .wait(&path, is_so)
        .await
        .with_context(|| format!("expected status {state} {reason:?}"))?;
    ensure!(
        expected.overview.is_none() || status["next"].as_str().is_some_and(|next| !next.is_empty()),
        "the status has no next step: {status}"
    );
    Ok(())
}

async fn doctor(place: &Organization, id: &str, expected: &Expected) -> anyhow::Result<()> {
    let found = place.post(&format!("/integrations/{id}/doctor"), &Value::Null).await?;
    let cause = found["cause"]
        .as_str()
        .with_context(|| format!("the doctor finds no cause: {found:#}"))?;
    let checks = found["checks"].as_array().context("no checks")?;
    let first = checks
        .iter()
        .find(|check| check["detail"] == cause)
        .context("the doctor's cause is none of its checks")?;
    let actual = (&first["name"], &first["level"], &first["action"]);
    let wanted = (&json!(expected.check), &json!(expected.level), &json!(expected.action));
    ensure!(
        actual == wanted,
        "check and action are {actual:?}, expected {wanted:?}: {found:#}"
    );
    for part in &expected.parts {
        ensure!(cause.contains(part), "the cause should contain {part:?}: {cause:?}");
    }
    ensure!(found["next"].is_string(), "the doctor names no next step: {found:#}");
    for check in checks {
        let is_another = check["level"] == "failed" && check["name"] != expected.check;
        ensure!(
            !is_another,
            "another check failed too, beside the cause {cause:?}: {check}"
        );
        ensure!(
            !check["detail"].to_string().contains("k-secret"),
            "the check shows a secret: {check}"
        );
    }
    Ok(())
}

/// The log has exactly one line about the cause.
async fn log(place: &Organization, id: &str, expected: &Expected) -> anyhow::Result<()> {
    let Some(code) = expected.log else { return Ok(()) };
    let path = format!("/integrations/{id}/logs?level=warn&limit=100");
    let lines = |log: &Value| {
        let codes = log["items"].as_array().into_iter().flatten();
        codes
            .filter(|line| line["code"].as_str().is_some_and(|it| it.starts_with(code)))
            .count()
    };
    let found = place.wait(&path, |log| lines(log) > 0).await?;
    ensure!(lines(&found) == 1, "the log should have {code} exactly once: {found:#}");
    ensure!(
        !found.to_string().contains("k-secret"),
        "the log shows a secret: {found:#}"
    );
    Ok(())
}

async fn overview(place: &Organization, id: &str, expected: &Expected) -> anyhow::Result<()> {
    // The bot may reconnect first, because of what the doctor's probe has found.
    let is_so = |summary: &Value| {
        let attention = summary["attention"].as_array().map_or(&[][..], Vec::as_slice);
        match (attention, expected.overview) {
            ([], None) => true,
            ([one], Some(_)) => one["integrationId"] == id && one["reason"].as_str() == expected.status.1,
            _ => false,
        }
    };
    let summary = place.wait("/summary", is_so).await?;
    let Some(action) = expected.overview else { return Ok(()) };
    let one = &summary["attention"][0];
    ensure!(one["next"].is_string(), "the overview names no next step: {one:#}");
    ensure!(one["action"] == action, "the overview should offer {action}: {one:#}");
    button(place, id, action, one["target"].as_str())
        .await
        .with_context(|| format!("the button {action}"))
}

/// Performs the action of the console's button, or opens the page that it links to.
async fn button(place: &Organization, id: &str, action: &str, target: Option<&str>) -> anyhow::Result<()> {
    let named = || target.context("no target");
    match action {
        "start" | "restart" => place.post(&format!("/integrations/{id}/{action}"), &json!({})).await,
        "redrive" => {
            place
                .post(&format!("/deadletters/{}/redrive", named()?), &json!({}))
                .await
        }
        "edit_agent" | "test_agent" => place.get(&format!("/agents/{}", named()?)).await,
        "edit_access" | "edit_trigger" | "enable_trigger" => place.get(&format!("/triggers/{}", named()?)).await,
        "copy_callback_url" | "set_public_url" => return named().map(drop),
        "login" => place.get(&format!("/integrations/{id}/login")).await,
        "view_log" => place.get(&format!("/integrations/{id}/logs")).await,
        _ => place.get(&format!("/integrations/{id}")).await,
    }
    .map(drop)
}
