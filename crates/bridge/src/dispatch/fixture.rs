//! A message that is dispatched in a process that an earlier one may have been faster than.

use tieline_core::conversation::{Conversation, ConversationKey};
use tieline_core::envelope::EnvelopeV1;
use tieline_core::event::{Chat, ChatKind, Event, Message};
use tieline_core::ids::{ChatId, IntegrationId, MessageId, OrganizationId};
use tieline_core::mailbox::Pending;
use tieline_core::message_state::MessageState;
use tieline_store::config::integration::{self, Bound};
use tieline_store::conversation;
use tieline_store::message::{self, MessageRecord};

use super::{Arrival, DispatchError, Wake};
use crate::run::fixture::PolledFixture;

/// The message, its bot, which has no trigger, and its conversation.
pub(super) struct ArrivalFixture {
    it: PolledFixture,
    envelope: EnvelopeV1,
    bound: Bound,
    pub(super) key: ConversationKey,
}

impl ArrivalFixture {
    /// `state`: the message's state in the ledger.
    pub(super) async fn new(state: MessageState) -> Self {
        let key = ConversationKey {
            organization: OrganizationId::new("default"),
            integration: IntegrationId::new("int_1"),
            chat: Chat {
                kind: ChatKind::Direct,
                id: ChatId::new("lisi"),
                thread: None,
            },
            sender: None,
        };
        let it = PolledFixture::with(|message| {
            message.state = state;
            message.conversation = Some(key.id());
        })
        .await;
        let now = it.world.clock.now();
        let bound = integration::look_up(&it.world.store, &it.message.integration, now).await;
        let envelope = EnvelopeV1 {
            organization: it.message.organization.clone(),
            integration: it.message.integration.clone(),
            account: None,
            message: it.message.id.clone(),
            reply: it.message.reply.clone(),
            received_at: now,
            event: String::new(),
            event_file: None,
        };
        Self {
            it,
            envelope,
            bound: bound.unwrap().unwrap(),
            key,
        }
    }

    pub(super) fn arrival(&self) -> Arrival<'_> {
        Arrival {
            world: &self.it.world,
            envelope: &self.envelope,
            bound: &self.bound,
            begun_at: self.it.world.clock.now(),
        }
    }

    pub(super) fn id(&self) -> MessageId {
        self.envelope.message.clone()
    }

    /// Dispatches the message.
    pub(super) async fn dispatch(&self) -> Result<Option<Wake>, DispatchError> {
        Box::pin(self.arrival().message(self.message())).await
    }

    pub(super) fn message(&self) -> Message {
        match crate::event_of(&self.it.world, &self.it.message).unwrap() {
            Some(Event::Message(message)) => message,
            event => panic!("expected a message, got {event:?}"),
        }
    }

    /// Puts a message into the conversation's mailbox.
    pub(super) async fn append(&self, message: MessageId) {
        let now = self.it.world.clock.now();
        let before = Conversation::new(self.key.clone(), now);
        let mut after = before.clone();
        after.pending.push(Pending {
            message,
            since: now,
            session: 1,
            urgent: false,
            behind_run: false,
            sent_at: None,
            album: None,
        });
        conversation::save(&self.it.world.store, &before, &mut after)
            .await
            .unwrap();
    }

    pub(super) async fn n_pending(&self) -> usize {
        let (store, now) = (&self.it.world.store, self.it.world.clock.now());
        let found = conversation::load(store, &self.key.id(), now).await.unwrap();
        found.map_or(0, |found| found.pending.len())
    }

    pub(super) async fn record(&self) -> MessageRecord {
        let (store, now) = (&self.it.world.store, self.it.world.clock.now());
        message::get(store, &self.envelope.message, now).await.unwrap().unwrap()
    }
}
