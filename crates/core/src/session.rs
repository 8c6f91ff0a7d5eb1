//! Sessions: when one continues and when a new one starts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, SessionId};
use crate::timestamp::Timestamp;

/// One continuous context with an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its id: see [`Conversation::session_id`](crate::conversation::Conversation::session_id).
    pub id: SessionId,
    /// Its number within the conversation, from 1.
    pub number: u64,
    /// The agent it is with.
    pub agent: AgentId,
    /// When it started. `None` in sessions of older versions.
    #[serde(
        with = "crate::timestamp::millis::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub started_at: Option<Timestamp>,
    /// When the last message or answer was.
    #[serde(with = "crate::timestamp::millis")]
    pub last_at: Timestamp,
    /// Number of its runs.
    pub runs: u64,
    /// The agent's id of the conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_ref: Option<String>,
    /// Whether a person chose the agent: then it answers until the session ends, regardless of the routes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub chosen: bool,
}

impl Session {
    /// A session that starts at `now`, without runs.
    #[must_use]
    pub fn begin(id: SessionId, number: u64, agent: &AgentId, now: Timestamp) -> Self {
        Self {
            id,
            number,
            agent: agent.clone(),
            started_at: Some(now),
            last_at: now,
            runs: 0,
            conversation_ref: None,
            chosen: false,
        }
    }

    /// Whether a message at `now` still belongs to it: the agent is the same, and it has not been idle longer than `timeout`.
    #[must_use]
    pub fn goes_on(&self, agent: &AgentId, timeout: Duration, now: Timestamp) -> bool {
        self.agent == *agent && now.since(self.last_at) <= timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goes_on(idle_s: i64, agent: &str) -> bool {
        let id = SessionId::new("ses_1");
        let before = Session::begin(id, 3, &AgentId::new("agt_1"), Timestamp::from_secs(0));
        before.goes_on(
            &AgentId::new(agent),
            Duration::from_secs(3600),
            Timestamp::from_secs(idle_s),
        )
    }

    #[test]
    fn idle_must_be_strictly_longer() {
        assert!(goes_on(3600, "agt_1"));
        assert!(!goes_on(3601, "agt_1"));
    }

    #[test]
    fn another_agent_starts_another_session() {
        assert!(!goes_on(1, "agt_2"));
    }
}
