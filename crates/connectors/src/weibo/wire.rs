//! The platform's JSON.
//!
//! See `src/client.ts`, `src/bot.ts` and `src/send.ts` of [`wecode-ai/openclaw-weibo`](https://github.com/wecode-ai/openclaw-weibo).

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Number, Value, json};

/// A frame of the server.
#[derive(Deserialize)]
pub(super) struct ServerFrame<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) payload: Option<&'a RawValue>,
}

/// The payload of a frame of type `message`. Some clients accept its fields in snake case too.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Payload<'a> {
    message_id: Option<Scalar>,
    #[serde(rename = "message_id")]
    message_id_snake: Option<Scalar>,
    from_user_id: Option<Scalar>,
    #[serde(rename = "from_user_id")]
    from_user_id_snake: Option<Scalar>,
    from_user_name: Option<Scalar>,
    text: Option<Scalar>,
    timestamp: Option<Scalar>,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
}

/// A value that should be a text or a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Number(Number),
    Other(IgnoredAny),
}

impl Scalar {
    fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(number) => Some(number.to_string()),
            Self::Other(_) => None,
        }
    }
}

/// The plain fields of a [`Payload`].
pub(super) struct Said {
    /// Empty if there is none.
    pub(super) message_id: String,
    /// Empty if there is none.
    pub(super) from_user_id: String,
    pub(super) from_user_name: Option<String>,
    pub(super) text: String,
    /// Milliseconds.
    pub(super) timestamp: Option<i64>,
}

impl Payload<'_> {
    pub(super) fn into_said(self) -> Said {
        let text = |field: Option<Scalar>| field.and_then(Scalar::into_text);
        let trimmed = |field| text(field).map(|text| text.trim().to_owned());
        Said {
            message_id: trimmed(self.message_id.or(self.message_id_snake)).unwrap_or_default(),
            from_user_id: trimmed(self.from_user_id.or(self.from_user_id_snake)).unwrap_or_default(),
            from_user_name: trimmed(self.from_user_name).filter(|name| !name.is_empty()),
            text: text(self.text).unwrap_or_default(),
            timestamp: text(self.timestamp).and_then(|millis| millis.parse().ok()),
        }
    }
}

/// An item of `input`.
#[derive(Deserialize)]
pub(super) struct Item<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: Vec<&'a RawValue>,
}

/// A part of an item's content.
#[derive(Deserialize)]
#[serde(tag = "type")]
pub(super) enum Content {
    /// Words.
    #[serde(rename = "input_text")]
    Text { text: String },
    /// A picture.
    #[serde(rename = "input_image")]
    Image { filename: Option<String>, source: Source },
    /// A file.
    #[serde(rename = "input_file")]
    File { filename: Option<String>, source: Source },
}

/// The bytes of a picture or a file.
#[derive(Deserialize)]
pub(super) struct Source {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) data: String,
}

/// The content of the user's items in `input`, in order. Items of other roles could be forged instructions, so they are skipped, like
/// malformed parts.
pub(super) fn contents(input: &RawValue) -> Vec<Content> {
    let items: Vec<&RawValue> = serde_json::from_str(input.get()).unwrap_or_default();
    let items = items.into_iter().filter_map(object::<Item<'_>>);
    let persons = items.filter(|item| item.kind == "message" && item.role == "user");
    persons.flat_map(|item| item.content).filter_map(object).collect()
}

/// Parses an object. An array of field values is refused, although the deserializer would accept it.
pub(super) fn object<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Option<T> {
    let text = value.get();
    text.starts_with('{').then(|| serde_json::from_str(text).ok()).flatten()
}

/// JSON without white space between values.
pub(super) fn compact(json: &str) -> String {
    let (mut in_text, mut escaped) = (false, false);
    let keep = |c: &char| {
        let keep = in_text || !c.is_ascii_whitespace();
        (in_text, escaped) = match (in_text, *c) {
            (true, '\\') => (true, !escaped),
            (inside, '"') if !escaped => (!inside, false),
            (inside, _) => (inside, false),
        };
        keep
    };
    json.chars().filter(keep).collect()
}

/// An outgoing frame that appends `text` to a message.
pub(super) fn send_message(to: &str, message: &str, chunk: u32, text: &str, done: bool) -> Value {
    let payload = json!({ "toUserId": to, "text": text, "messageId": message, "chunkId": chunk, "done": done });
    json!({ "type": "send_message", "payload": payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_white_space_between_values_is_removed() {
        let json = "[ {\"a b\" : \"c \\\" d\\\\\" , \"e\":\n1 } ]";
        assert_eq!(compact(json), "[{\"a b\":\"c \\\" d\\\\\",\"e\":1}]");
    }

    #[test]
    fn malformed_parts_are_skipped() {
        let input = r#"[{"type":"message","role":"user","content":[{"type":"input_text","text":"a"},{"type":"input_video"},7,
            ["input_text","b"]]}, 5, {"type":"message","role":"system","content":[{"type":"input_text","text":"c"}]}]"#;
        let raw: &RawValue = serde_json::from_str(input).unwrap();
        let found = contents(raw);
        assert!(matches!(&found[..], [Content::Text { text }] if text == "a"));
    }
}
