//! Writes the output of commands, without control characters that a terminal would obey.

use std::io::{self, Write as _, stderr, stdout};

/// Standard output can't be written. A separate type, because a broken connection is the same IO error.
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

/// Writes a line that isn't part of the output, to standard error. Errors are ignored.
pub fn aside(text: &str) {
    let _ = writeln!(stderr(), "tieline: {text}");
}

/// Whether standard output was closed by its reader, as `head` does, which isn't a failure.
#[must_use]
pub fn is_closed(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(|Unwritable(error)| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The text without escape sequences and other control characters, except newlines and tabs.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .filter(|character| matches!(character, '\n' | '\t') || !is_control(*character))
        .collect()
}

/// The text on one line.
#[must_use]
pub fn one_line(text: &str) -> String {
    let spaced = text.replace(['\n', '\r', '\t'], " ");
    printable(&spaced)
}

/// Control characters, and characters that change the text direction.
fn is_control(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_removed_from_output() {
        assert_eq!(printable("a\u{1b}[2Jb\u{9b}c\r\n\t好\u{202e}"), "a[2Jbc\n\t好");
        assert_eq!(one_line("a\nb\tc"), "a b c");
    }

    #[test]
    fn broken_connection_is_not_mistaken_for_closed_output() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        let shown = anyhow::Error::from(Unwritable(broken())).context("can't show it");
        assert!(is_closed(&shown));
        let asked = anyhow::Error::from(broken()).context("can't reach the bridge");
        assert!(!is_closed(&asked));
        let full = Unwritable(io::Error::from(io::ErrorKind::StorageFull));
        assert!(!is_closed(&full.into()));
    }
}
