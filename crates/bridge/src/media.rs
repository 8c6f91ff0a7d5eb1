//! Files behind signed links: attachments of messages, and files of agents.
//!
//! Attachments are fetched from the platform on request, unless the platform serves them only for minutes: then the run prefetches them
//! first, or a runner does while the message waits, and they are stored for longer than the links to them work.

mod fetch;
mod inline;
pub(crate) mod upload;

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tieline_core::agent::AgentEvent;
use tieline_core::connector::MediaError;
use tieline_core::event::{Event, Message, Part};
use tieline_core::ids::{MessageId, OrganizationId, digest, fresh};
use tieline_core::reply::ReplyFile;
use tieline_core::timestamp::Timestamp;
use tieline_store::config::integration;
use tieline_store::file::{self, File};
use tieline_store::message::{self, MessageRecord};
use tieline_store::{StoreError, erase};

pub use self::fetch::fetch;
pub(crate) use self::fetch::fetch_for_link;
use self::fetch::fetch_growing;
pub(crate) use self::inline::{InlineFile, fetch_inline, store_inline, take_inline};
use crate::accounts::{self, Bot};
use crate::courier::DownloadError;
use crate::quotes;
use crate::world::{World, random};

/// How long a link to a part of a message works: as long as a run needs it.
const LIFE: Duration = Duration::from_secs(3600);
/// How long a link to an agent's file works: people come back to an answer.
const FILE_LIFE: Duration = Duration::from_hours(7 * 24);
/// Largest part of a message that is stored.
const MAX_KEPT_BYTES: usize = 20 * 1024 * 1024;
/// How long it is stored: a message may wait for hours, and be redriven the next day, and its links work for an hour after that.
const KEPT_LIFE: Duration = Duration::from_hours(25);
/// Least memory budget for reading a stored file: the length of some is unknown, but no event brought more.
const LEAST_ROOM: usize = 1024 * 1024;
/// Path of signed links, below our own address.
const MEDIA_PATH: &str = "/api/media/";
/// Purpose of sealed link tokens.
const MEDIA_TOKEN: &str = "media";

/// Position of a part in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartRef {
    /// Among the message's own parts.
    Message(usize),
    /// Among the parts of the quoted message.
    Quote(usize),
}

#[derive(Serialize, Deserialize)]
struct Grant {
    what: What,
    #[serde(with = "tieline_core::timestamp::millis")]
    expires_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
enum What {
    Part {
        message: MessageId,
        place: PartRef,
        /// Absent in links of an earlier version.
        #[serde(default)]
        organization: Option<OrganizationId>,
    },
    File {
        id: String,
        /// As above.
        #[serde(default)]
        organization: Option<OrganizationId>,
    },
}

impl Grant {
    fn link(&self, world: &World) -> String {
        let json = serde_json::to_vec(self).expect("a grant serializes as JSON");
        let token = world.store.keyring().seal_url(&json, MEDIA_TOKEN);
        format!("{}{MEDIA_PATH}{token}", world.settings.public_url)
    }
}

/// A file's plain bytes.
pub struct Fetched {
    /// The bytes. They hold their memory permit until they are dropped.
    pub bytes: Bytes,
    /// MIME type, detected from the bytes where possible.
    pub mime: String,
    /// File name, if known.
    pub name: Option<String>,
}

/// Why a part can't be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The link isn't ours or has expired.
    #[error("the link is not valid")]
    BadLink,
    /// The message or its bot is gone.
    #[error("the message is gone")]
    Gone,
    /// Too many other files are being fetched.
    #[error("no memory budget for another file within {} s", .0.as_secs())]
    NoRoom(Duration),
    /// It took too long.
    #[error("the file did not arrive within {} s", .0.as_secs())]
    Late(Duration),
    /// The connector can't read its own locator.
    #[error("the part can't be located")]
    NoLocator,
    /// The download failed.
    #[error("the platform did not serve the file")]
    Download(#[from] DownloadError),
    /// The bytes are not what they should be.
    #[error("the bytes can't be read")]
    Media(#[from] MediaError),
    /// The table failed.
    #[error("table is unavailable")]
    Store(#[from] StoreError),
}

impl FetchError {
    /// Whether the platform doesn't serve the file and never will, so that a link to it would be dead.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::Download(DownloadError::Refused(_)) | Self::Media(MediaError::Gone)
        )
    }
}

/// A signed link to a part of a message: `…/api/media/{token}`, for an hour.
///
/// # Panics
/// Never: a grant serializes.
#[must_use]
pub fn link(world: &World, record: &MessageRecord, place: PartRef) -> String {
    let what = What::Part {
        message: record.id.clone(),
        place,
        organization: Some(record.organization.clone()),
    };
    let expires_at = world.clock.now().after(LIFE);
    Grant { what, expires_at }.link(world)
}

/// Stores a file that an agent gave by content, so that all later code sees a file by address. Other events are returned unchanged.
///
/// # Errors
/// The table's.
pub async fn keep(world: &World, organization: &OrganizationId, event: AgentEvent) -> Result<AgentEvent, StoreError> {
    let (bytes, name, mime) = match event {
        AgentEvent::FileBytes { bytes, name, mime } => (bytes, name, mime),
        AgentEvent::Card(card) if !world.settings.allow_private.allows_plain() => {
            return Ok(AgentEvent::Card(card.without_http()));
        }
        event => return Ok(event),
    };
    let id = fresh("fil", random());
    let expires_at = world.clock.now().after(FILE_LIFE);
    file::put(&world.store, &id, (Some(&name), &mime), &bytes, expires_at).await?;
    let what = What::File {
        id,
        organization: Some(organization.clone()),
    };
    let url = Grant { what, expires_at }.link(world);
    Ok(AgentEvent::File(ReplyFile { url, name, mime }))
}

/// The file behind a link.
///
/// # Errors
/// [`FetchError`].
pub async fn open(world: &World, token: &str) -> Result<Fetched, FetchError> {
    let json = world
        .store
        .keyring()
        .open_url(token, MEDIA_TOKEN)
        .map_err(|_| FetchError::BadLink)?;
    let grant: Grant = serde_json::from_slice(&json).map_err(|_| FetchError::BadLink)?;
    if grant.expires_at <= world.clock.now() {
        return Err(FetchError::BadLink);
    }
    match grant.what {
        What::Part {
            message,
            place,
            organization,
        } => open_part(world, &owner(organization), &message, place).await,
        What::File { id, organization } => open_file(world, &owner(organization), &id)
            .await?
            .ok_or(FetchError::Gone),
    }
}

/// The organization whose share of the memory budget a link uses. Links of an earlier version share one.
fn owner(organization: Option<OrganizationId>) -> OrganizationId {
    organization.unwrap_or_else(|| OrganizationId::new(""))
}

/// Prefetches a part of a message that its platform deletes soon: a link to it then leads to the stored copy.
///
/// Idempotent. Returns the file's name and MIME type.
///
/// # Errors
/// [`FetchError`]; [`FetchError::Gone`] if the message was erased meanwhile.
pub async fn keep_part(
    world: &World,
    bot: &Bot,
    message: &MessageId,
    part: &Part,
    place: PartRef,
    patience: Duration,
) -> Result<(Option<String>, String), FetchError> {
    let id = kept_id(message, place);
    let now = world.clock.now();
    if let Some(label) = file::label(&world.store, &id, now).await? {
        return Ok(label);
    }
    let max = world.settings.max_file_bytes.min(MAX_KEPT_BYTES);
    let Fetched { bytes, mime, name } = fetch_growing(world, bot, part, max, patience).await?;
    let label = (name.as_deref(), mime.as_str());
    file::put(&world.store, &id, label, &bytes, now.after(KEPT_LIFE)).await?;
    // The message may have been erased since it was read, with its files. What is erased after this read takes this one with it.
    match message::get(&world.store, message, world.clock.now()).await? {
        Some(found) if found.is_erased() => {
            erase::file(&world.store, &id).await?;
            Err(FetchError::Gone)
        }
        _ => Ok((name, mime)),
    }
}

/// The id of a stored part: the same in every process that works on the message.
pub(crate) fn kept_id(message: &MessageId, place: PartRef) -> String {
    let (whose, at) = match place {
        PartRef::Message(at) => ("message", at),
        PartRef::Quote(at) => ("quote", at),
    };
    digest(&["part", message.as_str(), whose, &at.to_string()])
}

async fn open_file(world: &World, organization: &OrganizationId, id: &str) -> Result<Option<Fetched>, FetchError> {
    let now = world.clock.now();
    let Some(n_bytes) = file::size(&world.store, id, now).await? else {
        return Ok(None);
    };
    let n_bytes = n_bytes.max(LEAST_ROOM);
    if n_bytes > world.settings.max_file_bytes {
        return Err(DownloadError::TooLong(world.settings.max_file_bytes).into());
    }
    let patience = world.settings.file_patience;
    let room = world.file_budget.take(organization, n_bytes, patience).await;
    let room = room.ok_or(FetchError::NoRoom(patience))?;
    let found = file::get(&world.store, id, now).await?;
    Ok(found.map(|File { name, mime, bytes }| Fetched {
        bytes: room.fill(bytes),
        mime,
        name,
    }))
}

async fn open_part(
    world: &World,
    organization: &OrganizationId,
    message: &MessageId,
    place: PartRef,
) -> Result<Fetched, FetchError> {
    if let Some(kept) = open_file(world, organization, &kept_id(message, place)).await? {
        return Ok(kept);
    }
    let record = message::get(&world.store, message, world.clock.now())
        .await?
        .ok_or(FetchError::Gone)?;
    let bound = integration::look_up(&world.store, &record.integration, world.clock.now())
        .await?
        .ok_or(FetchError::Gone)?;
    let bot = accounts::open_if_usable(world, &bound.integration)?.ok_or(FetchError::Gone)?;
    let Some(Event::Message(message)) = crate::event_of(world, &record)? else {
        return Err(FetchError::Gone);
    };
    let part = part_at(world, &bot, &message, place).await.ok_or(FetchError::Gone)?;
    fetch_for_link(world, &bot, &part).await
}

async fn part_at(world: &World, bot: &Bot, message: &Message, place: PartRef) -> Option<Part> {
    let told_on_request = message.refers_to.as_ref().or(message.topic_root.as_ref());
    match (place, &message.quoted, told_on_request) {
        (PartRef::Message(at), ..) => message.parts.get(at).cloned(),
        (PartRef::Quote(at), Some(quoted), _) => quoted.parts.get(at).cloned(),
        // As for the question: only the platform knows what is quoted.
        (PartRef::Quote(at), None, Some(id)) => quotes::read(world, bot, id).await?.parts.into_iter().nth(at),
        (PartRef::Quote(_), None, None) => None,
    }
}

#[cfg(test)]
mod tests;
