//! Addresses of the queues.

use aws_sdk_sqs::Client;

use crate::QueueError;

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
