//! Changes of a conversation's tasks by a person's command or choice.

use super::{Applied, CHOICE_LIFETIME, Choice, ChoiceKind, MAX_LISTED, TaskBook, TaskOrigin, clean_name};
use crate::command::TaskCommand;
use crate::conversation::Conversation;
use crate::ids::{AgentId, MessageId};
use crate::mailbox::Pending;
use crate::task_reply::TaskReply;
use crate::timestamp::Timestamp;

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
    /// Messages dropped by a new chat.
    pub dropped: Vec<Pending>,
}

impl TaskChange<'_> {
    /// Carries out a command. A new command closes the open menu.
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

    /// Carries out the choice that `text` makes in the open menu. `None`: no menu is open, or the text is no choice in it.
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

    /// The menu of recent tasks, or a hint where there is none.
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

    /// The task of this name, created if there is none.
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

    /// An existing task, by its name or its number in the list.
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

    /// Binds the chat to the task of this name, or keeps the chat's current session as a task of that name.
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
