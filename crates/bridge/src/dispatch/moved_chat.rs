//! Groups to which their platform has given another id: their sessions go on, and lists that name the old id stay valid.

use tieline_core::conversation::ConversationKey;
use tieline_core::event::{Chat, ChatKind, ChatMoved};
use tieline_core::ids::ChatId;
use tieline_core::session::Session;
use tieline_store::config::integration::Bound;
use tieline_store::{StoreError, conversation, moved_chat};
use tracing::info;

use super::{Arrival, DispatchError};
use crate::printable::Printable;
use crate::world::World;

/// Extends the trigger's lists: where they have the group's old id, they get its present one too.
pub(super) async fn apply_lists(world: &World, bound: &mut Bound, chat: &Chat) -> Result<(), StoreError> {
    let trigger = bound.trigger.as_ref();
    if !trigger.is_some_and(|trigger| trigger.lists_other_chats(&chat.id)) {
        return Ok(());
    }
    let old = old_id(world, bound, chat).await?;
    if let (Some(old), Some(trigger)) = (old, &mut bound.trigger) {
        trigger.add_other_id(&old, &chat.id);
    }
    Ok(())
}

/// The old id of a chat, if it had one.
async fn old_id(world: &World, bound: &Bound, chat: &Chat) -> Result<Option<ChatId>, StoreError> {
    if !may_have_moved(world, bound, chat) {
        return Ok(None);
    }
    moved_chat::old_id(&world.store, &bound.integration.id, &chat.id, world.clock.now()).await
}

/// Whether the chat is a group of a platform where groups get other ids.
fn may_have_moved(world: &World, bound: &Bound, chat: &Chat) -> bool {
    if chat.kind != ChatKind::Group {
        return false;
    }
    let connector = world.connector(&bound.integration.platform);
    connector.is_some_and(|connector| connector.manifest().groups_get_other_ids)
}

impl Arrival<'_> {
    /// Records a group's old id.
    pub(super) async fn chat_moved(&self, moved: &ChatMoved) -> Result<(), DispatchError> {
        let (world, id, now) = (self.world, &self.envelope.integration, self.world.clock.now());
        moved_chat::put(&world.store, id, &moved.chat.id, &moved.from, now).await?;
        info!(
            account.id = %id,
            event.key = %self.envelope.message,
            chat.id = %Printable(moved.chat.id.as_str()),
            old_chat.id = %Printable(moved.from.as_str()),
            "the platform has given the group another id"
        );
        Ok(())
    }

    /// Whether a new conversation may go on with an earlier session: see [`Self::moved_session`].
    pub(super) fn may_have_moved(&self, key: &ConversationKey) -> bool {
        may_have_moved(self.world, self.bound, &key.chat)
    }

    /// The session with which a new conversation begins: that under its group's old id.
    pub(super) async fn moved_session(&self, key: &ConversationKey) -> Result<Option<Session>, DispatchError> {
        let Some(old) = old_id(self.world, self.bound, &key.chat).await? else {
            return Ok(None);
        };
        let mut before = key.clone();
        before.chat.id = old;
        let (store, now) = (&self.world.store, self.world.clock.now());
        let found = conversation::load(store, &before.id(), now).await?;
        Ok(found.and_then(|found| found.session))
    }
}
