//! Colours, on terminals only.

use std::io::{IsTerminal as _, stdout};

/// A colour of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// A failure.
    Red,
    /// A warning.
    Yellow,
    /// A success.
    Green,
}

/// Whether output is coloured: on a terminal with colours, unless `NO_COLOR` is set to any value.
#[must_use]
pub fn is_on() -> bool {
    let variable = |name: &str| std::env::var(name).ok();
    wants(
        stdout().is_terminal(),
        variable("NO_COLOR").as_deref(),
        variable("TERM").as_deref(),
    )
}

fn wants(is_terminal: bool, no_color: Option<&str>, term: Option<&str>) -> bool {
    is_terminal && no_color.is_none_or(str::is_empty) && term != Some("dumb")
}

/// The line with the first of these words coloured.
#[must_use]
pub fn paint(line: &str, words: &[(&str, Color)], is_on: bool) -> String {
    let found = words
        .iter()
        .filter_map(|(word, color)| Some((line.find(word)?, *word, *color)));
    let Some((at, word, color)) = found.min_by_key(|(at, ..)| *at).filter(|_| is_on) else {
        return line.to_owned();
    };
    let code = match color {
        Color::Red => 31,
        Color::Yellow => 33,
        Color::Green => 32,
    };
    let (before, rest) = line.split_at(at);
    format!("{before}\u{1b}[{code}m{word}\u{1b}[0m{}", &rest[word.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_only_for_terminals_without_no_color() {
        assert!(wants(true, None, Some("xterm")));
        assert!(wants(true, Some(""), None));
        assert!(!wants(false, None, Some("xterm")));
        assert!(!wants(true, Some("1"), Some("xterm")));
        assert!(!wants(true, None, Some("dumb")));
    }

    #[test]
    fn the_first_word_is_painted() {
        let words = [("FAILED", Color::Red), ("ok", Color::Green)];
        assert_eq!(paint("a  ok  FAILED", &words, true), "a  \u{1b}[32mok\u{1b}[0m  FAILED");
        assert_eq!(paint("a  ok", &words, false), "a  ok");
        assert_eq!(paint("a  -", &words, true), "a  -");
    }
}
