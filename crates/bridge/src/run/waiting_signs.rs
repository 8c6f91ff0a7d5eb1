//! Waiting signs of messages behind a running answer: the connector's thinking sign, shown early, where the platform has a quiet one.
//!
//! The holder of the conversation's lease shows them, so a message has one writer at a time. The message's own run continues from the
//! recorded progress; if a message is stopped, dropped or merged, its sign is removed.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tieline_core::connector::WaitingSign;
use tieline_core::envelope::WakeUpV1;
use tieline_core::event::Event;
use tieline_core::ids::{ConversationId, MessageId};
use tieline_core::message_state::MessageState;
use tieline_core::notice::Notice;
use tieline_store::message::{self, MessageRecord};
use tieline_store::reply::{self, About, ReplyRecord};
use tokio::sync::{Notify, watch};
use tracing::warn;

use super::agent_stream::StreamState;
use super::stream_reply::stream_reply;
use super::{LeasedConversation, RunError};
use crate::accounts::Bot;
use crate::deliver::{self, ReplyDelivery};
use crate::lease_watch::LeaseWatch;
use crate::notices;
use crate::wakeups;
use crate::world::World;

/// Most signs shown at a time by one holder. Further messages wait without one.
const MAX_SIGNS: usize = 20;

/// Signs that are being shown, beside other work of the run. They must have ended before another process may show the messages.
pub(super) struct Signing<'a>(Option<Pin<Box<dyn Future<Output = ()> + Send + 'a>>>);

impl<'a> Signing<'a> {
    /// No signs.
    pub(super) const fn none() -> Self {
        Self(None)
    }

    pub(super) fn new(showing: impl Future<Output = ()> + Send + 'a) -> Self {
        Self(Some(Box::pin(showing)))
    }

    /// Works, and meanwhile goes on with the signs.
    pub(super) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        let Some(signs) = &mut self.0 else {
            return work.await;
        };
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = signs => {}
        }
        self.0 = None;
        work.await
    }

    /// Waits until the calls in flight are answered. The signs must have been told to end.
    pub(super) async fn end(&mut self) {
        if let Some(signs) = self.0.take() {
            signs.await;
        }
    }
}

/// Shows the signs of one run's pending messages.
pub(super) struct WaitingSigns<'a> {
    world: &'a World,
    bot: &'a Bot,
    conversation: ConversationId,
    fence: u64,
    hold: LeaseWatch,
}

impl<'a> WaitingSigns<'a> {
    pub(super) fn new(world: &'a World, bot: &'a Bot, held: &LeasedConversation, hold: &LeaseWatch) -> Self {
        Self {
            world,
            bot,
            conversation: held.id(),
            fence: held.fence,
            hold: hold.clone(),
        }
    }

    /// Shows and renews a sign for each message of `waiting`, until `done`. A call in flight is always finished.
    pub(super) async fn show(self, mut waiting: watch::Receiver<Vec<MessageId>>, done: Arc<Notify>) {
        let finished = done.notified();
        tokio::pin!(finished);
        if deliver::mode(self.bot).waiting_sign == WaitingSign::Nothing {
            return finished.await;
        }
        let mut seen = HashSet::new();
        let mut signs = FuturesUnordered::new();
        let mut ends: Vec<Arc<Notify>> = Vec::new();
        loop {
            let new: Vec<MessageId> = waiting.borrow_and_update().clone();
            for id in new.into_iter().take(MAX_SIGNS) {
                if signs.len() < MAX_SIGNS && seen.insert(id.clone()) {
                    let end = Arc::new(Notify::new());
                    ends.push(Arc::clone(&end));
                    signs.push(self.sign(id, end));
                }
            }
            tokio::select! {
                biased;
                () = &mut finished => break,
                Some(()) = signs.next(), if !signs.is_empty() => {}
                Ok(()) = waiting.changed() => {}
            }
        }
        for end in ends {
            end.notify_one();
        }
        while signs.next().await.is_some() {}
    }

    async fn sign(&self, id: MessageId, end: Arc<Notify>) {
        if let Err(error) = self.keep_sign(&id, &end).await {
            warn!(event.key = %id, error = %error, "waiting sign of a message can't be shown");
        }
    }

    async fn keep_sign(&self, id: &MessageId, end: &Notify) -> Result<(), RunError> {
        let world = self.world;
        let Some(record) = message::get(&world.store, id, world.clock.now()).await? else {
            return Ok(());
        };
        if self.bot.is_other_than(record.account.as_deref()) {
            return Ok(());
        }
        let Some(Event::Message(message)) = crate::event_of(world, &record)?.filter(|_| !record.state.is_terminal())
        else {
            return Ok(());
        };
        let found = reply::get(&world.store, &record.reply, world.clock.now()).await?;
        if found.as_ref().is_some_and(|found| found.outcome.is_some()) {
            return Ok(());
        }
        let blank = || {
            ReplyRecord::blank(&About {
                reply: &record.reply,
                organization: &record.organization,
                integration: &record.integration,
                conversation: &self.conversation,
                message: &record.id,
                asker: &message.sender.id,
                received_at: record.received_at,
            })
        };
        let mut showing = ReplyDelivery::new(world, self.bot, &message.target, found, blank)
            .under_lease(self.hold.clone(), self.fence);
        // No text is ever added: the sign is all that is shown.
        let (_said, shown) = watch::channel(StreamState::default());
        stream_reply(&mut showing, self.bot, shown, end).await;
        // The message may have ended before this record existed, so that its sign was not removed.
        let ended = message::get(&world.store, id, world.clock.now()).await?;
        if let Some(notice) = ended.as_ref().and_then(ended_by) {
            remove(world, self.bot, &record, &self.conversation, notice).await?;
        }
        Ok(())
    }
}

/// The notice of a message that ended while it was pending.
fn ended_by(record: &MessageRecord) -> Option<Notice> {
    match record.state {
        MessageState::Stopped => Some(Notice::Stopped),
        MessageState::Dropped => Some(Notice::NewSession),
        _ => None,
    }
}

/// Removes the sign of a message that has no answer of its own: a mark is removed, a bubble ends with `notice`. Does nothing if there is
/// none. Idempotent.
pub(super) async fn remove(
    world: &World,
    bot: &Bot,
    record: &MessageRecord,
    conversation: &ConversationId,
    notice: Notice,
) -> Result<(), RunError> {
    let sign = deliver::mode(bot).waiting_sign;
    if notices::end_sign(world, &record.reply, sign, notice).await? {
        let (organization, reply) = (record.organization.clone(), record.reply.clone());
        let wake = WakeUpV1::of_reply(organization, conversation.clone(), reply).after_redrives(record.redrives);
        wakeups::send_watched(world, [(wake, std::time::Duration::ZERO)]).await?;
    }
    Ok(())
}
