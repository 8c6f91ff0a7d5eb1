//! Values from outside in log lines.

use std::fmt;

/// Prints a text on one line: an id that a platform gives may have line breaks or terminal escapes, which would forge lines of the log.
pub(crate) struct Printable<'a>(pub(crate) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c.is_control() {
            true => write!(f, "{}", c.escape_default()),
            false => write!(f, "{c}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        let id = "a\n2026 ERROR \u{1b}[31m群";
        assert_eq!(Printable(id).to_string(), "a\\n2026 ERROR \\u{1b}[31m群");
    }
}
