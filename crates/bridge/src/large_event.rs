//! Events that exceed the queue's size limit: stored beforehand, and referenced by their envelope.

use std::borrow::Cow;
use std::time::Duration;

use tieline_core::envelope::EnvelopeV1;
use tieline_core::timestamp::Timestamp;
use tieline_store::{Store, StoreError, file};

use crate::world::World;

/// Longest sealed event that is sent on the queue itself. A queue message may have 1 MiB in all, and sealing makes a body of 1 MiB longer.
const MAX_QUEUED_BYTES: usize = 768 * 1024;
/// A day longer than the queue keeps an envelope.
const LIFETIME: Duration = Duration::from_hours(15 * 24);
const MIME: &str = "text/plain";

/// A sealed event that was taken out of its envelope.
#[derive(Debug, Clone)]
pub(crate) struct StoredApart {
    id: String,
    event: String,
}

impl StoredApart {
    /// Its length in bytes.
    pub(crate) const fn n_bytes(&self) -> usize {
        self.event.len()
    }
}

/// Moves the event out of an envelope that is too long for the queue. It must be stored before the envelope is queued.
pub(crate) fn take(envelope: &mut EnvelopeV1) -> Option<StoredApart> {
    if envelope.event.len() <= MAX_QUEUED_BYTES {
        return None;
    }
    let id = format!("event {}", envelope.message);
    envelope.event_file = Some(id.clone());
    let event = std::mem::take(&mut envelope.event);
    Some(StoredApart { id, event })
}

/// Stores an event for longer than any queue keeps its envelope. Idempotent.
///
/// # Errors
/// The table's.
pub(crate) async fn store(store: &Store, apart: &StoredApart, now: Timestamp) -> Result<(), StoreError> {
    let expires_at = now.after(LIFETIME);
    file::put(store, &apart.id, (None, MIME), apart.event.as_bytes(), expires_at).await
}

/// The envelope with its event restored. Without it if the event is no longer stored, so that it can't be unsealed.
///
/// # Errors
/// The table's.
pub(crate) async fn restore<'a>(world: &World, envelope: &'a EnvelopeV1) -> Result<Cow<'a, EnvelopeV1>, StoreError> {
    let Some(id) = &envelope.event_file else {
        return Ok(Cow::Borrowed(envelope));
    };
    let found = file::get(&world.store, id, world.clock.now()).await?;
    let event = found.and_then(|found| String::from_utf8(found.bytes).ok());
    Ok(Cow::Owned(EnvelopeV1 {
        event: event.unwrap_or_default(),
        event_file: None,
        ..envelope.clone()
    }))
}
