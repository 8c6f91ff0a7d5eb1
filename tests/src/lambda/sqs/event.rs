//! The event of a batch.

use std::collections::HashMap;

use aws_sdk_sqs::types::{Message, MessageAttributeValue, MessageSystemAttributeName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::super::outcome::MAX_PAYLOAD_BYTES;

/// The queue's attributes in events.
#[derive(Clone, Debug)]
pub(super) struct QueueInfo {
    arn: String,
}

impl QueueInfo {
    pub(super) fn new(arn: String) -> Self {
        Self { arn }
    }

    pub(super) fn is_fifo(&self) -> bool {
        self.arn.ends_with(".fifo")
    }

    /// The fourth part of `arn:aws:sqs:region:account:name`.
    fn region(&self) -> &str {
        self.arn.split(':').nth(3).unwrap_or_default()
    }
}

/// The event for `batch`.
pub(super) fn event(queue: &QueueInfo, batch: &[Message]) -> Value {
    json!({ "Records": batch.iter().map(|message| record(queue, message)).collect::<Vec<_>>() })
}

/// Splits received messages into batches whose events fit into one invocation, in order.
pub(super) fn split(queue: &QueueInfo, messages: Vec<Message>) -> Vec<Vec<Message>> {
    let mut batches: Vec<Vec<Message>> = Vec::new();
    let mut room = 0;
    for message in messages {
        // One byte more for the comma.
        let bytes = record(queue, &message).to_string().len() + 1;
        match batches.last_mut() {
            Some(batch) if bytes <= room => {
                room -= bytes;
                batch.push(message);
            }
            _ => {
                room = (MAX_PAYLOAD_BYTES - r#"{"Records":[]}"#.len()).saturating_sub(bytes);
                batches.push(vec![message]);
            }
        }
    }
    batches
}

/// The message's id.
pub(super) fn id(message: &Message) -> &str {
    message.message_id.as_deref().unwrap_or_default()
}

/// The message's group, in a FIFO queue. (A standard queue's group is only a hint, and locks nothing.)
pub(super) fn group(message: &Message) -> Option<&str> {
    let attributes = message.attributes.as_ref()?;
    attributes.get(&MessageSystemAttributeName::SequenceNumber)?;
    attributes
        .get(&MessageSystemAttributeName::MessageGroupId)
        .map(String::as_str)
}

fn record(queue: &QueueInfo, message: &Message) -> Value {
    let attributes = message.attributes.iter().flatten();
    let mut record = json!({
        "messageId": id(message),
        "receiptHandle": message.receipt_handle,
        "body": message.body.as_deref().unwrap_or_default(),
        "attributes": attributes.map(|(name, value)| (name.as_str().to_owned(), json!(value))).collect::<Map<_, _>>(),
        "messageAttributes": message_attributes(message.message_attributes.as_ref()),
        "md5OfBody": message.md5_of_body,
        "eventSource": "aws:sqs",
        "eventSourceARN": queue.arn,
        "awsRegion": queue.region(),
    });
    if let Some(md5) = &message.md5_of_message_attributes {
        record["md5OfMessageAttributes"] = json!(md5);
    }
    record
}

fn message_attributes(attributes: Option<&HashMap<String, MessageAttributeValue>>) -> Map<String, Value> {
    let attribute = |value: &MessageAttributeValue| {
        let mut attribute = json!({ "stringListValues": [], "binaryListValues": [], "dataType": value.data_type });
        if let Some(text) = &value.string_value {
            attribute["stringValue"] = json!(text);
        }
        if let Some(bytes) = &value.binary_value {
            attribute["binaryValue"] = json!(STANDARD.encode(bytes));
        }
        attribute
    };
    attributes
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), attribute(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::primitives::Blob;

    use super::*;

    fn queue() -> QueueInfo {
        QueueInfo::new("arn:aws:sqs:eu-central-1:123456789012:orders.fifo".to_owned())
    }

    fn message(id: &str, body: String) -> Message {
        Message::builder()
            .message_id(id)
            .receipt_handle(format!("receipt-{id}"))
            .body(body)
            .build()
    }

    #[test]
    fn record_has_the_documented_shape() {
        let text = MessageAttributeValue::builder()
            .data_type("String")
            .string_value("x")
            .build()
            .unwrap();
        let blob = MessageAttributeValue::builder()
            .data_type("Binary")
            .binary_value(Blob::new(b"1100"))
            .build()
            .unwrap();
        let message = Message::builder()
            .message_id("1")
            .receipt_handle("r")
            .body("hi")
            .md5_of_body("49f68a5c8493ec2c0bf489821c21fc3b")
            .md5_of_message_attributes("abc")
            .attributes(MessageSystemAttributeName::ApproximateReceiveCount, "2")
            .message_attributes("a", text)
            .message_attributes("b", blob)
            .build();
        let expected = json!({ "Records": [{
            "messageId": "1",
            "receiptHandle": "r",
            "body": "hi",
            "attributes": { "ApproximateReceiveCount": "2" },
            "messageAttributes": {
                "a": { "stringValue": "x", "stringListValues": [], "binaryListValues": [], "dataType": "String" },
                "b": { "binaryValue": "MTEwMA==", "stringListValues": [], "binaryListValues": [], "dataType": "Binary" },
            },
            "md5OfBody": "49f68a5c8493ec2c0bf489821c21fc3b",
            "md5OfMessageAttributes": "abc",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:orders.fifo",
            "awsRegion": "eu-central-1",
        }] });
        assert_eq!(event(&queue(), &[message]), expected);
    }

    #[test]
    fn batches_fit_into_one_event_each_and_keep_the_order() {
        let messages: Vec<_> = (0..10)
            .map(|n| message(&n.to_string(), "x".repeat(1_000_000)))
            .collect();
        let batches = split(&queue(), messages);
        assert!(
            batches
                .iter()
                .all(|batch| event(&queue(), batch).to_string().len() <= MAX_PAYLOAD_BYTES)
        );
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [6, 4]);
        let order: Vec<_> = batches.iter().flatten().map(id).collect();
        assert_eq!(order, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    }

    #[test]
    fn only_messages_of_a_fifo_queue_have_a_group() {
        let grouped = |message: aws_sdk_sqs::types::builders::MessageBuilder| {
            message.attributes(MessageSystemAttributeName::MessageGroupId, "g")
        };
        let fair = grouped(Message::builder()).build();
        let fifo = grouped(Message::builder())
            .attributes(MessageSystemAttributeName::SequenceNumber, "1")
            .build();
        assert_eq!((group(&fair), group(&fifo)), (None, Some("g")));
    }
}
