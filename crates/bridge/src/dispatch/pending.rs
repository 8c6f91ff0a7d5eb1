//! Pending messages of a mailbox: decides about wake-ups for them, and ends those that are dropped.

use std::time::Duration;

use tieline_core::connector::{Delivery, ModeManifest, WaitingSign};
use tieline_core::conversation::{Closing, Conversation, RunPhase, RunState};
use tieline_core::envelope::WakeUpV1;
use tieline_core::event::Message;
use tieline_core::ids::ConversationId;
use tieline_core::mailbox::{self, Due};
use tieline_core::message_state::MessageState;
use tieline_core::notice::Notice;
use tieline_core::timestamp::Timestamp;
use tieline_core::trigger::Trigger;
use tieline_store::message;
use tieline_store::{StoreError, conversation};

use super::{Arrival, DispatchError, Wake};
use crate::conversation::{Change, Contended, MAX_RACES, clear_closing, finish_closing, try_change};
use crate::notices::{self, NoticeReply};
use crate::wakeups;

impl Arrival<'_> {
    /// Changes the conversation for a command, unless another process has carried the command out meanwhile: this one may have been paused, and
    /// the command would also drop the messages after it. `None`: it was carried out.
    ///
    /// Later events are dispatched only after this one has ended, and each changes the conversation. So if this one has not ended after the
    /// conversation was read, a save proves that there was no later event.
    pub(super) async fn update_for_command<T>(
        &self,
        id: &ConversationId,
        decide: impl Fn(Option<Conversation>) -> Change<T>,
    ) -> Result<Option<(Option<Conversation>, T)>, DispatchError> {
        for race in 0..MAX_RACES {
            let found = conversation::load(&self.world.store, id, self.world.clock.now()).await?;
            let change = decide(found.clone());
            if matches!(change, Change::Save(..)) && self.is_done().await? {
                return self.end_left_closing(id).await.map(|()| None);
            }
            match Box::pin(try_change(self.world, found, change)).await {
                Ok(done) => return Ok(Some(done)),
                Err(StoreError::Conflict) => crate::pause_after_race(race).await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(Contended.into())
    }

    /// Whether the message has been processed already. Asked **after** the conversation was read without it: a run writes the
    /// ledger first and removes the message from the conversation second.
    pub(super) async fn is_done(&self) -> Result<bool, DispatchError> {
        let record = message::get(&self.world.store, &self.envelope.message, self.world.clock.now()).await?;
        Ok(record.is_some_and(|record| record.state.is_terminal()))
    }

    /// Ends the messages that an earlier attempt of this event removed from the mailbox, if that attempt died before it ended them. For events
    /// whose own message has ended: the wake-up of an earlier message may have started its run before the retry.
    pub(super) async fn end_left_closing(&self, id: &ConversationId) -> Result<(), DispatchError> {
        match conversation::load(&self.world.store, id, self.world.clock.now()).await? {
            Some(found) => Box::pin(self.end_closing(&found)).await,
            None => Ok(()),
        }
    }

    /// Ends the messages that have left the mailbox without a run. They go to the ledger only now: no runner can have taken one of them. If
    /// this process dies, a retry of its event ends them, and so does the next event in the conversation.
    pub(super) async fn end_closing(&self, conversation: &Conversation) -> Result<(), DispatchError> {
        if conversation.closing.is_empty() {
            return Ok(());
        }
        let id = conversation.key.id();
        for closing in &conversation.closing {
            self.end_waiting(closing, &id).await?;
        }
        clear_closing(self.world, &id, &conversation.closing).await
    }

    async fn end_waiting(&self, closing: &Closing, conversation: &ConversationId) -> Result<(), DispatchError> {
        let state = closing.end;
        if finish_closing(self.world, closing).await? {
            self.world.metrics.message(&self.bound.integration.platform, state);
        }
        // Also if it has ended already: the process that ended it may have died before sending the notice.
        let notice = match state {
            MessageState::Dropped => Notice::NewSession,
            _ => Notice::Stopped,
        };
        self.close_sign(closing, conversation, notice).await
    }

    /// Closes what the chat shows for a pending message already: where the platform polls, its bubble; else the waiting sign that it may have.
    async fn close_sign(
        &self,
        waiting: &Closing,
        conversation: &ConversationId,
        notice: Notice,
    ) -> Result<(), DispatchError> {
        let Some(mode) = self.mode() else {
            return Ok(());
        };
        let is_pulled = self.is_pulled();
        if !is_pulled && (mode.waiting_sign == WaitingSign::Nothing || !waiting.behind_run) {
            return Ok(());
        }
        let Some(record) = message::get(&self.world.store, &waiting.message, self.world.clock.now()).await? else {
            return Ok(());
        };
        if is_pulled {
            return Ok(notices::record_for(self.world, &record, conversation, NoticeReply::stopped(notice)).await?);
        }
        if notices::end_sign(self.world, &record.reply, mode.waiting_sign, notice).await? {
            let wake = WakeUpV1::of_reply(record.organization, conversation.clone(), record.reply);
            let wake = wake.after_redrives(record.redrives);
            wakeups::send_watched_to_relays(self.world, [(self.at_its_relay(wake), Duration::ZERO)]).await?;
        }
        Ok(())
    }

    /// The facts about the bot's mode. `None`: this process has no connector for the platform.
    fn mode(&self) -> Option<&'static ModeManifest> {
        let integration = &self.bound.integration;
        self.world
            .connector(&integration.platform)?
            .manifest()
            .mode(integration.mode)
    }

    /// Whether the bot's platform polls for the newest state of a reply.
    pub(super) fn is_pulled(&self) -> bool {
        let delivery = self
            .mode()
            .map(|mode| mode.delivery_with(&self.bound.integration.endpoints));
        matches!(delivery, Some(Delivery::Pull { .. }))
    }

    /// The wake-up for the pending messages, unless a runner holds the conversation and will find them: it settles a run only on the
    /// condition that the conversation is unchanged. A runner has a watchdog, so its death is noticed too. Media that the platform deletes
    /// soon doesn't wait that long: the runner that is woken for the message stores it.
    pub(super) fn wake_for(&self, conversation: &Conversation, trigger: &Trigger, message: &Message) -> Option<Wake> {
        let now = self.world.clock.now();
        let delay = match mailbox::due(&conversation.pending, trigger.settings.window(), now) {
            Due::At(until) => until.since(now),
            Due::Now(_) if self.is_held(conversation, now) && !self.is_fleeting(message) => return None,
            Due::Empty | Due::Now(_) => Duration::ZERO,
        };
        Some(self.wake(conversation.key.id(), delay))
    }

    /// Whether the message brings media that the platform serves only for minutes.
    fn is_fleeting(&self, message: &Message) -> bool {
        let brings =
            !message.parts.is_empty() || message.quoted.as_ref().is_some_and(|quoted| !quoted.parts.is_empty());
        let connector = self.world.connector(&self.bound.integration.platform);
        brings && connector.is_some_and(|connector| connector.manifest().media_is_short_lived)
    }

    /// Whether a runner certainly holds the conversation and will look at its mailbox before it releases it. One that missed heartbeats may
    /// be dead, and one that applied an agent's callbacks releases it without a look.
    fn is_held(&self, conversation: &Conversation, now: Timestamp) -> bool {
        let settings = &self.world.settings;
        let looks = |run: &RunState| run.phase != RunPhase::Deferred;
        conversation.run.as_ref().is_some_and(looks)
            && conversation.lease.as_ref().is_some_and(|lease| {
                !lease.is_free(&settings.owner, now) && lease.expires_at.since(now) > settings.lease / 2
            })
    }

    pub(super) fn wake(&self, id: ConversationId, delay: Duration) -> Wake {
        let wake = WakeUpV1::new(self.envelope.organization.clone(), id);
        (self.at_its_relay(wake), delay)
    }

    /// Addresses the wake-up to the relay that holds the bot's connection, if that relay is to run it.
    pub(super) fn at_its_relay(&self, wake: WakeUpV1) -> WakeUpV1 {
        let relay = wakeups::relay_of(self.world, self.bound);
        WakeUpV1 { relay, ..wake }
    }
}
