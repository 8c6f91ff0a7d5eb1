//! Messages as operators see them: some states are derived and not stored in the ledger, so that a message costs no more writes than necessary.

use std::collections::HashMap;

use tieline_core::conversation::RunState;
use tieline_core::ids::{ConversationId, MessageId};
use tieline_core::message_state::MessageState;
use tieline_core::timestamp::Timestamp;

use super::MessageRecord;
use crate::error::StoreError;
use crate::{Store, conversation};

/// Reads a message as operators see it: `running` while its conversation's run holds it, and `failed` if no person asked for it
/// and it could not be delivered. Processing uses the record itself: see [`super::get`].
///
/// # Errors
/// [`StoreError::Unavailable`], or [`StoreError::Unreadable`].
pub async fn show(store: &Store, id: &MessageId, now: Timestamp) -> Result<Option<MessageRecord>, StoreError> {
    let mut found = super::get(store, id, now).await?;
    of(store, found.as_mut_slice(), now).await?;
    Ok(found)
}

/// Applies the same to records.
pub(super) async fn of(store: &Store, records: &mut [MessageRecord], now: Timestamp) -> Result<(), StoreError> {
    let runs = runs_of(store, records, now).await?;
    for record in records {
        let run = record.conversation.as_ref().and_then(|id| runs.get(id));
        if let Some(run) = run.filter(|run| record.is_queued() && run.messages.contains(&record.id)) {
            record.state = MessageState::Running;
            record.run = Some(run.id.clone());
        }
        if let Some(code) = refusal_of_own(record) {
            record.state = MessageState::Failed;
            record.reason = Some(code);
        }
    }
    Ok(())
}

/// The runs of the conversations in which a message is pending.
async fn runs_of(
    store: &Store,
    records: &[MessageRecord],
    now: Timestamp,
) -> Result<HashMap<ConversationId, RunState>, StoreError> {
    let waiting = records.iter().filter(|record| record.is_queued());
    let ids: Vec<_> = waiting.filter_map(|record| record.conversation.clone()).collect();
    let found = conversation::get_many(store, &ids, now).await?;
    let runs = found.into_iter().filter_map(|it| Some((it.key.id(), it.run?)));
    Ok(runs.collect())
}

/// Why a proactive message was not delivered, if its latest step says so.
fn refusal_of_own(record: &MessageRecord) -> Option<String> {
    let last = record.steps.last().filter(|_| record.is_proactive())?;
    let code = || last.code.clone().unwrap_or_default();
    (last.step == DELIVERY_REFUSED).then(code)
}

/// The step of a reply that its platform refused for good.
pub const DELIVERY_REFUSED: &str = "delivery_refused";

impl MessageRecord {
    fn is_queued(&self) -> bool {
        self.state == MessageState::Queued
    }
}
