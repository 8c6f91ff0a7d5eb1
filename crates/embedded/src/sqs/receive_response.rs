//! Response to a receive: a delivery in the form that its receiver requested.

use std::collections::BTreeMap;

use super::digest;
use super::engine_state::{spell_message_id, spell_seq};
use super::receiving::Delivery;
use super::wire::{AttributeValue, Message, ReceiveMessage};

/// Converts a delivery to the message that `wanted` requests.
pub(super) fn present(delivery: Delivery, wanted: &ReceiveMessage) -> Message {
    let mut attributes = system_attributes(&delivery);
    attributes.retain(|name, _| wants_system(wanted, name));
    let mut message_attributes = kept(delivery.message.attributes.as_deref());
    message_attributes.retain(|name, _| wants(&wanted.message_attribute_names, name));
    Message {
        message_id: spell_message_id(delivery.message.id),
        receipt_handle: delivery.receipt.to_string(),
        md5_of_body: digest::of_body(&delivery.message.body),
        body: delivery.message.body,
        attributes,
        // Over the attributes in the response, so that the receiver can check them.
        md5_of_attributes: digest::of_attributes(&message_attributes),
        message_attributes,
    }
}

/// See [SQS API/ReceiveMessage](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html), `MessageSystemAttributeNames`.
fn system_attributes(delivery: &Delivery) -> BTreeMap<&'static str, String> {
    let (entry, message) = (&delivery.entry, &delivery.message);
    let mut attributes = BTreeMap::from([
        ("SenderId", "AIDAEMBEDDED".into()),
        ("SentTimestamp", entry.sent_ms.to_string()),
        ("ApproximateReceiveCount", entry.count.to_string()),
        ("ApproximateFirstReceiveTimestamp", entry.first_ms.to_string()),
    ]);
    if let Some(group) = &entry.group {
        attributes.insert("MessageGroupId", group.to_string());
    }
    if let Some(arn) = &delivery.source_arn {
        attributes.insert("DeadLetterQueueSourceArn", arn.clone());
    }
    let trace = kept(message.system.as_deref()).remove("AWSTraceHeader");
    if let Some(header) = trace.and_then(|value| value.string_value) {
        attributes.insert("AWSTraceHeader", header);
    }
    if delivery.is_fifo {
        let id = message.dedup_id.clone();
        let id = id.unwrap_or_else(|| digest::content_id(&message.body));
        attributes.insert("MessageDeduplicationId", id);
        attributes.insert("SequenceNumber", spell_seq(delivery.receipt.seq));
    }
    attributes
}

/// Stored attributes: JSON that this program wrote.
fn kept(json: Option<&str>) -> BTreeMap<String, AttributeValue> {
    json.and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_default()
}

fn wants_system(wanted: &ReceiveMessage, name: &str) -> bool {
    let names = wanted
        .attribute_names
        .iter()
        .chain(&wanted.message_system_attribute_names);
    names.into_iter().any(|w| w == "All" || w == name)
}

/// Names may be complete, or a prefix with a wildcard, such as `order.*`.
fn wants(wanted: &[String], name: &str) -> bool {
    wanted.iter().any(|w| match w.strip_suffix(".*") {
        Some(prefix) => name.starts_with(prefix),
        None => w == "All" || w == name,
    })
}

#[cfg(test)]
mod tests {
    use super::wants;

    #[test]
    fn attribute_names_may_end_in_a_wildcard() {
        for (wanted, name, expected) in [
            ("All", "anything", true),
            (".*", "anything", true),
            ("order.*", "order.id", true),
            ("order.*", "user.id", false),
            ("order", "order.id", false),
        ] {
            assert_eq!(wants(&[wanted.into()], name), expected, "{wanted} for {name}");
        }
    }
}
