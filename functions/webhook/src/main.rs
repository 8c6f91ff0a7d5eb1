//! Lambda function `webhook`: see `handler`.

mod callback_limiter;
mod gateway;
mod handler;

use anyhow::Context as _;
use tieline_aws::start;
use tieline_connectors::registry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let world = start::function(registry::ALL).await.context("can't start")?;
    handler::serve(world).await.map_err(|error| anyhow::anyhow!(error))
}
