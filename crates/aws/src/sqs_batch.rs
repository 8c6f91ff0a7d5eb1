//! A batch of SQS messages as Lambda delivers it, and the response to it: only the fields that we use.
//!
//! Not a crate for all AWS events: it would be compiled with different features for each function, and so would everything that depends on
//! it.
//! See [AWS Lambda Developer Guide/Using Lambda with Amazon SQS](https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html) and
//! [its partial batch responses](https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html).

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tieline_core::timestamp::Timestamp;
use tieline_queue::receive::Received;

/// A batch of SQS messages.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Batch {
    records: Vec<Record>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    message_id: Option<String>,
    receipt_handle: Option<String>,
    body: Option<String>,
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attributes {
    approximate_receive_count: Option<String>,
    message_group_id: Option<String>,
    sent_timestamp: Option<String>,
}

/// A record has no message id, so it could not be reported as failed: the whole batch fails.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("record without an id")]
pub struct RecordWithoutId;

impl Batch {
    /// The messages of the batch, in order.
    ///
    /// # Errors
    /// [`RecordWithoutId`].
    pub fn received<T: DeserializeOwned>(self) -> Result<Vec<Received<T>>, RecordWithoutId> {
        self.records.into_iter().map(Record::received).collect()
    }
}

impl Record {
    fn received<T: DeserializeOwned>(self) -> Result<Received<T>, RecordWithoutId> {
        let Attributes {
            approximate_receive_count,
            message_group_id,
            sent_timestamp,
        } = self.attributes;
        let body = self.body.unwrap_or_default();
        let message = serde_json::from_str(&body).ok();
        Ok(Received {
            id: self.message_id.ok_or(RecordWithoutId)?,
            receipt: self.receipt_handle.unwrap_or_default(),
            attempt: approximate_receive_count.and_then(|n| n.parse().ok()).unwrap_or(1),
            group: message_group_id.unwrap_or_default(),
            sent_at: sent_timestamp
                .and_then(|millis| millis.parse().ok())
                .map(Timestamp::from_millis),
            unreadable: message.is_none().then_some(body),
            message,
        })
    }
}

/// The response to a batch: messages to be delivered again. Lambda deletes the others.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    batch_item_failures: Vec<Failure>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    item_identifier: String,
}

impl Answer {
    /// Reports the messages with these ids as failed.
    #[must_use]
    pub fn failed(ids: Vec<String>) -> Self {
        let failure = |item_identifier| Failure { item_identifier };
        Self {
            batch_item_failures: ids.into_iter().map(failure).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn received(record: Value) -> Result<Received<u32>, RecordWithoutId> {
        let batch: Batch = serde_json::from_value(json!({ "Records": [record] })).unwrap();
        let mut received = batch.received()?;
        assert_eq!(received.len(), 1);
        Ok(received.remove(0))
    }

    #[test]
    fn record_is_read_as_the_documentation_shows_it() {
        // See "Example Amazon SQS message event (FIFO queues)".
        let received = received(json!({
            "messageId": "11d6ee51-4cc7-4302-9e22-7cd8afdaadf5",
            "receiptHandle": "AQEBBX8nesZEXmkhsmZeyIE8iQAMig7qw...",
            "body": "7",
            "attributes": {
                "ApproximateReceiveCount": "2",
                "SentTimestamp": "1573251510774",
                "SequenceNumber": "18849496460467696128",
                "MessageGroupId": "1",
                "SenderId": "AIDAIO23YVJENQZJOL4VO",
                "MessageDeduplicationId": "1",
                "ApproximateFirstReceiveTimestamp": "1573251510774"
            },
            "messageAttributes": {},
            "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:fifo.fifo",
            "awsRegion": "us-east-2"
        }))
        .unwrap();
        assert_eq!(received.id, "11d6ee51-4cc7-4302-9e22-7cd8afdaadf5");
        assert_eq!(received.receipt, "AQEBBX8nesZEXmkhsmZeyIE8iQAMig7qw...");
        assert_eq!((received.attempt, &*received.group), (2, "1"));
        assert_eq!(received.sent_at, Some(Timestamp::from_millis(1_573_251_510_774)));
        assert_eq!((received.message, received.unreadable), (Some(7), None));
    }

    #[test]
    fn unreadable_message_fails_no_other_message() {
        let received = received(json!({ "messageId": "a", "body": "{", "attributes": {} })).unwrap();
        assert_eq!(
            (received.message, received.unreadable.as_deref(), received.attempt),
            (None, Some("{"), 1)
        );
    }

    #[test]
    fn record_without_an_id_fails_the_batch() {
        let refused = received(json!({ "receiptHandle": "r", "body": "7" }));
        assert_eq!(refused.err(), Some(RecordWithoutId));
    }

    #[test]
    fn failures_are_named_as_lambda_reads_them() {
        let answer = serde_json::to_value(Answer::failed(vec!["a".into(), "b".into()])).unwrap();
        let failures = json!([{ "itemIdentifier": "a" }, { "itemIdentifier": "b" }]);
        assert_eq!(answer, json!({ "batchItemFailures": failures }));
        let none = serde_json::to_value(Answer::failed(Vec::new())).unwrap();
        assert_eq!(none, json!({ "batchItemFailures": [] }));
    }
}
