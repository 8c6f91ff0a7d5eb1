//! Things that came with a message, fetched from the platform when somebody asks for them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_core::connector::MediaError;
use tieline_core::event::{Event, Message, Part};
use tieline_core::ids::MessageId;
use tieline_core::timestamp::Timestamp;
use tieline_store::StoreError;
use tieline_store::config::integration;
use tieline_store::message::{self, MessageRecord};

use crate::accounts::{self, Bot};
use crate::courier::{self, DownloadError};
use crate::world::World;

/// How long a link works.
const LIFE: Duration = Duration::from_secs(3600);
/// How long a download may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Largest file that is passed on.
pub const MAX_BYTES: usize = 100 * 1024 * 1024;
/// What sealed link tokens are about.
const MEDIA_TOKEN: &str = "media";

/// Where in a message a part stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// Among its own parts.
    Message(usize),
    /// Among the parts of what it quotes.
    Quote(usize),
}

#[derive(Serialize, Deserialize)]
struct Grant {
    message: MessageId,
    place: Place,
    #[serde(with = "tieline_core::timestamp::millis")]
    expires_at: Timestamp,
}

/// A part's plain bytes.
pub struct Fetched {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// MIME type, from the bytes themselves where they tell.
    pub mime: String,
    /// File name, if known.
    pub name: Option<String>,
}

/// Why a part can't be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The link isn't ours or is too old.
    #[error("the link is not valid")]
    BadLink,
    /// The message or its bot is gone.
    #[error("the message is gone")]
    Gone,
    /// The connector can't read its own locator.
    #[error("the part can't be located")]
    NoLocator,
    /// The download failed.
    #[error("the platform did not give it")]
    Download(#[from] DownloadError),
    /// The bytes are not what they should be.
    #[error("the bytes can't be read")]
    Media(#[from] MediaError),
    /// The table.
    #[error("table is unavailable")]
    Store(#[from] StoreError),
}

/// A signed link to a part of a message: `…/api/media/{token}`, for an hour.
///
/// # Panics
/// Never: a grant serializes.
#[must_use]
pub fn link(world: &World, record: &MessageRecord, place: Place) -> String {
    let grant = Grant {
        message: record.id.clone(),
        place,
        expires_at: world.clock.now().after(LIFE),
    };
    let json = serde_json::to_vec(&grant).expect("a grant serializes as JSON");
    format!(
        "{}/api/media/{}",
        world.settings.public_url,
        world.store.keyring().seal_url(&json, MEDIA_TOKEN)
    )
}

/// The part behind a link.
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
    let record = message::get(&world.store, &grant.message, world.clock.now())
        .await?
        .ok_or(FetchError::Gone)?;
    let bound = integration::load_bound(&world.store, &record.integration)
        .await?
        .ok_or(FetchError::Gone)?;
    let bot = accounts::open(world, &bound.integration).map_err(|_| FetchError::Gone)?;
    let Some(Event::Message(message)) = crate::event_of(world, &record) else {
        return Err(FetchError::Gone);
    };
    let part = part_at(&message, grant.place).ok_or(FetchError::Gone)?;
    fetch(world, &bot, part, MAX_BYTES).await
}

fn part_at(message: &Message, place: Place) -> Option<&Part> {
    match place {
        Place::Message(at) => message.parts.get(at),
        Place::Quote(at) => message.quoted.as_ref()?.parts.get(at),
    }
}

/// Downloads and decrypts a part of at most `max` bytes.
///
/// # Errors
/// [`FetchError`].
pub async fn fetch(world: &World, bot: &Bot, part: &Part, max: usize) -> Result<Fetched, FetchError> {
    let located = locate(world, bot, part).await?;
    let cx = bot.context(world, None);
    let call = bot.connector.media(&located, &cx).ok_or(FetchError::NoLocator)?;
    let download = courier::download(world, bot, &call, max, PATIENCE).await?;
    let media = bot
        .connector
        .open_media(&located, download.body, download.disposition.as_deref(), &cx)?;
    let sniffed = infer::get(&media.bytes).map(|kind| kind.mime_type().to_owned());
    let mime = sniffed
        .or_else(|| part.mime.clone())
        .unwrap_or_else(|| "application/octet-stream".to_owned());
    Ok(Fetched {
        bytes: media.bytes,
        mime,
        name: media.name.or_else(|| part.name.clone()),
    })
}

/// Asks for the part's address, on a platform that tells it only when asked.
async fn locate(world: &World, bot: &Bot, part: &Part) -> Result<Part, FetchError> {
    for renewed in [false, true] {
        let cx = bot.context(world, None);
        let Some(call) = bot.connector.locate(part, &cx) else {
            return Ok(part.clone());
        };
        let answer = courier::send(world, bot, &call).await.map_err(DownloadError::Token)?;
        match bot.connector.located(part, &answer, &cx) {
            Err(MediaError::TokenExpired) if !renewed => courier::forget_token(world, bot).await,
            located => return Ok(located?),
        }
    }
    Err(FetchError::Media(MediaError::TokenExpired))
}
