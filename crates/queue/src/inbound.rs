//! `inbound.fifo`: events for the dispatcher.

use tieline_core::envelope::Envelope;

use crate::{QueueError, Queues};

/// Puts an event on the queue. When this returns, the queue has it.
///
/// `group` keeps the order; `dedup` makes a repetition within five minutes a no-op.
///
/// # Errors
/// [`QueueError`] if the queue may not have it.
///
/// # Panics
/// Never: envelopes serialize.
pub async fn send(queues: &Queues, envelope: &Envelope, group: &str, dedup: &str) -> Result<(), QueueError> {
    let body = serde_json::to_string(envelope).expect("envelopes serialize as JSON");
    queues
        .sqs
        .send_message()
        .queue_url(&queues.urls.inbound)
        .message_group_id(group)
        .message_deduplication_id(dedup)
        .message_body(body)
        .send()
        .await
        .map_err(QueueError::of("send"))?;
    Ok(())
}
