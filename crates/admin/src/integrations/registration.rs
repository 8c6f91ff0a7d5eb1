//! Registration of integrations at platforms that the bridge itself tells our callback address: attempts, their repetition, and what an
//! operator sees of them.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tieline_bridge::accounts::{self, Bot};
use tieline_bridge::world::{World, chance};
use tieline_bridge::{integration_log, registration};
use tieline_core::account::ConnectionMode;
use tieline_core::backoff::Backoff;
use tieline_store::StoreError;
use tieline_store::config::integration::{self, IntegrationRecord};
use tieline_store::config::registration_due::{self, Due};
use tieline_store::status::{StatusChange, StatusError};
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::view;
use crate::texts::Text;

/// Between two repetitions.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_mins(2),
    cap: Duration::from_hours(1),
};
/// After this time, a registration is no longer repeated.
const GIVE_UP: Duration = Duration::from_hours(3 * 24);
/// Most registrations repeated in one pass. Others get their turn in the next one.
const MOST_PER_PASS: usize = 16;
/// Registrations repeated concurrently.
const AT_ONCE: usize = 8;
/// Time limit for repeating one registration: a pass ends in time with as many as it may repeat.
const WITHIN: Duration = Duration::from_secs(8);

/// Message of a status error, after a failed registration.
pub(super) const REGISTRATION_FAILS: &str = "the registration at the platform failed and is repeated";

/// How the platform learns our callback address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Registration {
    /// An operator enters it at the platform.
    ByHand,
    /// The bridge registers it, and will do so soon. With the failed call and its code, if an attempt has failed.
    Due(Option<String>),
    /// The bridge has registered it.
    Done,
}

impl Registration {
    /// Reads how far the registration of a webhook is.
    pub(super) async fn of(world: &World, record: &IntegrationRecord) -> Result<Self, StoreError> {
        let connector = world.connector(&record.platform);
        let registers = connector.is_some_and(|connector| connector.registers_callback_url());
        if !registers || record.mode != ConnectionMode::Webhook {
            return Ok(Self::ByHand);
        }
        let due = registration_due::get(&world.store, &record.id).await?;
        Ok(due.map_or(Self::Done, |due| Self::Due(due.failure)))
    }

    /// The operator's next step while the platform has not called `url`.
    pub(super) fn next(&self, url: &str) -> Text {
        let next = match self {
            Self::ByHand => Text::new("status_callback"),
            Self::Due(None) => Text::new("status_registering"),
            Self::Due(Some(code)) => Text::new("status_registration_failed").with("code", code),
            Self::Done => Text::new("status_registered"),
        };
        next.with("url", url)
    }
}

/// Registers a bot, and records the result: a failed registration is repeated by [`repeat_due`].
pub(super) async fn attempt(world: &World, record: &IntegrationRecord, bot: &Bot, until: Instant) {
    let url = view::callback_url_of(world, record);
    let registered = timeout_at(until, registration::register(world, bot, &url)).await;
    let failed = registered.unwrap_or_else(|_| vec!["timeout".to_owned()]);
    let (store, id) = (&world.store, &record.id);
    let settled = if failed.is_empty() {
        registration_due::clear(store, id, record.version).await
    } else {
        tell(world, record, &failed).await;
        registration_due::set_failure(store, id, record.version, &failed.join(", ")).await
    };
    match settled {
        // Nothing was due, or a newer version of the integration is.
        Ok(()) | Err(StoreError::Conflict) => {}
        Err(error) => warn!(account.id = %id, error = %error, "result of a registration can't be stored"),
    }
}

async fn tell(world: &World, record: &IntegrationRecord, failed: &[String]) {
    for refused in failed {
        integration_log::warn(world, &record.id, "registration_refused", refused).await;
    }
    // The holder of a connection writes its errors itself.
    if record.mode == ConnectionMode::Webhook {
        let error = StatusError {
            at: world.clock.now(),
            code: failed.join(", "),
            message: REGISTRATION_FAILS.to_owned(),
        };
        integration_log::note(world, &record.id, StatusChange::LastError(error)).await;
    }
}

/// Repeats the registrations that are due, those that wait longest first.
pub(crate) async fn repeat_due(world: &World) -> Result<(), StoreError> {
    let due = registration_due::list(&world.store, world.clock.now()).await?;
    let repeating = stream::iter(due.into_iter().take(MOST_PER_PASS));
    repeating
        .for_each_concurrent(AT_ONCE, |due| async move {
            match repeat(world, &due).await {
                // Another process has claimed it, or it was changed in the meantime.
                Ok(()) | Err(StoreError::Conflict) => {}
                Err(error) => warn!(account.id = %due.integration, error = %error, "registration can't be repeated"),
            }
        })
        .await;
    Ok(())
}

async fn repeat(world: &World, due: &Due) -> Result<(), StoreError> {
    let (store, id, now) = (&world.store, &due.integration, world.clock.now());
    let next_at = now.after(BACKOFF.wait(due.attempts.saturating_add(1), chance()));
    registration_due::claim(store, due, next_at).await?;
    let found = integration::get(store, id).await?;
    // Left behind by a process of an earlier version, which doesn't know these entries.
    let Some(record) = found.filter(|found| found.enabled) else {
        return registration_due::clear(store, id, due.version).await;
    };
    if now.since(due.since) > GIVE_UP {
        let message =
            "the registration at the platform failed for days and is no longer repeated; restart the integration";
        integration_log::warn(world, id, "registration_given_up", message).await;
        return registration_due::clear(store, id, due.version).await;
    }
    // Settings that can't be used are changed by a save, which makes a new entry.
    if let Ok(bot) = accounts::open(world, &record) {
        info!(account.id = %id, attempt = due.attempts + 1, "registration at the platform is repeated");
        attempt(world, &record, &bot, Instant::now() + WITHIN).await;
    }
    Ok(())
}
