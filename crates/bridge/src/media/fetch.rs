//! Fetches files from platforms and from addresses that agents gave, within the memory budget and a time limit.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tieline_core::connector::{Media, MediaError};
use tieline_core::event::Part;
use tieline_core::http_types::{Body, HttpCall, TokenPlace};
use tokio::time::{Instant, timeout};
use url::Url;

use super::{FetchError, Fetched, MEDIA_PATH, open};
use crate::accounts::Bot;
use crate::courier::{self, Download, DownloadError};
use crate::lookup::{LookupError, look_up};
use crate::memory_budget::MemoryPermit;
use crate::world::World;

/// Most redirects of a download.
const MAX_REDIRECTS: usize = 3;
/// Memory budget first taken for fetching a file.
const FIRST_ROOM: usize = 1024 * 1024;

/// The file at an address that an agent gave, at most `max` bytes of it. A file of ours is read directly, not over the network.
///
/// Boxed: fetching a file of ours may call the platform, so the future is recursive.
pub(super) fn fetch_address<'a>(
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
    let until = Instant::now() + patience;
    growing(world, bot, Source::Address(url), max, until).await
}

/// Downloads a file of at most `max` bytes from an address. `room` is its memory permit.
async fn fetch_address_into(
    world: &World,
    bot: &Bot,
    url: &str,
    max: usize,
    room: MemoryPermit,
    patience: Duration,
) -> Result<Fetched, FetchError> {
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

pub(crate) async fn fetch_for_link(world: &World, bot: &Bot, part: &Part) -> Result<Fetched, FetchError> {
    let settings = &world.settings;
    fetch_growing(world, bot, part, settings.max_file_bytes, settings.file_patience).await
}

pub(super) async fn fetch_growing(
    world: &World,
    bot: &Bot,
    part: &Part,
    most: usize,
    patience: Duration,
) -> Result<Fetched, FetchError> {
    let until = Instant::now() + patience;
    growing(world, bot, Source::Part(part), most, until).await
}

/// Source of a file.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// A part of a message, from its platform.
    Part(&'a Part),
    /// An address that an agent gave.
    Address(&'a str),
}

/// Most files are short, so each gets a small permit at first: a few long files, or slow platforms, must not block all others. A longer
/// file is fetched again with the length that it announced, or with the maximum if it announced none.
async fn growing(
    world: &World,
    bot: &Bot,
    from: Source<'_>,
    most: usize,
    until: Instant,
) -> Result<Fetched, FetchError> {
    let first = most.min(FIRST_ROOM);
    let needed = match fetch_within(world, bot, from, first, until).await {
        Err(FetchError::Download(DownloadError::Announced(n_bytes))) => n_bytes,
        Err(FetchError::Download(DownloadError::TooLong(_))) if first < most => most,
        fetched => return fetched,
    };
    if needed > most {
        return Err(DownloadError::TooLong(most).into());
    }
    only_too_long(fetch_within(world, bot, from, needed, until).await, needed)
}

async fn fetch_within(
    world: &World,
    bot: &Bot,
    from: Source<'_>,
    max: usize,
    until: Instant,
) -> Result<Fetched, FetchError> {
    let patience = until.saturating_duration_since(Instant::now());
    let room = world.file_budget.take(&bot.account.organization, max, patience).await;
    let room = room.ok_or(FetchError::NoRoom(patience))?;
    let patience = until.saturating_duration_since(Instant::now());
    match from {
        Source::Part(part) => fetch_into(world, bot, part, max, room, patience).await,
        Source::Address(url) => fetch_address_into(world, bot, url, max, room, patience).await,
    }
}

/// Downloads and decrypts a part of at most `max` bytes within `patience`. `room` is its memory permit.
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

/// Merges both errors of a file that is too long, for callers to whom its announced length doesn't matter.
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
    let located = locate(world, bot, part, patience).await?;
    let cx = bot.context(world, None);
    let source = bot.connector.media().ok_or(FetchError::NoLocator)?;
    let call = source.download(&located, &cx).ok_or(FetchError::NoLocator)?;
    let open = |download: Download| source.open(&located, download.body, download.disposition.as_deref(), &cx);
    let media = match open(follow(world, bot, call.clone(), max, patience).await?) {
        // Some platforms refuse with a success status: the refusal is sent in place of the bytes.
        Err(MediaError::TokenExpired) if call.token != TokenPlace::None => {
            courier::forget_token(world, bot).await;
            open(follow(world, bot, call, max, patience).await?)?
        }
        opened => opened?,
    };
    let mime = mime_of(&media.bytes, part);
    Ok((media, mime))
}

/// The MIME type of a part, detected from its bytes where possible, else as the platform says.
pub(super) fn mime_of(bytes: &[u8], part: &Part) -> String {
    let sniffed = infer::get(bytes).map(|kind| kind.mime_type().to_owned());
    sniffed
        .or_else(|| part.mime.clone())
        .unwrap_or_else(|| "application/octet-stream".to_owned())
}

/// Downloads and follows redirects: some platforms' links lead to a storage elsewhere. Every address passes the SSRF guard.
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
                call =
                    moved(call, &place, world.settings.allow_private.allows_plain()).ok_or(DownloadError::Forbidden)?;
            }
            ended => return ended,
        }
    }
    courier::download(world, bot, &call, max, patience).await
}

/// The same call at another address. Credentials are only sent to the origin that they are meant for.
pub(super) fn moved(call: HttpCall, place: &str, allow_plain: bool) -> Option<HttpCall> {
    let from = Url::parse(&call.url).ok()?;
    let mut to = from.join(place).ok()?;
    // As with the platforms' own links: where plain HTTP is not allowed, HTTPS on the same address mostly works.
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

/// Requests the part's address, on a platform that reveals it only on request.
async fn locate(world: &World, bot: &Bot, part: &Part, patience: Duration) -> Result<Part, FetchError> {
    let cx = bot.context(world, None);
    let lookup = bot.connector.media().and_then(|source| source.locate(part, &cx));
    let Some(lookup) = lookup else {
        return Ok(part.clone());
    };
    let located = look_up(world, bot, &lookup, Instant::now() + patience).await;
    located.map_err(|error| match error {
        LookupError::Token(error) => DownloadError::Token(error).into(),
        LookupError::Refused(error) => error.into(),
    })
}
