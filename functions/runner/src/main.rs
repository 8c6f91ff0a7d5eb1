//! Lambda function `runner`: see `handler`. Where relays run everything, there is none.

// The compiler counts how deep the futures of a whole invocation are nested.
#![recursion_limit = "256"]

mod handler;

use anyhow::Context as _;
use tieline_aws::start;
use tieline_connectors::registry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let world = start::function(registry::ALL).await.context("can't start")?;
    world.http.warm().context("can't set up TLS")?;
    handler::serve(world).await.map_err(|error| anyhow::anyhow!(error))
}
