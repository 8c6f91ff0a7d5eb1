//! `inbound.fifo`: events for the dispatcher.

use std::collections::HashMap;
use std::time::Duration;

use tieline_core::envelope::Envelope;

use crate::batch::{self, Outgoing};
use crate::receive;
use crate::{QueueError, Queues};

/// An event for the dispatcher.
#[derive(Debug, Clone, PartialEq)]
pub struct Inbound {
    /// The event.
    pub envelope: Envelope,
    /// Its message group, within which the order is kept.
    pub group: String,
    /// Its deduplication id: a repetition within five minutes is a no-op.
    pub dedup: String,
}

/// Puts an event on the queue. When this returns, the queue has it.
///
/// `group` keeps the order; `dedup` makes a repetition within five minutes a no-op. Both are at most 128 letters, digits or
/// punctuation marks.
///
/// # Errors
/// [`QueueError`] if the queue may not have it.
///
/// # Panics
/// Never: envelopes serialize.
pub async fn send(queues: &Queues, envelope: &Envelope, group: &str, dedup: &str) -> Result<(), QueueError> {
    let body = body(envelope);
    batch::check_size(&body)?;
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

/// Puts several events on the queue, in as few calls as possible while the order within a group is kept.
///
/// # Errors
/// [`QueueError`] if the queue may not have all of them. Send them all again: the queue has the first ones of each group, and recognizes them.
///
/// # Panics
/// Never: envelopes serialize.
pub async fn send_all(queues: &Queues, events: Vec<Inbound>) -> Result<(), QueueError> {
    for round in rounds(events) {
        let messages = round.into_iter().map(|event| Outgoing {
            body: body(&event.envelope),
            group: event.group,
            dedup: Some(event.dedup),
            delay_s: None,
        });
        batch::send(queues, &queues.urls.inbound, messages.collect()).await?;
    }
    Ok(())
}

/// Makes a received event visible again after `delay`. Until then, and as long as another of its group is hidden, its group waits.
///
/// # Errors
/// [`QueueError`]; then it is redelivered after the queue's own visibility timeout.
pub async fn retry_in(queues: &Queues, receipt: &str, delay: Duration) -> Result<(), QueueError> {
    receive::retry_in(queues, &queues.urls.inbound, receipt, delay).await
}

/// Moves an unreadable event to the dead letters, where the queue would move it much later: until then its group would be blocked.
///
/// `id` is the queue's own. The message itself must still be deleted.
///
/// # Errors
/// [`QueueError`] if the dead letters may not have it.
pub async fn park(queues: &Queues, body: &str, group: &str, id: &str) -> Result<(), QueueError> {
    queues
        .sqs
        .send_message()
        .queue_url(queues.urls.inbound_dead()?)
        .message_group_id(group)
        .message_deduplication_id(id)
        .message_body(body)
        .send()
        .await
        .map_err(QueueError::of("park"))?;
    Ok(())
}

// A call may accept an event and refuse the one before it, so no call has two of a group.
fn rounds(events: Vec<Inbound>) -> Vec<Vec<Inbound>> {
    let mut rounds: Vec<Vec<Inbound>> = Vec::new();
    let mut n_before = HashMap::new();
    for event in events {
        let round = n_before.entry(event.group.clone()).or_insert(0);
        match rounds.get_mut(*round) {
            Some(events) => events.push(event),
            None => rounds.push(vec![event]),
        }
        *round += 1;
    }
    rounds
}

fn body(envelope: &Envelope) -> String {
    serde_json::to_string(envelope).expect("envelopes serialize as JSON")
}
