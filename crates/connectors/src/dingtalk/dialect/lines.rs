//! Classification of lines.

use std::borrow::Cow;

/// Kind of block that a line belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Blank,
    Paragraph,
    Heading,
    Quote,
    List,
    Table,
    /// Begins or ends code.
    Fence,
    /// Between fences, or indented.
    Code,
}

/// One line, without its end.
pub(super) struct Line<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
}

/// The lines of `text`.
pub(super) fn read(text: &str) -> Vec<Line<'_>> {
    let all: Vec<&str> = text
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
        .collect();
    let mut lines: Vec<Line<'_>> = Vec::with_capacity(all.len());
    let mut fence: Option<Fence<'_>> = None;
    for (at, text) in all.iter().enumerate() {
        // A code block ends where its block quote ends.
        fence = fence.filter(|open| !open.quoted || text.trim_start().starts_with('>'));
        let kind = match &fence {
            Some(open) if open.is_closed_by(text) => Kind::Fence,
            Some(_) => Kind::Code,
            None if Fence::opened_by(text).is_some() => Kind::Fence,
            None => plain(text, all.get(at + 1).copied(), lines.last().map(|line| line.kind)),
        };
        if kind == Kind::Fence {
            fence = if fence.is_some() { None } else { Fence::opened_by(text) };
        }
        lines.push(Line { kind, text });
    }
    lines
}

/// Marks that begin code.
struct Fence<'a> {
    marks: &'a str,
    /// Whether it is in a quote.
    quoted: bool,
}

impl<'a> Fence<'a> {
    fn opened_by(line: &'a str) -> Option<Self> {
        let body = unquoted(line);
        let marker = body.chars().next().filter(|c| matches!(c, '`' | '~'))?;
        let run = body.len() - body.trim_start_matches(marker).len();
        // Backticks in the rest of the line make it a code span.
        let fenced = run >= 3 && (marker == '~' || !body[run..].contains('`'));
        fenced.then(|| Self {
            marks: &body[..run],
            quoted: line.trim_start().starts_with('>'),
        })
    }

    fn is_closed_by(&self, line: &str) -> bool {
        let marker = self.marks.chars().next().unwrap_or('`');
        // Outside a block quote, `>` is code.
        let body = if self.quoted { unquoted(line) } else { line }.trim();
        body.len() >= self.marks.len() && body.chars().all(|c| c == marker)
    }
}

fn unquoted(line: &str) -> &str {
    line.trim_start_matches(|c: char| c.is_whitespace() || c == '>')
}

fn plain(line: &str, next: Option<&str>, last: Option<Kind>) -> Kind {
    let body = line.trim_start();
    if body.is_empty() {
        return Kind::Blank;
    }
    let goes_on = last == Some(Kind::Table) && body.contains('|');
    let begins = body.contains('|') && next.is_some_and(is_delimiter_row);
    if goes_on || begins {
        return Kind::Table;
    }
    if body.starts_with('>') {
        return Kind::Quote;
    }
    if is_rule(body) {
        return Kind::Heading;
    }
    if is_item(body) {
        return Kind::List;
    }
    let indented = line.starts_with('\t') || line.starts_with("    ");
    if indented {
        // Below a list item it continues the item; otherwise it is code.
        return match last {
            Some(Kind::List) => Kind::List,
            Some(Kind::Paragraph) => Kind::Paragraph,
            _ => Kind::Code,
        };
    }
    let level = body.len() - body.trim_start_matches('#').len();
    if (1..=6).contains(&level) && body[level..].starts_with([' ', '\t']) {
        return Kind::Heading;
    }
    match last {
        // A line without a marker after a list item belongs to the item.
        Some(Kind::List) => Kind::List,
        _ => Kind::Paragraph,
    }
}

fn is_delimiter_row(line: &str) -> bool {
    let line = line.trim();
    line.contains('-') && line.contains('|') && line.chars().all(|c| matches!(c, '-' | '|' | ':' | ' '))
}

/// A horizontal rule, or the underline of a heading.
fn is_rule(body: &str) -> bool {
    let body = body.trim_end();
    let marker = body.chars().next().filter(|c| matches!(c, '-' | '=' | '*' | '_'));
    marker.is_some_and(|marker| body.len() >= 3 && body.chars().all(|c| c == marker))
}

fn is_item(body: &str) -> bool {
    let rest = match body.strip_prefix(['-', '*', '+']) {
        Some(rest) => Some(rest),
        None => {
            let digits = body.len() - body.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            ((1..=9).contains(&digits))
                .then(|| body[digits..].strip_prefix(['.', ')']))
                .flatten()
        }
    };
    rest.is_some_and(|rest| rest.starts_with([' ', '\t']))
}

/// Task lists aren't supported: a box character replaces the marker.
pub(super) fn task_mark(line: &str) -> Cow<'_, str> {
    let body = line.trim_start();
    let Some(item) = body.get(..2).filter(|item| matches!(*item, "- " | "* " | "+ ")) else {
        return Cow::Borrowed(line);
    };
    let indent = &line[..line.len() - body.len()];
    let rest = &body[2..];
    let boxed = [("[ ] ", '☐'), ("[x] ", '☑'), ("[X] ", '☑')];
    for (mark, sign) in boxed {
        if let Some(rest) = rest.strip_prefix(mark) {
            return Cow::Owned(format!("{indent}{item}{sign} {rest}"));
        }
    }
    Cow::Borrowed(line)
}
