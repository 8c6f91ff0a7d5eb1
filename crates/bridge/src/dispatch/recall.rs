//! Recalls: a message that was recalled gets no answer, and the run that answers it alone is stopped.

use std::time::Duration;

use tieline_core::conversation::{Conversation, StopCause};
use tieline_core::event::{Event, Recalled};
use tieline_core::ids::MessageId;
use tieline_core::message_state::{LedgerStep, MessageState};
use tieline_store::erase;
use tieline_store::message::{self, Claim, MessageRecord, RECALLED};
use tracing::info;

use super::{Arrival, DispatchError, received};
use crate::conversation::{Change, Contended, update};
use crate::wakeups;

impl Arrival<'_> {
    /// Stops work on the recalled message, whose ids the envelope has. A run that answers other messages too goes on for them.
    pub(super) async fn recall(&self, recalled: Recalled) -> Result<(), DispatchError> {
        let Some(record) = self.recalled_message(recalled).await? else {
            return Ok(());
        };
        let Some(id) = record.conversation.filter(|_| !record.state.is_terminal()) else {
            return Ok(());
        };
        let stopping = update::<_, DispatchError>(self.world, &id, |found| {
            let Some(mut after) = found.filter(|it| it.holds(&record.id)) else {
                return Change::Leave(false);
            };
            match stop_work_on(&record.id, &mut after) {
                true => Change::save(after, true),
                // Also if an earlier attempt saved it: that may have been cut off here.
                false => Change::Leave(true),
            }
        });
        let (Some(after), true) = Box::pin(stopping).await? else {
            // The run has ended; or the message is on its way into the mailbox and is looked for again.
            return match self.is_done().await? {
                true => Ok(()),
                false => Err(Contended.into()),
            };
        };
        info!(account.id = %self.envelope.integration, event.key = %record.id, "message was recalled");
        self.world.local_stops.notify(&after);
        wakeups::send_watched_to_relays(self.world, [self.wake(id, Duration::ZERO)]).await?;
        Box::pin(self.end_closing(&after)).await
    }

    /// The ledger's record of the recalled message. `None` if it was not received yet, or not addressed to the bot: then it is recorded as
    /// ended, so that it isn't answered when it is received, and is no context for later questions any more.
    async fn recalled_message(&self, recalled: Recalled) -> Result<Option<MessageRecord>, DispatchError> {
        let (store, now) = (&self.world.store, self.world.clock.now());
        if let Some(known) = message::get(store, &self.envelope.message, now).await? {
            return Ok(Some(known));
        }
        if let Some(trigger) = &self.bound.trigger
            && trigger.settings.group_context > 0
        {
            erase::overheard_message(
                store,
                &self.envelope.integration,
                &recalled.chat,
                &self.envelope.message,
            )
            .await?;
        }
        let mut ended = received(self.world, self.envelope, Event::Recalled(recalled), None);
        ended.event = String::new();
        ended.state = MessageState::Stopped;
        ended.reason = Some(RECALLED.to_owned());
        ended
            .steps
            .push(LedgerStep::new(now, ended.state.as_str()).code(RECALLED));
        Ok(match message::claim(store, &ended).await? {
            Claim::New => None,
            Claim::Seen(known) => Some(*known),
        })
    }
}

/// Takes the message out of the mailbox, or stops the run that answers it alone. `false` if nothing is left to change.
fn stop_work_on(message: &MessageId, conversation: &mut Conversation) -> bool {
    let (recalled, pending): (Vec<_>, _) = std::mem::take(&mut conversation.pending)
        .into_iter()
        .partition(|waiting| waiting.message == *message);
    conversation.pending = pending;
    if !recalled.is_empty() {
        conversation.close(recalled, MessageState::Stopped);
        return true;
    }
    match &mut conversation.run {
        Some(run) if run.messages == [message.clone()] && run.stop != Some(StopCause::Stopped) => {
            run.stop = Some(StopCause::Stopped);
            true
        }
        _ => false,
    }
}
