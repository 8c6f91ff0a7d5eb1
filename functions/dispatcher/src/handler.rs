//! Translates SQS batches of `inbound.fifo` for the bridge.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use tieline_aws::sqs_batch::{Answer, Batch};
use tieline_bridge::dispatch::batch;
use tieline_bridge::world::World;

/// Serves until the execution environment ends.
pub(crate) async fn serve(world: World) -> Result<(), Error> {
    let world = &world;
    run(service_fn(|event: LambdaEvent<Batch>| async move {
        dispatch(world, event.payload).await
    }))
    .await
}

async fn dispatch(world: &World, batch: Batch) -> Result<Answer, Error> {
    // This process was frozen while no batch was processed.
    world.store.refresh_keys(world.clock.now()).await?;
    let failed = batch::dispatch_batch(world, batch.received()?).await;
    // Written now: the process is frozen until the next invocation.
    world.metrics.write(world.clock.now());
    Ok(Answer::failed(failed))
}
