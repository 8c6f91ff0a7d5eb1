//! Redaction: finds keys, tokens, passwords and card numbers in what people and agents write, and replaces them with a mark.
//!
//! The built-in rules take time linear in the length of the text, and so do an organization's own patterns, which are matched line by
//! line by an engine without backtracking. [`Redactor`] does the same for a text that arrives in pieces.

mod rules;
mod stream;

use std::fmt;
use std::ops::Range;

use regex_lite::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

pub use stream::{HeldBack, Redactor};

/// Replacement of a credential, in any language.
pub const MARK: &str = "[redacted]";

/// Most patterns of an organization.
pub const MAX_PATTERNS: usize = 20;
/// Longest pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 256;
/// Most memory that a compiled pattern may take, in bytes. The time to match a character grows with it.
const MAX_COMPILED_BYTES: usize = 16 * 1024;
/// Most memory that all patterns may take together, in bytes: a text of a mebibyte is matched in seconds, not in minutes.
const MAX_COMPILED_TOGETHER: usize = 48 * 1024;
/// Most matches of one pattern in one line that are masked one by one; at the next one, the rest of the line is masked.
const MAX_MATCHES: usize = 64;
/// The longest line in which so many are: in a longer one there are fewer, because each search may read to its end.
const LONG_LINE: usize = 16 * 1024;

/// How a trigger treats credentials.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Redaction {
    /// In what people write.
    pub incoming: Incoming,
    /// In what agents write.
    pub outgoing: Outgoing,
    /// The organization's own regular expressions, each matched within a line.
    pub patterns: Vec<String>,
}

/// How credentials in what people write are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Incoming {
    /// They are ignored.
    #[default]
    Off,
    /// The agent gets them; the person is warned below the answer.
    Warn,
    /// They are masked before anything is stored; the person is told so below the answer.
    Mask,
}

/// How credentials in what agents write are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outgoing {
    /// They are ignored.
    #[default]
    Off,
    /// They are masked before anything is shown or stored.
    Mask,
}

/// An invalid pattern, with the engine's reason in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidPattern(String);

/// Finds credentials. Prints as `Detector(..)`: an organization's patterns may reveal what its secrets look like.
#[derive(Clone, Default)]
pub struct Detector {
    patterns: Vec<Regex>,
}

impl fmt::Debug for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Detector(..)")
    }
}

impl Detector {
    /// The built-in rules, and an organization's own patterns. An invalid one is left out: it was refused when it was saved.
    #[must_use]
    pub fn new(patterns: &[String]) -> Self {
        let patterns = patterns.iter().take(MAX_PATTERNS);
        Self {
            patterns: patterns.filter_map(|pattern| compile(pattern).ok()).collect(),
        }
    }

    /// `text` with a mark in place of each credential. `None` if there is none.
    #[must_use]
    pub fn mask(&self, text: &str) -> Option<String> {
        let mut redactor = Redactor::default();
        let mut masked = redactor.push(self, text);
        masked.push_str(&redactor.finish(self));
        (redactor.n_redacted() > 0).then_some(masked)
    }

    /// Whether `text` contains a credential.
    #[must_use]
    pub fn finds(&self, text: &str) -> bool {
        self.mask(text).is_some()
    }

    /// Whether it needs whole lines.
    fn is_by_line(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// The positions of credentials: in order, without overlap.
    fn find(&self, text: &str) -> Vec<Range<usize>> {
        let mut spans = Vec::new();
        rules::private_keys(text, &mut spans);
        rules::tokens(text, &mut spans);
        rules::named_values(text, &mut spans);
        rules::card_numbers(text, &mut spans);
        for pattern in &self.patterns {
            let mut from = 0;
            for line in text.split_inclusive('\n') {
                let words = line.trim_end_matches(['\r', '\n']);
                let most = (MAX_MATCHES * LONG_LINE / words.len().max(1)).clamp(1, MAX_MATCHES);
                let found = pattern.find_iter(words).filter(|found| !found.is_empty());
                for (n, found) in found.enumerate() {
                    // Each search may read to the end of the line: without a limit, time would be quadratic in its length.
                    let is_last = n == most;
                    let end = if is_last { words.len() } else { found.end() };
                    spans.push(from + found.start()..from + end);
                    if is_last {
                        break;
                    }
                }
                from += line.len();
            }
        }
        merged(spans)
    }
}

/// Checks the patterns of a trigger.
///
/// # Errors
/// [`InvalidPattern`], with its position, for the first that is too long, no regular expression, or too large, alone or with those before it.
pub fn check_patterns(patterns: &[String]) -> Result<(), (usize, InvalidPattern)> {
    let mut left = MAX_COMPILED_TOGETHER;
    for (at, pattern) in patterns.iter().enumerate() {
        compile(pattern).map_err(|invalid| (at, invalid))?;
        left = left.checked_sub(compiled_bytes(pattern)).ok_or_else(|| {
            let reason = "makes the patterns too large together: use fewer, or fewer repetitions";
            (at, InvalidPattern(reason.to_owned()))
        })?;
    }
    Ok(())
}

/// What a valid pattern takes compiled, rounded up.
fn compiled_bytes(pattern: &str) -> usize {
    let fits = |limit: &usize| RegexBuilder::new(pattern).size_limit(*limit).build().is_ok();
    let limits = std::iter::successors(Some(MAX_COMPILED_BYTES / 64), |limit| Some(limit * 2));
    let smaller = limits.take_while(|limit| *limit < MAX_COMPILED_BYTES).find(fits);
    smaller.unwrap_or(MAX_COMPILED_BYTES)
}

fn compile(pattern: &str) -> Result<Regex, InvalidPattern> {
    if pattern.is_empty() || pattern.len() > MAX_PATTERN_BYTES {
        return Err(InvalidPattern(format!("must have 1 to {MAX_PATTERN_BYTES} bytes")));
    }
    let compiled = RegexBuilder::new(pattern).size_limit(MAX_COMPILED_BYTES).build();
    let compiled = compiled.map_err(|error| {
        let error = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        InvalidPattern(format!("is no regular expression: {error}"))
    })?;
    if compiled.is_match("") {
        return Err(InvalidPattern("must not match an empty text".to_owned()));
    }
    Ok(compiled)
}

/// Sorts the spans and merges those that overlap.
fn merged(mut spans: Vec<Range<usize>>) -> Vec<Range<usize>> {
    spans.sort_by_key(|span| span.start);
    let mut apart: Vec<Range<usize>> = Vec::with_capacity(spans.len());
    for span in spans {
        match apart.last_mut() {
            Some(last) if span.start < last.end => last.end = last.end.max(span.end),
            _ => apart.push(span),
        }
    }
    apart
}

#[cfg(test)]
mod tests;
