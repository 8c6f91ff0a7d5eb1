//! Appends a message for the agent to its conversation's mailbox, exactly once.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use tieline_core::conversation::{Conversation, ConversationKey, RunState, StopCause};
use tieline_core::event::Message;
use tieline_core::mailbox::{self, Pending};
use tieline_core::message_state::MessageState;
use tieline_core::notice::Notice;
use tieline_core::trigger::{BusyPolicy, Trigger};
use tracing::warn;

use super::{Arrival, Attempt, DispatchError, Refusal, Wake};
use crate::conversation::{Change, Contended, MAX_RACES, update};

/// Outcome of appending a message to the mailbox.
enum Appended {
    /// It is in the mailbox, by this call or an earlier one.
    InMailbox,
    /// It isn't in this version of the conversation: it was never appended, or has been processed already. The ledger knows which.
    Unsure(u64),
    /// The mailbox is full.
    Full,
    /// There is no such conversation.
    NoConversation,
}

impl Arrival<'_> {
    /// Appends the message to its conversation's mailbox. Returns the wake-up for it.
    pub(super) async fn append(
        &self,
        message: &Message,
        key: &ConversationKey,
        is_new_session: bool,
        turn: Attempt,
    ) -> Result<Option<Wake>, DispatchError> {
        let id = key.id();
        let Some(trigger) = &self.bound.trigger else {
            return Ok(None);
        };
        let Some(after) = Box::pin(self.put_in_mailbox(message, key, trigger, (is_new_session, turn))).await? else {
            return self.end_left_closing(&id).await.map(|()| None);
        };
        self.complete_append(&after, is_new_session).await?;
        Ok(self.wake_for(&after, trigger, message))
    }

    /// Carries out what follows once the message is in its conversation: stops the run that it interrupts, ends the messages that it dropped.
    pub(super) async fn complete_append(
        &self,
        after: &Conversation,
        is_new_session: bool,
    ) -> Result<(), DispatchError> {
        self.world.local_stops.notify(after);
        let ending = Box::pin(self.end_closing(after));
        if is_new_session {
            return ending.await;
        }
        // A failure to end messages of an earlier event must not fail this one.
        if !matches!(AssertUnwindSafe(ending).catch_unwind().await, Ok(Ok(()))) {
            let id = after.key.id();
            warn!(account.id = %self.envelope.integration, conversation = %id, "dropped messages can't be ended yet");
        }
        Ok(())
    }

    /// Returns the conversation with the message in it. `None` if the message has ended: refused because the mailbox is full, or answered by now.
    async fn put_in_mailbox(
        &self,
        message: &Message,
        key: &ConversationKey,
        trigger: &Trigger,
        (is_new_session, turn): (bool, Attempt),
    ) -> Result<Option<Conversation>, DispatchError> {
        let id = key.id();
        let mut not_done_at = None;
        let (mut must_look, mut moved_session) = (self.may_have_moved(key), None);
        for _ in 0..MAX_RACES {
            let (found, appended) = update::<_, DispatchError>(self.world, &id, |found| {
                if found.is_none() && must_look {
                    return Change::Leave(Appended::NoConversation);
                }
                let mut before = self.or_new(found, key);
                if before.version == 0 {
                    before.session.clone_from(&moved_session);
                }
                if before.holds(&self.envelope.message) {
                    return Change::Leave(Appended::InMailbox);
                }
                // This process may have been paused since the first attempt: messages that it would drop or interrupt must be older than its own.
                let interrupts = trigger.settings.busy_policy == BusyPolicy::Interrupt && before.run.is_some();
                // Or it has ended by now; perhaps it was erased with the conversation.
                let may_be_done = turn == Attempt::Again || self.is_late();
                let must_ask = may_be_done || (before.version > 0 && (is_new_session || interrupts));
                if must_ask && not_done_at != Some(before.version) {
                    return Change::Leave(Appended::Unsure(before.version));
                }
                // A new session always has room: pending messages are dropped for it.
                if !is_new_session && before.pending.len() >= mailbox::MAX_PENDING {
                    return Change::Leave(Appended::Full);
                }
                Change::save(
                    self.with_message(&before, message, trigger, is_new_session),
                    Appended::InMailbox,
                )
            })
            .await?;
            match appended {
                Appended::InMailbox => return Ok(found),
                Appended::NoConversation => (must_look, moved_session) = (false, self.moved_session(key).await?),
                Appended::Unsure(_) if self.is_done().await? => return Ok(None),
                Appended::Unsure(version) => not_done_at = Some(version),
                Appended::Full => {
                    self.refuse(message, &id, Refusal(Notice::Busy, "mailbox_full")).await?;
                    return Ok(None);
                }
            }
        }
        Err(Contended.into())
    }

    /// The conversation with the message in its mailbox.
    fn with_message(
        &self,
        before: &Conversation,
        message: &Message,
        trigger: &Trigger,
        is_new_session: bool,
    ) -> Conversation {
        let now = self.world.clock.now();
        let mut after = before.clone();
        after.updated_at = now;
        // A message that is not a choice closes the menu that waited for one.
        after.tasks.choice = None;
        if !self.abilities(message).tasks {
            after.enter_chat();
        }
        let is_sibling = |waiting: &Pending| waiting.album.is_some() && waiting.album == message.album;
        if is_new_session {
            let routed = trigger.agent_for(&message.target.chat, &message.sender.id, &message.text);
            let left = after.begin_chat(routed, now);
            let (siblings, dropped) = left.into_iter().partition(is_sibling);
            after.pending.extend::<Vec<_>>(siblings);
            after.close(dropped, MessageState::Dropped);
            after.forget_left();
        }
        // The part of an album that has the caption decides for all its parts.
        let joined = mailbox::album_session(&after.pending, message.album.as_deref());
        let session = match joined.filter(|_| message.text.is_empty()) {
            Some(session) => session,
            None => self.enter_session(&mut after, message, trigger),
        };
        for sibling in after.pending.iter_mut().filter(|waiting| is_sibling(waiting)) {
            sibling.session = session;
        }
        let waiting = Pending {
            message: self.envelope.message.clone(),
            since: now,
            session,
            urgent: !message.parts.is_empty(),
            behind_run: before.run.is_some(),
            sent_at: message.sent_at,
            album: message.album.clone(),
        };
        mailbox::insert(&mut after.pending, waiting);
        let is_late_part = |run: &RunState| run.album.is_some() && run.album == message.album;
        if trigger.settings.busy_policy == BusyPolicy::Interrupt
            && let Some(run) = after.run.as_mut().filter(|run| !is_late_part(run))
        {
            run.stop = run.stop.or(Some(StopCause::Interrupted));
        }
        after
    }

    /// Makes the session of a message the current one. Returns its number.
    fn enter_session(&self, after: &mut Conversation, message: &Message, trigger: &Trigger) -> u64 {
        let agent = self.agent_for(after, trigger, message);
        let session = after.resolve_session(&agent, trigger.settings.session_timeout(), self.world.clock.now());
        let number = session.number;
        let present = after.session.as_ref().filter(|old| old.agent != session.agent);
        match present.map(|old| self.bound.allows(old)) {
            // Another one of the trigger's agents: pending messages stay with theirs.
            Some(true) => after.leave_for(session),
            Some(false) => after.go_over_to(session),
            None => after.session = Some(session),
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tieline_core::ids::{AgentId, TriggerId};
    use tieline_core::trigger::TriggerSettings;

    use super::*;
    use crate::dispatch::fixture::ArrivalFixture;

    /// How many messages are pending after a process has appended one, so long after it began.
    async fn pending_after(state: MessageState, pause: Duration) -> usize {
        let it = ArrivalFixture::new(state).await;
        let mut arrival = it.arrival();
        arrival.begun_at = arrival.begun_at.before(pause);
        let trigger = Trigger {
            id: TriggerId::new("trg_1"),
            organization: it.key.organization.clone(),
            integration: it.key.integration.clone(),
            agent: AgentId::new("agt_1"),
            enabled: true,
            settings: TriggerSettings::default(),
        };
        let how = (false, Attempt::First);
        arrival
            .put_in_mailbox(&it.message(), &it.key, &trigger, how)
            .await
            .unwrap();
        it.n_pending().await
    }

    /// Another process has received the event too and gone on, or the person was erased.
    #[tokio::test]
    async fn process_that_was_paused_appends_no_message_that_has_ended() {
        let long = Duration::from_secs(20);
        assert_eq!(pending_after(MessageState::Queued, Duration::ZERO).await, 1);
        assert_eq!(pending_after(MessageState::Queued, long).await, 1);
        assert_eq!(pending_after(MessageState::Answered, long).await, 0);
    }
}
