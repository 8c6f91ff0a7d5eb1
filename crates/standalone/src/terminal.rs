//! What commands write: answers to standard output, and nothing in them that a terminal would obey.

use std::io::{self, Write as _, stderr, stdout};

/// Standard output doesn't take what is written. A type of its own, for a connection breaks with the same IO error.
#[derive(Debug, thiserror::Error)]
#[error("can't write to standard output")]
pub struct Unwritable(#[from] io::Error);

/// Writes a line.
///
/// # Errors
/// If the reader has closed the pipe.
pub fn line(text: &str) -> Result<(), Unwritable> {
    piece(&format!("{text}\n"))
}

/// Writes a piece of a line.
///
/// # Errors
/// If the reader has closed the pipe.
pub fn piece(text: &str) -> Result<(), Unwritable> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Writes a line that is no part of the answer, to standard error. If that is closed, nothing is lost.
pub fn aside(text: &str) {
    let _ = writeln!(stderr(), "tieline: {text}");
}

/// Whether standard output was closed by its reader, as `head` does: no failure of ours.
#[must_use]
pub fn is_closed(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(|Unwritable(error)| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The text without what a terminal would obey: escapes and other controls, but for new lines and tabs.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .filter(|character| matches!(character, '\n' | '\t') || !is_control(*character))
        .collect()
}

/// The text in one line.
#[must_use]
pub fn one_line(text: &str) -> String {
    let spaced = text.replace(['\n', '\r', '\t'], " ");
    printable(&spaced)
}

/// Controls, and the marks that turn the direction of what follows.
fn is_control(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_that_others_wrote() {
        assert_eq!(printable("a\u{1b}[2Jb\u{9b}c\r\n\t好\u{202e}"), "a[2Jbc\n\t好");
        assert_eq!(one_line("a\nb\tc"), "a b c");
    }

    #[test]
    fn a_broken_connection_is_no_closed_output() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        let shown = anyhow::Error::from(Unwritable(broken())).context("can't show it");
        assert!(is_closed(&shown));
        let asked = anyhow::Error::from(broken()).context("can't reach the bridge");
        assert!(!is_closed(&asked));
        let full = Unwritable(io::Error::from(io::ErrorKind::StorageFull));
        assert!(!is_closed(&full.into()));
    }
}
