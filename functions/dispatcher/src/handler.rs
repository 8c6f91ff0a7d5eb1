//! SQS batches of `inbound.fifo` into the bridge's words.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use tieline_aws::sqs_batch::{Answer, Batch};
use tieline_bridge::dispatch::batch::{self, Item};
use tieline_bridge::world::World;
use tieline_core::envelope::Envelope;
use tieline_queue::receive::Received;

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
    let items = batch.received()?.into_iter().map(item).collect();
    let failed = batch::dispatch_batch(world, items).await;
    // Now: until the next invocation the process stands still.
    world.metrics.write(world.clock.now());
    Ok(Answer::failed(failed))
}

fn item(received: Received<Envelope>) -> Item {
    Item {
        id: received.id,
        receipt: received.receipt,
        group: received.group,
        attempt: received.attempt,
        envelope: received.message,
        unreadable: received.unreadable,
    }
}
