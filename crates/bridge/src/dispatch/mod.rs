//! Dispatch: routes an event to its conversation. Never waits for an agent or a platform.

mod agents;
mod append;
pub mod batch;
mod clicks;
mod commands;
mod deleted;
#[cfg(test)]
mod fixture;
mod incoming_guard;
mod moved_chat;
mod overhear;
mod pending;
mod people;
mod poison;
mod question_limits;
mod recall;
mod status;
mod tasks;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tieline_core::command::{self, Command, TaskCommand};
use tieline_core::conversation::{Conversation, ConversationKey};
use tieline_core::envelope::{EnvelopeV1, StoredEvent, WakeUpV1};
use tieline_core::event::{Event, Message, Quoted};
use tieline_core::ids::ConversationId;
use tieline_core::message_state::{LedgerStep, MessageState};
use tieline_core::notice::Notice;
use tieline_core::timestamp::Timestamp;
use tieline_core::trigger::SessionScope;
use tieline_queue::QueueError;
use tieline_store::config::integration::{self, Bound};
use tieline_store::config::trigger as triggers;
use tieline_store::message::{self, Claim, Ending, MessageRecord};
use tieline_store::{StoreError, conversation};
use tracing::{info, warn};

use crate::conversation::Contended;
use crate::integration_log;
use crate::notices::{self, NoticeReply};
use crate::world::{World, random};
use crate::{users, wakeups};

pub use poison::give_up;

/// A message that was older than this on receipt, by the platform's own clock, is not answered.
const STALE_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Half of the visibility timeout of an event: a process that takes longer was paused, and another one may have received the event meanwhile.
const LATE_AFTER: Duration = Duration::from_secs(15);

/// Why an event could not be dispatched. It stays on the queue and is retried.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// The table failed.
    #[error("table is unavailable")]
    Store(#[from] StoreError),
    /// The queue failed.
    #[error("queue is unavailable")]
    Queue(#[from] QueueError),
    /// The event can't be unsealed or read.
    #[error("event can't be read")]
    Unreadable,
    /// Too many other writers change the conversation at the same time.
    #[error(transparent)]
    Contended(#[from] Contended),
    /// A long text of the same organization is being examined, and this event has one too.
    #[error("another long text of the organization is being examined")]
    Busy,
    /// A bug of ours, which must not fail the other events of the same batch.
    #[error("dispatch panicked")]
    Panicked,
}

/// Dispatches one event to its conversation. Idempotent.
///
/// Returns the wake-up for the conversation's pending messages, if one is needed: the event is dispatched only when the queue
/// has that. Sending it is left to the caller so that several events can share a call.
///
/// # Errors
/// [`DispatchError`] if it must be retried.
pub async fn dispatch(world: &World, envelope: &EnvelopeV1) -> Result<Option<Wake>, DispatchError> {
    // Nothing of it is reused after a panic: locks are taken though they are poisoned. Boxed, as are its longer branches: else all their
    // futures would be nested on the stack.
    let done = AssertUnwindSafe(Box::pin(dispatch_one(world, envelope)))
        .catch_unwind()
        .await;
    done.unwrap_or(Err(DispatchError::Panicked))
}

async fn dispatch_one(world: &World, envelope: &EnvelopeV1) -> Result<Option<Wake>, DispatchError> {
    let event = open(world, envelope)?;
    let begun_at = world.clock.now();
    let Some(mut bound) = integration::look_up(&world.store, &envelope.integration, world.clock.now()).await? else {
        info!(account.id = %envelope.integration, event.key = %envelope.message, "dropped an event of a deleted integration");
        return deleted::refuse(world, envelope, event).await.map(|()| None);
    };
    moved_chat::apply_lists(world, &mut bound, event.chat()).await?;
    let arrival = Arrival {
        world,
        envelope,
        bound: &bound,
        begun_at,
    };
    match event {
        Event::Message(message) => arrival.message(message).await,
        Event::Overheard(message) if Box::pin(arrival.joins_album(&message)).await? => arrival.message(message).await,
        Event::Overheard(message) => arrival.overhear(message).await.map(|()| None),
        Event::CardAction(action) => arrival.card_action(action).await,
        Event::Feedback(feedback) => arrival.feedback(feedback).await.map(|()| None),
        Event::Recalled(recalled) => Box::pin(arrival.recall(recalled)).await.map(|()| None),
        Event::ChatMoved(moved) => arrival.chat_moved(&moved).await.map(|()| None),
    }
}

/// The ledger's record of an event that is dispatched now.
fn received(world: &World, envelope: &EnvelopeV1, event: Event, conversation: Option<ConversationId>) -> MessageRecord {
    let platform_message = event.id().clone();
    let sender = Some(event.sender().clone()).filter(|sender| !sender.as_str().is_empty());
    MessageRecord {
        id: envelope.message.clone(),
        reply: envelope.reply.clone(),
        organization: envelope.organization.clone(),
        integration: envelope.integration.clone(),
        account: envelope.account.clone(),
        platform_message,
        conversation,
        session: None,
        sender,
        received_at: envelope.received_at,
        state: MessageState::Queued,
        event: crate::sealed_event(world, &envelope.message, event),
        run: None,
        run_messages: Vec::new(),
        reason: None,
        steps: vec![
            LedgerStep::new(envelope.received_at, "received"),
            LedgerStep::new(world.clock.now(), "dispatched"),
        ],
        redrives: 0,
        version: 0,
    }
}

fn open(world: &World, envelope: &EnvelopeV1) -> Result<Event, DispatchError> {
    let opened = world.store.keyring().open(&envelope.event, envelope.message.as_str());
    let bytes = opened.map_err(|error| match error {
        // Not the event's fault: the queue delivers it again once this process has reloaded the keys.
        StoreError::UnknownKey => DispatchError::Store(error),
        _ => DispatchError::Unreadable,
    })?;
    let stored: StoredEvent = serde_json::from_slice(&bytes).map_err(|_| DispatchError::Unreadable)?;
    Ok(stored.into())
}

/// An event being dispatched, with its integration.
struct Arrival<'a> {
    world: &'a World,
    envelope: &'a EnvelopeV1,
    bound: &'a Bound,
    /// When this process began to dispatch it.
    begun_at: Timestamp,
}

/// What a message asks for.
enum Intent {
    /// Put it into the mailbox for the agent.
    Say,
    /// Start a new session. The message's text, if any, is its first input.
    New,
    /// Carry out another command.
    Steer(Command),
    /// Refuse it.
    Refuse(Refusal),
    /// Show the sender, a stranger, a pairing code.
    Pair,
}

impl Intent {
    /// Whether the message goes to an agent.
    fn is_question(&self, message: &Message) -> bool {
        match self {
            Self::Say => true,
            Self::New => !is_empty(message),
            Self::Steer(_) | Self::Refuse(_) | Self::Pair => false,
        }
    }
}

/// Whether an event is dispatched for the first time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// It is new.
    First,
    /// An earlier attempt started on it and got to an unknown point.
    Again,
}

/// A wake-up, and its delay.
pub type Wake = (WakeUpV1, Duration);

/// Why a message is refused: the notice for its sender, and the reason in the ledger.
struct Refusal(Notice, &'static str);

impl Arrival<'_> {
    async fn message(&self, mut message: Message) -> Result<Option<Wake>, DispatchError> {
        let intent = self.intent(&mut message).await?;
        if intent.is_question(&message) {
            Box::pin(self.guard(&mut message)).await?;
        }
        let key = self.key(&message);
        let id = key.id();
        let Some(turn) = self.claim(Event::Message(message.clone()), Some(id.clone())).await? else {
            return self.end_left_closing(&id).await.map(|()| None);
        };
        // It stays where an earlier attempt put it, though settings that decide about it may have changed since.
        if turn == Attempt::Again
            && let Some(holder) = Box::pin(self.holder()).await?
        {
            Box::pin(self.complete_append(&holder, matches!(intent, Intent::New))).await?;
            return Ok(match &self.bound.trigger {
                Some(trigger) => self.wake_for(&holder, trigger, &message),
                None => Some(self.wake(holder.key.id(), Duration::ZERO)),
            });
        }
        if intent.is_question(&message) {
            if let Some(limit) = Box::pin(self.limit_reached(&message, turn)).await? {
                return self.hold_back(&message, &id, limit).await.map(|()| None);
            }
            if turn == Attempt::Again
                && let Some(reason) = Box::pin(self.refused_before()).await?
            {
                return self.end_refused(&id, reason).await.map(|()| None);
            }
        }
        match intent {
            Intent::Refuse(refusal) => self.refuse(&message, &id, refusal).await.map(|()| None),
            Intent::Pair => Box::pin(self.offer_pairing(&message, &id)).await.map(|()| None),
            Intent::Steer(command) => Box::pin(self.run_command(&message, &key, &command, turn)).await,
            Intent::New => Box::pin(self.start_session(&message, &key, turn)).await,
            Intent::Say if Box::pin(self.made_choice(&message, &key)).await? => Ok(None),
            Intent::Say => Box::pin(self.append(&message, &key, false, turn)).await,
        }
    }

    async fn intent(&self, message: &mut Message) -> Result<Intent, DispatchError> {
        // Judged by its time of receipt, not by now: we may have kept it, and an operator may redrive it much later.
        let received_at = self.envelope.received_at;
        if message
            .sent_at
            .is_some_and(|sent| received_at.since(sent) > STALE_AFTER)
        {
            return Ok(Intent::Refuse(Refusal(Notice::Stale, "stale")));
        }
        if let Some(refusal) = self.denial(message).await? {
            return Ok(match refusal.0 == Notice::NotAllowed && self.offers_pairing(message) {
                true => Intent::Pair,
                false => Intent::Refuse(refusal),
            });
        }
        let abilities = self.abilities(message);
        Ok(match command::parse(&message.text, abilities) {
            Some(Command::New(first)) if first.is_empty() && message.parts.is_empty() && abilities.tasks => {
                Intent::Steer(Command::Task(TaskCommand::Menu))
            }
            Some(Command::New(first)) => {
                message.text = first;
                Intent::New
            }
            Some(command) => Intent::Steer(command),
            None if is_empty(message) => Intent::Refuse(Refusal(Notice::Unsupported, "empty")),
            None => Intent::Say,
        })
    }

    /// Why the sender may not use this bot, neither by messages nor by clicks, if they may not.
    async fn denial(&self, message: &Message) -> Result<Option<Refusal>, DispatchError> {
        if !self.bound.integration.enabled {
            return Ok(Some(Refusal(Notice::Disabled, "integration_stopped")));
        }
        let Some(trigger) = &self.bound.trigger else {
            return Ok(Some(self.unbound().await?));
        };
        let access = &trigger.settings.access;
        let allowed = access.allows(&message.sender.id, &message.target.chat) || self.is_admitted(message).await?;
        Ok((!allowed).then_some(Refusal(Notice::NotAllowed, message::NOT_ALLOWED)))
    }

    async fn unbound(&self) -> Result<Refusal, DispatchError> {
        let record = &self.bound.integration;
        let named = triggers::naming(&self.world.store, &record.organization, |it| {
            it.integration == record.id
        })
        .await?;
        Ok(match !named.is_empty() {
            true => Refusal(Notice::Disabled, "trigger_disabled"),
            false => Refusal(Notice::Unbound, "no_trigger"),
        })
    }

    fn key(&self, message: &Message) -> ConversationKey {
        let scope = self
            .bound
            .trigger
            .as_ref()
            .map_or(SessionScope::Sender, |it| it.settings.session_scope);
        let target = &message.target;
        let envelope = self.envelope;
        ConversationKey::of(
            &envelope.organization,
            &envelope.integration,
            &target.chat,
            &message.sender.id,
            scope,
        )
    }

    /// Claims the event: once, for as long as the ledger remembers. `None` if it was received before and is done.
    async fn claim(
        &self,
        event: Event,
        conversation: Option<ConversationId>,
    ) -> Result<Option<Attempt>, DispatchError> {
        let envelope = self.envelope;
        let sender = event.sender().clone();
        let record = received(self.world, envelope, event, conversation);
        let turn = match message::claim(&self.world.store, &record).await? {
            Claim::New => Attempt::First,
            // Not done yet: the process that claimed it died, or this is a retry of the same process.
            Claim::Seen(before) if !before.state.is_terminal() => Attempt::Again,
            Claim::Seen(_) => return Ok(None),
        };
        // However the event ends, its sender has made contact.
        users::ensure(self.world, envelope, self.bound, &sender).await?;
        Ok(Some(turn))
    }

    /// The conversation that an earlier attempt has put the message into.
    async fn holder(&self) -> Result<Option<Conversation>, DispatchError> {
        let (store, now) = (&self.world.store, self.world.clock.now());
        let record = message::get(store, &self.envelope.message, now).await?;
        let Some(id) = record.and_then(|record| record.conversation) else {
            return Ok(None);
        };
        let found = conversation::load(store, &id, now).await?;
        Ok(found.filter(|found| found.holds(&self.envelope.message)))
    }

    async fn end(&self, state: MessageState, reason: Option<&str>) -> Result<(), DispatchError> {
        let now = self.world.clock.now();
        let ending = Ending {
            state,
            reason: reason.map(str::to_owned),
            run: None,
            session: None,
            steps: vec![LedgerStep::new(now, state.as_str())],
        };
        if message::finish(&self.world.store, &self.envelope.message, &ending).await? {
            self.world.metrics.message(&self.bound.integration.platform, state);
        }
        info!(account.id = %self.envelope.integration, event.key = %self.envelope.message, reason, "event ended as {}", state.as_str());
        Ok(())
    }

    async fn refuse(
        &self,
        message: &Message,
        conversation: &ConversationId,
        Refusal(notice, reason): Refusal,
    ) -> Result<(), DispatchError> {
        self.say(message, conversation, NoticeReply::refused(notice)).await?;
        let text = format!("a message was refused: {reason}");
        integration_log::warn(self.world, &self.envelope.integration, reason, &text).await;
        self.end(MessageState::Refused, Some(reason)).await
    }

    /// Sends the person a notice through a runner: platforms can be slow, and the dispatcher may not wait for them.
    async fn say(
        &self,
        message: &Message,
        conversation: &ConversationId,
        word: NoticeReply,
    ) -> Result<(), DispatchError> {
        let redrives = notices::record(self.world, self.envelope, &message.sender.id, conversation, word).await?;
        self.send_reply(conversation, Some(redrives)).await
    }

    /// Ends a message whose refusal is recorded as its reply, and sends that to the person, who may not have it yet.
    async fn end_refused(&self, conversation: &ConversationId, reason: &str) -> Result<(), DispatchError> {
        self.send_reply(conversation, None).await?;
        self.end(MessageState::Refused, Some(reason)).await
    }

    async fn send_reply(&self, conversation: &ConversationId, redrive: Option<u32>) -> Result<(), DispatchError> {
        let (organization, reply) = (self.envelope.organization.clone(), self.envelope.reply.clone());
        let wake = WakeUpV1 {
            redrive,
            ..WakeUpV1::of_reply(organization, conversation.clone(), reply)
        };
        Ok(wakeups::send_watched_to_relays(self.world, [(self.at_its_relay(wake), Duration::ZERO)]).await?)
    }

    /// Whether another process may have dispatched the event meanwhile.
    fn is_late(&self) -> bool {
        // Not a monotonic clock, which stands still while a machine is suspended.
        self.world.clock.now().since(self.begun_at) >= LATE_AFTER
    }

    fn or_new(&self, found: Option<Conversation>, key: &ConversationKey) -> Conversation {
        found.unwrap_or_else(|| Conversation::begin(key.clone(), random(), self.world.clock.now()))
    }
}

/// Whether a message is empty. One that only quotes something isn't: the quote may be all that the agent is to look at.
fn is_empty(message: &Message) -> bool {
    let quotes = |quoted: &Quoted| !quoted.text.is_empty() || !quoted.parts.is_empty();
    let refers = message.quoted.as_ref().is_some_and(quotes) || message.refers_to.is_some();
    message.text.is_empty() && message.parts.is_empty() && !refers
}

/// Logs why an event stays on the queue.
pub fn log_failure(envelope: &EnvelopeV1, attempt: u32, error: &DispatchError) {
    let error = crate::error_chain::chain(error);
    warn!(account.id = %envelope.integration, event.key = %envelope.message, queue.attempt = attempt, error, "event stays on the queue");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::fixture::ArrivalFixture;

    #[tokio::test]
    async fn message_that_an_earlier_attempt_appended_is_not_refused() {
        let it = ArrivalFixture::new(MessageState::Queued).await;
        it.append(it.id()).await;
        let wake = it.dispatch().await.unwrap();
        assert_eq!(wake.map(|(wake, _)| wake.conversation), Some(it.key.id()));
        assert_eq!(
            (it.record().await.state, it.n_pending().await),
            (MessageState::Queued, 1)
        );
    }

    #[tokio::test]
    async fn message_that_no_attempt_appended_is_refused() {
        let it = ArrivalFixture::new(MessageState::Queued).await;
        assert!(it.dispatch().await.unwrap().is_none());
        assert_eq!(it.record().await.state, MessageState::Refused);
    }
}
