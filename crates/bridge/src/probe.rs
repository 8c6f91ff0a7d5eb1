//! Probes a bot's credentials at its platform, and stores what the platform reports of the bot.

use std::time::Duration;

use tieline_core::account::{ConnectionMode, Credentials};
use tieline_core::connector::{Probe, TokenError};
use tieline_store::StoreError;
use tieline_store::config::integration::{self, IntegrationError, IntegrationRecord};
use tieline_store::status::{self, ConnectionState, StatusChange};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::accounts::{self, Bot};
use crate::world::World;
use crate::{courier, delivery_status, integration_log};

/// Timeout for asking about a bot while the platform waits for our own answer. The tightest platform waits three seconds.
const PATIENCE: Duration = Duration::from_millis(800);

/// Outcome of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    /// The credentials work.
    Works,
    /// The platform has no call for that: the first message shows it.
    Untold,
    /// The credentials are refused, and retrying changes nothing.
    Refused {
        /// The platform's code.
        code: String,
    },
    /// The platform can't answer at the moment, or can't be reached.
    Unavailable {
        /// The platform's code, or what happened.
        code: String,
    },
}

/// Probes the platform, with a cached token unless it was evicted: [`courier::forget_token`].
///
/// # Errors
/// The table's.
pub async fn probe(world: &World, bot: &Bot, record: &IntegrationRecord) -> Result<Probed, StoreError> {
    let Some(question) = bot.connector.probe(&bot.context(world, None)) else {
        return Ok(Probed::Untold);
    };
    let probed = match ask(world, bot, &question).await {
        Ok(learned) => {
            keep(world, record, &learned).await?;
            claim(world, record).await?;
            Probed::Works
        }
        Err(TokenError::Refused { code }) => Probed::Refused { code },
        Err(TokenError::Unavailable { code }) => Probed::Unavailable { code },
    };
    tell_status(world, record, &probed).await?;
    Ok(probed)
}

/// Whether to ask the platform again for facts of a bot that it hasn't reported yet, when the bot receives something. Rate-limited.
pub(crate) fn is_due(world: &World, bot: &Bot) -> bool {
    let cx = bot.context(world, None);
    let id = &bot.account.integration;
    bot.connector.probe(&cx).is_some_and(|probe| probe.is_needed) && world.log_throttle.lets_pass(id, "learn", cx.now)
}

/// Asks the platform for facts that it hasn't reported yet. Returns the bot with them, if it answers in time.
///
/// Only kept in this process: code that listens to strangers may not write the configuration.
pub(crate) async fn complete(world: &World, bot: &Bot, record: &IntegrationRecord) -> Option<Bot> {
    let question = bot.connector.probe(&bot.context(world, None))?;
    let error = match timeout(PATIENCE, ask(world, bot, &question)).await {
        Ok(Ok(learned)) => return accounts::open_with(world, record, &learned).ok(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("longer than {PATIENCE:?}"),
    };
    info!(account.id = %record.id, error, "platform has not reported the bot's facts yet");
    None
}

async fn ask(world: &World, bot: &Bot, question: &Probe) -> Result<Credentials, TokenError> {
    let answer = courier::send(world, bot, &question.call).await?;
    (question.read)(&answer)
}

async fn keep(world: &World, record: &IntegrationRecord, learned: &Credentials) -> Result<(), StoreError> {
    match integration::learn(&world.store, record, learned).await {
        // It has changed meanwhile: the next probe uses the new settings.
        Ok(_) | Err(IntegrationError::Store(StoreError::Conflict)) => Ok(()),
        Err(IntegrationError::Store(error)) => Err(error),
        Err(error) => {
            warn!(account.id = %record.id, error = %error, "facts reported by the platform can't be stored");
            Ok(())
        }
    }
}

/// Confirms the claim on the bot account, now that its credentials have worked.
async fn claim(world: &World, record: &IntegrationRecord) -> Result<(), StoreError> {
    match integration::prove(&world.store, record).await {
        // It claims another account by now: the next probe decides about that one.
        Ok(()) | Err(IntegrationError::Store(StoreError::Conflict)) => Ok(()),
        Err(IntegrationError::Store(error)) => Err(error),
        Err(_) => {
            let message = "this bot account works in another integration already; messages may be answered by either";
            integration_log::warn(world, &record.id, "account_in_use", message).await;
            Ok(())
        }
    }
}

/// The holder of a connection writes its state itself; for a webhook only a probe or a delivery shows that the credentials are wrong.
async fn tell_status(world: &World, record: &IntegrationRecord, probed: &Probed) -> Result<(), StoreError> {
    let is_webhook = record.mode == ConnectionMode::Webhook;
    let changes = match probed {
        Probed::Refused { code } if is_webhook => {
            delivery_status::credentials_refused(world, &record.id, code).await;
            return Ok(());
        }
        Probed::Works if is_webhook => vec![
            StatusChange::State(ConnectionState::Connected, None),
            StatusChange::CredentialsRefused(None),
        ],
        Probed::Works => vec![StatusChange::CredentialsRefused(None)],
        Probed::Refused { .. } | Probed::Untold | Probed::Unavailable { .. } => return Ok(()),
    };
    status::merge(&world.store, &record.id, &changes).await
}

/// The address to which the platform delivers the bot's events, empty if none is set there. `None` if the platform can't be asked or doesn't answer.
pub async fn delivery_address(world: &World, bot: &Bot) -> Option<String> {
    let question = bot.connector.delivery_address(&bot.context(world, None))?;
    let answer = courier::send(world, bot, &question.call).await.ok()?;
    (question.read)(&answer)
}

/// The permissions that the bot needs and the platform hasn't granted. `None` if the platform can't be asked or doesn't answer.
pub async fn missing_permissions(world: &World, bot: &Bot) -> Option<Vec<&'static str>> {
    let question = bot.connector.missing_permissions(&bot.context(world, None))?;
    let answer = courier::send(world, bot, &question.call).await.ok()?;
    (question.read)(&answer)
}
