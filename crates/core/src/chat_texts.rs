//! Texts of `/status` and `/help`, which differ from chat to chat.

use std::time::Duration;

use crate::command::Abilities;
use crate::notice::Language;
use crate::session::Session;
use crate::timestamp::Timestamp;

/// What `/status` reports of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatStatus<'a> {
    /// The name of the agent that answers.
    pub agent: Option<String>,
    /// The name of the current task. `None` in chat mode.
    pub task: Option<String>,
    /// The session that the next message belongs to. `None`: it starts one.
    pub session: Option<&'a Session>,
    /// For how long an answer has been running.
    pub running: Option<Duration>,
    /// Number of pending messages.
    pub n_waiting: usize,
    /// The current time.
    pub now: Timestamp,
}

impl ChatStatus<'_> {
    /// The text.
    #[must_use]
    pub fn text(&self, language: Language) -> String {
        let lines = match language {
            Language::English => self.english(),
            Language::Chinese => self.chinese(),
        };
        lines.join("\n")
    }

    fn age(&self) -> Option<Duration> {
        Some(self.now.since(self.session?.started_at?))
    }

    fn english(&self) -> Vec<String> {
        let age = self.age().map(|age| format!(", begun {} ago", english_time(age)));
        vec![
            format!("Agent: {}", self.agent.as_deref().unwrap_or("none")),
            match &self.task {
                Some(task) => format!("Mode: task “{task}”"),
                None => "Mode: chat".to_owned(),
            },
            match self.session {
                Some(session) => format!("Session: no. {}{}", session.number, age.unwrap_or_default()),
                None => "Session: your next message begins a new one".to_owned(),
            },
            match self.running {
                Some(running) => format!("An answer is being written, for {} so far.", english_time(running)),
                None => "No answer is running.".to_owned(),
            },
            match self.n_waiting {
                0 => "No message is waiting.".to_owned(),
                1 => "1 message is waiting.".to_owned(),
                n => format!("{n} messages are waiting."),
            },
        ]
    }

    fn chinese(&self) -> Vec<String> {
        let age = self.age().map(|age| format!("，开始于 {}前", chinese_time(age)));
        vec![
            format!("智能体：{}", self.agent.as_deref().unwrap_or("无")),
            match &self.task {
                Some(task) => format!("模式：任务“{task}”"),
                None => "模式：会话".to_owned(),
            },
            match self.session {
                Some(session) => format!("会话：第 {} 个{}", session.number, age.unwrap_or_default()),
                None => "会话：下一条消息将开始新会话".to_owned(),
            },
            match self.running {
                Some(running) => format!("正在生成回答，已用时 {}。", chinese_time(running)),
                None => "当前没有正在生成的回答。".to_owned(),
            },
            match self.n_waiting {
                0 => "没有等待处理的消息。".to_owned(),
                n => format!("{n} 条消息等待处理。"),
            },
        ]
    }
}

/// A duration in its largest unit.
fn in_units(time: Duration) -> (u64, usize) {
    match time.as_secs() {
        s @ 0..60 => (s, 0),
        s @ 60..3600 => (s / 60, 1),
        s @ 3600..86_400 => (s / 3600, 2),
        s => (s / 86_400, 3),
    }
}

fn english_time(time: Duration) -> String {
    let (n, unit) = in_units(time);
    format!("{n} {}", ["s", "min", "h", if n == 1 { "day" } else { "days" }][unit])
}

fn chinese_time(time: Duration) -> String {
    let (n, unit) = in_units(time);
    format!("{n} {}", ["秒", "分钟", "小时", "天"][unit])
}

/// The commands available in a chat.
#[must_use]
pub fn help(chat: Abilities, language: Language) -> String {
    let lines: Vec<&str> = HELP
        .iter()
        .filter(|line| (line.possible)(chat))
        .map(|line| match language {
            Language::English => line.english,
            Language::Chinese => line.chinese,
        })
        .collect();
    lines.join("\n")
}

struct HelpLine {
    possible: fn(Abilities) -> bool,
    english: &'static str,
    chinese: &'static str,
}

const HELP: &[HelpLine] = &[
    HelpLine {
        possible: |chat| !chat.tasks,
        english: "/new starts a new session (text after it is the first question).",
        chinese: "/new 开始新会话（其后的文字作为第一个问题）。",
    },
    HelpLine {
        possible: |chat| chat.tasks,
        english: "/new starts a new chat or task, or continues a recent task (text after it is the first question of a new chat).",
        chinese: "/new 开始新会话、新任务或继续最近的任务（其后的文字作为新会话的第一个问题）。",
    },
    HelpLine {
        possible: |chat| chat.tasks,
        english: "/chat leads back to the chat.\n/task NAME opens a task or starts one; /task alone lists your tasks.\n/switch changes to another task.\n/bind NAME keeps this chat as a task.\n/cancel ends a choice that is open.",
        chinese: "/chat 返回会话。\n/task 名称 打开或新建任务；单独发送 /task 列出您的任务。\n/switch 切换到其他任务。\n/bind 名称 将当前会话保留为任务。\n/cancel 取消当前的选择。",
    },
    HelpLine {
        possible: |_| true,
        english: "/stop stops the running answer.\n/status tells what is going on.",
        chinese: "/stop 停止正在生成的回答。\n/status 查看当前状态。",
    },
    HelpLine {
        possible: |chat| chat.agents,
        english: "/agents lists the agents of this bot.\n/agent NAME chooses the one that answers.",
        chinese: "/agents 列出本机器人的智能体。\n/agent 名称 选择由哪个智能体回答。",
    },
    HelpLine {
        possible: |chat| chat.direct,
        english: "/link CODE links you to the person whom your administrator knows.",
        chinese: "/link 关联码 关联您的身份（关联码由管理员提供）。",
    },
    HelpLine {
        possible: |chat| chat.direct && chat.pairing,
        english: "/approve CODE lets a new colleague in.",
        chinese: "/approve 配对码 批准新同事使用。",
    },
    HelpLine {
        possible: |_| true,
        english: "/help shows this.",
        chinese: "/help 显示本帮助。",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AgentId, SessionId};

    #[test]
    fn status_shows_agent_mode_session_run_and_queue() {
        let mut session = Session::begin(
            SessionId::new("ses_1"),
            3,
            &AgentId::new("agt_1"),
            Timestamp::from_secs(0),
        );
        session.last_at = Timestamp::from_secs(100);
        let status = ChatStatus {
            agent: Some("Helper".to_owned()),
            task: Some("Deploy".to_owned()),
            session: Some(&session),
            running: Some(Duration::from_secs(12)),
            n_waiting: 2,
            now: Timestamp::from_secs(7300),
        };
        assert_eq!(
            status.text(Language::English),
            "Agent: Helper\nMode: task “Deploy”\nSession: no. 3, begun 2 h ago\nAn answer is being written, for 12 s so far.\n2 messages are waiting."
        );
        assert_eq!(
            status.text(Language::Chinese),
            "智能体：Helper\n模式：任务“Deploy”\n会话：第 3 个，开始于 2 小时前\n正在生成回答，已用时 12 秒。\n2 条消息等待处理。"
        );
    }

    #[test]
    fn help_names_only_what_is_possible_in_the_chat() {
        let group = help(Abilities::default(), Language::English);
        for word in ["/new", "/stop", "/status", "/help"] {
            assert!(group.contains(word), "{word}");
        }
        let tasks = Abilities {
            direct: true,
            tasks: true,
            pairing: true,
            agents: true,
        };
        for word in [
            "/chat",
            "/task",
            "/switch",
            "/bind",
            "/cancel",
            "/link",
            "/approve",
            "/agents",
            "/agent NAME",
        ] {
            assert!(!group.contains(word), "{word}");
            assert!(help(tasks, Language::English).contains(word), "{word}");
            let word = word.trim_end_matches(" NAME");
            assert!(help(tasks, Language::Chinese).contains(word), "{word}");
        }
    }
}
