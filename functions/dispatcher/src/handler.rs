//! SQS batches of `inbound.fifo` into the bridge's words.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use tieline_aws::sqs_batch::{Answer, Batch};
use tieline_bridge::dispatch::batch;
use tieline_bridge::world::World;

/// Serves until the environment ends.
pub(crate) async fn serve(world: World) -> Result<(), Error> {
    let world = &world;
    run(service_fn(|event: LambdaEvent<Batch>| async move {
        dispatch(world, event.payload).await
    }))
    .await
}

async fn dispatch(world: &World, batch: Batch) -> Result<Answer, Error> {
    // While no batch was processed, this process stood still.
    world.store.refresh_keys(world.clock.now()).await?;
    let failed = batch::dispatch_batch(world, batch.received()?).await;
    // Now: until the next invocation the process stands still.
    world.metrics.write(world.clock.now());
    Ok(Answer::failed(failed))
}
