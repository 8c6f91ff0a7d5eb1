//! Lambda function `admin`: see `handler`.

mod handler;

use anyhow::Context as _;
use tieline_aws::{logging, start};
use tieline_connectors::registry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let get = |name: &str| std::env::var(name).ok();
    logging::start(get);
    let world = start::admin_world(get, registry::ALL).await.context("can't start")?;
    world.http.warm().context("can't set up TLS")?;
    handler::serve(world).await.map_err(|error| anyhow::anyhow!(error))
}
