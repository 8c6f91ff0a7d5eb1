//! Texts about tasks shown to people.

use serde::{Deserialize, Serialize};

use crate::notice::Language;

/// A text or menu about tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskReply {
    /// The menu of `/new`.
    Menu {
        /// Whether there are tasks to continue.
        recent: bool,
    },
    /// A new chat was started.
    NewChat,
    /// The chat continues.
    ChatMode,
    /// A new task needs a name.
    AskName,
    /// The chat needs a name to be kept as a task.
    AskBindName,
    /// The tasks to choose from.
    ChooseTask(Vec<String>),
    /// There is no task of that name; these exist.
    NoSuchTask(Vec<String>),
    /// The menu has only so many entries.
    NoSuchChoice(usize),
    /// A task was created.
    TaskMade(String),
    /// An earlier task continues.
    TaskEntered(String),
    /// The chat is kept as a task.
    Bound(String),
    /// The menu was closed.
    Cancelled,
    /// No menu was open.
    NothingToCancel,
    /// Tasks of this platform are bound from outside.
    OnlyFromOutside,
}

impl TaskReply {
    /// The text.
    #[must_use]
    pub fn text(&self, language: Language) -> String {
        match language {
            Language::English => self.english(),
            Language::Chinese => self.chinese(),
        }
    }

    fn english(&self) -> String {
        match self {
            Self::Menu { recent } => {
                let continued = if *recent { "\n3. Continue a recent task" } else { "" };
                format!("What would you like to start?\n\n1. A new chat\n2. A new task{continued}\n\nReply with a number within 15 minutes, or /cancel.")
            }
            Self::NewChat => "A new chat has begun. What can I do for you?".to_owned(),
            Self::ChatMode => "You are in the chat. Your tasks stay as they are; /task brings you back.".to_owned(),
            Self::AskName => "What shall the task be called? Reply with a name, or /cancel.".to_owned(),
            Self::AskBindName => "Under which name shall this chat be kept as a task? Reply with a name, or /cancel.".to_owned(),
            Self::ChooseTask(names) => format!("Which task?\n\n{}\n\nReply with a number within 15 minutes, or /cancel.", list(names)),
            Self::NoSuchTask(names) => format!("There is no task of that name. You have these:\n\n{}\n\nReply with a number within 15 minutes, or /cancel.", list(names)),
            Self::NoSuchChoice(n) => format!("Please reply with a number from 1 to {n}, or /cancel."),
            Self::TaskMade(name) => format!("New task “{name}”. Everything you write now belongs to it; /chat leads back to the chat."),
            Self::TaskEntered(name) => format!("You are in the task “{name}”. It goes on where you left it."),
            Self::Bound(name) => format!("This chat is now the task “{name}”. It stays until you come back to it."),
            Self::Cancelled => "Cancelled. Nothing has changed.".to_owned(),
            Self::NothingToCancel => "There is nothing to cancel.".to_owned(),
            Self::OnlyFromOutside => "Tasks can't be started here. Please open the task in your task system, continue it in this private chat, and then write here again.".to_owned(),
        }
    }

    fn chinese(&self) -> String {
        match self {
            Self::Menu { recent } => {
                let continued = if *recent { "\n3. 继续最近的任务" } else { "" };
                format!(
                    "您想开始什么？\n\n1. 新会话\n2. 新任务{continued}\n\n请在 15 分钟内回复序号，或发送 /cancel 取消。"
                )
            }
            Self::NewChat => "已开始新会话，有什么可以帮您？".to_owned(),
            Self::ChatMode => "已切换到会话模式。您的任务会保留，发送 /task 可返回任务。".to_owned(),
            Self::AskName => "请为新任务命名：直接回复名称，或发送 /cancel 取消。".to_owned(),
            Self::AskBindName => "请回复一个名称，将当前会话保留为任务；或发送 /cancel 取消。".to_owned(),
            Self::ChooseTask(names) => format!(
                "请选择任务：\n\n{}\n\n请在 15 分钟内回复序号，或发送 /cancel 取消。",
                list(names)
            ),
            Self::NoSuchTask(names) => format!(
                "没有该名称的任务。您现有的任务：\n\n{}\n\n请在 15 分钟内回复序号，或发送 /cancel 取消。",
                list(names)
            ),
            Self::NoSuchChoice(n) => format!("请回复 1 到 {n} 之间的序号，或发送 /cancel 取消。"),
            Self::TaskMade(name) => format!("已创建任务“{name}”。接下来的消息都属于该任务，发送 /chat 可返回会话。"),
            Self::TaskEntered(name) => format!("已进入任务“{name}”，将从上次的进度继续。"),
            Self::Bound(name) => format!("当前会话已保留为任务“{name}”，您可以随时回来继续。"),
            Self::Cancelled => "已取消，没有任何改动。".to_owned(),
            Self::NothingToCancel => "当前没有可取消的选择。".to_owned(),
            Self::OnlyFromOutside => {
                "无法在此创建任务。请先在任务系统中打开该任务，选择在本私信中继续，然后再回到这里发送消息。".to_owned()
            }
        }
    }
}

fn list(names: &[String]) -> String {
    let lines = (1..).zip(names).map(|(at, name): (usize, _)| format!("{at}. {name}"));
    lines.collect::<Vec<_>>().join("\n")
}
