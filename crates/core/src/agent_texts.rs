//! Texts shown to people who list the agents behind a bot, or choose one.

use crate::notice::Language;

/// The answer to `/agents` or `/agent NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentReply {
    /// The agents, and which of them answers now.
    List {
        /// Their names.
        names: Vec<String>,
        /// The index of the one that answers.
        current: Option<usize>,
    },
    /// This agent answers from now on.
    Chosen(String),
    /// There is no agent of that name; these exist.
    NoSuchAgent(Vec<String>),
}

impl AgentReply {
    /// The text.
    #[must_use]
    pub fn text(&self, language: Language) -> String {
        match (self, language) {
            (Self::List { names, current }, Language::English) => format!(
                "Agents of this bot:\n{}\n\n/agent NAME, or its number, chooses one.",
                listed(names, *current, " (answers now)")
            ),
            (Self::List { names, current }, Language::Chinese) => format!(
                "本机器人的智能体：\n{}\n\n发送 /agent 名称（或序号）进行选择。",
                listed(names, *current, "（当前）")
            ),
            (Self::Chosen(name), Language::English) => {
                format!("{name} answers from now on, until this session ends.")
            }
            (Self::Chosen(name), Language::Chinese) => format!("接下来由 {name} 回答，直到本次会话结束。"),
            (Self::NoSuchAgent(names), Language::English) => {
                format!(
                    "There is no agent of this name. There are:\n{}",
                    listed(names, None, "")
                )
            }
            (Self::NoSuchAgent(names), Language::Chinese) => {
                format!("没有该名称的智能体。可选：\n{}", listed(names, None, ""))
            }
        }
    }
}

fn listed(names: &[String], current: Option<usize>, mark: &str) -> String {
    let lines = names.iter().enumerate().map(|(at, name)| {
        let mark = if current == Some(at) { mark } else { "" };
        format!("{}. {name}{mark}", at + 1)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The index of the agent that a person means: by its name, ignoring case, else by its number in the list.
#[must_use]
pub fn find(names: &[String], wanted: &str) -> Option<usize> {
    let lower = wanted.to_lowercase();
    let named = names.iter().position(|name| name.to_lowercase() == lower);
    let numbered = || {
        let at = wanted.parse::<usize>().ok()?.checked_sub(1)?;
        (at < names.len()).then_some(at)
    };
    named.or_else(numbered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_is_found_by_name_or_number() {
        let names = ["Helper".to_owned(), "人事".to_owned(), "1".to_owned()];
        assert_eq!(find(&names, "helper"), Some(0));
        assert_eq!(find(&names, "人事"), Some(1));
        assert_eq!(find(&names, "2"), Some(1));
        assert_eq!(find(&names, "1"), Some(2), "a name comes first");
        for wanted in ["0", "4", "help", "-1", ""] {
            assert_eq!(find(&names, wanted), None, "{wanted}");
        }
    }

    #[test]
    fn list_marks_the_agent_that_answers() {
        let list = AgentReply::List {
            names: vec!["Helper".to_owned(), "HR".to_owned()],
            current: Some(1),
        };
        assert_eq!(
            list.text(Language::English),
            "Agents of this bot:\n1. Helper\n2. HR (answers now)\n\n/agent NAME, or its number, chooses one."
        );
        assert!(list.text(Language::Chinese).contains("2. HR（当前）"));
    }
}
