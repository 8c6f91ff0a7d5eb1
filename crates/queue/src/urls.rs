//! Where the queues are.

use aws_sdk_sqs::Client;

use crate::QueueError;
use crate::definitions::{INBOUND, INBOUND_DEAD, WORK, relay_name};

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

impl Urls {
    /// Asks for the addresses of the queues whose names begin with `prefix`.
    ///
    /// # Errors
    /// [`QueueError::Missing`] if one of them is not there, or [`QueueError::Unavailable`].
    pub async fn resolve(client: &Client, prefix: &str, n_shards: usize) -> Result<Self, QueueError> {
        let mut relay = Vec::with_capacity(n_shards);
        for shard in 0..n_shards {
            relay.push(url_of(client, &format!("{prefix}{}", relay_name(shard))).await?);
        }
        Ok(Self {
            inbound: url_of(client, &format!("{prefix}{INBOUND}")).await?,
            work: url_of(client, &format!("{prefix}{WORK}")).await?,
            relay,
        })
    }
}

impl Urls {
    /// `inbound-dead.fifo`, which has the prefix of `inbound.fifo`.
    ///
    /// # Errors
    /// [`QueueError::Missing`] if `inbound.fifo` is called otherwise.
    pub(crate) fn inbound_dead(&self) -> Result<String, QueueError> {
        let prefix = self.inbound.strip_suffix(INBOUND);
        let prefix = prefix.ok_or_else(|| QueueError::Missing(INBOUND_DEAD.to_owned()))?;
        Ok(format!("{prefix}{INBOUND_DEAD}"))
    }
}

/// The address of a queue.
pub(crate) async fn url_of(client: &Client, name: &str) -> Result<String, QueueError> {
    let missing = || QueueError::Missing(name.to_owned());
    match client.get_queue_url().queue_name(name).send().await {
        Ok(found) => found.queue_url.ok_or_else(missing),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|error| error.is_queue_does_not_exist()) =>
        {
            Err(missing())
        }
        Err(error) => Err(QueueError::of("look up")(error)),
    }
}
