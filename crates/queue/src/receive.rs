//! Taking messages off a queue.

use std::time::Duration;

use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName};
use serde::de::DeserializeOwned;

use crate::{QueueError, Queues, work};

/// Most messages of one call.
pub const MAX_BATCH: usize = 10;
/// Longest wait for messages.
pub const MAX_WAIT: Duration = Duration::from_secs(20);

/// A received message. It is not gone before it is deleted.
#[derive(Debug, Clone)]
pub struct Received<T> {
    /// The queue's own id.
    pub id: String,
    /// With which it is deleted or hidden.
    pub receipt: String,
    /// The how-many-th delivery, from 1.
    pub attempt: u32,
    /// Its message group; empty if it has none.
    pub group: String,
    /// What it says. `None`: it can't be read.
    pub message: Option<T>,
}

/// Receives up to `max` messages (at most ten), waiting up to `wait` (at most 20 s) for the first.
///
/// # Errors
/// [`QueueError`].
pub async fn receive<T: DeserializeOwned>(
    queues: &Queues,
    url: &str,
    max: usize,
    wait: Duration,
) -> Result<Vec<Received<T>>, QueueError> {
    let answer = queues
        .sqs
        .receive_message()
        .queue_url(url)
        .max_number_of_messages(i32::try_from(max.clamp(1, MAX_BATCH)).unwrap_or(1))
        .wait_time_seconds(i32::try_from(wait.min(MAX_WAIT).as_secs()).unwrap_or(0))
        .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
        .message_system_attribute_names(MessageSystemAttributeName::MessageGroupId)
        .send()
        .await
        .map_err(QueueError::of("receive"))?;
    Ok(answer.messages.unwrap_or_default().into_iter().map(read).collect())
}

fn read<T: DeserializeOwned>(message: Message) -> Received<T> {
    let attribute = |name| message.attributes.as_ref().and_then(|attributes| attributes.get(&name));
    let attempt = attribute(MessageSystemAttributeName::ApproximateReceiveCount);
    let group = attribute(MessageSystemAttributeName::MessageGroupId);
    Received {
        attempt: attempt.and_then(|count| count.parse().ok()).unwrap_or(1),
        group: group.cloned().unwrap_or_default(),
        message: message.body.as_deref().and_then(|body| serde_json::from_str(body).ok()),
        id: message.message_id.unwrap_or_default(),
        receipt: message.receipt_handle.unwrap_or_default(),
    }
}

/// Deletes up to ten messages.
///
/// # Errors
/// [`QueueError`]; what was not deleted comes again.
pub async fn delete(queues: &Queues, url: &str, receipts: &[String]) -> Result<(), QueueError> {
    if receipts.is_empty() {
        return Ok(());
    }
    let entries = receipts.iter().enumerate().map(|(at, receipt)| {
        DeleteMessageBatchRequestEntry::builder()
            .id(at.to_string())
            .receipt_handle(receipt)
            .build()
            .expect("id and receipt are set")
    });
    let answer = queues
        .sqs
        .delete_message_batch()
        .queue_url(url)
        .set_entries(Some(entries.collect()))
        .send()
        .await
        .map_err(QueueError::of("delete"))?;
    match answer.failed() {
        [] => Ok(()),
        failed => Err(QueueError::Partial {
            operation: "delete",
            n_failed: failed.len(),
            code: failed[0].code().to_owned(),
        }),
    }
}

/// Shows a received message again after `delay`.
///
/// # Errors
/// [`QueueError`]; it then comes again after the queue's own time-out.
pub async fn retry_in(queues: &Queues, url: &str, receipt: &str, delay: Duration) -> Result<(), QueueError> {
    work::hide(queues, url, receipt, delay).await
}
