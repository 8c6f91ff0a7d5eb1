//! Counters of one function.

/// Counters of one function since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Invocations that were given to an instance or failed to start one, without throttled ones.
    pub invocations: u64,
    /// Invocations that did not end with an answer, whatever the reason.
    pub errors: u64,
    /// Those of `errors` that were killed at their deadline.
    pub timeouts: u64,
    /// Those of `errors` whose instance ended by itself or was killed by a test.
    pub crashes: u64,
    /// Invocations refused because all instances were busy.
    pub throttles: u64,
    /// Instances started.
    pub cold_starts: u64,
    /// Invocations that are running now.
    pub running: u64,
    /// The maximum number of concurrent invocations.
    pub peak_running: u64,
    /// Batches that mappings invoked the function with.
    pub batches: u64,
    /// Messages in those batches, a redelivered one counted again.
    pub messages: u64,
    /// Messages deleted because the function handled them.
    pub deleted: u64,
    /// Messages that the function named as failed.
    pub item_failures: u64,
    /// Batches that failed as a whole: error, timeout, crash or a malformed answer.
    pub failed_batches: u64,
    /// Messages that were handled but could not be deleted, so that they are received again.
    pub delete_failures: u64,
    /// Receive calls that failed.
    pub poll_errors: u64,
}
