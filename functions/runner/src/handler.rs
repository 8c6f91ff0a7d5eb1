//! SQS batches of `work` into the bridge's words.

use std::time::{Duration, SystemTime};

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use lambda_runtime::{Context, Error, LambdaEvent, run, service_fn};
use tieline_bridge::run::batch::{self, Item};
use tieline_bridge::world::World;
use tokio::time::Instant;

/// Serves until the environment ends.
pub(crate) async fn serve(world: World) -> Result<(), Error> {
    let world = &world;
    run(service_fn(|event: LambdaEvent<SqsEvent>| async move {
        run_batch(world, event).await
    }))
    .await
}

/// Least time-out of the function. With less a run would be handed over again and again, and show nothing.
const MIN_TIMEOUT: Duration = Duration::from_secs(20);
/// Time that Lambda may take to hand an invocation to this program.
const HAND_IN: Duration = Duration::from_secs(2);

async fn run_batch(world: &World, event: LambdaEvent<SqsEvent>) -> Result<SqsBatchResponse, Error> {
    let until = deadline(&event.context);
    check_time(until.saturating_duration_since(Instant::now()))?;
    let items = event
        .payload
        .records
        .into_iter()
        .map(item)
        .collect::<Result<Vec<_>, Error>>()?;
    let failed = batch::run(world, items, Some(until)).await;
    // Now: until the next invocation the process stands still.
    world.metrics.write(world.clock.now());
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = failed.into_iter().map(failure).collect();
    Ok(response)
}

/// Refuses to work where no run could get anywhere.
fn check_time(left: Duration) -> Result<(), Error> {
    if left + HAND_IN >= MIN_TIMEOUT {
        return Ok(());
    }
    Err(format!(
        "the function's time-out is {left:?}, but a run needs at least {MIN_TIMEOUT:?}: raise `Timeout` of the runner"
    )
    .into())
}

/// When this invocation is cut off.
fn deadline(context: &Context) -> Instant {
    let end = SystemTime::UNIX_EPOCH + Duration::from_millis(context.deadline);
    Instant::now() + end.duration_since(SystemTime::now()).unwrap_or_default()
}

fn failure(id: String) -> BatchItemFailure {
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = id;
    failure
}

/// A record without an id could not be reported as failed, so the whole batch fails, out loud.
fn item(record: SqsMessage) -> Result<Item, Error> {
    let attempt = record
        .attributes
        .get("ApproximateReceiveCount")
        .and_then(|count| count.parse().ok());
    Ok(Item {
        attempt: attempt.unwrap_or(1),
        wake: record.body.as_deref().and_then(|body| serde_json::from_str(body).ok()),
        receipt: record.receipt_handle.unwrap_or_default(),
        id: record.message_id.ok_or("record without an id")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_out_that_is_too_short_is_refused_with_a_reason() {
        assert!(check_time(MIN_TIMEOUT.saturating_sub(HAND_IN)).is_ok());
        assert!(check_time(Duration::from_secs(900)).is_ok());
        for short in [3, 15] {
            let refused = check_time(Duration::from_secs(short)).map_err(|error| error.to_string());
            assert!(
                refused.is_err_and(|reason| reason.contains("raise `Timeout`")),
                "{short}"
            );
        }
    }
}
