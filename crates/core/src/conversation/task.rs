//! Tasks of a direct chat: named, long-lived sessions beside the chat session, and the menus for choosing one.

mod change;
mod sessions;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::MessageId;
use crate::session::Session;
use crate::task_reply::TaskReply;
use crate::timestamp::Timestamp;

pub use change::TaskChange;

/// How long a menu stays open.
pub const CHOICE_LIFETIME: Duration = Duration::from_secs(15 * 60);
/// Most tasks of one conversation. A further one replaces the least recently used one.
pub const MAX_TASKS: usize = 50;
/// Most tasks that a menu lists.
pub const MAX_LISTED: usize = 9;
/// Longest name of a task, in characters.
pub const MAX_NAME_CHARS: usize = 60;

/// A task: a named session that survives `/new` and idle timeouts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its number. Unique within the conversation, never reused.
    pub number: u32,
    /// Its name. Unique within the conversation, ignoring case.
    pub name: String,
    /// Its session, unless it is the current task: then its session is the conversation's. `None` too before its first message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
}

/// An open menu.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// What is chosen.
    pub kind: ChoiceKind,
    /// When the menu closes.
    #[serde(with = "crate::timestamp::millis")]
    pub until: Timestamp,
}

/// What a menu offers.
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

/// The last command that changed the tasks. A redelivered command is recognized by it and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The command's message.
    pub message: MessageId,
    /// The reply to its sender.
    pub reply: TaskReply,
}

/// The tasks of a conversation, and its open menu.
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
    /// The open menu, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice: Option<Choice>,
    /// The last command that was applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
    /// The highest session number given out while there were tasks.
    pub last_session: u64,
    /// How many tasks there have been.
    pub n_made: u32,
}

/// Where people may create tasks.
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

    /// The menu that is open at `now`.
    #[must_use]
    pub fn choice_at(&self, now: Timestamp) -> Option<&ChoiceKind> {
        let choice = self.choice.as_ref().filter(|choice| choice.until > now)?;
        Some(&choice.kind)
    }

    /// The reply to `message`, if it was the last command applied.
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

    /// The sessions kept aside while another one is current.
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

/// The normalized name of a task: one line, without control characters, bounded. `None` if it is empty.
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

#[cfg(test)]
mod tests;
