//! Files that are received inside an event instead of at an address: stored before the event is queued.

use bytes::Bytes;
use tieline_core::event::{Event, Part};
use tieline_core::ids::MessageId;
use tieline_core::timestamp::Timestamp;
use tieline_store::file::{self, File};
use tieline_store::{Store, StoreError};

use super::fetch::mime_of;
use super::{FILE_LIFE, FetchError, Fetched, PartRef, kept_id};
use crate::accounts::Bot;
use crate::courier::DownloadError;
use crate::memory_budget::MemoryPermit;
use crate::world::World;

/// A file received inside a message that is to be stored.
#[derive(Clone)]
pub(crate) struct InlineFile {
    id: String,
    name: Option<String>,
    mime: String,
    bytes: Bytes,
}

impl InlineFile {
    /// Its length in bytes.
    pub(crate) fn n_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// Moves inline files out of an event: see [`Part::inline`]. They must be stored before the event is queued.
pub(crate) fn take_inline(bot: &Bot, event: &mut Event) -> Vec<InlineFile> {
    let message = match event {
        Event::Message(message) => message,
        // Of a message not addressed to the bot only the text is kept.
        Event::Overheard(message) => {
            message.parts.iter_mut().for_each(|part| drop(part.take_inline()));
            return Vec::new();
        }
        Event::CardAction(_) | Event::Feedback(_) | Event::Recalled(_) | Event::ChatMoved(_) => return Vec::new(),
    };
    let id = bot.account.ids.message(&message.id);
    let own = message.parts.iter_mut().enumerate();
    let quoted = message.quoted.iter_mut().flat_map(|quoted| quoted.parts.iter_mut());
    let parts = own
        .map(|(at, part)| (PartRef::Message(at), part))
        .chain(quoted.enumerate().map(|(at, part)| (PartRef::Quote(at), part)));
    let file = |(place, part): (PartRef, &mut Part)| {
        let bytes = Bytes::from(part.take_inline()?);
        let mime = mime_of(&bytes, part);
        part.mime = Some(mime.clone());
        Some(InlineFile {
            id: kept_id(&id, place),
            name: part.name.clone(),
            mime,
            bytes,
        })
    };
    parts.filter_map(file).collect()
}

/// Stores inline files for as long as the message may be answered. Idempotent.
///
/// # Errors
/// The table's.
pub(crate) async fn store_inline(store: &Store, files: &[InlineFile], now: Timestamp) -> Result<(), StoreError> {
    for file in files {
        let label = (file.name.as_deref(), file.mime.as_str());
        file::put(store, &file.id, label, &file.bytes, now.after(FILE_LIFE)).await?;
    }
    Ok(())
}

/// Reads a stored inline file. `room` is its memory permit.
///
/// # Errors
/// [`FetchError`].
pub(crate) async fn fetch_inline(
    world: &World,
    message: &MessageId,
    place: PartRef,
    max: usize,
    room: MemoryPermit,
) -> Result<Fetched, FetchError> {
    let (id, now) = (kept_id(message, place), world.clock.now());
    let n_bytes = file::size(&world.store, &id, now).await?.ok_or(FetchError::Gone)?;
    if n_bytes > max {
        return Err(DownloadError::TooLong(max).into());
    }
    let File { name, mime, bytes } = file::get(&world.store, &id, now).await?.ok_or(FetchError::Gone)?;
    Ok(Fetched {
        bytes: room.fill(bytes),
        mime,
        name,
    })
}
