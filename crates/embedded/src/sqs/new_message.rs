//! A new message, validated as far as possible without knowing its queue.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::digest;
use super::error::{Code, Refusal};
use super::wire::{AttributeValue, Outgoing};

/// See [SQS Developer Guide/Message quotas](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html).
pub(super) const MAX_MESSAGE_BYTES: usize = 1_048_576;
/// See [SQS API/SendMessage](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html).
pub(super) const MAX_DELAY_S: i64 = 900;
const MAX_ATTRIBUTES: usize = 10;
const MAX_ID_CHARS: usize = 128;

/// A validated message that isn't in a queue yet.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) body: String,
    pub(super) body_md5: String,
    /// Message attributes as JSON text, in the form in which they are stored.
    pub(super) attributes: Option<String>,
    pub(super) attributes_md5: Option<String>,
    pub(super) system: Option<String>,
    pub(super) system_md5: Option<String>,
    /// Body and attributes together, as SQS counts them.
    pub(super) bytes: usize,
    pub(super) delay_s: Option<i64>,
    pub(super) group: Option<String>,
    pub(super) dedup_id: Option<String>,
}

/// Validates `outgoing` against every rule that holds for all queues.
pub(super) fn draft(outgoing: Outgoing) -> Result<Draft, Refusal> {
    check_body(&outgoing.message_body)?;
    check_delay(outgoing.delay_seconds)?;
    check_id("MessageGroupId", outgoing.message_group_id.as_deref())?;
    check_id("MessageDeduplicationId", outgoing.message_deduplication_id.as_deref())?;
    let attribute_bytes = check_attributes(&outgoing.message_attributes)?;
    check_system_attributes(&outgoing.message_system_attributes)?;
    Ok(Draft {
        body_md5: digest::of_body(&outgoing.message_body),
        attributes_md5: digest::of_attributes(&outgoing.message_attributes),
        attributes: kept(&outgoing.message_attributes),
        system_md5: digest::of_attributes(&outgoing.message_system_attributes),
        system: kept(&outgoing.message_system_attributes),
        bytes: outgoing.message_body.len() + attribute_bytes,
        body: outgoing.message_body,
        delay_s: outgoing.delay_seconds,
        group: outgoing.message_group_id,
        dedup_id: outgoing.message_deduplication_id,
    })
}

fn kept(attributes: &BTreeMap<String, AttributeValue>) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    Some(serde_json::to_string(attributes).expect("strings always become JSON"))
}

fn check_body(body: &str) -> Result<(), Refusal> {
    if body.is_empty() {
        return Err(Refusal::missing("MessageBody"));
    }
    check_text(body)
}

/// See [SQS API/SendMessage](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html), the characters allowed in a message.
fn check_text(text: &str) -> Result<(), Refusal> {
    let allowed =
        |c: char| !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
    if text.chars().all(allowed) {
        return Ok(());
    }
    let message = "Invalid binary character was found in the message body or attributes, \
                   the set of allowed characters is #x9 | #xA | #xD | #x20 to #xD7FF | \
                   #xE000 to #xFFFD | #x10000 to #x10FFFF";
    Err(Refusal::new(Code::InvalidMessageContents, message))
}

fn check_delay(delay_s: Option<i64>) -> Result<(), Refusal> {
    match delay_s {
        Some(s) if !(0..=MAX_DELAY_S).contains(&s) => Err(Refusal::invalid(
            "DelaySeconds",
            s,
            "DelaySeconds must be >= 0 and <= 900.",
        )),
        _ => Ok(()),
    }
}

fn check_id(parameter: &str, id: Option<&str>) -> Result<(), Refusal> {
    let Some(id) = id else { return Ok(()) };
    let good = !id.is_empty() && id.len() <= MAX_ID_CHARS && id.bytes().all(|b| b.is_ascii_graphic());
    if good {
        return Ok(());
    }
    let reason = format!("{parameter} can only include alphanumeric and punctuation characters. 1 to 128 in length.");
    Err(Refusal::invalid(parameter, id, &reason))
}

/// Validates attributes. Returns the size that they add to the message.
fn check_attributes(attributes: &BTreeMap<String, AttributeValue>) -> Result<usize, Refusal> {
    if attributes.len() > MAX_ATTRIBUTES {
        let message = "Number of message attributes exceeds the allowed maximum [10].";
        return Err(Refusal::new(Code::InvalidParameterValue, message));
    }
    attributes
        .iter()
        .map(|(name, value)| check_attribute(name, value))
        .sum()
}

fn check_attribute(name: &str, value: &AttributeValue) -> Result<usize, Refusal> {
    let refused = |why: &str| {
        let message = format!("The message attribute '{name}' {why}.");
        Refusal::new(Code::InvalidParameterValue, message)
    };
    if !is_attribute_name(name) {
        return Err(refused("has an invalid name"));
    }
    let kind = value.data_type.split('.').next().unwrap_or_default();
    let value_bytes = match (kind, &value.string_value, &value.binary_value) {
        ("Binary", None, Some(base64)) => BASE64
            .decode(base64)
            .map_err(|_| refused("has a binary value that is not base64"))?
            .len(),
        ("String" | "Number", Some(text), None) if !text.is_empty() => {
            check_text(text)?;
            if kind == "Number" && text.parse::<f64>().is_err() {
                return Err(refused("has a number value that is not a number"));
            }
            text.len()
        }
        ("String" | "Number" | "Binary", ..) => {
            return Err(refused("must contain a value of its type, and only that"));
        }
        _ => return Err(refused("has an invalid type; String, Number or Binary is expected")),
    };
    if value_bytes == 0 {
        return Err(refused("must contain a non-empty value"));
    }
    Ok(name.len() + value.data_type.len() + value_bytes)
}

fn is_attribute_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    !name.is_empty()
        && name.len() <= 256
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
        && !lower.starts_with("aws.")
        && !lower.starts_with("amazon.")
}

/// Validates system attributes. The trace header is the only one allowed, and it doesn't count towards the size.
fn check_system_attributes(attributes: &BTreeMap<String, AttributeValue>) -> Result<(), Refusal> {
    for (name, value) in attributes {
        if name != "AWSTraceHeader" || value.data_type != "String" || value.string_value.is_none() {
            let message = format!("Message system attribute name '{name}' is invalid.");
            return Err(Refusal::new(Code::InvalidParameterValue, message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: Result<usize, Code>) {
        let outgoing = serde_json::from_str(json).expect("the test's JSON is right");
        let drafted = draft(outgoing);
        assert_eq!(drafted.map(|d| d.bytes).map_err(|r| r.code), expected);
    }

    #[test]
    fn size_counts_body_names_types_and_values() {
        check(r#"{"MessageBody":"four"}"#, Ok(4));
        check(
            r#"{"MessageBody":"four","MessageAttributes":{"ab":{"DataType":"String","StringValue":"xyz"}}}"#,
            Ok(4 + 2 + 6 + 3),
        );
        check(
            r#"{"MessageBody":"four","MessageAttributes":{"ab":{"DataType":"Binary","BinaryValue":"AAEC"}}}"#,
            Ok(4 + 2 + 6 + 3),
        );
    }

    #[test]
    fn malformed_messages_are_refused() {
        check(r#"{}"#, Err(Code::MissingParameter));
        check(r#"{"MessageBody":"\u0001"}"#, Err(Code::InvalidMessageContents));
        check(
            r#"{"MessageBody":"x","DelaySeconds":901}"#,
            Err(Code::InvalidParameterValue),
        );
        check(
            r#"{"MessageBody":"x","MessageGroupId":"a b"}"#,
            Err(Code::InvalidParameterValue),
        );
        check(
            r#"{"MessageBody":"x","MessageAttributes":{"n":{"DataType":"Number","StringValue":"two"}}}"#,
            Err(Code::InvalidParameterValue),
        );
    }
}
