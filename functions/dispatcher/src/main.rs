//! Lambda function `dispatcher`: see `handler`.

mod config;
mod handler;

use anyhow::Context as _;
use tieline_bridge::deployment;
use tieline_connectors::registry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let get = |name: &str| std::env::var(name).ok();
    deployment::start_logging(get);
    let (deployment, sdk) = (config::load(get)?, deployment::function_sdk(get));
    let world = deployment::world(deployment, &sdk, registry::ALL)
        .await
        .context("can't start")?;
    handler::serve(world).await.map_err(|error| anyhow::anyhow!(error))
}
