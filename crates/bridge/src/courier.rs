//! Sends a connector's calls to the platform and returns the answers.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::multipart::{Form, Part};
use tieline_core::backoff::Backoff;
use tieline_core::connector::{MediaError, TokenError, TokenExchange};
use tieline_core::http_types::{AccessToken, ApiAnswer, Body, HttpCall, TokenPlace};
use tieline_core::ids::digest;
use tieline_core::outbound_url;
use tieline_store::token_cache;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, warn};

use crate::accounts::Bot;
use crate::world::{LeastRate, World, chance};

/// Most bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// How long a call waits for another call that is fetching the bot's token.
const TOKEN_PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes read of a response that is not the requested file.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;
/// Most retries of a download after a transient failure.
const MAX_DOWNLOAD_RETRIES: u32 = 2;
/// Between two attempts of a download.
const DOWNLOAD_BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(2),
};

/// Sends a call of a long poll, whose answer may be longer than that of any other: it is cut at `max` bytes.
///
/// # Errors
/// [`TokenError`] if it needs a token and none can be fetched.
pub(crate) async fn fetch(world: &World, bot: &Bot, call: &HttpCall, max: usize) -> Result<ApiAnswer, TokenError> {
    let token = token_for(world, bot, call).await?;
    Ok(exchange_up_to(world, bot, call, token.as_ref(), None, max).await)
}

/// Sends a call, with the bot's access token where it needs one.
///
/// # Errors
/// [`TokenError`] if it needs a token and none can be fetched.
pub async fn send(world: &World, bot: &Bot, call: &HttpCall) -> Result<ApiAnswer, TokenError> {
    let token = token_for(world, bot, call).await?;
    Ok(send_with(world, bot, call, token.as_ref(), None).await)
}

/// The bot's access token, if the call needs one and its address is allowed. Fetching it may take longer than the call.
///
/// # Errors
/// [`TokenError`] if none can be fetched.
pub async fn token_for(world: &World, bot: &Bot, call: &HttpCall) -> Result<Option<AccessToken>, TokenError> {
    match (call.token, bot.connector.tokens()) {
        (TokenPlace::None, _) | (_, None) => Ok(None),
        _ if !may_be_called(world, call) => Ok(None),
        (_, Some(exchange)) => token(world, bot, exchange).await.map(Some),
    }
}

/// The bot's access token, for uses other than HTTP calls.
///
/// # Errors
/// [`TokenError`] if the platform issues none, or the connector has no token exchange.
pub(crate) async fn access_token(world: &World, bot: &Bot) -> Result<AccessToken, TokenError> {
    match bot.connector.tokens() {
        Some(exchange) => token(world, bot, exchange).await,
        None => Err(TokenError::Unavailable {
            code: "no_token_exchange".to_owned(),
        }),
    }
}

/// Sends a call with its access token. `file` is the content for [`Body::FileAt`].
pub(crate) async fn send_with(
    world: &World,
    bot: &Bot,
    call: &HttpCall,
    token: Option<&AccessToken>,
    file: Option<Bytes>,
) -> ApiAnswer {
    exchange_up_to(world, bot, call, token, file, MAX_ANSWER_BYTES).await
}

fn may_be_called(world: &World, call: &HttpCall) -> bool {
    outbound_url::check(&call.url, &world.settings.allow_private).is_ok()
}

/// The bot's access token: from memory, else from the table, else from the platform.
async fn token(world: &World, bot: &Bot, exchange: &dyn TokenExchange) -> Result<AccessToken, TokenError> {
    let slot = world.tokens.slot(&bot.account.integration);
    let Ok(mut kept) = timeout(TOKEN_PATIENCE, slot.lock()).await else {
        let code = "token_wait".to_owned();
        return Err(TokenError::Unavailable { code });
    };
    let now = world.clock.now();
    let source = source(bot);
    if let Some((_, token)) = kept.as_ref().filter(|(of, it)| *of == source && it.expires_at > now) {
        return Ok(token.clone());
    }
    let stored = token_cache::get(&world.store, &bot.account.integration, &source, now)
        .await
        .unwrap_or_else(|error| {
            warn!(account.id = %bot.account.integration, error = %error, "token cache can't be read");
            None
        });
    let token = match stored {
        Some(token) => token,
        None => ask(world, bot, exchange, &source).await?,
    };
    *kept = Some((source, token.clone()));
    Ok(token)
}

/// Digest of the inputs of a token exchange: other credentials or addresses yield another token. A keyed digest, since it is stored.
pub(crate) fn source(bot: &Bot) -> String {
    let account = &bot.account;
    let mut fields = vec!["credentials"];
    fields.extend(
        account
            .credentials
            .iter()
            .flat_map(|(name, value)| [name, value.expose()]),
    );
    fields.push("endpoints");
    fields.extend(account.endpoints.iter().flat_map(|(name, url)| [name.as_str(), url]));
    account.ids.other("tks_", &digest(&fields))
}

async fn ask(world: &World, bot: &Bot, tokens: &dyn TokenExchange, source: &str) -> Result<AccessToken, TokenError> {
    let cx = bot.context(world, None);
    let answer = send_with(world, bot, &tokens.request(&cx), None, None).await;
    let token = tokens.read(&answer, &cx)?;
    // The cache only saves calls: the token works without it.
    if let Err(error) = token_cache::put(&world.store, &bot.account.integration, source, &token).await {
        warn!(account.id = %bot.account.integration, error = %error, "token cache can't be written");
    }
    Ok(token)
}

/// Evicts the bot's access token, because the platform no longer accepts it.
pub async fn forget_token(world: &World, bot: &Bot) {
    let slot = world.tokens.slot(&bot.account.integration);
    let mut kept = slot.lock().await;
    *kept = None;
    if let Err(error) = token_cache::remove(&world.store, &bot.account.integration).await {
        warn!(account.id = %bot.account.integration, error = %error, "token cache can't be cleared");
    }
}

/// Sends a call as it is, if its address may be called, and reads at most `max` bytes of the answer.
async fn exchange_up_to(
    world: &World,
    bot: &Bot,
    call: &HttpCall,
    token: Option<&AccessToken>,
    file: Option<Bytes>,
    max: usize,
) -> ApiAnswer {
    if !may_be_called(world, call) {
        warn!(account.id = %bot.account.integration, call = call.name, "call blocked: its address may not be called");
        return ApiAnswer::NotSent;
    }
    #[cfg(feature = "seeded")]
    if let Some(platform) = world.http.simulated() {
        return platform.answer(call).await;
    }
    let Some(request) = build(world.http.client(), call, token, file) else {
        debug!(call = call.name, "call can't be made");
        return ApiAnswer::NotSent;
    };
    match request.send().await {
        Ok(response) => read(response, bot.connector.manifest().rate_hint, max).await,
        Err(error) if error.is_connect() || error.is_builder() => {
            debug!(call = call.name, error = %error.without_url(), "call was not sent");
            ApiAnswer::NotSent
        }
        Err(error) => {
            debug!(call = call.name, error = %error.without_url(), "call has no answer");
            ApiAnswer::Unknown
        }
    }
}

/// The request of a call; `file` is the content for [`Body::FileAt`].
fn build(
    http: &reqwest::Client,
    call: &HttpCall,
    token: Option<&AccessToken>,
    file: Option<Bytes>,
) -> Option<reqwest::RequestBuilder> {
    let method = call.method.parse().ok()?;
    let mut url = reqwest::Url::parse(&call.url).ok()?;
    if let (TokenPlace::Query(name), Some(token)) = (call.token, token) {
        url.query_pairs_mut().append_pair(name, token.token.expose());
    }
    let mut request = http.request(method, url).timeout(call.timeout);
    for (name, value) in &call.headers {
        request = request.header(name, value);
    }
    if let Some(token) = token {
        request = with_token(request, call.token, token)?;
    }
    Some(match &call.body {
        Body::Empty => request,
        Body::Json(text) => request
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .body(text.clone()),
        Body::Multipart { fields, file } => request.multipart(form(fields, file.as_ref())?),
        Body::FileAt { form: None, .. } => request.header(CONTENT_TYPE, "application/octet-stream").body(file?),
        Body::FileAt { form: Some(part), .. } => {
            let bytes = file?;
            let n_bytes = u64::try_from(bytes.len()).ok()?;
            let of_file = || Part::stream_with_length(bytes.clone(), n_bytes).file_name(part.name.clone());
            // The type comes from an agent, so it may be invalid.
            let of_file = of_file().mime_str(&part.mime).unwrap_or_else(|_| of_file());
            request.multipart(form(&part.fields, None)?.part(part.field, of_file))
        }
    })
}

fn with_token(
    request: reqwest::RequestBuilder,
    place: TokenPlace,
    token: &AccessToken,
) -> Option<reqwest::RequestBuilder> {
    let (name, text) = match place {
        TokenPlace::None | TokenPlace::Query(_) => return Some(request),
        TokenPlace::Bearer => (AUTHORIZATION, format!("Bearer {}", token.token.expose())),
        TokenPlace::Header(name) => (HeaderName::from_static(name), token.token.expose().to_owned()),
    };
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(request.header(name, value))
}

fn form(fields: &[(String, String)], file: Option<&(String, String, String, Vec<u8>)>) -> Option<Form> {
    let form = fields.iter().fold(Form::new(), |form, (name, value)| {
        form.text(name.clone(), value.clone())
    });
    let Some((field, name, mime, bytes)) = file else {
        return Some(form);
    };
    let part = Part::bytes(bytes.clone()).file_name(name.clone()).mime_str(mime).ok()?;
    Some(form.part(field.clone(), part))
}

/// Reads an answer. `rate_hint` names the header with the time to wait, if the platform doesn't send `Retry-After`.
async fn read(response: reqwest::Response, rate_hint: Option<&str>, max: usize) -> ApiAnswer {
    let status = response.status().as_u16();
    let seconds = |name: &str| -> Option<u64> { response.headers().get(name)?.to_str().ok()?.trim().parse().ok() };
    let retry_after_s = seconds(RETRY_AFTER.as_str()).or_else(|| seconds(rate_hint?));
    match read_body(response, max).await {
        Some(body) => ApiAnswer::Answered {
            status,
            retry_after_s,
            body,
        },
        None => ApiAnswer::Unknown,
    }
}

/// The body, cut at `max` bytes. `None` if it was cut off in transfer.
async fn read_body(response: reqwest::Response, max: usize) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.ok()?;
        let room = max - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == max {
            break;
        }
    }
    Some(body)
}

/// A file's bytes. Fails if they arrive at less than the least rate.
async fn read_file(response: reqwest::Response, max: usize, least: LeastRate) -> Result<Vec<u8>, DownloadError> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    let (mut before, mut until) = (0, Instant::now() + least.window);
    while body.len() < max {
        let Ok(chunk) = timeout_at(until, chunks.next()).await else {
            if body.len() - before < least.n_bytes {
                return Err(DownloadError::TooSlow);
            }
            (before, until) = (body.len(), Instant::now() + least.window);
            continue;
        };
        let Some(chunk) = chunk else {
            break;
        };
        let chunk = chunk.map_err(|_| DownloadError::Unreachable)?;
        let room = max - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
    Ok(body)
}

/// A download: its bytes and its `Content-Disposition`.
pub struct Download {
    /// The bytes.
    pub body: Vec<u8>,
    /// `Content-Disposition`.
    pub disposition: Option<String>,
    /// `Content-Type`.
    pub content_type: Option<String>,
}

/// Why there is no download.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The call could not be made or was cut off.
    #[error("media can't be reached")]
    Unreachable,
    /// The address may not be called.
    #[error("media is at an address that may not be called")]
    Forbidden,
    /// The platform answered with another status, and a later try may succeed.
    #[error("media answered with status {0}")]
    Status(u16),
    /// The platform refuses it permanently, with this status.
    #[error("media is refused with status {0}")]
    Refused(u16),
    /// It has moved to this address. See [`crate::media`] for which redirects are followed.
    #[error("media has moved")]
    Moved(String),
    /// Longer than allowed.
    #[error("media is longer than {0} bytes")]
    TooLong(usize),
    /// Longer than allowed, as announced in its headers.
    #[error("media has {0} bytes, which are more than allowed")]
    Announced(usize),
    /// It arrived more slowly than [`LeastRate`].
    #[error("media comes too slowly")]
    TooSlow,
    /// No access token.
    #[error("no access token")]
    Token(#[from] TokenError),
}

/// Downloads a file of at most `max` bytes, each attempt within `limit`. Retries failures that the platform calls transient, and fetches a new
/// token if the platform no longer accepts the old one.
///
/// # Errors
/// [`DownloadError`].
pub async fn download(
    world: &World,
    bot: &Bot,
    call: &HttpCall,
    max: usize,
    limit: Duration,
) -> Result<Download, DownloadError> {
    outbound_url::check(&call.url, &world.settings.allow_private).map_err(|_| DownloadError::Forbidden)?;
    let (mut renewed, mut failures) = (false, 0);
    loop {
        let response = ask_for_file(world, bot, call, limit).await?;
        let status = response.status();
        if status.is_success() {
            return file_of(response, max, world.settings.least_download).await;
        }
        if let Some(place) = header_of(&response, "location").filter(|_| status.is_redirection()) {
            return Err(DownloadError::Moved(place));
        }
        let body = read_body(response, MAX_REFUSAL_BYTES).await.unwrap_or_default();
        let refused = bot
            .connector
            .media()
            .map(|source| source.refused(status.as_u16(), &body));
        match refused.unwrap_or(MediaError::Gone) {
            MediaError::TokenExpired if !renewed && call.token != TokenPlace::None => {
                renewed = true;
                forget_token(world, bot).await;
            }
            MediaError::Passing if failures < MAX_DOWNLOAD_RETRIES => {
                failures += 1;
                sleep(DOWNLOAD_BACKOFF.wait(failures, chance())).await;
            }
            MediaError::Gone if is_permanent(status.as_u16()) => {
                return Err(DownloadError::Refused(status.as_u16()));
            }
            _ => return Err(DownloadError::Status(status.as_u16())),
        }
    }
}

/// Whether a platform that doesn't serve a file with this status never will. Not every connector reads the refusals of its platform.
const fn is_permanent(status: u16) -> bool {
    matches!(status, 400..=499) && !matches!(status, 401 | 408 | 425 | 429)
}

async fn ask_for_file(
    world: &World,
    bot: &Bot,
    call: &HttpCall,
    limit: Duration,
) -> Result<reqwest::Response, DownloadError> {
    let token = match (call.token, bot.connector.tokens()) {
        (TokenPlace::None, _) | (_, None) => None,
        (_, Some(exchange)) => Some(token(world, bot, exchange).await?),
    };
    let request = build(world.http.client(), call, token.as_ref(), None).ok_or(DownloadError::Unreachable)?;
    let sent = request.timeout(limit).send().await;
    sent.map_err(|_| DownloadError::Unreachable)
}

/// A header's text. Some platforms write file names into it as raw UTF-8.
fn header_of(response: &reqwest::Response, name: &str) -> Option<String> {
    let value = response.headers().get(name)?.as_bytes();
    Some(std::str::from_utf8(value).ok()?.to_owned())
}

async fn file_of(response: reqwest::Response, max: usize, least: LeastRate) -> Result<Download, DownloadError> {
    let header = |name: &str| header_of(&response, name);
    let (disposition, content_type) = (header("content-disposition"), header("content-type"));
    let announced = response
        .content_length()
        .map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    if let Some(n_bytes) = announced.filter(|n_bytes| *n_bytes > max) {
        return Err(DownloadError::Announced(n_bytes));
    }
    let body = read_file(response, max + 1, least).await?;
    if body.len() > max {
        return Err(DownloadError::TooLong(max));
    }
    Ok(Download {
        body,
        disposition,
        content_type,
    })
}
