//! Fixtures for tests of conversations.

use super::{Conversation, ConversationKey};
use crate::event::{Chat, ChatKind};
use crate::ids::{ChatId, IntegrationId, OrganizationId, SenderId};
use crate::timestamp::Timestamp;
use crate::trigger::SessionScope;

/// The conversation of a direct chat, without messages.
pub(crate) fn conversation() -> Conversation {
    let chat = Chat {
        kind: ChatKind::Direct,
        id: ChatId::new("c"),
        thread: None,
    };
    let (organization, integration) = (OrganizationId::new("default"), IntegrationId::new("int_1"));
    let key = ConversationKey::of(
        &organization,
        &integration,
        &chat,
        &SenderId::new("lisi"),
        SessionScope::Sender,
    );
    Conversation::new(key, at(0))
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(seconds)
}
