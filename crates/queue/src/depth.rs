//! Depths of the queues.

use aws_sdk_sqs::types::QueueAttributeName;

use crate::definitions::{INBOUND, WORK, relay_name};
use crate::{QueueError, Queues};

/// Approximate number of messages of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Depth {
    /// Its name, without the deployment's prefix.
    pub queue: String,
    /// Messages that can be received.
    pub ready: u64,
    /// Messages that are delayed.
    pub delayed: u64,
    /// Messages that were received and not deleted yet.
    pub in_flight: u64,
}

/// Reads the depth of every queue.
///
/// # Errors
/// [`QueueError::Unavailable`].
pub async fn depths(queues: &Queues) -> Result<Vec<Depth>, QueueError> {
    let urls = queues.urls();
    let mut named = vec![(INBOUND.to_owned(), &urls.inbound), (WORK.to_owned(), &urls.work)];
    named.extend(
        urls.relay
            .iter()
            .enumerate()
            .map(|(shard, url)| (relay_name(shard), url)),
    );
    let mut depths = Vec::with_capacity(named.len());
    for (queue, url) in named {
        depths.push(depth(queues, queue, url).await?);
    }
    Ok(depths)
}

async fn depth(queues: &Queues, queue: String, url: &str) -> Result<Depth, QueueError> {
    const READY: QueueAttributeName = QueueAttributeName::ApproximateNumberOfMessages;
    const DELAYED: QueueAttributeName = QueueAttributeName::ApproximateNumberOfMessagesDelayed;
    const IN_FLIGHT: QueueAttributeName = QueueAttributeName::ApproximateNumberOfMessagesNotVisible;
    let asked = queues.sqs.get_queue_attributes().queue_url(url);
    let asked = asked
        .attribute_names(READY)
        .attribute_names(DELAYED)
        .attribute_names(IN_FLIGHT);
    let found = asked.send().await.map_err(QueueError::of("count"))?;
    let count = |name: QueueAttributeName| {
        let value = found.attributes().and_then(|found| found.get(&name));
        value.and_then(|value| value.parse().ok()).unwrap_or_default()
    };
    Ok(Depth {
        ready: count(READY),
        delayed: count(DELAYED),
        in_flight: count(IN_FLIGHT),
        queue,
    })
}
