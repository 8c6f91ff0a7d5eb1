//! Watches the bots of the organizations with notifications, once a minute, and notifies operators of changes.

use std::collections::HashMap;

use futures_util::{StreamExt as _, stream};
use tieline_bridge::notifier;
use tieline_bridge::world::{World, chance};
use tieline_core::ids::{IntegrationId, OrganizationId};
use tieline_core::incident::IncidentEvent;
use tieline_core::timestamp::{CLOCKS_DIFFER, Timestamp};
use tieline_store::StoreError;
use tieline_store::config::notify::{self, NotifySettings};
use tieline_store::deadletter::{self, DeadLetter};
use tieline_store::notifications::{self, Notifications};
use tracing::warn;

use super::message::{self, About};
use crate::integrations::health::{self, BotHealth};
use crate::problem::Problem;
use crate::state::AdminState;

/// Organizations processed concurrently.
const CONCURRENCY: usize = 4;
/// Page size of the reads.
const PAGE: usize = 200;
/// How many of the newest dead letters are examined. More are reported as this number.
const MAX_LETTERS: usize = 200;

/// Runs one pass over all organizations with notifications and sends what is due. Errors are logged; the next pass retries.
///
/// Each pass starts with another organization, so that every organization gets its turn even if the process is always stopped before the
/// last one.
pub async fn look_at_all(world: &World) {
    let mut organizations = match list_all(world).await {
        Ok(found) => found,
        Err(error) => {
            warn!(error = %error, "organizations with notifications can't be listed");
            return;
        }
    };
    let first = chance().checked_rem(organizations.len() as u64).unwrap_or_default();
    organizations.rotate_left(usize::try_from(first).unwrap_or_default());
    let mut looks = Vec::with_capacity(organizations.len());
    for organization in &organizations {
        looks.push(look_at(world, organization));
    }
    stream::iter(looks).buffer_unordered(CONCURRENCY).collect().await
}

/// All organizations with notifications.
async fn list_all(world: &World) -> Result<Vec<OrganizationId>, StoreError> {
    let (mut organizations, mut cursor) = (Vec::new(), None);
    loop {
        let found = notify::organizations(&world.store, cursor.as_deref(), PAGE).await?;
        organizations.extend(found.items);
        cursor = found.cursor;
        if cursor.is_none() {
            return Ok(organizations);
        }
    }
}

async fn look_at(world: &World, organization: &OrganizationId) {
    let settings = match notify::get(&world.store, organization).await {
        Ok(Some(settings)) => settings,
        Ok(None) => return,
        Err(error) => {
            warn!(organization.id = %organization, error = %error, "notification settings can't be read");
            return;
        }
    };
    let state = AdminState { world: world.clone() };
    if let Err(problem) = look(&state, &settings).await {
        warn!(organization.id = %organization, code = problem.code(), "health of the bots can't be read for notifications");
    }
    // Also after a failed pass: notifications that were recorded before are waiting.
    if let Err(error) = notifier::send_due(world, &settings).await {
        warn!(organization.id = %organization, error = %error, "notifications can't be sent");
    }
}

/// Compares the health of the bots with the stored state, and records the notifications to send.
async fn look(state: &AdminState, settings: &NotifySettings) -> Result<(), Problem> {
    let organization = &settings.organization;
    let store = &state.world.store;
    // Read this before the bots: if another process writes meanwhile, our write fails with a conflict.
    let before = notifications::get(store, organization).await?;
    let bots = health::of_all(state, organization, settings.language).await?;
    let letters = deadletter::list(store, organization, None, MAX_LETTERS, state.now()).await?;
    let mut after = before.clone();
    let events = compare(&mut after, &bots, &letters.items, state.now());
    if !events.is_empty() {
        let id = notifier::fresh_id();
        let body = message::of(about(state, settings, &id), &events, &by_id(&bots)).to_body();
        notifier::enqueue(&mut after, id, body, state.now());
    }
    if after == before {
        return Ok(());
    }
    match notifications::save(store, organization, &mut after).await {
        // Another process ran the same pass and has recorded it.
        Err(StoreError::Conflict) => Ok(()),
        saved => Ok(saved?),
    }
}

fn compare(all: &mut Notifications, bots: &[BotHealth], letters: &[DeadLetter], now: Timestamp) -> Vec<IncidentEvent> {
    let found: HashMap<_, _> = bots
        .iter()
        .map(|bot| (bot.record.id.clone(), bot.health.clone()))
        .collect();
    let mut events = all.book.look(&found, now);
    // Keep a distance of the maximum clock skew, so that a letter written by a machine whose clock is behind isn't skipped.
    let until = now.before(CLOCKS_DIFFER);
    let since = all.letters_until.unwrap_or(until);
    let is_new = |letter: &&DeadLetter| since < letter.failed_at && letter.failed_at <= until;
    // A pass without news writes nothing.
    if all.letters_until.is_none() || letters.iter().any(|letter| is_new(&letter)) {
        all.letters_until = Some(until);
    }
    let is_news = |letter: &&DeadLetter| {
        let is_failing = letter.integration.as_ref().is_some_and(|bot| all.book.is_failing(bot));
        !is_failing && !all.own_messages.contains(&letter.message)
    };
    let n = letters.iter().filter(is_new).filter(is_news).count();
    events.extend(all.book.count_letters(u32::try_from(n).unwrap_or(u32::MAX), now));
    events
}

fn by_id(bots: &[BotHealth]) -> HashMap<&IntegrationId, &BotHealth> {
    bots.iter().map(|bot| (&bot.record.id, bot)).collect()
}

/// Fields that all events of a pass share.
pub(super) fn about<'a>(state: &'a AdminState, settings: &'a NotifySettings, id: &'a str) -> About<'a> {
    About {
        id,
        organization: &settings.organization,
        at: state.now(),
        language: settings.language,
        public_url: &state.world.settings.public_url,
    }
}
