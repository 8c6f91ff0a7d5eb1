//! Digests of a message: MD5 for the caller to check, SHA-256 for deduplication.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::{Digest as _, Md5};
use sha2::Sha256;

use super::wire::AttributeValue;

/// Hex MD5 of a body.
pub(super) fn of_body(body: &str) -> String {
    hex::encode(Md5::digest(body))
}

/// Hex SHA-256 of a body: its deduplication id where the queue asks for content-based deduplication.
pub(super) fn content_id(body: &str) -> String {
    hex::encode(Sha256::digest(body))
}

/// Hex MD5 of message attributes; `None` if there are none.
///
/// See [SQS Developer Guide/Calculating the MD5 message digest for message attributes](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html).
pub(super) fn of_attributes(attributes: &BTreeMap<String, AttributeValue>) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let mut md5 = Md5::new();
    for (name, value) in attributes {
        measured(&mut md5, name.as_bytes());
        measured(&mut md5, value.data_type.as_bytes());
        match (&value.string_value, &value.binary_value) {
            (Some(text), _) => {
                md5.update([1]);
                measured(&mut md5, text.as_bytes());
            }
            (None, binary) => {
                md5.update([2]);
                // Validated when the message was accepted.
                let bytes = BASE64.decode(binary.as_deref().unwrap_or_default());
                measured(&mut md5, &bytes.unwrap_or_default());
            }
        }
    }
    Some(hex::encode(md5.finalize()))
}

/// Adds `bytes` after their length (four bytes, big-endian).
fn measured(md5: &mut Md5, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("a message is at most 1 MiB");
    md5.update(length.to_be_bytes());
    md5.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::{of_attributes, of_body};

    #[test]
    fn body_digest_is_plain_md5() {
        assert_eq!(of_body("hello"), "5d41402abc4b2a76b9719d911017c592");
    }

    #[test]
    fn attribute_digest_covers_name_type_and_value_in_name_order() {
        let attributes = serde_json::from_str(
            r#"{"b":{"DataType":"Binary","BinaryValue":"AAEC"},"a":{"DataType":"String","StringValue":"x"}}"#,
        )
        .unwrap();
        let mut plain = Vec::new();
        for part in [&b"a"[..], b"String"] {
            plain.extend((part.len() as u32).to_be_bytes());
            plain.extend(part);
        }
        plain.extend([1, 0, 0, 0, 1, b'x']);
        for part in [&b"b"[..], b"Binary"] {
            plain.extend((part.len() as u32).to_be_bytes());
            plain.extend(part);
        }
        plain.extend([2, 0, 0, 0, 3, 0, 1, 2]);
        let expected = hex::encode(<md5::Md5 as md5::Digest>::digest(plain));
        assert_eq!(of_attributes(&attributes), Some(expected));
    }
}
