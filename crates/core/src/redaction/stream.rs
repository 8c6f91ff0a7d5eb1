//! Streaming redaction: text that may be the beginning of a credential is held back until that is decided.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::rules::private_keys;
use super::{Detector, MARK};

/// Longest word that is held back until it ends. Longer ones are no credentials.
const MAX_WORD_BYTES: usize = 8 * 1024;
/// Longest line, or private key, that is held back until it ends.
const MAX_LINE_BYTES: usize = 64 * 1024;
/// How much of a long line is kept as context for what follows in it.
const CONTEXT_BYTES: usize = 256;
/// Up to this length a text that is held back, with its context, is scanned again for each piece.
const EAGER_BYTES: usize = 1024;
/// A longer one is scanned again when it has grown by one part in so many: the total time is then linear in the length of the text.
const GROWTH: usize = 8;

/// Redacts a text that arrives in pieces. Its output, joined, equals the result of [`Detector::mask`] for the whole text, except for
/// adjacent marks. Prints without its text, which may be a credential.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redactor {
    /// The text from the beginning of the current line, which isn't released whole.
    line: String,
    /// How many bytes of it are released.
    released: usize,
    /// How many bytes of it arrived after the last scan.
    #[serde(default)]
    unread: usize,
    /// How many credentials were masked.
    n_redacted: u32,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n_held = self.line.len() - self.released;
        write!(f, "Redactor({n_held} bytes held back, {} redacted)", self.n_redacted)
    }
}

/// The text held back of a growing answer, stored for the next process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBack {
    /// Of the text.
    pub text: Redactor,
    /// Of the reasoning.
    pub reasoning: Redactor,
}

impl HeldBack {
    /// Whether nothing was held back or masked so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Redactor {
    /// How many bytes the next piece is looked at together with.
    #[must_use]
    pub const fn n_kept(&self) -> usize {
        self.line.len()
    }

    /// How many credentials were masked so far.
    #[must_use]
    pub const fn n_redacted(&self) -> u32 {
        self.n_redacted
    }

    /// Appends a piece. Returns what may be shown now.
    #[must_use]
    pub fn push(&mut self, detector: &Detector, piece: &str) -> String {
        self.line.push_str(piece);
        self.unread += piece.len();
        if self.line.len() > EAGER_BYTES && self.unread * GROWTH < self.line.len() {
            return String::new();
        }
        self.unread = 0;
        let end = self.decided(detector);
        let shown = self.release(detector, end);
        self.forget_lines();
        shown
    }

    /// Ends the text. Returns the rest of it.
    #[must_use]
    pub fn finish(&mut self, detector: &Detector) -> String {
        let end = self.line.len();
        let shown = self.release(detector, end);
        self.clear();
        shown
    }

    /// Replaces everything before by a text. Returns what may be shown of it.
    #[must_use]
    pub fn replace(&mut self, detector: &Detector, text: &str) -> String {
        self.clear();
        self.n_redacted = 0;
        self.push(detector, text)
    }

    fn clear(&mut self) {
        self.line.clear();
        self.released = 0;
        self.unread = 0;
    }

    /// The position up to which no further piece can change the result.
    fn decided(&self, detector: &Detector) -> usize {
        let text = &self.line;
        let line = text.rfind('\n').map_or(0, |at| at + 1);
        let mut end = match detector.is_by_line() && text.len() - line <= MAX_LINE_BYTES {
            true => line,
            false => word(text),
        };
        if text.len() - end.max(self.released) > MAX_WORD_BYTES && !detector.is_by_line() {
            end = text.len();
        }
        match private_keys(text, &mut Vec::new()) {
            Some(open) if text.len() - open <= MAX_LINE_BYTES => end.min(open),
            _ => end,
        }
    }

    /// Returns everything before `end` that wasn't released yet, with marks.
    fn release(&mut self, detector: &Detector, end: usize) -> String {
        let mut shown = String::new();
        if end <= self.released {
            return shown;
        }
        let mut at = self.released;
        for span in detector.find(&self.line) {
            if span.end <= at {
                continue;
            }
            if span.start >= end {
                break;
            }
            shown.push_str(&self.line[at..span.start.max(at)]);
            shown.push_str(MARK);
            self.n_redacted += 1;
            at = span.end;
        }
        if at < end {
            shown.push_str(&self.line[at..end]);
            at = end;
        }
        self.released = at;
        shown
    }

    /// Drops what is released, except for the current line; of a long one, only its end is kept.
    fn forget_lines(&mut self) {
        let released = &self.line[..self.released];
        let mut from = released.rfind('\n').map_or(0, |at| at + 1);
        if released.len() - from > 2 * CONTEXT_BYTES {
            from = released.ceil_char_boundary(released.len() - CONTEXT_BYTES);
        }
        self.line.drain(..from);
        self.released -= from;
    }
}

/// Where the last word starts that may continue: ASCII characters without white space, or digits in groups.
fn word(text: &str) -> usize {
    let bytes = text.as_bytes();
    let before = |end: usize, is_of_word: fn(&u8) -> bool| {
        end - bytes[..end].iter().rev().take_while(|byte| is_of_word(byte)).count()
    };
    let mut start = before(bytes.len(), u8::is_ascii_graphic);
    // The groups of a card number. The longest has seven of three digits; more are numbers in a sentence.
    for _ in 0..8 {
        let head = &bytes[..start];
        let begins_with_digit = bytes.get(start).is_none_or(u8::is_ascii_digit);
        match head {
            [.., digit, b' '] if digit.is_ascii_digit() && begins_with_digit => {
                start = before(start - 1, u8::is_ascii_graphic);
            }
            _ => break,
        }
    }
    start
}
