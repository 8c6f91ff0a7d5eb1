//! Cache of where each chat's newest message is answered, for platforms that may refuse answers to earlier messages.

use quick_cache::sync::Cache;
use tieline_core::ids::{ChatId, IntegrationId};
use tieline_core::reply::{ReplyHandle, ReplyTarget};
use tieline_core::timestamp::Timestamp;

/// Most chats that are cached.
const MAX_REMEMBERED: usize = 10_000;

/// The newest message that this process has received in each chat. Cache; bounded. A chat that is missing is answered with the handle of the
/// message that is answered.
#[derive(Debug)]
pub struct NewestTargets(Cache<(IntegrationId, ChatId), Newest>);

/// What the newest message adds to a target.
#[derive(Debug, Clone, PartialEq)]
struct Newest {
    sent_at: Timestamp,
    handle: ReplyHandle,
    expires_at: Option<Timestamp>,
}

impl Default for NewestTargets {
    fn default() -> Self {
        Self(Cache::new(MAX_REMEMBERED))
    }
}

impl NewestTargets {
    /// Caches the target of a message, unless a newer one is known.
    pub(crate) fn keep(&self, target: &ReplyTarget, sent_at: Timestamp) {
        let key = key(target);
        if self.0.get(&key).is_none_or(|known| known.sent_at <= sent_at) {
            let newest = Newest {
                sent_at,
                handle: target.handle.clone(),
                expires_at: target.expires_at,
            };
            self.0.insert(key, newest);
        }
    }

    /// The target with the handle of the chat's newest message. `None` if that is known to be no other one.
    pub(crate) fn renew(&self, target: &ReplyTarget) -> Option<ReplyTarget> {
        let Newest { handle, expires_at, .. } = self.0.get(&key(target))?;
        // A platform may give several messages the same handle, of which each can be answered for longer than the one before.
        (handle != target.handle || expires_at != target.expires_at).then(|| ReplyTarget {
            handle,
            expires_at,
            ..target.clone()
        })
    }

    pub(crate) fn forget(&self, integration: &IntegrationId, chat: &ChatId) {
        self.0.remove(&(integration.clone(), chat.clone()));
    }
}

fn key(target: &ReplyTarget) -> (IntegrationId, ChatId) {
    (target.integration.clone(), target.chat.id.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tieline_core::event::{Chat, ChatKind};
    use tieline_core::ids::{PlatformMessageId, SenderId};

    use super::*;

    fn target(chat: &str, token: &str, expires_at: i64) -> ReplyTarget {
        ReplyTarget {
            integration: IntegrationId::new("int_1"),
            chat: Chat {
                kind: ChatKind::Direct,
                id: ChatId::new(chat),
                thread: None,
            },
            asker: SenderId::new(chat),
            message: PlatformMessageId::new("m1"),
            handle: ReplyHandle::new(json!({ "token": token })),
            expires_at: Some(Timestamp::from_millis(expires_at)),
        }
    }

    #[test]
    fn earlier_messages_are_answered_with_the_newest_handle_of_their_chat() {
        let (targets, at) = (NewestTargets::default(), Timestamp::from_millis);
        let first = target("a", "1", 10);
        assert_eq!(targets.renew(&first), None);
        targets.keep(&first, at(1));
        assert_eq!(targets.renew(&first), None);
        targets.keep(&target("a", "2", 20), at(2));
        targets.keep(&target("b", "3", 30), at(3));
        // Delivered late.
        targets.keep(&target("a", "0", 5), at(0));
        assert_eq!(targets.renew(&first), Some(target("a", "2", 20)));
        targets.keep(&target("a", "2", 40), at(4));
        assert_eq!(targets.renew(&target("a", "2", 20)), Some(target("a", "2", 40)));
        targets.forget(&first.integration, &first.chat.id);
        assert_eq!(targets.renew(&first), None);
    }
}
