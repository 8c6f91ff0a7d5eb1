//! SQS batches of `inbound.fifo` into the bridge's words.

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use tieline_bridge::dispatch::batch::{self, Item};
use tieline_bridge::world::World;

/// Serves until the environment ends.
pub(crate) async fn serve(world: World) -> Result<(), Error> {
    let world = &world;
    run(service_fn(|event: LambdaEvent<SqsEvent>| async move {
        dispatch(world, event.payload).await
    }))
    .await
}

async fn dispatch(world: &World, event: SqsEvent) -> Result<SqsBatchResponse, Error> {
    let items = event.records.into_iter().map(item).collect::<Result<Vec<_>, Error>>()?;
    let failed = batch::dispatch_batch(world, items).await;
    // Now: until the next invocation the process stands still.
    world.metrics.write(world.clock.now());
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = failed.into_iter().map(failure).collect();
    Ok(response)
}

fn failure(id: String) -> BatchItemFailure {
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = id;
    failure
}

/// A record without an id could not be reported as failed, so the whole batch fails, out loud.
fn item(record: SqsMessage) -> Result<Item, Error> {
    let attribute = |name: &str| record.attributes.get(name).cloned();
    Ok(Item {
        group: attribute("MessageGroupId").unwrap_or_default(),
        attempt: attribute("ApproximateReceiveCount")
            .and_then(|count| count.parse().ok())
            .unwrap_or(1),
        receipt: record.receipt_handle.unwrap_or_default(),
        envelope: record.body.as_deref().and_then(|body| serde_json::from_str(body).ok()),
        id: record.message_id.ok_or("record without an id")?,
    })
}
