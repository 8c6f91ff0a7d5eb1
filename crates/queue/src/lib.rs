//! The queues: typed messages over the SQS API.
//!
//! `inbound.fifo` carries events to the dispatcher, in order within a conversation; `work` carries wake-ups to the runner, fairly
//! between tenants; one `relay-N.fifo` per shard carries calls and wake-ups to the process that holds a bot's socket.

pub mod definitions;
pub mod inbound;
pub mod receive;
pub mod relay;
pub mod work;

mod batch;
mod depth;
mod error;
mod urls;

use std::sync::Arc;

use aws_sdk_sqs::Client;

pub use depth::{Depth, depths};
pub use error::{QueueError, unavailable_count};
pub use urls::Urls;

/// The queues of a deployment. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Queues {
    pub(crate) sqs: Client,
    pub(crate) urls: Arc<Urls>,
}

impl Queues {
    /// The queues at these addresses.
    #[must_use]
    pub fn new(client: Client, urls: Urls) -> Self {
        Self {
            sqs: client,
            urls: Arc::new(urls),
        }
    }

    /// The addresses.
    #[must_use]
    pub fn urls(&self) -> &Urls {
        &self.urls
    }
}
