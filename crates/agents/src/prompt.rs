//! The text of a question: the quote, the message, and links to attachments that the protocol can't carry.

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
    for part in parts(message).filter(|part| !carried(part)) {
        mention(part, &mut text);
    }
    text
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
