//! Every platform in every mode: callbacks reach the functions, sockets and polling the relay.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::future::join_all;
use serde_json::json;
use tieline_tests::agents::FakeAgent;
use tieline_tests::cloud::{Cloud, Plan, Servers};
use tieline_tests::outbound::{Speaker, stays, until};
use tieline_tests::platform::PlatformSimulator;
use tieline_tests::rows::{ROWS, Row};

use super::{PATIENCE, deploy, writer};

const EXPECTED: &str = "You said: 你好 🚀. That is all.";

/// Limit until a bot is connected when nothing is slow.
const SOON: Duration = Duration::from_secs(20);

fn pieces(text: &str) -> Vec<String> {
    ["You said: ", text, ". That", " is all."].map(str::to_owned).into()
}

pub(crate) async fn every_mode_shows_the_exact_answer_once(servers: Servers) {
    let cloud = deploy(servers, &Plan::default()).await;
    let relay = cloud.relay("relay").unwrap();
    let mut bots = Vec::new();
    // One after another: a test machine can start only few functions within their time limit.
    for row in ROWS {
        let simulator = (row.start)(row.mode).await;
        let agent = writer(Duration::from_millis(300), pieces).await;
        let id = bind(row, &*simulator, &agent, &cloud).await.unwrap();
        bots.push((row, simulator, agent, id));
    }
    let asked = bots.iter().map(|(row, simulator, agent, id)| async {
        let outcome = ask(&**simulator, agent, id, &cloud).await;
        let failed = outcome
            .err()
            .map(|error| format!("{} {}: {error:#}", row.platform, row.mode));
        failed.unwrap_or_default()
    });
    let failures: Vec<String> = join_all(asked).await.into_iter().filter(|it| !it.is_empty()).collect();
    let log = || format!("{}\n{}", relay.log(), cloud.log_tail());
    assert!(failures.is_empty(), "{}\n{}", failures.join("\n"), log());
}

/// Asks a bot of its own, by a message that is delivered twice.
async fn ask(
    simulator: &dyn PlatformSimulator,
    agent: &FakeAgent,
    integration: &str,
    cloud: &Cloud,
) -> anyhow::Result<()> {
    let is_connected = || simulator.is_connected().then_some(());
    if until("connected", SOON, is_connected).await.is_err() {
        // The platform verified the callback while the function was still starting, which is slow on a busy machine, and rejected the address.
        let restart = format!("/api/v1/orgs/default/integrations/{integration}/restart");
        cloud.console().post(&restart, &json!({})).await?;
    }
    until("connected", PATIENCE, is_connected).await?;
    let lisi = Speaker::alone("1001");
    let id = simulator.say(&lisi, "你好 🚀", true);
    let texts = || -> Vec<String> {
        let shown = simulator.shown(&lisi);
        shown.iter().map(|bubble| bubble.text().to_owned()).collect()
    };
    let answered = until("the answer", PATIENCE, || (texts() == [EXPECTED]).then_some(()));
    answered
        .await
        .with_context(|| format!("the answer is not shown; shown {:?}", texts()))?;
    simulator.redeliver(&id);
    stays("the answer", Duration::from_secs(2), || texts() == [EXPECTED]).await?;
    ensure!(agent.asked() == ["你好 🚀"], "asked {:?}", agent.asked());
    let complaints = simulator.complaints();
    ensure!(complaints.is_empty(), "complaints {complaints:?}");
    Ok(())
}

/// Creates the integration, agent and trigger. Returns the integration's id.
async fn bind(
    row: &Row,
    simulator: &dyn PlatformSimulator,
    agent: &FakeAgent,
    cloud: &Cloud,
) -> anyhow::Result<String> {
    let name = format!("{} {}", row.platform, row.mode);
    let mut integration = simulator.integration();
    integration["name"] = json!(name);
    let console = cloud.console();
    let agent = agent.as_chat(&format!("Agent of {name}"));
    let made = console.bind(&integration, &agent, &json!({})).await?;
    simulator.created(made["callbackUrl"].as_str().unwrap_or_default());
    let id = made["id"].as_str().context("no id")?;
    if !simulator.features().typed_credentials {
        console.log_in(id, PATIENCE).await?;
    }
    Ok(id.to_owned())
}
