//! The current session of a conversation: that of the chat, or of a task.

use std::time::Duration;

use super::{MAX_TASKS, Task};
use crate::conversation::Conversation;
use crate::ids::{AgentId, SessionId, digest};
use crate::mailbox::Pending;
use crate::session::Session;
use crate::timestamp::Timestamp;

impl Conversation {
    /// The session of this number, current or kept aside.
    #[must_use]
    pub fn session_numbered(&self, number: u64) -> Option<&Session> {
        let mut all = self.session.iter().chain(self.kept_aside());
        all.find(|session| session.number == number)
    }

    /// Like [`Self::session_numbered`], but mutable.
    pub fn session_numbered_mut(&mut self, number: u64) -> Option<&mut Session> {
        let aside = self.tasks.parked_mut().chain(&mut self.leaving);
        let mut all = self.session.iter_mut().chain(aside);
        all.find(|session| session.number == number)
    }

    /// Sessions with possibly pending messages though another one is current.
    pub(crate) fn kept_aside(&self) -> impl Iterator<Item = &Session> {
        self.tasks.parked().chain(&self.leaving)
    }

    /// A new session, with an unused number.
    #[must_use]
    pub fn next_session(&self, agent: &AgentId, now: Timestamp) -> Session {
        let number = self.highest_session() + 1;
        Session::begin(self.session_id(number), number, agent, now)
    }

    /// The id of the session of this number, whether it is still known or not.
    #[must_use]
    pub fn session_id(&self, number: u64) -> SessionId {
        let (conversation, number) = (self.key.id(), number.to_string());
        let mut fields = vec![conversation.as_str(), &number];
        fields.extend(self.generation.as_deref());
        SessionId::new(format!("ses_{}", digest(&fields)))
    }

    /// The highest session number used in the conversation.
    #[must_use]
    pub fn highest_session(&self) -> u64 {
        let numbers = self
            .session
            .iter()
            .chain(self.kept_aside())
            .map(|session| session.number);
        numbers.max().unwrap_or(0).max(self.tasks.last_session)
    }

    /// The session of a message at `now`: the current one or a new one. In a task no session is idle too long, and none is while an
    /// answer is being written or messages are pending.
    #[must_use]
    pub fn resolve_session(&self, agent: &AgentId, timeout: Duration, now: Timestamp) -> Session {
        let stays = self.tasks.current.is_some() || self.run.is_some() || !self.pending.is_empty();
        match &self.session {
            Some(session) if session.agent == *agent && (stays || session.goes_on(agent, timeout, now)) => Session {
                last_at: session.last_at.max(now),
                ..session.clone()
            },
            _ => self.next_session(agent, now),
        }
    }

    /// Starts a new chat session. Tasks and their pending messages stay; other pending messages are removed and returned. What others have
    /// said in the group until now is no context any more.
    pub fn begin_chat(&mut self, agent: &AgentId, now: Timestamp) -> Vec<Pending> {
        self.enter_chat();
        self.heard_until = Some(now);
        let next = self.next_session(agent, now);
        self.session = Some(next);
        let in_tasks: Vec<u64> = self
            .tasks
            .tasks
            .iter()
            .filter_map(|task| Some(task.session.as_ref()?.number))
            .collect();
        let (kept, dropped) = self
            .pending
            .drain(..)
            .partition(|waiting: &Pending| in_tasks.contains(&waiting.session));
        self.pending = kept;
        dropped
    }

    /// Leaves the current task, if there is one, for the chat.
    pub fn enter_chat(&mut self) {
        if self.tasks.current.is_some() {
            self.park();
            self.session = self.tasks.chat.take();
        }
    }

    pub(super) fn enter_task(&mut self, number: u32, agent: &AgentId, now: Timestamp) {
        if self.tasks.current == Some(number) {
            return;
        }
        self.park();
        let next = self.next_session(agent, now);
        let Some(at) = self.tasks.tasks.iter().position(|task| task.number == number) else {
            return;
        };
        let mut task = self.tasks.tasks.remove(at);
        self.session = Some(task.session.take().unwrap_or(next));
        self.tasks.current = Some(number);
        self.tasks.tasks.insert(0, task);
    }

    /// Keeps the current session aside.
    fn park(&mut self) {
        self.tasks.last_session = self.highest_session();
        let session = self.session.take();
        match self.tasks.current.take() {
            None => self.tasks.chat = session,
            Some(number) => {
                if let Some(task) = self.tasks.tasks.iter_mut().find(|task| task.number == number) {
                    task.session = session;
                }
            }
        }
    }

    /// Adds a task and returns its number.
    pub(super) fn add_task(&mut self, name: &str, session: Option<Session>) -> u32 {
        self.tasks.last_session = self
            .highest_session()
            .max(session.as_ref().map_or(0, |session| session.number));
        if self.tasks.tasks.len() >= MAX_TASKS {
            let is_free = |task: &Task| {
                let number = task.session.as_ref().map(|session| session.number);
                let waits = self.pending.iter().any(|waiting| Some(waiting.session) == number);
                let runs = self.run.as_ref().is_some_and(|run| Some(run.session) == number);
                self.tasks.current != Some(task.number) && !waits && !runs
            };
            let oldest = self.tasks.tasks.iter().rposition(is_free);
            oldest.map(|at| self.tasks.tasks.remove(at));
        }
        self.tasks.n_made += 1;
        let number = self.tasks.n_made;
        let task = Task {
            number,
            name: name.to_owned(),
            session,
        };
        self.tasks.tasks.insert(0, task);
        number
    }

    /// Binds the conversation to a task from outside: the one of this name, created if there is none. A `reference` makes its session
    /// continue that conversation at the agent.
    pub fn bind_task(&mut self, name: &str, reference: Option<&str>, agent: &AgentId, now: Timestamp) {
        self.tasks.choice = None;
        let number = match self.tasks.named(name) {
            Some(number) => number,
            None => self.add_task(name, None),
        };
        self.enter_task(number, agent, now);
        let Some(reference) = reference else {
            return;
        };
        let is_same =
            |session: &Session| session.agent == *agent && session.conversation_ref.as_deref() == Some(reference);
        if !self.session.as_ref().is_some_and(is_same) {
            let mut session = self.next_session(agent, now);
            session.conversation_ref = Some(reference.to_owned());
            self.session = Some(session);
            self.tasks.last_session = self.highest_session();
        }
    }

    /// Moves pending messages of sessions whose agents no longer answer here to `agent`, in sessions with that one: it doesn't get what
    /// was said to another.
    pub fn rebind(&mut self, agent: &AgentId, stays: impl Fn(&Session) -> bool, now: Timestamp) {
        let waits_in = |number: u64| self.pending.iter().any(|waiting| waiting.session == number);
        let left: Vec<u64> = self
            .kept_aside()
            .filter(|old| !stays(old) && waits_in(old.number))
            .map(|old| old.number)
            .collect();
        for old in left {
            let next = self.next_session(agent, now);
            for waiting in self.pending.iter_mut().filter(|waiting| waiting.session == old) {
                waiting.session = next.number;
            }
            self.tasks.last_session = self.highest_session();
            if let Some(session) = self.session_numbered_mut(old) {
                *session = next;
            }
        }
        let parked: Vec<u64> = self.kept_aside().map(|session| session.number).collect();
        let is_own = |waiting: &Pending| !parked.contains(&waiting.session);
        let is_other = self.session.as_ref().is_some_and(|session| !stays(session));
        if is_other && self.pending.iter().any(is_own) {
            self.go_over_to(self.next_session(agent, now));
        }
    }
}
