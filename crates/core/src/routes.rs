//! Routes of a trigger: which of several agents behind a bot answers a message.

use serde::{Deserialize, Serialize};

use crate::event::Chat;
use crate::ids::{AgentId, ChatId, SenderId};

/// Most routes of a trigger.
pub const MAX_ROUTES: usize = 20;

/// An agent, and the conditions for messages that it answers: all that are set must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// The agent.
    pub agent: AgentId,
    /// In one of these chats. Empty: in any chat.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chats: Vec<ChatId>,
    /// From one of these people. Empty: from anyone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<SenderId>,
    /// Starting with this word, ignoring case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_word: Option<String>,
}

impl Route {
    /// Whether the route's agent answers this message.
    #[must_use]
    pub fn matches(&self, chat: &Chat, sender: &SenderId, text: &str) -> bool {
        let by_chat = self.chats.is_empty() || self.chats.contains(&chat.id);
        let by_sender = self.users.is_empty() || self.users.contains(sender);
        let by_word = self.first_word.as_ref().is_none_or(|word| {
            let first = text.split_whitespace().next().unwrap_or_default();
            first.to_lowercase() == word.to_lowercase()
        });
        self.has_condition() && by_chat && by_sender && by_word
    }

    /// Whether any condition is set. A route without one would leave no message to the trigger's own agent.
    #[must_use]
    pub const fn has_condition(&self) -> bool {
        !self.chats.is_empty() || !self.users.is_empty() || self.first_word.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ChatKind;

    fn matches(route: &Route, chat: &str, sender: &str, text: &str) -> bool {
        let chat = Chat {
            kind: ChatKind::Group,
            id: ChatId::new(chat),
            thread: None,
        };
        route.matches(&chat, &SenderId::new(sender), text)
    }

    fn blank() -> Route {
        Route {
            agent: AgentId::new("agt_1"),
            chats: Vec::new(),
            users: Vec::new(),
            first_word: None,
        }
    }

    #[test]
    fn every_condition_that_is_set_must_hold() {
        let route = Route {
            chats: vec![ChatId::new("g1"), ChatId::new("g2")],
            users: vec![SenderId::new("lisi")],
            ..blank()
        };
        assert!(matches(&route, "g2", "lisi", "hello"));
        assert!(!matches(&route, "g3", "lisi", "hello"));
        assert!(!matches(&route, "g1", "wang", "hello"));
        assert!(
            !matches(&blank(), "g1", "lisi", "hello"),
            "a route without a condition is none"
        );
    }

    #[test]
    fn first_word_is_whole_and_of_any_case() {
        let route = Route {
            first_word: Some("HR".into()),
            ..blank()
        };
        for text in ["hr how many days?", " Hr\nhow", "HR"] {
            assert!(matches(&route, "g", "lisi", text), "{text}");
        }
        for text in ["hrm", "ask hr", "", "hr:"] {
            assert!(!matches(&route, "g", "lisi", text), "{text}");
        }
    }
}
