//! Text of a question: the quote, the message, and links to attachments that the protocol can't carry.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tieline_core::agent::{AgentMessage, AgentPart};

/// The attachments of a message: those of the quoted message first.
pub(crate) fn parts(message: &AgentMessage) -> impl Iterator<Item = &AgentPart> {
    let quoted = message.quoted.as_ref().map_or(&[][..], |(_, parts)| parts);
    quoted.iter().chain(&message.parts)
}

/// The text to send: the quoted message as a block quote, the message itself, and a link for each attachment for which `carried`
/// is false.
pub(crate) fn text(message: &AgentMessage, carried: impl Fn(&AgentPart) -> bool) -> String {
    let quoted = message.quoted.as_ref();
    let mut text = quoted.map(|(quoted, _)| block_quote(quoted)).unwrap_or_default();
    text.push_str(&message.text);
    mention_all(parts(message).filter(|part| !carried(part)), &mut text);
    text
}

/// The answer to a question that an agent has asked: the person's words and a link for each of the message's attachments. Without the quoted
/// message, which is the question, and without the speaker's name: agents compare answers with the words that they expect.
pub(crate) fn answer(message: &AgentMessage) -> String {
    with_attachments(&message.answer, message)
}

/// A part of that answer with a link for each attachment, for a protocol that has another place for the rest of the words.
pub(crate) fn with_attachments(words: &str, message: &AgentMessage) -> String {
    let mut text = words.to_owned();
    mention_all(message.parts.iter(), &mut text);
    text
}

fn mention_all<'a>(parts: impl Iterator<Item = &'a AgentPart>, text: &mut String) {
    for part in parts {
        mention(part, text);
    }
}

fn block_quote(quoted: &str) -> String {
    let lines = quoted.lines().map(|line| format!("> {line}\n"));
    let mut quote: String = lines.collect();
    if !quote.is_empty() {
        quote.push('\n');
    }
    quote
}

fn mention(part: &AgentPart, text: &mut String) {
    if !text.is_empty() {
        text.push('\n');
    }
    let kind = part.kind.word();
    let name = part.name.as_deref().unwrap_or_default();
    let link = match part.unavailable {
        true => " (unavailable)".to_owned(),
        false => format!("({})", part.url),
    };
    text.push_str(&format!("[{kind}: {name}]{link}"));
}

/// URL of a picture: a `data:` URL if its bytes are in the request, else its link.
pub(crate) fn image_url(part: &AgentPart) -> String {
    match &part.inline {
        Some(bytes) => format!("data:{};base64,{}", image_type(part, bytes), STANDARD.encode(bytes)),
        None => part.url.clone(),
    }
}

/// MIME type of a picture, detected by its first bytes: platforms seldom send it, and servers refuse a wrong one.
pub(crate) fn image_type<'a>(part: &'a AgentPart, bytes: &[u8]) -> &'a str {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        _ => part.mime.as_deref().unwrap_or("application/octet-stream"),
    }
}

/// A name for a file that has none.
pub(crate) fn file_name(mime: &str) -> String {
    let extension = mime
        .split('/')
        .next_back()
        .filter(|it| it.chars().all(char::is_alphanumeric));
    format!("file.{}", extension.unwrap_or("bin"))
}
