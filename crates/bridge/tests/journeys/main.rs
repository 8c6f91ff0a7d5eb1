//! Steps of a message's path, each on its own, over in-process tables and queues.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dispatch_batch;
mod test_bridge;
mod tokens;
