//! Batches of messages.

use aws_sdk_sqs::types::SendMessageBatchRequestEntry;

use crate::{QueueError, Queues};

/// Most messages per call.
pub(crate) const MAX_ENTRIES: usize = 10;

/// Size limit of a message, and of all messages of one call together, in bytes.
///
/// See [Amazon SQS Developer Guide/Message quotas](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html).
const MAX_BYTES: usize = 1024 * 1024;

/// A message to be sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outgoing {
    pub(crate) body: String,
    pub(crate) group: String,
    pub(crate) dedup: Option<String>,
    pub(crate) delay_s: Option<i32>,
}

/// Sends messages in as few calls as possible. In the given order, if all are accepted.
pub(crate) async fn send(queues: &Queues, url: &str, messages: Vec<Outgoing>) -> Result<(), QueueError> {
    for message in &messages {
        check_size(&message.body)?;
    }
    for entries in calls(messages) {
        let answer = queues
            .sqs
            .send_message_batch()
            .queue_url(url)
            .set_entries(Some(entries))
            .send()
            .await
            .map_err(QueueError::of("send"))?;
        // A successful batch may still contain refused entries.
        if let [first, ..] = answer.failed() {
            return Err(QueueError::Partial {
                operation: "send",
                n_failed: answer.failed().len(),
                code: first.code().to_owned(),
            });
        }
    }
    Ok(())
}

/// Checks the size limit of a message.
pub(crate) fn check_size(body: &str) -> Result<(), QueueError> {
    if body.len() > MAX_BYTES {
        return Err(QueueError::TooLarge { size_bytes: body.len() });
    }
    Ok(())
}

fn calls(messages: Vec<Outgoing>) -> Vec<Vec<SendMessageBatchRequestEntry>> {
    let mut calls = Vec::new();
    let mut entries = Vec::new();
    let mut n_bytes = 0;
    for message in messages {
        if entries.len() == MAX_ENTRIES || n_bytes + message.body.len() > MAX_BYTES {
            calls.push(std::mem::take(&mut entries));
            n_bytes = 0;
        }
        n_bytes += message.body.len();
        entries.push(entry(entries.len(), message));
    }
    if !entries.is_empty() {
        calls.push(entries);
    }
    calls
}

fn entry(at: usize, message: Outgoing) -> SendMessageBatchRequestEntry {
    SendMessageBatchRequestEntry::builder()
        .id(at.to_string())
        .message_body(message.body)
        .message_group_id(message.group)
        .set_message_deduplication_id(message.dedup)
        .set_delay_seconds(message.delay_s)
        .build()
        .expect("id and body are set")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sizes: &[usize], expected: &[usize]) {
        let message = |size: &usize| Outgoing {
            body: "x".repeat(*size),
            ..Outgoing::default()
        };
        let calls = calls(sizes.iter().map(message).collect());
        let lengths: Vec<_> = calls.iter().map(Vec::len).collect();
        assert_eq!(lengths, expected);
    }

    #[test]
    fn a_call_has_at_most_ten_messages_and_one_mebibyte() {
        check(&[], &[]);
        check(&[1; 10], &[10]);
        check(&[1; 21], &[10, 10, 1]);
        check(&[MAX_BYTES, 1, MAX_BYTES - 1, 1], &[1, 2, 1]);
    }
}
