//! Repeats a conditional write that lost a race.

use std::time::Duration;

use tieline_bridge::world::chance;
use tieline_core::backoff::Backoff;

use crate::problem::Problem;

/// Attempts of a change before its caller gets the conflict.
const MAX_RACES: u32 = 8;
/// Between two tries.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(10),
    cap: Duration::from_millis(400),
};

/// Reads, decides and writes until the write meets no conflict. Gives up with the conflict after some attempts.
// Not an `AsyncFnMut`: the compiler can't tell yet that its futures may move between threads.
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
