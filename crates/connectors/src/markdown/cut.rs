//! Splits Markdown into pieces that each render as in the whole.

use tieline_core::split::{TextLimit, TextUnit, split_first};

/// A piece of a text, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The piece in the platform's dialect.
    pub(crate) shown: String,
    /// Start of the next piece in the whole text.
    pub(crate) end: usize,
}

/// Longest fence in backticks or tildes. Every piece of the code repeats the fence, so a longer one would leave no space for the code.
const MAX_FENCE_MARKS: usize = 64;
/// Longest prefix of quote marks and blanks before a fence, and longest rest of its line, in bytes. A line is scanned again for each
/// piece that begins inside it, so no more than this of it may matter.
const MAX_AROUND_FENCE: usize = 1024;
/// Smallest size for which a cut is searched: one character must always fit.
const LEAST_ROOM: usize = 8;
/// Number of attempts that shrink the piece in proportion to the excess. After them the size is halved each time, so that there are few
/// attempts for any text.
const PROPORTIONAL_ATTEMPTS: u32 = 6;
/// Number of attempts that extend a message beyond what it shows, with half as much more text each time.
const EXTENDING_ATTEMPTS: u32 = 4;

/// The piece of `text` that begins at `from`: [`Cutter::piece`] for a text of which one piece is wanted.
pub(crate) fn piece(text: &str, from: usize, max_bytes: usize, render: impl Fn(&str) -> String) -> Piece {
    Cutter::new(text).piece(from, max_bytes, render)
}

/// Position of the first visible character of `text` at or after `from`; the end of `text` if there is none.
pub(crate) fn next_visible(text: &str, from: usize) -> usize {
    text.len() - text[from..].trim_start().len()
}

/// Size for the next attempt, after `attempt` attempts of which the last one gave too much: `fair` in proportion, below `last`.
pub(crate) fn less_room(attempt: u32, fair: usize, last: usize) -> usize {
    if attempt <= PROPORTIONAL_ATTEMPTS {
        fair.min(last.saturating_sub(1))
    } else {
        last / 2
    }
}

/// Size for the next attempt, if `bytes` were allowed and `taken` bytes of the source were measured as `size`, of which `max` are allowed.
/// At first in proportion to what was allowed, then to what was taken, which may be far less.
pub(crate) fn less_of_piece(attempt: u32, bytes: usize, taken: usize, max: usize, size: usize) -> usize {
    let (attempt, last) = match attempt.checked_sub(PROPORTIONAL_ATTEMPTS) {
        None | Some(0) => (attempt, bytes),
        Some(later) => (later, bytes.min(taken)),
    };
    less_room(attempt, last * max / size, last).max(1)
}

/// A text with an index of its code and tables, so that any piece of it is cut in time that depends only on the piece.
pub(crate) struct Cutter<'a> {
    text: &'a str,
    /// The fences that begin (`Some`) or end (`None`) with the line before a position, in order.
    fences: Vec<(usize, Option<Fence<'a>>)>,
    tables: Vec<TableRows<'a>>,
}

/// The rows of a table.
struct TableRows<'a> {
    head: &'a str,
    rule: &'a str,
    /// Start of the first row.
    start: usize,
    /// End of the last row.
    end: usize,
}

impl<'a> Cutter<'a> {
    /// Indexes `text`, in one pass.
    pub(crate) fn new(text: &'a str) -> Self {
        let mut fences = Vec::new();
        let mut tables = Vec::new();
        let mut fence: Option<Fence<'a>> = None;
        let mut table: Option<TableRows<'a>> = None;
        let mut last = "";
        let mut at = 0;
        for whole in text.split_inclusive('\n') {
            let line = without_line_break(whole);
            at += whole.len();
            let after = after_line(fence, line);
            if after.is_some() != fence.is_some() {
                fences.push((at, after));
            }
            fence = after;
            if is_table_rule(line) {
                tables.extend(table.take());
                table = last.contains('|').then_some(TableRows {
                    head: last,
                    rule: line,
                    start: at,
                    end: at,
                });
            } else if line.contains('|') {
                if let Some(table) = &mut table {
                    table.end = at;
                }
            } else {
                tables.extend(table.take());
            }
            last = line;
        }
        tables.extend(table);
        Self { text, fences, tables }
    }

    /// Whether `at` is in fenced code.
    pub(crate) fn is_in_code(&self, at: usize) -> bool {
        self.open_fence(at).is_some()
    }

    /// Whether `at` is between two rows of a table.
    pub(crate) fn is_in_table(&self, at: usize) -> bool {
        self.table_head(at).is_some()
    }

    /// Skips more than `bytes` of quote marks and blanks, which show nothing but are slow to render: returns the position of the text after
    /// them, or `from` if there are fewer.
    pub(crate) fn past_quote_marks(&self, from: usize, bytes: usize) -> usize {
        let rest = self.text[from..].bytes();
        let n_marks = rest
            .take_while(|byte| matches!(byte, b'>' | b' ' | b'\t' | b'\n'))
            .count();
        if n_marks > bytes && !self.is_in_code(from) {
            return from + n_marks;
        }
        from
    }

    /// The text.
    pub(crate) const fn text(&self) -> &'a str {
        self.text
    }

    /// The piece that begins at `from`, and whose rendering by `render` has at most `max_bytes`.
    ///
    /// A cut code fence is closed here and reopened in the next piece; a table's head is repeated. Cuts at a paragraph, else a line, else a
    /// space, else between characters. `from` is 0 or the `end` of the previous piece.
    pub(crate) fn piece(&self, from: usize, max_bytes: usize, render: impl Fn(&str) -> String) -> Piece {
        self.piece_within(self.text.len(), from, max_bytes, render)
    }

    /// Like [`Self::piece`], for the text up to `until`.
    pub(crate) fn piece_within(
        &self,
        until: usize,
        from: usize,
        max_bytes: usize,
        render: impl Fn(&str) -> String,
    ) -> Piece {
        let rest = &self.text[from..until];
        if rest.is_empty() {
            return Piece {
                shown: String::new(),
                end: from,
            };
        }
        let opening = self
            .opening(from)
            .filter(|head| head.len() < max_bytes / 4)
            .unwrap_or_default();
        let mut room = max_bytes;
        let mut attempt = 0;
        loop {
            let limit = TextLimit {
                max: room,
                unit: TextUnit::Bytes,
            };
            let (part, _) = split_first(rest, limit);
            let end = self.before_code(from, from + part.len(), until);
            let part = &self.text[from..end];
            let shown = render(&format!("{opening}{part}{}", self.closing(end)));
            if shown.len() <= max_bytes || room <= LEAST_ROOM {
                return Piece { shown, end };
            }
            attempt += 1;
            let fair = part.len() * max_bytes / shown.len();
            room = less_room(attempt, fair, part.len().min(room)).max(LEAST_ROOM);
        }
    }

    /// Like [`Self::piece`], for a message that shows the text up to `shown` already: see [`Self::end_keeping`].
    pub(crate) fn piece_keeping(
        &self,
        shown: usize,
        from: usize,
        max_bytes: usize,
        render: impl Fn(&str) -> String,
    ) -> Piece {
        let piece = self.piece(from, max_bytes, &render);
        if piece.end >= shown {
            return piece;
        }
        let whole = |end| self.piece_within(end, from, usize::MAX, &render);
        let spare = |end| max_bytes.checked_sub(whole(end).shown.len());
        self.end_keeping(shown, TextUnit::Bytes, spare).map_or(piece, whole)
    }

    /// The longest piece that begins at `from`, wherever it ends, for a message that may show any text that fits.
    pub(crate) fn longest_piece(&self, from: usize, max_bytes: usize, render: impl Fn(&str) -> String) -> Piece {
        let whole = |end| self.piece_within(end, from, usize::MAX, &render);
        let (mut fits, mut end) = (from, self.text.floor_char_boundary(from + max_bytes));
        while fits < end {
            let middle = self.text.ceil_char_boundary(fits.midpoint(end) + 1);
            if whole(middle).shown.len() <= max_bytes {
                fits = middle;
            } else {
                end = self.text.floor_char_boundary(middle - 1);
            }
        }
        whole(fits)
    }

    /// Where a message ends that shows the text up to `shown` already: there or after it, so that nothing visible disappears while the text
    /// grows. `None` if the text up to `shown` doesn't fit.
    ///
    /// `spare` is the room that is left, in `unit`, if the message ends at a position; `None` if it doesn't fit.
    pub(crate) fn end_keeping(
        &self,
        shown: usize,
        unit: TextUnit,
        spare: impl Fn(usize) -> Option<usize>,
    ) -> Option<usize> {
        let mut max = spare(shown)?;
        for _ in 0..EXTENDING_ATTEMPTS {
            let (more, _) = split_first(&self.text[shown..], TextLimit { max, unit });
            let end = shown + more.len();
            if max > 0 && spare(end).is_some() {
                return Some(end);
            }
            max /= 2;
        }
        Some(shown)
    }

    /// Where a piece ends that would be cut at `end`: before the code that this is in, if the code begins in the piece's second half, so that
    /// the next piece shows more of it at once.
    fn before_code(&self, from: usize, end: usize, until: usize) -> usize {
        let after_line = self.fences.partition_point(|(at, _)| *at <= end);
        let opening = after_line.checked_sub(1).map(|last| &self.fences[last]);
        let Some((code, Some(_))) = opening.filter(|_| end < until) else {
            return end;
        };
        let line = self.text[..code - 1].rfind('\n').map_or(0, |line_break| line_break + 1);
        match line > from.midpoint(end) {
            true => line,
            false => end,
        }
    }

    /// The prefix that a piece beginning at `at` needs.
    fn opening(&self, at: usize) -> Option<String> {
        match self.open_fence(at) {
            Some(fence) => Some(format!("{}{}\n", fence.quote, fence.line)),
            None => self.table_head(at),
        }
    }

    /// The suffix that a piece ending at `end` needs.
    fn closing(&self, end: usize) -> String {
        match self.open_fence(end) {
            Some(fence) => {
                let line_break = if self.text[..end].ends_with('\n') { "" } else { "\n" };
                format!("{line_break}{}{}", fence.quote, fence.marks)
            }
            None => String::new(),
        }
    }

    /// The code fence that is open at `at`.
    fn open_fence(&self, at: usize) -> Option<Fence<'a>> {
        let line_start = self.text[..at].rfind('\n').map_or(0, |end| end + 1);
        let before = self.fences.partition_point(|(from, _)| *from <= line_start);
        let open = before.checked_sub(1).and_then(|last| self.fences[last].1);
        match &self.text[line_start..at] {
            "" => open,
            line => after_line(open, line),
        }
    }

    /// The head of the table whose rows are cut at `at`.
    fn table_head(&self, at: usize) -> Option<String> {
        if !self.text[..at].ends_with('\n') || !self.text[at..].lines().next()?.contains('|') {
            return None;
        }
        let next = self.tables.partition_point(|table| table.start <= at);
        let table = self.tables.get(next.checked_sub(1)?)?;
        (at <= table.end).then(|| format!("{}\n{}\n", table.head, table.rule))
    }
}

/// A line without its line break. Works on bytes, because a text may have a million lines.
fn without_line_break(line: &str) -> &str {
    let kept = match line.as_bytes() {
        [.., b'\r', b'\n'] => line.len() - 2,
        [.., b'\n' | b'\r'] => line.len() - 1,
        _ => line.len(),
    };
    &line[..kept]
}

/// A code fence.
#[derive(Clone, Copy)]
pub(super) struct Fence<'a> {
    /// The quote marks before it, if it is in a quote.
    quote: &'a str,
    /// The opening line without its prefix.
    line: &'a str,
    /// Its backticks or tildes.
    marks: &'a str,
}

/// The code fence that is open after `line`; `open` is the one before it.
pub(super) fn after_line<'a>(open: Option<Fence<'a>>, line: &'a str) -> Option<Fence<'a>> {
    let before = line.bytes().take(MAX_AROUND_FENCE + 1);
    let n_before = before.take_while(|byte| matches!(byte, b' ' | b'\t' | b'>')).count();
    let body = &line[n_before..];
    let Some(marks) = fence_marks(body) else { return open };
    let info = &body[marks.len()..];
    if n_before > MAX_AROUND_FENCE || info.len() > MAX_AROUND_FENCE {
        return open;
    }
    match &open {
        Some(fence) if marks.starts_with(fence.marks) && info.trim().is_empty() => None,
        Some(_) => open,
        None if marks.starts_with('`') && info.contains('`') => None,
        None => {
            let before = &line[..n_before];
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
    let mark = line.bytes().next().filter(|byte| matches!(byte, b'`' | b'~'))?;
    let marks = line.bytes().take(MAX_FENCE_MARKS + 1);
    let length = marks.take_while(|byte| *byte == mark).count();
    (3..=MAX_FENCE_MARKS).contains(&length).then(|| &line[..length])
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
    fn visible_text_is_kept_and_the_room_below_it_used() {
        let text = format!("{}\n\n{} {}", "a".repeat(60), "b".repeat(30), "c".repeat(50));
        let cutter = Cutter::new(&text);
        assert_eq!(cutter.piece(0, 100, str::to_owned).end, 62);
        assert_eq!(
            cutter.piece_keeping(80, 0, 100, str::to_owned).end,
            93,
            "after the word"
        );
        assert_eq!(cutter.piece_keeping(100, 0, 100, str::to_owned).end, 100);
        assert_eq!(
            cutter.piece_keeping(101, 0, 100, str::to_owned).end,
            62,
            "what doesn't fit"
        );
        assert_eq!(cutter.longest_piece(0, 100, str::to_owned).end, 100);
    }

    #[test]
    fn a_long_run_of_backticks_is_cut_like_any_text() {
        let pieces = pieces(&"`".repeat(4096), 1024);
        assert!(pieces.len() <= 5, "{} pieces", pieces.len());
    }

    #[test]
    fn excess_quote_marks_are_skipped_outside_code() {
        let marks = "> ".repeat(100);
        let text = format!("{marks}word");
        assert_eq!(Cutter::new(&text).past_quote_marks(0, 64), marks.len());
        assert_eq!(Cutter::new(&text).past_quote_marks(0, marks.len()), 0);
        let code = format!("```\n{text}\n```");
        assert_eq!(Cutter::new(&code).past_quote_marks(4, 64), 4);
    }

    #[test]
    fn marks_far_into_a_line_do_not_make_a_fence() {
        let far = " ".repeat(MAX_AROUND_FENCE + 1);
        assert!(after_line(None, &format!("{far}```")).is_none());
        assert!(after_line(None, &format!("```{far}a")).is_none());
        assert!(after_line(None, &format!("{}```sh", &far[1..])).is_some());
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
    fn code_that_begins_late_is_shown_in_the_next_piece() {
        let shown = pieces("one two three four five\n```sh\na=1\n\nb=2\n\nc=3\n```\nDone.", 40);
        assert_eq!(
            shown,
            ["one two three four five\n", "```sh\na=1\n\nb=2\n\nc=3\n```\nDone."]
        );
        // Early code would leave the piece nearly empty.
        let shown = pieces("one\n```sh\na=1\n\nb=2\n\nc=3\n\nd=4\n```\nDone.", 32);
        assert_eq!(shown[0], "one\n```sh\na=1\n\nb=2\n\nc=3\n\n```");
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
        fn pieces_fit_and_contain_every_word(
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
