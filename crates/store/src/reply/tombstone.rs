//! Tombstones of erased replies.

use std::time::Duration;

use tieline_core::ids::{ConversationId, OrganizationId, SenderId};
use tieline_core::reply::Stage;
use tieline_core::timestamp::Timestamp;

use super::{About, Outcome, ReplyRecord, SORT, WHAT, partition, stored};
use crate::Store;
use crate::dynamo::{self, Written};
use crate::error::StoreError;
use crate::item::{Item, expire, get_number, number, write};
use crate::message::MessageRecord;
use crate::sealed_blob;
use crate::update::Update;

/// How long a tombstone is kept: no process is frozen for longer and then continues.
const TOMBSTONE_LIFETIME: Duration = Duration::from_hours(24);
/// Version and fencing token of a tombstone, which no writer reaches.
const BURIED: u64 = 1 << 62;

/// Puts a tombstone in the place of an erased reply, whose item was read as `found`. It has no personal data and no text, and no process can write
/// over it: one may have been frozen since before the erasure. The item is not deleted before: a repeated delete that takes effect late would
/// delete the tombstone too. `false`: the item has changed since.
pub(crate) async fn bury(
    store: &Store,
    organization: &OrganizationId,
    message: &MessageRecord,
    found: Option<&Item>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let about = About {
        reply: &message.reply,
        organization,
        integration: &message.integration,
        conversation: &ConversationId::new(""),
        message: &message.id,
        asker: &SenderId::new(""),
        received_at: message.received_at,
    };
    let tombstone = ReplyRecord {
        stage: Stage::Final,
        outcome: Some(Outcome::Stopped),
        final_at: Some(now),
        delivered: true,
        fence: BURIED,
        version: BURIED,
        ..ReplyRecord::blank(&about)
    };
    let (plain, expires_at) = (stored::plain(&tombstone)?, now.after(TOMBSTONE_LIFETIME));
    let body = sealed_blob::put(store, tombstone.id.as_str(), &plain, None, expires_at).await?;
    let mut item = write(
        WHAT,
        &partition(&tombstone.id),
        SORT,
        &stored::close(store, &tombstone, body)?,
    )?;
    item.insert("n".to_owned(), number(tombstone.version));
    expire(&mut item, expires_at);
    let mut condition = Update::new();
    match found.and_then(|found| get_number::<u64>(found, "n")) {
        Some(version) => condition.require_equal("n", number(version)),
        None => condition.require_gone(now),
    };
    let written = dynamo::put(&store.dynamo, &store.tables.state, item, condition).await?;
    Ok(matches!(written, Written::Done(_)))
}
