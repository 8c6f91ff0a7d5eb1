//! Converts the server's frames to events.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};
use tieline_core::connector::{Context, Remark};
use tieline_core::event::{Chat, ChatKind, Event, Message, Part, PartKind, Sender};
use tieline_core::ids::{ChatId, PlatformMessageId, SenderId};
use tieline_core::reply::{ReplyHandle, ReplyTarget};
use tieline_core::timestamp::Timestamp;

use super::settings::is_uid;
use super::wire::{self, Content, Payload, Said, ServerFrame, Source};
use crate::file_name;

/// Largest picture and largest file that the vendor's client accepts, in bytes.
const MAX_IMAGE_BYTES: usize = 10 * 1024 * 1024;
const MAX_FILE_BYTES: usize = 5 * 1024 * 1024;
/// Types of pictures that the vendor's client accepts.
const IMAGE_TYPES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];
/// Largest number of attachments of one message.
const MAX_PARTS: usize = 32;
/// Longest message id that is used unchanged, in bytes.
const MAX_ID: usize = 128;

/// A decoded frame.
pub(super) enum Heard {
    /// A message from a person. The remark is about unusable attachments.
    Said(Box<Event>, Option<Remark>),
    /// A ping of the server.
    Ping,
    /// A pong of the server.
    Pong,
    /// An acknowledgement of a chunk. Its id is the server's own: only the order identifies the chunk.
    Received,
    /// An error in place of an acknowledgement, or in a frame that needs none.
    Refused,
    /// Nothing to process.
    Nothing(Remark),
}

/// Decodes a text frame.
pub(super) fn decode(text: &str, cx: &Context<'_>) -> Heard {
    let text = text.trim();
    if text == "pong" {
        return Heard::Pong;
    }
    if !text.starts_with('{') {
        return unreadable("a frame is not a JSON object");
    }
    let Ok(frame) = serde_json::from_str::<ServerFrame<'_>>(text) else {
        return unreadable("a frame does not have the documented shape");
    };
    match &*frame.kind {
        "pong" => Heard::Pong,
        "ping" => Heard::Ping,
        "message" => match frame.payload.and_then(wire::object::<Payload<'_>>) {
            Some(payload) => message(payload, cx),
            None => unreadable("a message has no payload that can be read"),
        },
        "error" => Heard::Refused,
        "connected" | "system" => Heard::Nothing(Remark::Ignored("a greeting")),
        "ack" => Heard::Received,
        _ => Heard::Nothing(Remark::Ignored("a frame of an unknown type")),
    }
}

fn message(payload: Payload<'_>, cx: &Context<'_>) -> Heard {
    let input = payload.input;
    let said = payload.into_said();
    if !is_uid(&said.from_user_id) {
        return unreadable("a message has no sender that can be read");
    }
    let contents = input.map(wire::contents).unwrap_or_default();
    let mut read = Contents::default();
    for content in contents {
        read.add(content);
    }
    let text = match read.lines.is_empty() {
        true => said.text.clone(),
        false => read.lines.join("\n"),
    };
    if text.trim().is_empty() && read.parts.is_empty() {
        return Heard::Nothing(read.dropped.unwrap_or(Remark::Ignored("an empty message")));
    }
    let id = match said.message_id.len() {
        1..=MAX_ID => said.message_id.clone(),
        _ => derived_id(&said, input.map_or("[]", |input| input.get())),
    };
    let event = Event::Message(event(id, &said, text, read.parts, cx));
    Heard::Said(Box::new(event), read.dropped)
}

fn event(id: String, said: &Said, text: String, parts: Vec<Part>, cx: &Context<'_>) -> Message {
    let (id, sender) = (PlatformMessageId::new(id), SenderId::new(said.from_user_id.as_str()));
    Message {
        id: id.clone(),
        sender: Sender {
            id: sender.clone(),
            name: said.from_user_name.clone(),
        },
        sent_at: said.timestamp.filter(|at| *at > 0).map(Timestamp::from_millis),
        text,
        parts,
        quoted: None,
        chat_name: None,
        refers_to: None,
        topic_root: None,
        album: None,
        target: ReplyTarget {
            integration: cx.account.integration.clone(),
            chat: Chat {
                kind: ChatKind::Direct,
                id: ChatId::new(said.from_user_id.as_str()),
                thread: None,
            },
            asker: sender,
            message: id,
            handle: ReplyHandle::default(),
            // No reply window is documented.
            expires_at: None,
        },
    }
}

/// Id for a message without one: the same whenever the message is redelivered.
fn derived_id(said: &Said, input: &str) -> String {
    let text = |text: &str| serde_json::to_string(text).expect("a text serializes as JSON");
    let timestamp = said.timestamp.map_or_else(|| "null".to_owned(), |at| at.to_string());
    let identity = format!(
        r#"{{"fromUserId":{},"text":{},"timestamp":{timestamp},"input":{}}}"#,
        text(&said.from_user_id),
        text(&said.text),
        wire::compact(input),
    );
    format!("weibo_inbound_{}", &hex::encode(Sha1::digest(identity))[..16])
}

/// Text and attachments of a message.
#[derive(Default)]
struct Contents {
    lines: Vec<String>,
    parts: Vec<Part>,
    /// The latest reason for a dropped attachment.
    dropped: Option<Remark>,
}

impl Contents {
    fn add(&mut self, content: Content) {
        let part = match content {
            Content::Text { text } => {
                self.lines.extend(Some(text).filter(|text| !text.is_empty()));
                return;
            }
            _ if self.parts.len() == MAX_PARTS => Err("a message has too many attachments"),
            Content::Image { source, .. } if !IMAGE_TYPES.contains(&&*source.media_type) => {
                Err("a picture is of a type that is not accepted")
            }
            Content::Image { filename, source } => part(PartKind::Image, filename, source, MAX_IMAGE_BYTES),
            Content::File { filename, source } => part(PartKind::File, filename, source, MAX_FILE_BYTES),
        };
        match part {
            Ok(part) => self.parts.push(part),
            Err(reason) => self.dropped = Some(Remark::Unreadable(reason)),
        }
    }
}

fn part(kind: PartKind, name: Option<String>, source: Source, max_bytes: usize) -> Result<Part, &'static str> {
    // Checked before decoding, to save the work for oversized data.
    if source.data.len() > max_bytes.div_ceil(3) * 4 {
        return Err("an attachment is too large");
    }
    let bytes = Some(&source.kind).filter(|kind| *kind == "base64");
    let bytes = bytes.and_then(|_| STANDARD.decode(source.data.trim()).ok());
    let bytes = bytes.filter(|bytes| !bytes.is_empty() && bytes.len() <= max_bytes);
    let bytes = bytes.ok_or("an attachment can't be read")?;
    let mime = Some(source.media_type).filter(|mime| !mime.is_empty());
    Ok(Part::inline(
        kind,
        name.as_deref().and_then(file_name::clean),
        mime,
        &bytes,
    ))
}

const fn unreadable(reason: &'static str) -> Heard {
    Heard::Nothing(Remark::Unreadable(reason))
}
