//! Content of a message: text, media, and other content described as text.

use serde_json::json;
use tieline_core::event::{Part, PartKind};

use super::wire::{Content, Entity, File, Message};

/// The text or caption with its entities.
pub(super) fn text(message: &Message) -> (&str, &[Entity]) {
    if let Some(text) = &message.text {
        return (text, message.entities.as_deref().unwrap_or_default());
    }
    let entities = message.caption_entities.as_deref().unwrap_or_default();
    (message.caption.as_deref().unwrap_or_default(), entities)
}

/// All content of a message as text.
pub(super) fn words(message: &Message) -> String {
    let (text, _) = text(message);
    if text.is_empty() {
        in_words(&message.content)
    } else {
        text.trim().to_owned()
    }
}

/// Description of content that is neither text nor a file. Empty if there is none.
pub(super) fn in_words(content: &Content) -> String {
    if let Some(venue) = &content.venue {
        return format!("[venue: {}, {}{}]", venue.title, venue.address, position(content));
    }
    if content.location.is_some() {
        return format!("[location{}]", position(content));
    }
    if let Some(contact) = &content.contact {
        return format!("[contact: {}, {}]", contact.first_name, contact.phone_number);
    }
    if let Some(poll) = &content.poll {
        return format!("[poll: {}]", poll.question);
    }
    if let Some(dice) = &content.dice {
        return format!("[dice: {} {}]", dice.emoji, dice.value);
    }
    let sticker = content.sticker.as_ref();
    sticker.and_then(|sticker| sticker.emoji.clone()).unwrap_or_default()
}

fn position(content: &Content) -> String {
    let place = content.location.as_ref();
    place.map_or_else(String::new, |place| {
        format!(": {}, {}", place.latitude, place.longitude)
    })
}

/// Attachments. A photo comes in several sizes, the largest last; an animation is repeated as a document.
pub(super) fn parts(content: &Content) -> Vec<Part> {
    let photo = content.photo.as_ref().and_then(|sizes| sizes.last());
    let document = content.document.as_ref().filter(|_| content.animation.is_none());
    let media = [
        (PartKind::Image, photo),
        (PartKind::File, document),
        (PartKind::Audio, content.voice.as_ref()),
        (PartKind::Audio, content.audio.as_ref()),
        (PartKind::Video, content.video.as_ref()),
        (PartKind::Video, content.video_note.as_ref()),
        (PartKind::Video, content.animation.as_ref()),
    ];
    media
        .into_iter()
        .filter_map(|(kind, file)| Some(part(kind, file?)))
        .collect()
}

fn part(kind: PartKind, file: &File) -> Part {
    Part {
        kind,
        name: file.file_name.clone(),
        mime: file.mime_type.clone(),
        size: file.file_size,
        locator: json!({ "fileId": file.file_id }),
    }
}
