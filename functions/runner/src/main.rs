//! `runner`, as a Lambda function: see `handler`; as a container: see `worker`.

// The compiler counts how deep the futures of a whole invocation are nested.
#![recursion_limit = "256"]

mod handler;
mod worker;

use anyhow::Context as _;
use tieline_aws::{logging, start};
use tieline_connectors::registry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let get = |name: &str| std::env::var(name).ok();
    logging::start(get);
    let world = start::container_world(get, registry::ALL)
        .await
        .context("can't start")?;
    world.http.warm().context("can't set up TLS")?;
    // Lambda tells where its events are; elsewhere we fetch them.
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_none() {
        return worker::serve(world).await;
    }
    handler::serve(world).await.map_err(|error| anyhow::anyhow!(error))
}
