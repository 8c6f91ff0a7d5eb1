//! Content of a message: text, media, and other content described as text.

use serde_json::json;
use tieline_core::event::{Part, PartKind};

use super::wire::{Entity, File, Message};

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
        in_words(message)
    } else {
        text.trim().to_owned()
    }
}

/// Description of content that is neither text nor a file. Empty if there is none.
pub(super) fn in_words(message: &Message) -> String {
    if let Some(venue) = &message.venue {
        return format!("[venue: {}, {}{}]", venue.title, venue.address, position(message));
    }
    if message.location.is_some() {
        return format!("[location{}]", position(message));
    }
    if let Some(contact) = &message.contact {
        return format!("[contact: {}, {}]", contact.first_name, contact.phone_number);
    }
    if let Some(poll) = &message.poll {
        return format!("[poll: {}]", poll.question);
    }
    if let Some(dice) = &message.dice {
        return format!("[dice: {} {}]", dice.emoji, dice.value);
    }
    let sticker = message.sticker.as_ref();
    sticker.and_then(|sticker| sticker.emoji.clone()).unwrap_or_default()
}

fn position(message: &Message) -> String {
    let place = message.location.as_ref();
    place.map_or_else(String::new, |place| {
        format!(": {}, {}", place.latitude, place.longitude)
    })
}

/// Attachments. A photo comes in several sizes, the largest last; an animation is repeated as a document.
pub(super) fn parts(message: &Message) -> Vec<Part> {
    let photo = message.photo.as_ref().and_then(|sizes| sizes.last());
    let document = message.document.as_ref().filter(|_| message.animation.is_none());
    let media = [
        (PartKind::Image, photo),
        (PartKind::File, document),
        (PartKind::Audio, message.voice.as_ref()),
        (PartKind::Audio, message.audio.as_ref()),
        (PartKind::Video, message.video.as_ref()),
        (PartKind::Video, message.video_note.as_ref()),
        (PartKind::Video, message.animation.as_ref()),
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
