//! Asks for confirmation before destructive commands.

use std::io::{self, IsTerminal as _, Write as _, stderr, stdin};

use anyhow::bail;

use crate::terminal::printable;

/// The operator's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Do it.
    Yes,
    /// Leave it.
    No,
}

/// Shows what will happen, and asks for confirmation. With `yes` it doesn't ask.
///
/// # Errors
/// If it can't ask: standard input or standard error isn't a terminal.
pub fn ask(what: &str, yes: bool) -> anyhow::Result<Answer> {
    if yes {
        return Ok(Answer::Yes);
    }
    let what = printable(what);
    if !stdin().is_terminal() || !stderr().is_terminal() {
        bail!("refused: this would {what}\nThe confirmation needs a terminal; to skip it, add --yes");
    }
    let mut out = stderr().lock();
    write!(out, "This will {what}\nContinue? [y/N] ")?;
    out.flush()?;
    read(&mut stdin().lock())
}

fn read(input: &mut impl io::BufRead) -> anyhow::Result<Answer> {
    let mut said = String::new();
    input.read_line(&mut said)?;
    let is_yes = matches!(said.trim().to_lowercase().as_str(), "y" | "yes");
    Ok(if is_yes { Answer::Yes } else { Answer::No })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for (said, answer) in [
            ("y\n", Answer::Yes),
            (" YES \n", Answer::Yes),
            ("\n", Answer::No),
            ("", Answer::No),
            ("no\n", Answer::No),
        ] {
            assert_eq!(read(&mut said.as_bytes()).unwrap(), answer, "{said:?}");
        }
    }
}
