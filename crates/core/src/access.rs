//! Access lists: which people and chats may use a bot.

use serde::{Deserialize, Serialize};

use crate::event::Chat;
use crate::ids::{ChatId, SenderId};

/// Lists of platform ids. If both are empty, everyone may use the bot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Access {
    /// People who may use it, in any chat.
    pub users: Vec<SenderId>,
    /// Chats, direct or group, in which everyone may use it.
    pub chats: Vec<ChatId>,
    /// Whether an unknown person may ask for access by pairing. Until approved, they have none.
    pub pairing: bool,
}

impl Access {
    /// Whether `sender` may speak to the bot in `chat`.
    #[must_use]
    pub fn allows(&self, sender: &SenderId, chat: &Chat) -> bool {
        let by_chat = self.chats.contains(&chat.id);
        !self.is_restricted() || by_chat || self.users.contains(sender)
    }

    /// Whether access is restricted.
    #[must_use]
    pub const fn is_restricted(&self) -> bool {
        !self.users.is_empty() || !self.chats.is_empty() || self.pairing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ChatKind;

    fn group(id: &str) -> Chat {
        Chat {
            kind: ChatKind::Group,
            id: ChatId::new(id),
            thread: None,
        }
    }

    #[test]
    fn empty_lists_allow_everyone() {
        assert!(Access::default().allows(&SenderId::new("lisi"), &group("g")));
    }

    #[test]
    fn lists_allow_the_listed_people_and_chats() {
        let access = Access {
            users: vec![SenderId::new("lisi")],
            chats: vec![ChatId::new("g")],
            ..Access::default()
        };
        assert!(access.allows(&SenderId::new("lisi"), &group("h")));
        assert!(access.allows(&SenderId::new("wangwu"), &group("g")));
        assert!(!access.allows(&SenderId::new("wangwu"), &group("h")));
        assert!(!access.allows(&SenderId::new("LISI"), &group("h")));
    }

    #[test]
    fn a_direct_chat_may_be_listed() {
        let access = Access {
            chats: vec![ChatId::new("d")],
            ..Access::default()
        };
        let direct = |id: &str| Chat {
            kind: ChatKind::Direct,
            ..group(id)
        };
        assert!(access.allows(&SenderId::new("lisi"), &direct("d")));
        assert!(!access.allows(&SenderId::new("lisi"), &direct("e")));
    }

    #[test]
    fn pairing_restricts_access() {
        let access = Access {
            pairing: true,
            ..Access::default()
        };
        assert!(!access.allows(&SenderId::new("lisi"), &group("g")));
    }
}
