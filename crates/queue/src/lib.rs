//! The queues: typed messages over the SQS API.
//!
//! `inbound.fifo` brings events to the dispatcher, in order within a conversation; `work` brings wake-ups to the runner, fairly
//! between tenants; one `relay-N.fifo` a shard brings calls to the process that holds a bot's socket.

pub mod definitions;
pub mod inbound;
pub mod receive;
pub mod relay;
pub mod work;

mod error;

use std::sync::Arc;

use aws_sdk_sqs::Client;

pub use error::QueueError;

/// The queues of a deployment. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Queues {
    pub(crate) sqs: Client,
    pub(crate) urls: Arc<Urls>,
}

/// The addresses of the queues.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Urls {
    /// `inbound.fifo`
    pub inbound: String,
    /// `work`
    pub work: String,
    /// `relay-N.fifo`, by shard. Empty where there is no relay.
    pub relay: Vec<String>,
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
