//! Receives, deletes and postpones messages.

use std::time::Duration;

use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName};
use serde::de::DeserializeOwned;
use tieline_core::timestamp::Timestamp;

use crate::batch::MAX_ENTRIES;
use crate::{QueueError, Queues};

/// Most messages per call.
pub const MAX_BATCH: usize = MAX_ENTRIES;
/// Longest wait for messages.
pub const MAX_WAIT: Duration = Duration::from_secs(20);
/// Longest visibility timeout.
const MAX_HIDDEN: Duration = Duration::from_hours(12);

/// A received message. It stays on the queue until it is deleted.
#[derive(Debug, Clone)]
pub struct Received<T> {
    /// The queue's own id.
    pub id: String,
    /// The handle for deleting or hiding it.
    pub receipt: String,
    /// How often the queue has delivered this message (`ApproximateReceiveCount`), from 1.
    pub attempt: u32,
    /// Its message group; empty if it has none.
    pub group: String,
    /// When it was sent.
    pub sent_at: Option<Timestamp>,
    /// Its content. `None`: it can't be read.
    pub message: Option<T>,
    /// Its raw content, if it can't be read: for parking.
    pub unreadable: Option<String>,
}

/// Receives up to `max` messages (at most ten), waiting up to `wait` (at most 20 s) for the first.
///
/// They are hidden from other consumers for the queue's visibility timeout.
///
/// # Errors
/// [`QueueError`].
pub async fn receive<T: DeserializeOwned>(
    queues: &Queues,
    url: &str,
    max: usize,
    wait: Duration,
) -> Result<Vec<Received<T>>, QueueError> {
    receive_for(queues, url, max, wait, None).await
}

/// Like [`receive`], with `hidden` (at most 12 hours) as the visibility timeout, or the queue's own.
///
/// # Errors
/// [`QueueError`].
pub async fn receive_for<T: DeserializeOwned>(
    queues: &Queues,
    url: &str,
    max: usize,
    wait: Duration,
    hidden: Option<Duration>,
) -> Result<Vec<Received<T>>, QueueError> {
    let answer = queues
        .sqs
        .receive_message()
        .queue_url(url)
        .max_number_of_messages(i32::try_from(max.clamp(1, MAX_BATCH)).unwrap_or(1))
        .wait_time_seconds(whole_seconds(wait.min(MAX_WAIT)))
        .set_visibility_timeout(hidden.map(|hidden| whole_seconds(hidden.min(MAX_HIDDEN))))
        .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
        .message_system_attribute_names(MessageSystemAttributeName::MessageGroupId)
        .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
        .send()
        .await
        .map_err(QueueError::of("receive"))?;
    Ok(answer.messages.unwrap_or_default().into_iter().map(read).collect())
}

fn read<T: DeserializeOwned>(received: Message) -> Received<T> {
    let attribute = |name| {
        let attributes = received.attributes.as_ref()?;
        attributes.get(&name).map(String::as_str)
    };
    let attempt = attribute(MessageSystemAttributeName::ApproximateReceiveCount);
    let sent_at = attribute(MessageSystemAttributeName::SentTimestamp).and_then(|millis| millis.parse().ok());
    let group = attribute(MessageSystemAttributeName::MessageGroupId)
        .unwrap_or_default()
        .to_owned();
    let attempt = attempt.and_then(|count| count.parse().ok()).unwrap_or(1);
    let body = received.body.unwrap_or_default();
    let message = serde_json::from_str(&body).ok();
    Received {
        id: received.message_id.unwrap_or_default(),
        receipt: received.receipt_handle.unwrap_or_default(),
        attempt,
        group,
        sent_at: sent_at.map(Timestamp::from_millis),
        unreadable: message.is_none().then_some(body),
        message,
    }
}

/// Deletes messages, up to ten in one call.
///
/// # Errors
/// [`QueueError`]; messages that were not deleted are redelivered.
pub async fn delete(queues: &Queues, url: &str, receipts: &[String]) -> Result<(), QueueError> {
    let mut refused = None;
    for receipts in receipts.chunks(MAX_BATCH) {
        let entries = receipts.iter().enumerate().map(|(at, receipt)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(at.to_string())
                .receipt_handle(receipt)
                .build()
                .expect("id and receipt are set")
        });
        let call = queues.sqs.delete_message_batch().queue_url(url);
        let answer = call.set_entries(Some(entries.collect())).send().await;
        let answer = answer.map_err(QueueError::of("delete"))?;
        // A successful batch may still contain refused entries. The others are deleted all the same.
        if let [first, ..] = answer.failed() {
            refused = Some(QueueError::Partial {
                operation: "delete",
                n_failed: answer.failed().len(),
                code: first.code().to_owned(),
            });
        }
    }
    refused.map_or(Ok(()), Err)
}

/// Makes a received message visible again after `delay`, at most 12 hours, rounded up to seconds.
///
/// # Errors
/// [`QueueError`]; then it is redelivered after the queue's own visibility timeout.
pub async fn retry_in(queues: &Queues, url: &str, receipt: &str, delay: Duration) -> Result<(), QueueError> {
    queues
        .sqs
        .change_message_visibility()
        .queue_url(url)
        .receipt_handle(receipt)
        .visibility_timeout(whole_seconds(delay.min(MAX_HIDDEN)))
        .send()
        .await
        .map_err(QueueError::of("hide"))?;
    Ok(())
}

/// Seconds, rounded up: no message is visible too early.
pub(crate) fn whole_seconds(delay: Duration) -> i32 {
    let rounded_up = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
    i32::try_from(rounded_up).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_rounded_up() {
        assert_eq!(whole_seconds(Duration::ZERO), 0);
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_secs(900)), 900);
    }
}
