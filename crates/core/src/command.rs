//! What people type to steer the bridge.

/// A command. Whatever isn't one is text for the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `/new`, with the first input of the new session, which may be empty.
    New(String),
    /// `/stop`: end the running answer and what waits behind it.
    Stop,
    /// `/status`
    Status,
    /// `/help`
    Help,
}

/// Reads a command from a message's text, with the mention of the bot already removed.
///
/// `/new` is exact in case; of the others the first word is lower-cased. A suffix `@bot` on the first word is dropped.
/// Unknown slash words, and `/newfoo`, are text.
#[must_use]
pub fn parse(text: &str) -> Option<Command> {
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
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<Command>) {
        assert_eq!(parse(text), expected);
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
    fn others_ignore_case_and_stand_alone() {
        check("/STOP", Some(Command::Stop));
        check("/status@Helper", Some(Command::Status));
        check("/Help", Some(Command::Help));
        check("/unknown", None);
        check("", None);
    }
}
