//! Provisions an integration after it was saved: registers our callback address with the platform and asks whether the credentials work.

use std::time::Duration;

use tieline_bridge::accounts::{self, Bot};
use tieline_bridge::{courier, delivery_status, integration_log, probe};
use tieline_core::account::ConnectionMode;
use tieline_store::config::integration::{self, IntegrationRecord};
use tieline_store::status::{ConnectionState, StatusChange};
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::{registration, status};
use crate::state::AdminState;

/// Timeout of provisioning while a save waits. A registration that takes longer is repeated by the periodic pass.
const PATIENCE: Duration = Duration::from_secs(3);

/// Validity of what is already known from the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// It is still valid.
    Kept,
    /// It may be valid, but an operator wants to know: the cached token is dropped.
    Doubted,
    /// It was obtained with other credentials: everything is dropped.
    Outdated,
}

/// Provisions a started integration, and returns it as it is then: facts that the platform reports of the bot are stored with it, in a new
/// version.
pub(crate) async fn provisioned(state: &AdminState, record: IntegrationRecord, before: Before) -> IntegrationRecord {
    provision(state, &record, before).await;
    match integration::get(&state.world.store, &record.id).await {
        Ok(Some(newest)) => newest,
        // Deleted meanwhile.
        Ok(None) => record,
        Err(error) => {
            warn!(account.id = %record.id, error = %error, "integration can't be read again after it was saved");
            record
        }
    }
}

/// Provisions a started integration. A failure here doesn't make saving fail.
pub(crate) async fn provision(state: &AdminState, record: &IntegrationRecord, before: Before) {
    if !record.enabled || status::is_own_channel(state, record) {
        return;
    }
    let Ok(bot) = accounts::open(&state.world, record) else {
        return;
    };
    match before {
        Before::Kept => {}
        Before::Doubted => {
            courier::forget_token(&state.world, &bot).await;
            delivery_status::lift_limits(&state.world, &record.id).await;
        }
        Before::Outdated => forget(state, record, &bot).await,
    }
    let until = Instant::now() + PATIENCE;
    registration::attempt(&state.world, record, &bot, until).await;
    match timeout_at(until, probe::probe(&state.world, &bot, record)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            warn!(account.id = %record.id, error = %error, "result of the credentials probe can't be stored");
        }
        Err(_) => {
            warn!(account.id = %record.id, "timeout while asking the platform whether the credentials work");
        }
    }
}

async fn forget(state: &AdminState, record: &IntegrationRecord, bot: &Bot) {
    courier::forget_token(&state.world, bot).await;
    delivery_status::lift_limits(&state.world, &record.id).await;
    integration_log::note(&state.world, &record.id, StatusChange::CredentialsRefused(None)).await;
    if record.mode == ConnectionMode::Webhook {
        let unknown = StatusChange::State(ConnectionState::Connecting, None);
        integration_log::note(&state.world, &record.id, unknown).await;
    }
}
