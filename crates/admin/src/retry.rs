//! Retries a conditional write that lost a race.

use std::time::Duration;

use tieline_bridge::world::chance;
use tieline_core::backoff::Backoff;

use crate::problem::Problem;

/// Retries before the caller gets the conflict.
const MAX_RACES: u32 = 8;
/// Backoff between two attempts.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(10),
    cap: Duration::from_millis(400),
};

/// Repeats `attempt` (read, decide, conditional write) until the write meets no conflict. Returns the conflict after [`MAX_RACES`] retries.
// Not an `AsyncFnMut`: the compiler can't yet prove that its futures are `Send`.
pub(crate) async fn until_settled<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, Problem>
where
    F: Future<Output = Result<T, Problem>>,
{
    let mut race = 0;
    loop {
        match attempt().await {
            Err(problem) if problem.code() == "conflict" && race < MAX_RACES => {
                race += 1;
                tokio::time::sleep(BACKOFF.wait(race, chance())).await;
            }
            settled => return settled,
        }
    }
}
