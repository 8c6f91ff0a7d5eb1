//! When a session goes on and when a new one begins.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, ConversationId, SessionId, digest};
use crate::timestamp::Timestamp;

/// One continuous context with an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its id, derived from the conversation and the number.
    pub id: SessionId,
    /// Its number within the conversation, from 1.
    pub number: u64,
    /// The agent it is with.
    pub agent: AgentId,
    /// The last message or answer.
    #[serde(with = "crate::timestamp::millis")]
    pub last_at: Timestamp,
    /// How many runs it has had.
    pub runs: u64,
    /// What identifies the conversation at the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_ref: Option<String>,
}

impl Session {
    /// The `number`-th session of a conversation.
    #[must_use]
    pub fn begin(conversation: &ConversationId, number: u64, agent: &AgentId, now: Timestamp) -> Self {
        let id = SessionId::new(format!("ses_{}", digest(&[conversation.as_str(), &number.to_string()])));
        Self {
            id,
            number,
            agent: agent.clone(),
            last_at: now,
            runs: 0,
            conversation_ref: None,
        }
    }

    /// Whether a message at `now` still belongs to it: the agent is the same, and it has not been idle longer than `timeout`.
    #[must_use]
    pub fn goes_on(&self, agent: &AgentId, timeout: Duration, now: Timestamp) -> bool {
        self.agent == *agent && now.since(self.last_at) <= timeout
    }
}

/// The session of a message at `now`: the one before, or the next. `busy` says that an answer is being written or
/// messages wait, so that nobody is idle.
#[must_use]
pub fn resolve(
    before: Option<&Session>,
    conversation: &ConversationId,
    agent: &AgentId,
    timeout: Duration,
    busy: bool,
    now: Timestamp,
) -> Session {
    match before {
        Some(session) if session.goes_on(agent, timeout, now) || (busy && session.agent == *agent) => Session {
            last_at: session.last_at.max(now),
            ..session.clone()
        },
        _ => next(before, conversation, agent, now),
    }
}

/// The session after `before`.
#[must_use]
pub fn next(before: Option<&Session>, conversation: &ConversationId, agent: &AgentId, now: Timestamp) -> Session {
    Session::begin(conversation, before.map_or(1, |session| session.number + 1), agent, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve_at(idle_s: i64, busy: bool, agent: &str) -> u64 {
        let conversation = ConversationId::new("cnv_1");
        let before = Session::begin(&conversation, 3, &AgentId::new("agt_1"), Timestamp::from_secs(0));
        let timeout = Duration::from_secs(3600);
        let now = Timestamp::from_secs(idle_s);
        resolve(Some(&before), &conversation, &AgentId::new(agent), timeout, busy, now).number
    }

    #[test]
    fn idle_must_be_strictly_longer() {
        assert_eq!(resolve_at(3600, false, "agt_1"), 3);
        assert_eq!(resolve_at(3601, false, "agt_1"), 4);
    }

    #[test]
    fn nobody_is_idle_while_an_answer_runs() {
        assert_eq!(resolve_at(9999, true, "agt_1"), 3);
    }

    #[test]
    fn another_agent_begins_another_session() {
        assert_eq!(resolve_at(1, true, "agt_2"), 4);
    }
}
