//! The journeys of a message: receive, dispatch, run, deliver.
//!
//! Async free functions over a [`world::World`]. Decisions that could be wrong are made in `tieline-core`; here they are carried
//! out durably, in an order that survives a crash between any two lines.

pub mod accounts;
pub mod agents;
pub mod callbacks;
pub mod chunked_file;
pub mod clock;
pub mod connections;
pub mod conversation;
pub mod cooldown;
pub mod courier;
pub mod deliver;
pub mod delivery_status;
pub mod dispatch;
pub mod egress;
pub mod error_chain;
pub mod exposition;
pub mod forget;
pub mod integration_log;
mod large_event;
pub mod lease_watch;
pub mod local_claims;
pub mod local_replies;
pub mod local_stops;
pub mod login;
mod long_text;
mod lookup;
pub mod mapper;
pub mod media;
pub mod memory_budget;
pub mod metrics;
mod names;
pub mod notices;
pub mod notifier;
pub mod operator;
pub mod pairing;
pub mod pollers;
mod printable;
pub mod proactive;
pub mod probe;
mod quotes;
pub mod rate_limiter;
pub mod receive;
pub mod redrive;
mod refused_answers;
pub mod registration;
pub mod rendering;
pub mod reply_links;
pub mod reply_poll;
mod reply_writes;
pub mod run;
pub mod scheduled;
#[cfg(feature = "seeded")]
pub mod seeded;
pub mod signed_post;
mod state;
pub mod tenant_slots;
#[cfg(test)]
mod test_support;
pub mod users;
pub mod wakeups;
pub mod world;

use std::time::Duration;

use tieline_core::backoff::Backoff;
use tieline_core::envelope::StoredEvent;
use tieline_core::event::Event;
use tieline_core::ids::MessageId;
use tieline_store::StoreError;
use tieline_store::message::MessageRecord;

use crate::world::{World, chance};

/// Between two attempts of a conditional write that lost a race.
const RACE_BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(4),
    cap: Duration::from_millis(200),
};

/// Waits a little after a lost race.
pub(crate) async fn pause_after_race(race: u32) {
    tokio::time::sleep(RACE_BACKOFF.wait(race + 1, chance())).await;
}

/// Seals an event for the message that it belongs to.
pub(crate) fn sealed_event(world: &World, message: &MessageId, event: Event) -> String {
    let stored = serde_json::to_vec(&StoredEvent::from(event)).expect("stored events serialize as JSON");
    world.store.keyring().seal(&stored, message.as_str())
}

/// The event of a message in the ledger. `None` if it can't be unsealed or read.
///
/// # Errors
/// [`StoreError::UnknownKey`] if another process has sealed it with a data key that this process may read soon.
pub(crate) fn event_of(world: &World, record: &MessageRecord) -> Result<Option<Event>, StoreError> {
    let bytes = match world.store.keyring().open(&record.event, record.id.as_str()) {
        Err(StoreError::UnknownKey) => return Err(StoreError::UnknownKey),
        opened => opened.ok(),
    };
    let stored: Option<StoredEvent> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(stored.map(Event::from))
}
