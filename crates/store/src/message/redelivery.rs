//! Delivers the recorded answer to a failed message again: the end of the run that it failed in, and the redelivery.

use tieline_core::ids::{MessageId, RunId};
use tieline_core::message_state::{LedgerStep, MessageState};
use tieline_core::timestamp::Timestamp;

use super::{Ending, LIFETIME, REDRIVEN, append_steps, end, write_change};
use crate::Store;
use crate::error::StoreError;
use crate::item::{number, text, value};
use crate::update::Update;

/// Like [`super::finish`], for a message of a run of several: records which they are. See [`super::MessageRecord::run_messages`].
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn finish_with_run(
    store: &Store,
    id: &MessageId,
    ending: &Ending,
    run_messages: &[MessageId],
) -> Result<bool, StoreError> {
    let mut change = end(ending)?;
    change.set("ms", value("message", &run_messages)?);
    write_change(store, id, change).await
}

/// Records that the recorded answer to a failed message, which was redriven `redrives` times before, is being delivered again. The message
/// stays failed until [`finish_redelivery`]. `false` if it has not failed, or was redriven meanwhile.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn note_redelivery(store: &Store, id: &MessageId, redrives: u32, now: Timestamp) -> Result<bool, StoreError> {
    let mut change = Update::new();
    change
        .require_equal("rd", number(redrives))
        .set("ttl", number(now.after(LIFETIME).as_secs()))
        .add("rd", 1)
        .require_equal("st", text(MessageState::Failed.as_str()))
        .require_alive(now);
    append_steps(&mut change, &[LedgerStep::new(now, REDRIVEN)])?;
    write_change(store, id, change).await
}

/// Records that the answer to a failed message was delivered after a redrive: it is answered. Does nothing if it has not failed. With `run`: nor
/// if it failed elsewhere than in that run of several messages, as it does if it was redriven on its own.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn finish_redelivery(
    store: &Store,
    id: &MessageId,
    run: Option<&RunId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let answered = MessageState::Answered.as_str();
    let mut change = Update::new();
    change
        .set("st", text(answered))
        .remove("why")
        .require_equal("st", text(MessageState::Failed.as_str()));
    if let Some(run) = run {
        change.require_equal("run", text(run.as_str()));
        let run_messages = change.path("ms");
        change.require(format!("attribute_exists({run_messages})"));
    }
    let steps = [LedgerStep::new(now, "delivered"), LedgerStep::new(now, answered)];
    append_steps(&mut change, &steps)?;
    write_change(store, id, change).await.map(drop)
}
