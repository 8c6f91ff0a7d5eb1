//! Causes of silent bots: each is injected into a running bridge, and every place where operators look must report this cause and no other.
//!
//! `table.rs` has a row for each cause; several are injected at a time, each in an organization of its own.
//! `TIELINE_CAUSE=kicked` runs one row.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod agent;
mod examine;
mod expected;
mod organization;
mod rows_agents;
mod rows_connections;
mod rows_platforms;
mod rows_setup;
mod rows_webhooks;
mod table;

use futures_util::{StreamExt as _, stream};
use tieline_tests::console::Console;
use tieline_tests::process::Bridge;

use crate::organization::Organization;
use crate::table::{CAUSES, Cause};

/// Public address of the second bridge.
const PUBLIC_URL: &str = "https://bots.example.com";

/// Number of causes that are injected at the same time. With more of them, platforms would time out on a busy machine.
const CONCURRENCY: usize = 6;

#[tokio::test]
async fn every_cause_of_a_silent_bot_is_reported_first_and_alone() {
    let wanted = std::env::var("TIELINE_CAUSE").ok();
    let causes: Vec<&Cause> = CAUSES
        .iter()
        .filter(|cause| wanted.as_deref().is_none_or(|wanted| cause.name == wanted))
        .collect();
    assert!(!causes.is_empty(), "TIELINE_CAUSE={wanted:?} names no cause");
    let dir = tempfile::tempdir().unwrap();
    let local = Bridge::start(&dir.path().join("local")).unwrap();
    let public = Bridge::start_at(&dir.path().join("public"), PUBLIC_URL).unwrap();
    let agents = agent::serve().await;
    let (local_console, public_console) = (Console::new(local.url()), Console::new(public.url()));
    let examined = causes.iter().map(async |cause| {
        let console = match cause.needs_public_address {
            true => &public_console,
            false => &local_console,
        };
        let place = Organization::create(console, cause.name, &agents).await?;
        let injected = (cause.inject)(&place).await?;
        examine::all(&place, &injected).await
    });
    let mut outcomes = stream::iter(examined).buffered(CONCURRENCY);
    let (mut failures, mut examined) = (Vec::new(), causes.iter());
    while let (Some(cause), Some(outcome)) = (examined.next(), outcomes.next().await) {
        failures.extend(outcome.err().map(|error| format!("{}: {error:#}", cause.name)));
    }
    assert!(
        failures.is_empty(),
        "{} of {} causes:\n{}\n\nlog:\n{}",
        failures.len(),
        causes.len(),
        failures.join("\n"),
        local.log_tail()
    );
}
