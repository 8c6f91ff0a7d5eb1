//! Cutting Markdown so that each piece reads as it did in the whole.

use tieline_core::split::{TextLimit, TextUnit, split_first};

/// A piece of a text, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The piece in the platform's dialect.
    pub(crate) shown: String,
    /// Where in the whole text the next piece begins.
    pub(crate) end: usize,
}

/// Room below which no cut is looked for: one character must always fit.
const LEAST_ROOM: usize = 8;

/// The piece of `text` that begins at `from` and takes at most `max_bytes` once `render` has made it the platform's.
///
/// A code fence that is cut is closed here and reopened in the next piece; a table's head is repeated. The cut is at a paragraph, else a
/// line, else a space, else between characters. `from` is 0 or the `end` of a piece before.
pub(crate) fn piece(text: &str, from: usize, max_bytes: usize, render: impl Fn(&str) -> String) -> Piece {
    let rest = &text[from..];
    if rest.is_empty() {
        return Piece {
            shown: String::new(),
            end: from,
        };
    }
    let opening = opening(text, from)
        .filter(|head| head.len() < max_bytes / 4)
        .unwrap_or_default();
    let mut room = max_bytes;
    loop {
        let limit = TextLimit {
            max: room,
            unit: TextUnit::Bytes,
        };
        let (part, _) = split_first(rest, limit);
        let end = from + part.len();
        let shown = render(&format!("{opening}{part}{}", closing(text, end)));
        if shown.len() <= max_bytes || room <= LEAST_ROOM {
            return Piece { shown, end };
        }
        let fair = part.len() * max_bytes / shown.len();
        room = fair.min(part.len() - 1).min(room - 1).max(LEAST_ROOM);
    }
}

/// What a piece that begins at `at` must begin with.
fn opening(text: &str, at: usize) -> Option<String> {
    match open_fence(&text[..at]) {
        Some(fence) => Some(format!("{}{}\n", fence.quote, fence.line)),
        None => table_head(text, at),
    }
}

/// What a piece that ends at `end` must end with.
fn closing(text: &str, end: usize) -> String {
    match open_fence(&text[..end]) {
        Some(fence) => {
            let line_break = if text[..end].ends_with('\n') { "" } else { "\n" };
            format!("{line_break}{}{}", fence.quote, fence.marks)
        }
        None => String::new(),
    }
}

/// A code fence.
pub(super) struct Fence<'a> {
    /// The quote marks before it, if it is in a quote.
    quote: &'a str,
    /// The opening line without what precedes it.
    line: &'a str,
    /// Its backticks or tildes.
    marks: &'a str,
}

/// The code fence that is open at the end of `text`.
fn open_fence(text: &str) -> Option<Fence<'_>> {
    text.lines().fold(None, after_line)
}

/// The code fence that is open after `line`, if `open` was before it.
pub(super) fn after_line<'a>(open: Option<Fence<'a>>, line: &'a str) -> Option<Fence<'a>> {
    let body = line.trim_start_matches([' ', '\t', '>']);
    let Some(marks) = fence_marks(body) else { return open };
    let info = &body[marks.len()..];
    match &open {
        Some(fence) if marks.starts_with(fence.marks) && info.trim().is_empty() => None,
        Some(_) => open,
        None if marks.starts_with('`') && info.contains('`') => None,
        None => {
            let before = &line[..line.len() - body.len()];
            let quote = if before.contains('>') { before } else { "" };
            Some(Fence {
                quote,
                line: body,
                marks,
            })
        }
    }
}

fn fence_marks(line: &str) -> Option<&str> {
    let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = line.len() - line.trim_start_matches(mark).len();
    (length >= 3).then(|| &line[..length])
}

/// The head of the table whose rows are cut at `at`.
fn table_head(text: &str, at: usize) -> Option<String> {
    let before = text[..at].strip_suffix('\n')?;
    if !text[at..].lines().next()?.contains('|') {
        return None;
    }
    // A blank line has ended it.
    if before.rsplit('\n').next().is_none_or(|line| line.trim().is_empty()) {
        return None;
    }
    let block = before.rfind("\n\n").map_or(0, |at| at + 2);
    let lines: Vec<&str> = before[block..].lines().collect();
    let rule = lines.iter().rposition(|line| is_table_rule(line))?;
    let head = lines.get(rule.checked_sub(1)?)?;
    let rows = lines[rule + 1..].iter().all(|line| line.contains('|'));
    (rows && head.contains('|')).then(|| format!("{head}\n{}\n", lines[rule]))
}

fn is_table_rule(line: &str) -> bool {
    line.contains('|') && line.contains('-') && line.chars().all(|c| matches!(c, '|' | '-' | ':' | ' ' | '\t'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(text: &str, max_bytes: usize) -> Vec<String> {
        let mut shown = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let piece = piece(text, at, max_bytes, str::to_owned);
            assert!(piece.end > at, "no progress at {at}");
            at = piece.end;
            shown.push(piece.shown);
        }
        shown
    }

    #[test]
    fn fences_are_closed_and_reopened() {
        let text = "Look:\n```rust\nlet a = 1;\nlet b = 2;\nlet c = 3;\n```\nDone.";
        let shown = pieces(text, 40);
        assert_eq!(
            shown,
            [
                "Look:\n```rust\nlet a = 1;\nlet b = 2;\n```",
                "```rust\nlet c = 3;\n```\nDone."
            ]
        );
    }

    #[test]
    fn quoted_and_long_fences_keep_their_marks() {
        let shown = pieces("> ````\n> one line of it\n> two line of it\n> ````", 36);
        assert_eq!(shown[0], "> ````\n> one line of it\n> ````");
        assert_eq!(shown[1], "> ````\n> two line of it\n> ````");
    }

    #[test]
    fn growing_fence_is_closed() {
        assert_eq!(piece("```sh\nls", 0, 100, str::to_owned).shown, "```sh\nls\n```");
        assert_eq!(
            piece("```sh\nls\n``` \n", 0, 100, str::to_owned).shown,
            "```sh\nls\n``` \n"
        );
        assert_eq!(piece("a ```b``` c", 0, 100, str::to_owned).shown, "a ```b``` c");
    }

    #[test]
    fn table_heads_are_repeated() {
        let rows: String = (0..6).map(|row| format!("| row {row} | x |\n")).collect();
        let text = format!("Intro\n\n| a | b |\n|---|---|\n{rows}");
        let shown = pieces(&text, 100);
        assert!(shown.len() > 1);
        for piece in &shown[1..] {
            assert!(piece.starts_with("| a | b |\n|---|---|\n| row"), "{piece}");
        }
    }

    #[test]
    fn head_of_a_table_that_has_ended_is_not_repeated() {
        let table = "| a | b |\n|---|---|\n| 1 | 2 |\n\n";
        assert_eq!(pieces(&table.repeat(2), 40), [table, table]);
    }

    proptest! {
        #[test]
        fn pieces_fit_and_hold_every_word(
            text in "([a-z]{1,9}[ \n]|```\n|中文。|\\| a \\| b \\|\n|\\|---\\|\n|> |😀){0,60}",
            max_bytes in 64usize..200,
        ) {
            let shown = pieces(&text, max_bytes);
            prop_assert!(shown.iter().all(|piece| piece.len() <= max_bytes));
            let all = shown.join("\n");
            let mut words = all.split_whitespace();
            for word in text.split_whitespace().filter(|word| word.chars().all(|c| c.is_ascii_lowercase())) {
                prop_assert!(words.any(|shown| shown == word), "{} is lost", word);
            }
        }
    }
}
