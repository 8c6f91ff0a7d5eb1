//! Steps of a message's road, each alone, over tables and queues in the process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dispatch_batch;
mod test_bridge;
mod tokens;
