//! Commands that people type in a chat.

/// A command. Any other text goes to the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `/new`, with the first input of the new session, which may be empty.
    New(String),
    /// `/stop`: ends the running answer and drops pending messages.
    Stop,
    /// `/status`
    Status,
    /// `/help`
    Help,
    /// `/agents`: lists the agents that answer here.
    Agents,
    /// `/agent NAME`: this agent answers from now on.
    Agent(String),
    /// A command of task mode.
    Task(TaskCommand),
    /// `/link CODE`: links the sender to the known person for whom an operator made the code.
    Link(String),
    /// `/approve CODE`: lets in the stranger to whom the code was shown.
    Approve(String),
}

/// A command of task mode, with the name that follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskCommand {
    /// `/new` without text: the menu.
    Menu,
    /// `/chat`: leave the task.
    Chat,
    /// `/task [name]`: the task of that name, new or old; without a name the menu of tasks.
    Task(String),
    /// `/switch [name]`: another task.
    Switch(String),
    /// `/bind [name]`: keep the chat as a task, or bind it to one.
    Bind(String),
    /// `/cancel`: closes the open menu.
    Cancel,
}

/// Which commands are available in a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Abilities {
    /// Whether the chat is a direct one.
    pub direct: bool,
    /// Whether the commands of task mode work, in a direct chat.
    pub tasks: bool,
    /// Whether strangers may ask for access.
    pub pairing: bool,
    /// Whether there are agents to choose from.
    pub agents: bool,
}

/// Reads a command from a message's text, with the mention of the bot already removed.
///
/// `/new` is exact in case; of the others the first word is lower-cased. A suffix `@bot` on the first word is dropped.
/// Unknown slash words, `/newfoo`, and commands that are not possible in the chat are text.
#[must_use]
pub fn parse(text: &str, chat: Abilities) -> Option<Command> {
    let text = text.trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let (word, _bot) = word.split_once('@').unwrap_or((word, ""));
    if word == "/new" {
        return Some(Command::New(rest.trim().to_owned()));
    }
    match word.to_lowercase().as_str() {
        "/stop" => Some(Command::Stop),
        "/status" => Some(Command::Status),
        "/help" => Some(Command::Help),
        "/agents" if chat.agents => Some(Command::Agents),
        "/agent" if chat.agents => Some(match rest.trim() {
            "" => Command::Agents,
            name => Command::Agent(name.to_owned()),
        }),
        "/link" if chat.direct => Some(Command::Link(rest.trim().to_owned())),
        "/approve" if chat.direct && chat.pairing => Some(Command::Approve(rest.trim().to_owned())),
        word if chat.direct && chat.tasks => task_command(word, rest.trim()).map(Command::Task),
        _ => None,
    }
}

fn task_command(word: &str, rest: &str) -> Option<TaskCommand> {
    let name = rest.to_owned();
    Some(match word {
        "/chat" => TaskCommand::Chat,
        "/task" => TaskCommand::Task(name),
        "/switch" => TaskCommand::Switch(name),
        "/bind" => TaskCommand::Bind(name),
        "/cancel" => TaskCommand::Cancel,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<Command>) {
        assert_eq!(parse(text, Abilities::default()), expected, "{text}");
        let everything = Abilities {
            direct: true,
            tasks: true,
            pairing: true,
            agents: true,
        };
        assert_eq!(parse(text, everything), expected, "{text}");
    }

    #[test]
    fn task_commands_need_a_direct_chat_with_task_mode() {
        let abilities = |direct, tasks| Abilities {
            direct,
            tasks,
            ..Abilities::default()
        };
        let expected = Command::Task(TaskCommand::Task("Deploy  It".into()));
        assert_eq!(
            parse(" /TASK@Helper  Deploy  It ", abilities(true, true)),
            Some(expected)
        );
        for (text, command) in [
            ("/chat", TaskCommand::Chat),
            ("/Task\n", TaskCommand::Task(String::new())),
            ("/switch 2", TaskCommand::Switch("2".into())),
            ("/bind a", TaskCommand::Bind("a".into())),
            ("/CANCEL", TaskCommand::Cancel),
        ] {
            assert_eq!(
                parse(text, abilities(true, true)),
                Some(Command::Task(command)),
                "{text}"
            );
            for impossible in [abilities(true, false), abilities(false, true), abilities(false, false)] {
                assert_eq!(parse(text, impossible), None, "{text}");
            }
        }
        assert_eq!(parse("/tasks", abilities(true, true)), None);
    }

    #[test]
    fn new_is_exact() {
        check("/new", Some(Command::New(String::new())));
        check("  /new \n", Some(Command::New(String::new())));
        check("/new  what is this?", Some(Command::New("what is this?".into())));
        check("/new\nline", Some(Command::New("line".into())));
        check("/new@Helper hi", Some(Command::New("hi".into())));
        check("/newfoo", None);
        check("/NEW", None);
        check("say /new", None);
        check("/new\u{3000}你好", Some(Command::New("你好".into())));
    }

    #[test]
    fn other_commands_ignore_case() {
        check("/STOP", Some(Command::Stop));
        check("/status@Helper", Some(Command::Status));
        check("/Help", Some(Command::Help));
        check("/unknown", None);
        check("", None);
    }

    #[test]
    fn agents_are_chosen_only_where_there_are_some() {
        let agents = Abilities {
            agents: true,
            ..Abilities::default()
        };
        assert_eq!(parse("/Agents@Helper", agents), Some(Command::Agents));
        assert_eq!(parse("/agent", agents), Some(Command::Agents));
        assert_eq!(
            parse("/AGENT  Human Resources ", agents),
            Some(Command::Agent("Human Resources".into()))
        );
        for text in ["/agents", "/agent", "/agent HR"] {
            assert_eq!(parse(text, Abilities::default()), None, "{text}");
        }
    }

    #[test]
    fn codes_are_sent_in_direct_chats_only() {
        let direct = Abilities {
            direct: true,
            ..Abilities::default()
        };
        assert_eq!(parse("/LINK  ab cd ", direct), Some(Command::Link("ab cd".into())));
        assert_eq!(parse("/link AB", Abilities::default()), None);
        assert_eq!(parse("/approve AB", direct), None);
        let pairing = Abilities {
            pairing: true,
            ..direct
        };
        assert_eq!(parse("/approve AB", pairing), Some(Command::Approve("AB".into())));
    }
}
