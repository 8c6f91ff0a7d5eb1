//! Tasks of a direct chat: named, long-lived sessions beside the chat session, and the menus with which a person chooses one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::command::TaskCommand;
use crate::conversation::Conversation;
use crate::ids::{AgentId, MessageId};
use crate::mailbox::Pending;
use crate::session::Session;
use crate::task_reply::TaskReply;
use crate::timestamp::Timestamp;

/// How long a menu waits for the person's choice.
pub const CHOICE_LIFETIME: Duration = Duration::from_secs(15 * 60);
/// Most tasks of one conversation. One more takes the place of the one that was not used for the longest time.
pub const MAX_TASKS: usize = 50;
/// Most tasks that a menu lists.
pub const MAX_LISTED: usize = 9;
/// Longest name of a task, in characters.
pub const MAX_NAME_CHARS: usize = 60;

/// A task: a named session that survives `/new` and idle timeouts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its number. Unique within the conversation, never used again.
    pub number: u32,
    /// Its name. Unique within the conversation, whatever the case.
    pub name: String,
    /// Its session, unless it is the current task: then its session is the conversation's. `None` too before its first message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
}

/// A menu that waits for the person's choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// What is chosen.
    pub kind: ChoiceKind,
    /// When the menu stops waiting.
    #[serde(with = "crate::timestamp::millis")]
    pub until: Timestamp,
}

/// What a menu asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChoiceKind {
    /// A new chat, a new task, or a recent task.
    Start,
    /// One of these tasks, by number.
    Task(Vec<u32>),
    /// The name of a new task.
    Name,
    /// The name under which the chat is kept as a task.
    BindName,
}

/// The last command that changed the tasks. A redelivered command is recognized by it and changes nothing again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The command's message.
    pub message: MessageId,
    /// What its sender is told.
    pub reply: TaskReply,
}

/// The tasks of a conversation, and what is being chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskBook {
    /// The tasks, the most recently used first.
    pub tasks: Vec<Task>,
    /// The number of the current task. `None` in chat mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<u32>,
    /// The chat's session while a task is current.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat: Option<Session>,
    /// The menu that waits, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice: Option<Choice>,
    /// The last command that was applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
    /// The highest session number that was given out while there were tasks.
    pub last_session: u64,
    /// How many tasks there have been.
    pub n_made: u32,
}

/// Where people may make tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskOrigin {
    /// In the chat.
    Chat,
    /// Only outside, from where they are bound to the chat.
    Outside,
}

impl TaskBook {
    /// The current task. `None` in chat mode.
    #[must_use]
    pub fn current(&self) -> Option<&Task> {
        self.find(self.current?)
    }

    /// The menu that waits at `now`.
    #[must_use]
    pub fn choice_at(&self, now: Timestamp) -> Option<&ChoiceKind> {
        let choice = self.choice.as_ref().filter(|choice| choice.until > now)?;
        Some(&choice.kind)
    }

    /// What the sender of `message` was told, if it was the last command that was applied.
    #[must_use]
    pub fn applied_to(&self, message: &MessageId) -> Option<&TaskReply> {
        let applied = self.applied.as_ref().filter(|applied| applied.message == *message)?;
        Some(&applied.reply)
    }

    fn find(&self, number: u32) -> Option<&Task> {
        self.tasks.iter().find(|task| task.number == number)
    }

    fn named(&self, name: &str) -> Option<u32> {
        let name = name.to_lowercase();
        let mut tasks = self.tasks.iter();
        tasks
            .find(|task| task.name.to_lowercase() == name)
            .map(|task| task.number)
    }

    fn name_of(&self, number: u32) -> String {
        self.find(number).map(|task| task.name.clone()).unwrap_or_default()
    }

    /// The sessions that are kept aside while another is current.
    pub(crate) fn parked(&self) -> impl Iterator<Item = &Session> {
        self.tasks
            .iter()
            .filter_map(|task| task.session.as_ref())
            .chain(&self.chat)
    }

    pub(crate) fn parked_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        let tasks = self.tasks.iter_mut().filter_map(|task| task.session.as_mut());
        tasks.chain(&mut self.chat)
    }
}

/// The name of a task as it is kept: in one line, without control characters, bounded. `None` if nothing is left.
#[must_use]
pub fn clean_name(text: &str) -> Option<String> {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let name: String = words.join(" ").chars().take(MAX_NAME_CHARS).collect();
    let name = name.trim_end().to_owned();
    (!name.is_empty()).then_some(name)
}

/// The number that a person chose, in ASCII or full-width digits, with or without a full stop or bracket after it.
fn chosen_number(text: &str) -> Option<usize> {
    let text = text.trim().trim_end_matches(['.', '。', '、', ')', '）']);
    if text.is_empty() || text.chars().count() > 3 {
        return None;
    }
    text.chars().try_fold(0, |number, c| {
        let ascii = match c {
            '０'..='９' => u32::from(c) - u32::from('０'),
            _ => c.to_digit(10)?,
        };
        Some(number * 10 + ascii as usize)
    })
}

/// One command or choice of a person, applied to a conversation in memory. The caller saves the result in one conditional write.
pub struct TaskChange<'a> {
    /// The conversation that is changed.
    pub conversation: &'a mut Conversation,
    /// The command's message.
    pub message: &'a MessageId,
    /// The agent that answers now.
    pub agent: &'a AgentId,
    /// Where people may make tasks.
    pub origin: TaskOrigin,
    /// The time.
    pub now: Timestamp,
    /// Messages that a new chat drops.
    pub dropped: Vec<Pending>,
}

impl TaskChange<'_> {
    /// Carries out a command. A new command ends the menu that waits.
    pub fn command(&mut self, command: &TaskCommand) -> TaskReply {
        let waiting = self.book().choice_at(self.now).is_some();
        self.conversation.tasks.choice = None;
        let reply = match command {
            TaskCommand::Menu => self.menu(),
            TaskCommand::Chat => self.chat(),
            TaskCommand::Task(name) | TaskCommand::Switch(name) if name.is_empty() => self.list(),
            TaskCommand::Task(name) => self.open(name),
            TaskCommand::Switch(name) => self.switch(name),
            TaskCommand::Bind(name) if name.is_empty() => self.ask(ChoiceKind::BindName, TaskReply::AskBindName),
            TaskCommand::Bind(name) => self.bind(name),
            TaskCommand::Cancel if waiting => TaskReply::Cancelled,
            TaskCommand::Cancel => TaskReply::NothingToCancel,
        };
        self.applied(reply)
    }

    /// Carries out the choice that `text` makes in the menu that waits. `None`: no menu waits, or the text is no choice in it.
    pub fn choose(&mut self, text: &str) -> Option<TaskReply> {
        let kind = self.book().choice_at(self.now)?.clone();
        let reply = match kind {
            ChoiceKind::Start => match chosen_number(text)? {
                1 => self.new_chat(),
                2 if self.origin == TaskOrigin::Chat => self.ask(ChoiceKind::Name, TaskReply::AskName),
                2 => TaskReply::OnlyFromOutside,
                3 if !self.book().tasks.is_empty() => self.list(),
                _ => TaskReply::NoSuchChoice(self.n_starts()),
            },
            ChoiceKind::Task(listed) => match listed.get(chosen_number(text)?.wrapping_sub(1)) {
                Some(number) => self.enter(*number),
                None => TaskReply::NoSuchChoice(listed.len()),
            },
            ChoiceKind::Name => self.open(text),
            ChoiceKind::BindName => self.bind(text),
        };
        Some(self.applied(reply))
    }

    fn book(&self) -> &TaskBook {
        &self.conversation.tasks
    }

    fn applied(&mut self, reply: TaskReply) -> TaskReply {
        self.conversation.tasks.applied = Some(Applied {
            message: self.message.clone(),
            reply: reply.clone(),
        });
        reply
    }

    fn n_starts(&self) -> usize {
        if self.book().tasks.is_empty() { 2 } else { 3 }
    }

    fn ask(&mut self, kind: ChoiceKind, reply: TaskReply) -> TaskReply {
        let until = self.now.after(CHOICE_LIFETIME);
        self.conversation.tasks.choice = Some(Choice { kind, until });
        reply
    }

    fn menu(&mut self) -> TaskReply {
        let recent = !self.book().tasks.is_empty();
        self.ask(ChoiceKind::Start, TaskReply::Menu { recent })
    }

    fn new_chat(&mut self) -> TaskReply {
        self.conversation.tasks.choice = None;
        self.dropped = self.conversation.begin_chat(self.agent, self.now);
        TaskReply::NewChat
    }

    fn chat(&mut self) -> TaskReply {
        self.conversation.enter_chat();
        TaskReply::ChatMode
    }

    /// The menu of recent tasks, or what to do where there is none.
    fn list(&mut self) -> TaskReply {
        let listed: Vec<u32> = self
            .book()
            .tasks
            .iter()
            .take(MAX_LISTED)
            .map(|task| task.number)
            .collect();
        if listed.is_empty() {
            return match self.origin {
                TaskOrigin::Chat => self.ask(ChoiceKind::Name, TaskReply::AskName),
                TaskOrigin::Outside => TaskReply::OnlyFromOutside,
            };
        }
        let names = listed.iter().map(|number| self.book().name_of(*number)).collect();
        self.ask(ChoiceKind::Task(listed), TaskReply::ChooseTask(names))
    }

    /// The task of this name, which is made if there is none.
    fn open(&mut self, name: &str) -> TaskReply {
        let Some(name) = clean_name(name) else {
            return self.ask(ChoiceKind::Name, TaskReply::AskName);
        };
        match self.book().named(&name) {
            Some(number) => self.enter(number),
            None if self.origin == TaskOrigin::Outside => TaskReply::OnlyFromOutside,
            None => {
                let number = self.conversation.add_task(&name, None);
                self.enter(number);
                TaskReply::TaskMade(name)
            }
        }
    }

    /// An existing task, by its name or by its place in the list.
    fn switch(&mut self, name: &str) -> TaskReply {
        let named = clean_name(name).and_then(|name| self.book().named(&name));
        let listed = || {
            self.book()
                .tasks
                .get(chosen_number(name)?.checked_sub(1)?)
                .map(|task| task.number)
        };
        match named.or_else(listed) {
            Some(number) => self.enter(number),
            None => match self.list() {
                TaskReply::ChooseTask(names) => TaskReply::NoSuchTask(names),
                other => other,
            },
        }
    }

    /// Binds the chat to the task of this name, or keeps the chat's present session as a task of that name.
    fn bind(&mut self, name: &str) -> TaskReply {
        let Some(name) = clean_name(name) else {
            return self.ask(ChoiceKind::BindName, TaskReply::AskBindName);
        };
        if let Some(number) = self.book().named(&name) {
            return self.enter(number);
        }
        if self.origin == TaskOrigin::Outside {
            return TaskReply::OnlyFromOutside;
        }
        self.conversation.enter_chat();
        let session = self.conversation.session.take();
        let number = self.conversation.add_task(&name, session);
        self.enter(number);
        TaskReply::Bound(name)
    }

    fn enter(&mut self, number: u32) -> TaskReply {
        let name = self.book().name_of(number);
        self.conversation.tasks.choice = None;
        self.conversation.enter_task(number, self.agent, self.now);
        TaskReply::TaskEntered(name)
    }
}

impl Conversation {
    /// The session of this number, current or kept aside.
    #[must_use]
    pub fn session_numbered(&self, number: u64) -> Option<&Session> {
        let mut all = self.session.iter().chain(self.tasks.parked());
        all.find(|session| session.number == number)
    }

    /// The same, to be changed.
    pub fn session_numbered_mut(&mut self, number: u64) -> Option<&mut Session> {
        let mut all = self.session.iter_mut().chain(self.tasks.parked_mut());
        all.find(|session| session.number == number)
    }

    /// The next session, of a number that no session of the conversation has had.
    #[must_use]
    pub fn next_session(&self, agent: &AgentId, now: Timestamp) -> Session {
        Session::begin(&self.key.id(), self.highest_session() + 1, agent, now)
    }

    /// The highest number that a session of the conversation has had.
    #[must_use]
    pub fn highest_session(&self) -> u64 {
        let numbers = self
            .session
            .iter()
            .chain(self.tasks.parked())
            .map(|session| session.number);
        numbers.max().unwrap_or(0).max(self.tasks.last_session)
    }

    /// The session of a message at `now`: the current one or the next. In a task no session is idle too long, and nobody is idle while an
    /// answer is being written or messages wait.
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

    /// Begins a new chat session. Tasks stay, with what waits in them; what else waits is taken out and returned.
    pub fn begin_chat(&mut self, agent: &AgentId, now: Timestamp) -> Vec<Pending> {
        self.enter_chat();
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

    fn enter_task(&mut self, number: u32, agent: &AgentId, now: Timestamp) {
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

    /// Adds a task. Gives its number.
    fn add_task(&mut self, name: &str, session: Option<Session>) -> u32 {
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

    /// Binds the conversation to a task from outside: the one of this name, which is made if there is none. A `reference` makes its session
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

    /// What waits goes to `agent`, which is bound now, in sessions with that one: it is not told what was said to another.
    pub fn rebind(&mut self, agent: &AgentId, now: Timestamp) {
        let waits_in = |number: u64| self.pending.iter().any(|waiting| waiting.session == number);
        let left: Vec<u64> = self
            .tasks
            .parked()
            .filter(|old| old.agent != *agent && waits_in(old.number))
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
        let parked: Vec<u64> = self.tasks.parked().map(|session| session.number).collect();
        let is_own = |waiting: &Pending| !parked.contains(&waiting.session);
        let is_other = self.session.as_ref().is_some_and(|session| session.agent != *agent);
        if is_other && self.pending.iter().any(is_own) {
            self.go_over_to(self.next_session(agent, now));
        }
    }
}

#[cfg(test)]
mod tests;
