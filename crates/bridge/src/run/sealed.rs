//! Opens what a run needs and another process may have sealed with a data key that this one reads a little later.

use tieline_core::event::Event;
use tieline_store::StoreError;
use tieline_store::message::MessageRecord;

use super::{LeasedConversation, MAX_ATTEMPTS, RunError};
use crate::accounts::{self, Bot};
use crate::world::World;

impl LeasedConversation {
    /// The bot of the conversation. `None` if it is deleted, or its credentials can't be read.
    ///
    /// # Errors
    /// [`RunError::Store`] if their key isn't known yet.
    pub(super) fn open_bot(&self, world: &World) -> Result<Option<Bot>, RunError> {
        let bound = self.bound.as_ref();
        let opened = bound.map(|bound| accounts::open_if_usable(world, &bound.integration));
        self.until_key_is_lost(opened.unwrap_or(Ok(None)))
    }

    /// The event of one of the conversation's messages. `None` if it can't be read.
    ///
    /// # Errors
    /// [`RunError::Store`] if its key isn't known yet.
    pub(super) fn open_event(&self, world: &World, record: &MessageRecord) -> Result<Option<Event>, RunError> {
        self.until_key_is_lost(crate::event_of(world, record))
    }

    /// An unknown key ends an attempt like an outage of the tables: the wake-up is retried. A key that is unknown to so many attempts is lost,
    /// and must not block the conversation.
    pub(super) fn until_key_is_lost<T>(&self, opened: Result<Option<T>, StoreError>) -> Result<Option<T>, RunError> {
        match opened {
            Err(StoreError::UnknownKey) if self.run().attempt > MAX_ATTEMPTS => Ok(None),
            opened => Ok(opened?),
        }
    }
}

#[cfg(test)]
mod tests {
    use tieline_core::conversation::{Conversation, ConversationKey, RunState};
    use tieline_core::envelope::WakeUpV1;
    use tieline_core::event::{Chat, ChatKind};
    use tieline_core::ids::{AgentId, ChatId, RunId};
    use tieline_core::message_state::MessageState;
    use tieline_store::config::integration;
    use tieline_store::{conversation, message};

    use super::*;
    use crate::run;
    use crate::run::fixture::{PolledFixture, with_unknown_key};

    /// Continues the run of a message with an unknown key, after so many attempts. Returns how the message is left.
    async fn attempt_after(n_attempts: u32) -> (Result<run::Next, RunError>, MessageState) {
        let it = PolledFixture::with(|message| message.event = with_unknown_key(&message.event)).await;
        let now = it.world.clock.now();
        let key = ConversationKey {
            organization: it.message.organization.clone(),
            integration: it.message.integration.clone(),
            chat: Chat {
                kind: ChatKind::Direct,
                id: ChatId::new("lisi"),
                thread: None,
            },
            sender: None,
        };
        let wake = WakeUpV1::new(key.organization.clone(), key.id());
        let before = Conversation::new(key, now);
        let (run, messages) = (RunId::new("run_1"), vec![it.message.id.clone()]);
        let mut after = before.clone();
        after.run = Some(RunState {
            attempt: n_attempts,
            ..RunState::new(run, messages, 1, AgentId::new("agt_1"), now)
        });
        conversation::save(&it.world.store, &before, &mut after).await.unwrap();
        let woken = run::wake(&it.world, &wake, None, None).await;
        let found = message::get(&it.world.store, &it.message.id, it.world.clock.now()).await;
        (woken, found.unwrap().unwrap().state)
    }

    #[tokio::test]
    async fn message_with_an_unknown_key_is_retried_until_the_key_is_lost() {
        let (woken, state) = attempt_after(1).await;
        assert!(
            matches!(woken, Err(RunError::Store(StoreError::UnknownKey))),
            "{woken:?}"
        );
        assert_eq!(state, MessageState::Queued);
        let (woken, state) = attempt_after(MAX_ATTEMPTS).await;
        assert!(matches!(woken, Ok(run::Next::Done)), "{woken:?}");
        assert_eq!(state, MessageState::Failed);
    }

    #[tokio::test]
    async fn account_with_an_unknown_key_is_not_taken_for_an_unusable_one() {
        let it = PolledFixture::new().await;
        let mut record = integration::get(&it.world.store, &it.message.integration)
            .await
            .unwrap()
            .unwrap();
        record.version += 1;
        record.credentials = with_unknown_key(&record.credentials);
        let opened = accounts::open_if_usable(&it.world, &record);
        assert!(matches!(opened, Err(StoreError::UnknownKey)));
        record.credentials = String::new();
        assert!(accounts::open_if_usable(&it.world, &record).unwrap().is_none());
    }
}
