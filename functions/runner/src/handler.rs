//! Translates SQS batches of `work` for the bridge.

use std::time::{Duration, SystemTime};

use lambda_runtime::{Context, Error, LambdaEvent, run, service_fn};
use tieline_aws::sqs_batch::{Answer, Batch};
use tieline_bridge::run::batch;
use tieline_bridge::world::World;
use tokio::time::Instant;

/// Serves until the execution environment ends.
pub(crate) async fn serve(world: World) -> Result<(), Error> {
    let world = &world;
    run(service_fn(|event: LambdaEvent<Batch>| async move {
        run_batch(world, event).await
    }))
    .await
}

/// Least timeout of the function. With less a run would be handed over again and again, and show nothing.
const MIN_TIMEOUT: Duration = Duration::from_secs(20);
/// Time that Lambda may take to pass an invocation to this program.
const HAND_IN: Duration = Duration::from_secs(2);

async fn run_batch(world: &World, event: LambdaEvent<Batch>) -> Result<Answer, Error> {
    let until = deadline(&event.context);
    check_time(until.saturating_duration_since(Instant::now()))?;
    // This process was frozen while no batch was processed.
    world.store.refresh_keys(world.clock.now()).await?;
    let failed = batch::run(world, event.payload.received()?, Some(until)).await;
    // Written now: the process is frozen until the next invocation.
    world.metrics.write(world.clock.now());
    Ok(Answer::failed(failed))
}

/// Refuses to work with a timeout so short that no run could make progress.
fn check_time(left: Duration) -> Result<(), Error> {
    if left + HAND_IN >= MIN_TIMEOUT {
        return Ok(());
    }
    Err(format!(
        "the function's time-out is {left:?}, but a run needs at least {MIN_TIMEOUT:?}: raise `Timeout` of the runner"
    )
    .into())
}

/// The deadline of this invocation.
fn deadline(context: &Context) -> Instant {
    let end = SystemTime::UNIX_EPOCH + Duration::from_millis(context.deadline);
    Instant::now() + end.duration_since(SystemTime::now()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_that_is_too_short_is_refused_with_a_reason() {
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
