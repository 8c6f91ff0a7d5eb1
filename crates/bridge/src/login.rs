//! QR code login: requests a QR code from the platform, polls the state of the login, and stores the credentials obtained.
//!
//! A login has no task: each request for its state polls the platform, one process at a time. So it works on any
//! instance and continues after a restart.

use std::time::Duration;

use tieline_core::account::Credentials;
use tieline_core::backoff::Backoff;
use tieline_core::connector::TokenError;
use tieline_core::http_types::{ApiAnswer, HttpCall};
use tieline_core::login::{LoginProgress, ScanLogin};
use tieline_store::StoreError;
use tieline_store::config::integration::{self, IntegrationError, IntegrationRecord};
use tieline_store::log::{self, Level, LogEntry};
use tieline_store::login::{self, LoginRecord, LoginState};
use tieline_store::status;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::accounts::{self, AccountError, Bot};
use crate::courier;
use crate::world::{World, chance, random};

/// How long the platform may hold a poll open: less than any gateway waits for our own answer.
const POLL_WITHIN: Duration = Duration::from_secs(20);
/// How long one process has the exclusive right to poll: a dead process delays the login no longer.
const POLL_CLAIM: Duration = Duration::from_secs(25);
/// Most attempts of a write that loses races.
const MAX_RACES: u32 = 8;
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(20),
    cap: Duration::from_millis(500),
};

/// Why a login can't proceed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The platform has no login: its credentials are entered by hand.
    #[error("the platform offers no login")]
    NotOffered,
    /// The platform didn't ask for digits.
    #[error("the login does not ask for a code")]
    NoCodeAsked,
    /// The platform can't be reached or returns no QR code.
    #[error("the platform can't log the bot in at the moment: {code}")]
    Unavailable {
        /// The platform's code, or what happened.
        code: String,
    },
    /// The settings of the integration can't be used.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The table failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Starts a login. It replaces one that has not ended.
///
/// # Errors
/// [`LoginError`].
pub async fn start(world: &World, record: &IntegrationRecord) -> Result<LoginRecord, LoginError> {
    let (bot, platform) = open(world, record)?;
    let reason = status::get(&world.store, &record.id).await?.reason;
    let signed_out = reason.as_deref() == Some("login_expired");
    let call = platform.start(signed_out, &bot.context(world, None));
    let answer = ask(world, &bot, &call).await?;
    let code = platform
        .read_code(&answer, &bot.context(world, None))
        .map_err(|error| LoginError::Unavailable { code: error.code })?;
    for race in 0..MAX_RACES {
        let now = world.clock.now();
        let before = login::get(&world.store, &record.id, now).await?;
        let mut begun = LoginRecord {
            state: LoginState::Waiting,
            code: None,
            qr_url: code.qr_url.clone(),
            ticket: code.ticket.clone(),
            expires_at: code.expires_at,
            polled_until: None,
            version: before.map_or(0, |before| before.version),
        };
        match login::put(&world.store, &record.id, &mut begun, now).await {
            Err(StoreError::Conflict) => sleep(BACKOFF.wait(race + 1, chance())).await,
            Err(error) => return Err(error.into()),
            Ok(()) => {
                info!(account.id = %record.id, "login is started");
                return Ok(begun);
            }
        }
    }
    Err(StoreError::Conflict.into())
}

/// The state of the latest login, as in the table. `None`: there was none in the last day.
///
/// # Errors
/// [`LoginError`].
pub async fn look(world: &World, record: &IntegrationRecord) -> Result<Option<LoginRecord>, LoginError> {
    open(world, record)?;
    let now = world.clock.now();
    let found = login::get(&world.store, &record.id, now).await?;
    Ok(
        found.map(|login| match login.state.is_over() || now < login.expires_at {
            true => login,
            false => LoginRecord {
                state: LoginState::Expired,
                ..login
            },
        }),
    )
}

/// Polls the platform, which may hold the request open, and returns the state of the latest login. One process polls at a time; the
/// others return the stored state.
///
/// # Errors
/// [`LoginError`].
pub async fn follow(world: &World, record: &IntegrationRecord) -> Result<Option<LoginRecord>, LoginError> {
    let Some(found) = look(world, record).await? else {
        return Ok(None);
    };
    // The next poll sends the digits.
    if found.state.is_over() || found.state == LoginState::VerifyCodeNeeded {
        return Ok(Some(found));
    }
    poll(world, record, found, None).await
}

/// Stores the digits that the operator has typed, for the next poll.
///
/// # Errors
/// [`LoginError::NoCodeAsked`] if none were asked for.
pub async fn verify(
    world: &World,
    record: &IntegrationRecord,
    digits: &str,
) -> Result<Option<LoginRecord>, LoginError> {
    let found = look(world, record).await?;
    match found.filter(|login| login.state == LoginState::VerifyCodeNeeded) {
        Some(login) => poll(world, record, login, Some(digits)).await,
        None => Err(LoginError::NoCodeAsked),
    }
}

fn open(world: &World, record: &IntegrationRecord) -> Result<(Bot, &'static dyn ScanLogin), LoginError> {
    let bot = accounts::open(world, record)?;
    let manifest = bot.connector.manifest();
    let offered = manifest.mode(record.mode).is_some_and(|mode| mode.login);
    let platform = bot
        .connector
        .login()
        .filter(|_| offered)
        .ok_or(LoginError::NotOffered)?;
    Ok((bot, platform))
}

async fn ask(world: &World, bot: &Bot, call: &HttpCall) -> Result<ApiAnswer, LoginError> {
    courier::send(world, bot, call)
        .await
        .map_err(|error| LoginError::Unavailable {
            code: match error {
                TokenError::Refused { code } | TokenError::Unavailable { code } => code,
            },
        })
}

async fn poll(
    world: &World,
    record: &IntegrationRecord,
    mut login: LoginRecord,
    digits: Option<&str>,
) -> Result<Option<LoginRecord>, LoginError> {
    let now = world.clock.now();
    if login.polled_until.is_some_and(|until| now < until) {
        return Ok(Some(login));
    }
    login.polled_until = Some(now.after(POLL_CLAIM));
    if !put(world, record, &mut login).await? {
        return look(world, record).await;
    }
    let (bot, platform) = open(world, record)?;
    let mut call = platform.poll(&login.ticket, digits, &bot.context(world, None));
    call.timeout = call.timeout.min(POLL_WITHIN);
    let answer = ask(world, &bot, &call).await;
    let progress = answer.and_then(|answer| {
        let read = platform.read_progress(&login.ticket, &answer, &bot.context(world, None));
        read.map_err(|error| LoginError::Unavailable { code: error.code })
    });
    match progress {
        Ok(progress) => advance(world, record, &mut login, progress, digits.is_some()).await?,
        Err(error) => warn!(account.id = %record.id, error = %error, "platform can't be polled for the login"),
    }
    login.polled_until = None;
    match put(world, record, &mut login).await? {
        true => Ok(Some(login)),
        // Another login was started meanwhile.
        false => look(world, record).await,
    }
}

/// Writes the login. `false`: it has changed since it was read.
async fn put(world: &World, record: &IntegrationRecord, login: &mut LoginRecord) -> Result<bool, LoginError> {
    match login::put(&world.store, &record.id, login, world.clock.now()).await {
        Ok(()) => Ok(true),
        Err(StoreError::Conflict) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Advances the login to the state reported by the platform. The credentials are stored before the login counts as confirmed.
async fn advance(
    world: &World,
    record: &IntegrationRecord,
    login: &mut LoginRecord,
    progress: LoginProgress,
    had_digits: bool,
) -> Result<(), LoginError> {
    match progress {
        // Digits that aren't refused were right, though the platform hasn't confirmed that yet.
        LoginProgress::Waiting if had_digits => login.state = LoginState::Scanned,
        LoginProgress::Waiting => {}
        LoginProgress::Scanned => login.state = LoginState::Scanned,
        LoginProgress::VerifyCodeNeeded => login.state = LoginState::VerifyCodeNeeded,
        LoginProgress::Moved { ticket } => {
            login.ticket = ticket;
            login.state = LoginState::Scanned;
        }
        LoginProgress::Confirmed(credentials) => confirm(world, record, login, Some(credentials)).await?,
        LoginProgress::AlreadyConfirmed => confirm(world, record, login, None).await?,
        LoginProgress::Expired => login.state = LoginState::Expired,
        LoginProgress::Refused { code } => refuse(world, record, login, code).await,
    }
    Ok(())
}

async fn confirm(
    world: &World,
    record: &IntegrationRecord,
    login: &mut LoginRecord,
    obtained: Option<Credentials>,
) -> Result<(), LoginError> {
    match keep(world, record, obtained).await {
        Ok(()) => {
            login.state = LoginState::Confirmed;
            let message = "the bot was logged in by scanning a code";
            note(world, record, Level::Info, "logged_in", message).await;
            Ok(())
        }
        Err(IntegrationError::AccountInUse { .. }) => {
            refuse(world, record, login, "account_in_use".to_owned()).await;
            Ok(())
        }
        Err(IntegrationError::Store(error)) => Err(error.into()),
        Err(error) => {
            warn!(account.id = %record.id, error = %error, "credentials of a login can't be stored");
            Err(StoreError::Conflict.into())
        }
    }
}

/// Stores the credentials in the current version of the integration, which makes it connect with them. Without new ones it reconnects.
async fn keep(
    world: &World,
    record: &IntegrationRecord,
    obtained: Option<Credentials>,
) -> Result<(), IntegrationError> {
    let store = &world.store;
    for race in 0..MAX_RACES {
        let found = integration::get(store, &record.id).await?;
        let before = found.ok_or(StoreError::Conflict)?;
        let now = world.clock.now();
        let kept = match &obtained {
            Some(obtained) => {
                let connector = world.connector(&before.platform);
                let key = connector.and_then(|connector| connector.account_key(before.mode, obtained));
                integration::log_in(store, &before, obtained.clone(), key.as_deref(), now).await
            }
            None => integration::set_enabled(store, &before, before.enabled, now).await,
        };
        match kept {
            Err(IntegrationError::Store(StoreError::Conflict)) => sleep(BACKOFF.wait(race + 1, chance())).await,
            kept => return kept.map(drop),
        }
    }
    Err(StoreError::Conflict.into())
}

async fn refuse(world: &World, record: &IntegrationRecord, login: &mut LoginRecord, code: String) {
    let message = format!("the login was refused: {code}");
    note(world, record, Level::Warn, "login_refused", &message).await;
    login.state = LoginState::Refused;
    login.code = Some(code);
}

async fn note(world: &World, record: &IntegrationRecord, level: Level, code: &str, message: &str) {
    info!(platform = record.platform, account.id = %record.id, code, "{message}");
    let entry = LogEntry {
        at: world.clock.now(),
        level,
        code: code.to_owned(),
        message: message.to_owned(),
    };
    if let Err(error) = log::append(&world.store, &record.id, &entry, random()).await {
        warn!(account.id = %record.id, error = %error, "log can't be written");
    }
}
