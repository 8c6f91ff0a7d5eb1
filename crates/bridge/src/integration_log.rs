//! What operators read about an integration: its log, its status, and its dead letters.

use tieline_core::ids::IntegrationId;
use tieline_store::StoreError;
use tieline_store::deadletter::{self, DeadLetter};
use tieline_store::log::{self, Level, LogEntry};
use tieline_store::message::{self, MessageRecord};
use tieline_store::status::{self, StatusChange};
use tracing::warn;

use crate::world::{World, random};

/// Adds a dead letter, unless the message is erased.
pub(crate) async fn dead_letter(world: &World, record: &MessageRecord, reason: &str) -> Result<(), StoreError> {
    let letter = DeadLetter {
        message: record.id.clone(),
        organization: record.organization.clone(),
        integration: Some(record.integration.clone()),
        conversation: record.conversation.clone(),
        received_at: record.received_at,
        failed_at: world.clock.now(),
        reason: reason.to_owned(),
        body: None,
    };
    deadletter::put(&world.store, &letter).await?;
    // The message may have been erased since it was read, with the letters that it had. What is erased after this read takes this one with it.
    match message::get(&world.store, &record.id, letter.failed_at).await {
        Ok(Some(found)) if found.is_erased() => deadletter::remove(&world.store, &letter).await,
        Err(error @ StoreError::Unavailable { .. }) => Err(error),
        // One that can't be read must be given up all the same.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Writes a warning to the integration's log.
pub async fn warn(world: &World, id: &IntegrationId, code: &'static str, message: &str) {
    let now = world.clock.now();
    if !world.log_throttle.lets_pass(id, code, now) {
        return;
    }
    let entry = LogEntry {
        at: now,
        level: Level::Warn,
        code: code.to_owned(),
        message: message.to_owned(),
    };
    log::append(&world.store, id, &entry, random())
        .await
        .unwrap_or_else(|error| warn!(account.id = %id, error = %error, "log can't be written"));
}

/// Applies a change to the integration's status.
pub async fn note(world: &World, id: &IntegrationId, change: StatusChange) {
    note_all(world, id, &[change]).await;
}

/// Applies changes to the integration's status that belong together.
pub(crate) async fn note_all(world: &World, id: &IntegrationId, changes: &[StatusChange]) {
    status::merge(&world.store, id, changes)
        .await
        .unwrap_or_else(|error| warn!(account.id = %id, error = %error, "status can't be written"));
}

/// Like [`note`], but limited to two writes a minute per process, for what happens with every message or can be provoked by strangers.
pub async fn note_often(world: &World, id: &IntegrationId, what: &'static str, change: StatusChange) {
    note_all_often(world, id, what, &[change]).await;
}

/// Like [`note_all`], limited in the same way as [`note_often`].
pub(crate) async fn note_all_often(world: &World, id: &IntegrationId, what: &'static str, changes: &[StatusChange]) {
    if world.log_throttle.lets_pass(id, what, world.clock.now()) {
        note_all(world, id, changes).await;
    }
}
