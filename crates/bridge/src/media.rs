//! Files behind signed links: what came with a message, and what an agent gave.
//!
//! What came with a message is fetched from the platform on request, unless the platform serves it only for minutes:
//! then the run fetches it first, or a runner does while the message waits, and it is stored as long as the
//! links to it work.

pub(crate) mod upload;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tieline_core::agent::AgentEvent;
use tieline_core::connector::{Media, MediaError};
use tieline_core::event::{Event, Message, Part};
use tieline_core::http_types::{Body, HttpCall, TokenPlace};
use tieline_core::ids::{MessageId, OrganizationId, digest, fresh};
use tieline_core::reply::ReplyFile;
use tieline_core::timestamp::Timestamp;
use tieline_store::config::integration;
use tieline_store::file::{self, File};
use tieline_store::message::{self, MessageRecord};
use tieline_store::{Store, StoreError};
use tokio::time::{Instant, timeout};
use url::Url;

use crate::accounts::{self, Bot};
use crate::courier::{self, Download, DownloadError};
use crate::memory_budget::MemoryPermit;
use crate::quotes;
use crate::world::{World, random};

/// How long a link to a part of a message works: as long as a run needs it.
const LIFE: Duration = Duration::from_secs(3600);
/// How long a link to an agent's file works: people come back to an answer.
const FILE_LIFE: Duration = Duration::from_hours(7 * 24);
/// How often a download may be sent elsewhere.
const MAX_REDIRECTS: usize = 3;
/// Largest part of a message that is kept.
const MAX_KEPT_BYTES: usize = 20 * 1024 * 1024;
/// How long it is kept: longer than the links of a run that begins again.
const KEPT_LIFE: Duration = Duration::from_hours(3);
/// MemoryBudget that fetching a file takes at first.
const FIRST_ROOM: usize = 1024 * 1024;
/// MemoryBudget that reading a kept file takes at least: of some it isn't known how long they are, but no event brought more.
const LEAST_ROOM: usize = 1024 * 1024;
/// Where signed links lead, below our own address.
const MEDIA_PATH: &str = "/api/media/";
/// What sealed link tokens are about.
const MEDIA_TOKEN: &str = "media";

/// Where in a message a part stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartRef {
    /// Among its own parts.
    Message(usize),
    /// Among the parts of what it quotes.
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
    /// The bytes. They hold their room as long as they are there.
    pub bytes: Bytes,
    /// MIME type, from the bytes themselves where they tell.
    pub mime: String,
    /// File name, if known.
    pub name: Option<String>,
}

/// Why a part can't be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The link isn't ours or is too old.
    #[error("the link is not valid")]
    BadLink,
    /// The message or its bot is gone.
    #[error("the message is gone")]
    Gone,
    /// Too many others are being fetched.
    #[error("no room for another file within {} s", .0.as_secs())]
    NoRoom(Duration),
    /// It took too long.
    #[error("the file did not come within {} s", .0.as_secs())]
    Late(Duration),
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
pub fn link(world: &World, record: &MessageRecord, place: PartRef) -> String {
    let what = What::Part {
        message: record.id.clone(),
        place,
        organization: Some(record.organization.clone()),
    };
    let expires_at = world.clock.now().after(LIFE);
    Grant { what, expires_at }.link(world)
}

/// Keeps a file that an agent gave by content, so that everybody downstream sees a file by address. Other events pass.
///
/// # Errors
/// The table's.
pub async fn keep(world: &World, organization: &OrganizationId, event: AgentEvent) -> Result<AgentEvent, StoreError> {
    let AgentEvent::FileBytes { bytes, name, mime } = event else {
        return Ok(event);
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

/// Whose share of the memory budget a link uses. Links of an earlier version share one.
fn owner(organization: Option<OrganizationId>) -> OrganizationId {
    organization.unwrap_or_else(|| OrganizationId::new(""))
}

/// Keeps a part of a message whose platform soon doesn't give it any more: a link to it then leads to what is kept.
///
/// Doing it again changes nothing. Returns the file's name and MIME type.
///
/// # Errors
/// [`FetchError`].
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
    Ok((name, mime))
}

/// A file that came inside a message, on its way into the table.
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

/// Takes the files out of an event that came inside it: see [`Part::inline`]. They must be stored before the event is queued.
pub(crate) fn take_inline(bot: &Bot, event: &mut Event) -> Vec<InlineFile> {
    let Event::Message(message) = event else {
        return Vec::new();
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

/// Stores files that came inside a message, as long as the message may be answered. Doing it again changes nothing.
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

/// Reads a file that came inside a message, for which room was taken.
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

/// The same for every process that works on the message.
pub(crate) fn kept_id(message: &MessageId, place: PartRef) -> String {
    let (whose, at) = match place {
        PartRef::Message(at) => ("message", at),
        PartRef::Quote(at) => ("quote", at),
    };
    digest(&["part", message.as_str(), whose, &at.to_string()])
}

/// The file at an address that an agent gave, at most `max` bytes of it. One of ours is read without a detour over the network.
///
/// Boxed: a file of ours may lead back to a call of the platform.
fn fetch_address<'a>(
    world: &'a World,
    bot: &'a Bot,
    url: &'a str,
    max: usize,
    patience: Duration,
) -> BoxFuture<'a, Result<Fetched, FetchError>> {
    Box::pin(fetch_address_now(world, bot, url, max, patience))
}

async fn fetch_address_now(
    world: &World,
    bot: &Bot,
    url: &str,
    max: usize,
    patience: Duration,
) -> Result<Fetched, FetchError> {
    let ours = url.strip_prefix(world.settings.public_url.as_str());
    if let Some(token) = ours.and_then(|path| path.strip_prefix(MEDIA_PATH)) {
        let found = timeout(patience, open(world, token)).await;
        let found = found.unwrap_or(Err(FetchError::Late(patience)))?;
        let fits = found.bytes.len() <= max;
        return fits.then_some(found).ok_or(DownloadError::TooLong(max).into());
    }
    let organization = &bot.account.organization;
    let room = world.file_budget.take(organization, max, patience).await;
    let room = room.ok_or(FetchError::NoRoom(patience))?;
    let call = HttpCall {
        name: "reply_file",
        method: "GET",
        url: url.to_owned(),
        headers: Vec::new(),
        body: Body::Empty,
        token: TokenPlace::None,
        timeout: patience,
    };
    let fetched = timeout(patience, follow(world, bot, call, max, patience)).await;
    let Download { body, content_type, .. } = fetched.map_err(|_| FetchError::Late(patience))??;
    Ok(Fetched {
        bytes: room.fill(body),
        mime: content_type.unwrap_or_else(|| "application/octet-stream".to_owned()),
        name: None,
    })
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
    let bot = accounts::open(world, &bound.integration).map_err(|_| FetchError::Gone)?;
    let Some(Event::Message(message)) = crate::event_of(world, &record) else {
        return Err(FetchError::Gone);
    };
    let part = part_at(world, &bot, &message, place).await.ok_or(FetchError::Gone)?;
    fetch_for_link(world, &bot, &part).await
}

pub(crate) async fn fetch_for_link(world: &World, bot: &Bot, part: &Part) -> Result<Fetched, FetchError> {
    let settings = &world.settings;
    fetch_growing(world, bot, part, settings.max_file_bytes, settings.file_patience).await
}

/// Most files are short, so each gets little room at first: a few long ones, or slow platforms, must not stop all others. A longer one
/// is asked for again with as much as it told that it needs, and with all that it may have only if it didn't tell.
async fn fetch_growing(
    world: &World,
    bot: &Bot,
    part: &Part,
    most: usize,
    patience: Duration,
) -> Result<Fetched, FetchError> {
    let until = Instant::now() + patience;
    let first = most.min(FIRST_ROOM);
    let needed = match fetch_within(world, bot, part, first, until).await {
        Err(FetchError::Download(DownloadError::Announced(n_bytes))) => n_bytes,
        Err(FetchError::Download(DownloadError::TooLong(_))) if first < most => most,
        fetched => return fetched,
    };
    if needed > most {
        return Err(DownloadError::TooLong(most).into());
    }
    only_too_long(fetch_within(world, bot, part, needed, until).await, needed)
}

async fn fetch_within(
    world: &World,
    bot: &Bot,
    part: &Part,
    max: usize,
    until: Instant,
) -> Result<Fetched, FetchError> {
    let patience = until.saturating_duration_since(Instant::now());
    let room = world.file_budget.take(&bot.account.organization, max, patience).await;
    let room = room.ok_or(FetchError::NoRoom(patience))?;
    let patience = until.saturating_duration_since(Instant::now());
    fetch_into(world, bot, part, max, room, patience).await
}

async fn part_at(world: &World, bot: &Bot, message: &Message, place: PartRef) -> Option<Part> {
    match (place, &message.quoted, &message.refers_to) {
        (PartRef::Message(at), ..) => message.parts.get(at).cloned(),
        (PartRef::Quote(at), Some(quoted), _) => quoted.parts.get(at).cloned(),
        // As for the question: what is quoted only the platform can tell.
        (PartRef::Quote(at), None, Some(id)) => quotes::read(world, bot, id).await?.parts.into_iter().nth(at),
        (PartRef::Quote(_), None, None) => None,
    }
}

/// Downloads and decrypts a part of at most `max` bytes, for which room was taken, within `patience`.
///
/// # Errors
/// [`FetchError`].
pub async fn fetch(
    world: &World,
    bot: &Bot,
    part: &Part,
    max: usize,
    room: MemoryPermit,
    patience: Duration,
) -> Result<Fetched, FetchError> {
    only_too_long(fetch_into(world, bot, part, max, room, patience).await, max)
}

/// For whom it makes no difference whether the file told how long it is.
fn only_too_long(fetched: Result<Fetched, FetchError>, max: usize) -> Result<Fetched, FetchError> {
    match fetched {
        Err(FetchError::Download(DownloadError::Announced(_))) => Err(DownloadError::TooLong(max).into()),
        fetched => fetched,
    }
}

async fn fetch_into(
    world: &World,
    bot: &Bot,
    part: &Part,
    max: usize,
    room: MemoryPermit,
    patience: Duration,
) -> Result<Fetched, FetchError> {
    let fetching = async {
        let (media, mime) = download(world, bot, part, max, patience).await?;
        Ok(Fetched {
            bytes: room.fill(media.bytes),
            mime,
            name: media.name.or_else(|| part.name.clone()),
        })
    };
    timeout(patience, fetching)
        .await
        .unwrap_or(Err(FetchError::Late(patience)))
}

async fn download(
    world: &World,
    bot: &Bot,
    part: &Part,
    max: usize,
    patience: Duration,
) -> Result<(Media, String), FetchError> {
    let located = locate(world, bot, part).await?;
    let cx = bot.context(world, None);
    let source = bot.connector.media().ok_or(FetchError::NoLocator)?;
    let call = source.download(&located, &cx).ok_or(FetchError::NoLocator)?;
    let open = |download: Download| source.open(&located, download.body, download.disposition.as_deref(), &cx);
    let media = match open(follow(world, bot, call.clone(), max, patience).await?) {
        // Some platforms refuse with a success status: the refusal is in place of the bytes.
        Err(MediaError::TokenExpired) if call.token != TokenPlace::None => {
            courier::forget_token(world, bot).await;
            open(follow(world, bot, call, max, patience).await?)?
        }
        opened => opened?,
    };
    let mime = mime_of(&media.bytes, part);
    Ok((media, mime))
}

/// The type of a part, by its bytes where they tell, else by the platform.
fn mime_of(bytes: &[u8], part: &Part) -> String {
    let sniffed = infer::get(bytes).map(|kind| kind.mime_type().to_owned());
    sniffed
        .or_else(|| part.mime.clone())
        .unwrap_or_else(|| "application/octet-stream".to_owned())
}

/// Downloads, wherever it has moved: some platforms' links lead to a storage elsewhere. Every place passes the same guard.
async fn follow(
    world: &World,
    bot: &Bot,
    mut call: HttpCall,
    max: usize,
    patience: Duration,
) -> Result<Download, DownloadError> {
    for _ in 0..MAX_REDIRECTS {
        match courier::download(world, bot, &call, max, patience).await {
            Err(DownloadError::Moved(place)) => {
                call = moved(call, &place, world.settings.allow_private).ok_or(DownloadError::Forbidden)?;
            }
            ended => return ended,
        }
    }
    courier::download(world, bot, &call, max, patience).await
}

/// The same call at another place. What proves who we are stays with whom it was meant for.
fn moved(call: HttpCall, place: &str, allow_plain: bool) -> Option<HttpCall> {
    let from = Url::parse(&call.url).ok()?;
    let mut to = from.join(place).ok()?;
    // As with the platforms' own links: where plain HTTP is not allowed, its secure sister mostly answers.
    if to.scheme() == "http" && !allow_plain {
        to.set_scheme("https").ok()?;
    }
    let is_stranger = from.origin() != to.origin();
    Some(HttpCall {
        url: to.into(),
        headers: if is_stranger { Vec::new() } else { call.headers },
        token: if is_stranger { TokenPlace::None } else { call.token },
        ..call
    })
}

/// Asks for the part's address, on a platform that tells it only when asked.
async fn locate(world: &World, bot: &Bot, part: &Part) -> Result<Part, FetchError> {
    for renewed in [false, true] {
        let cx = bot.context(world, None);
        let lookup = bot.connector.media().and_then(|source| source.locate(part, &cx));
        let Some(lookup) = lookup else {
            return Ok(part.clone());
        };
        let answer = courier::send(world, bot, &lookup.call)
            .await
            .map_err(DownloadError::Token)?;
        match (lookup.read)(&answer) {
            Err(MediaError::TokenExpired) if !renewed => courier::forget_token(world, bot).await,
            located => return Ok(located?),
        }
    }
    Err(FetchError::Media(MediaError::TokenExpired))
}

#[cfg(test)]
mod tests;
