//! Container program `relay`: holds long connections. See `supervise`.

mod config;
mod health;
mod supervise;

use std::process::ExitCode;

use anyhow::Context as _;
use tieline_bridge::deployment;
use tieline_connectors::registry;

fn main() -> anyhow::Result<ExitCode> {
    let get = |name: &str| std::env::var(name).ok();
    // The image has no shell and no curl, so the program is its own health check.
    if std::env::args().nth(1).as_deref() == Some("health") {
        return Ok(health::ask(config::listen(get)?));
    }
    config::start_logging();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(get))
}

async fn run(get: impl Fn(&str) -> Option<String>) -> anyhow::Result<ExitCode> {
    let listen = config::listen(&get)?;
    let deployment = deployment::load(&get)?;
    let sdk = aws_config::load_from_env().await;
    let world = deployment::world(deployment, &sdk, registry::ALL)
        .await
        .context("can't start")?;
    world.http.warm().context("can't set up TLS")?;
    supervise::supervise(world, listen).await?;
    Ok(ExitCode::SUCCESS)
}
