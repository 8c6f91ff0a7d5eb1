//! Which of several agents answers in a conversation, and the change from one to another.

use std::time::Duration;

use crate::conversation::Conversation;
use crate::ids::AgentId;
use crate::session::Session;
use crate::timestamp::Timestamp;
use crate::trigger::Trigger;

impl Conversation {
    /// The agent that answers a message routed to `routed`: the agent chosen for the session takes precedence.
    #[must_use]
    pub fn answering_agent<'a>(&'a self, trigger: &Trigger, routed: &'a AgentId, now: Timestamp) -> &'a AgentId {
        let timeout = trigger.settings.session_timeout();
        let is_chosen =
            |session: &&Session| session.chosen && trigger.allows(session) && self.is_going_on(session, timeout, now);
        let chosen = self.session.as_ref().filter(is_chosen);
        chosen.map_or(routed, |session| &session.agent)
    }

    /// A person chooses the agent. The current session stays if it is with that agent, else a new one starts: an agent doesn't get what was
    /// said to another. Choosing it again changes nothing.
    pub fn choose_agent(&mut self, agent: &AgentId, timeout: Duration, now: Timestamp) {
        self.tasks.choice = None;
        let current = self.session.as_ref();
        let stays = current.is_some_and(|it| it.agent == *agent && self.is_going_on(it, timeout, now));
        if !stays {
            self.leave_for(self.next_session(agent, now));
        }
        if let Some(session) = &mut self.session {
            session.chosen = true;
        }
    }

    /// Starts a session with another agent. Pending and running messages of the current one end there.
    pub fn leave_for(&mut self, session: Session) {
        self.leaving.extend(self.session.replace(session));
        self.forget_left();
    }

    /// Removes sessions that were left and have no pending or running messages any more.
    pub fn forget_left(&mut self) {
        let Self {
            leaving, pending, run, ..
        } = self;
        leaving.retain(|left| {
            let waits = pending.iter().any(|waiting| waiting.session == left.number);
            waits || run.as_ref().is_some_and(|run| run.session == left.number)
        });
    }

    /// Whether a message at `now` would still belong to the session: in a task none is idle too long, nor while messages are pending or running.
    fn is_going_on(&self, session: &Session, timeout: Duration, now: Timestamp) -> bool {
        let stays = self.tasks.current.is_some() || self.run.is_some() || !self.pending.is_empty();
        stays || session.goes_on(&session.agent, timeout, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::fixture::{at, conversation};
    use crate::ids::{IntegrationId, MessageId, OrganizationId, TriggerId};
    use crate::mailbox::Pending;
    use crate::routes::Route;
    use crate::trigger::TriggerSettings;

    const HOUR: Duration = Duration::from_hours(1);

    fn agent(name: &str) -> AgentId {
        AgentId::new(name)
    }

    fn trigger(agent_choice: bool) -> Trigger {
        let route = Route {
            agent: agent("hr"),
            chats: Vec::new(),
            users: Vec::new(),
            first_word: Some("hr".into()),
        };
        Trigger {
            id: TriggerId::new("trg_1"),
            organization: OrganizationId::new("default"),
            integration: IntegrationId::new("int_1"),
            agent: agent("own"),
            enabled: true,
            settings: TriggerSettings {
                routes: vec![route],
                agent_choice,
                ..TriggerSettings::default()
            },
        }
    }

    fn answering(it: &Conversation, trigger: &Trigger, routed: &str, now: i64) -> String {
        it.answering_agent(trigger, &agent(routed), at(now)).to_string()
    }

    #[test]
    fn chosen_agent_answers_until_its_session_ends() {
        let mut it = conversation();
        assert_eq!(answering(&it, &trigger(false), "own", 1), "own");
        it.choose_agent(&agent("hr"), HOUR, at(1));
        assert_eq!(answering(&it, &trigger(false), "own", 3601), "hr");
        assert_eq!(answering(&it, &trigger(false), "own", 3602), "own", "idle for too long");
        it.begin_chat(&agent("own"), at(2));
        assert_eq!(answering(&it, &trigger(false), "own", 3), "own", "/new ended it");
    }

    #[test]
    fn agent_outside_the_trigger_answers_only_where_all_may_be_chosen() {
        let mut it = conversation();
        it.choose_agent(&agent("other"), HOUR, at(1));
        assert_eq!(answering(&it, &trigger(true), "own", 2), "other");
        assert_eq!(answering(&it, &trigger(false), "own", 2), "own");
    }

    #[test]
    fn choosing_starts_a_session_only_with_another_agent() {
        let mut it = conversation();
        it.session = Some(it.next_session(&agent("own"), at(0)));
        it.choose_agent(&agent("own"), HOUR, at(1));
        assert_eq!(it.session.as_ref().unwrap().number, 1);
        it.choose_agent(&agent("hr"), HOUR, at(2));
        it.choose_agent(&agent("hr"), HOUR, at(3));
        let session = it.session.as_ref().unwrap();
        assert_eq!((session.number, session.agent.as_str()), (2, "hr"));
        assert!(it.leaving.is_empty(), "nothing waits in it");
    }

    #[test]
    fn pending_messages_keep_their_session_and_agent() {
        let mut it = conversation();
        let mut first = it.next_session(&agent("own"), at(0));
        first.conversation_ref = Some("thread_1".into());
        it.session = Some(first);
        it.pending.push(Pending {
            message: MessageId::new("m"),
            since: at(0),
            session: 1,
            urgent: false,
            behind_run: false,
            sent_at: None,
            album: None,
        });
        it.leave_for(it.next_session(&agent("hr"), at(1)));
        let waits_in = it.session_numbered(1).unwrap();
        assert_eq!(waits_in.conversation_ref.as_deref(), Some("thread_1"));
        let trigger = trigger(false);
        it.rebind(&trigger.agent, |session| trigger.allows(session), at(2));
        assert_eq!((it.pending[0].session, it.session.as_ref().unwrap().number), (1, 2));
        it.rebind(&agent("new"), |session| session.agent == agent("new"), at(3));
        let moved = it.session_numbered(it.pending[0].session).unwrap();
        assert_eq!((moved.agent.as_str(), moved.conversation_ref.as_deref()), ("new", None));
        it.pending.clear();
        it.forget_left();
        assert!(it.leaving.is_empty());
        assert!(it.highest_session() >= 2);
    }
}
