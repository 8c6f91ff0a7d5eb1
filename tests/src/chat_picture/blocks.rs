//! The blocks of a message, as far as clients display them differently.

use super::Dialect;

/// Consecutive words of one style.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) text: String,
    pub(super) look: Look,
}

/// The style of words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Plain,
    Bold,
    Code,
    Link,
}

/// A block of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Block {
    Line(Vec<Span>),
    Quote(Vec<Span>),
    Code(Vec<String>),
    Table(Vec<Vec<Vec<Span>>>),
}

impl Block {
    /// Parses a message as a client of that dialect does.
    pub(super) fn read(text: &str, dialect: Dialect) -> Vec<Self> {
        if dialect == Dialect::Plain {
            return text.lines().map(|line| Self::Line(anchors(line))).collect();
        }
        let mut blocks = Vec::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if line.trim_start().starts_with("```") {
                let code = lines.by_ref().take_while(|line| !line.trim_start().starts_with("```"));
                blocks.push(Self::Code(code.map(str::to_owned).collect()));
            } else if is_row(line) && dialect == Dialect::Markdown {
                let mut rows = vec![cells(line)];
                while let Some(row) = lines.next_if(|line| is_row(line)) {
                    // The line below the table's head only sets the alignment.
                    if !row.chars().all(|c| "|-: ".contains(c)) {
                        rows.push(cells(row));
                    }
                }
                blocks.push(Self::Table(rows));
            } else if lines.peek().is_some_and(|next| is_rule(next)) {
                // A table drawn with spaces, for clients with a monospaced font.
                let mut rows = vec![line.to_owned()];
                while let Some(row) = lines.next_if(|row| is_rule(row) || row.contains(" | ")) {
                    rows.push(row.to_owned());
                }
                blocks.push(Self::Code(rows));
            } else if let Some(quoted) = line.strip_prefix('>') {
                blocks.push(Self::Quote(spans(quoted.trim_start())));
            } else if let Some(heading) = heading(line) {
                blocks.push(Self::Line(vec![Span {
                    text: heading.to_owned(),
                    look: Look::Bold,
                }]));
            } else if let Some(item) = line.trim_start().strip_prefix("- ") {
                let indent = " ".repeat(line.len() - line.trim_start().len());
                blocks.push(Self::Line([vec![plain(&format!("{indent}• "))], spans(item)].concat()));
            } else {
                blocks.push(Self::Line(spans(line)));
            }
        }
        blocks
    }
}

/// The line below the head of a table that is drawn with spaces.
fn is_rule(line: &str) -> bool {
    line.contains("-+-") && line.chars().all(|c| "-+".contains(c))
}

/// HTML links of a line, the only markup of some clients.
fn anchors(mut rest: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    while let Some((before, anchor)) = rest.split_once("<a href=") {
        let Some((text, after)) = anchor.split_once('>').and_then(|(_, it)| it.split_once("</a>")) else {
            break;
        };
        spans.push(plain(before));
        spans.push(Span {
            text: text.to_owned(),
            look: Look::Link,
        });
        rest = after;
    }
    spans.push(plain(rest));
    spans.retain(|span| !span.text.is_empty());
    spans
}

fn heading(line: &str) -> Option<&str> {
    let words = line.trim_start_matches('#');
    (words.len() < line.len()).then(|| words.strip_prefix(' ')).flatten()
}

fn is_row(line: &str) -> bool {
    let line = line.trim();
    line.len() > 1 && line.starts_with('|') && line.ends_with('|')
}

fn cells(line: &str) -> Vec<Vec<Span>> {
    let inner = line.trim().trim_matches('|');
    inner.split('|').map(|cell| spans(cell.trim())).collect()
}

fn plain(text: &str) -> Span {
    Span {
        text: text.to_owned(),
        look: Look::Plain,
    }
}

/// Bold words, code and links of a line.
fn spans(mut rest: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    while !rest.is_empty() {
        let marks = [("**", Look::Bold), ("`", Look::Code), ("[", Look::Link)];
        let found = marks
            .iter()
            .filter_map(|(mark, look)| Some((rest.find(mark)?, *mark, *look)))
            .min_by_key(|(at, ..)| *at);
        let Some((at, mark, look)) = found else {
            spans.push(plain(rest));
            break;
        };
        let inner = &rest[at + mark.len()..];
        let end = if look == Look::Link { "](" } else { mark };
        let Some(closed) = inner.find(end) else {
            spans.push(plain(rest));
            break;
        };
        if at > 0 {
            spans.push(plain(&rest[..at]));
        }
        spans.push(Span {
            text: inner[..closed].to_owned(),
            look,
        });
        rest = &inner[closed + end.len()..];
        if look == Look::Link {
            rest = rest.split_once(')').map_or("", |(_, rest)| rest);
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str, look: Look) -> Span {
        Span {
            text: text.to_owned(),
            look,
        }
    }

    #[test]
    fn spans_of_a_line_have_their_looks() {
        let read = spans("see **this** `now`: [page](https://e.com/a) ok");
        let expected = [
            span("see ", Look::Plain),
            span("this", Look::Bold),
            span(" ", Look::Plain),
            span("now", Look::Code),
            span(": ", Look::Plain),
            span("page", Look::Link),
            span(" ok", Look::Plain),
        ];
        assert_eq!(read, expected);
        assert_eq!(spans("2 ** 3"), [span("2 ** 3", Look::Plain)]);
    }

    #[test]
    fn links_are_the_only_markup_of_plain_text() {
        let line = r#"**a** <a href="https://e.com">b</a>"#;
        let expected = vec![span("**a** ", Look::Plain), span("b", Look::Link)];
        assert_eq!(Block::read(line, Dialect::Plain), [Block::Line(expected)]);
    }

    #[test]
    fn tables_are_recognized_only_by_clients_with_tables() {
        let text = "| a | b |\n|---|---|\n| 1 | 2 |";
        let Block::Table(rows) = &Block::read(text, Dialect::Markdown)[0] else {
            panic!("no table");
        };
        assert_eq!((rows.len(), rows[1][1][0].text.as_str()), (2, "2"));
        assert_eq!(Block::read(text, Dialect::MarkdownWithoutTables).len(), 3);
        let spaced = "a | b\n--+--\n1 | 2\nend";
        let Block::Code(rows) = &Block::read(spaced, Dialect::MarkdownWithoutTables)[0] else {
            panic!("no table");
        };
        assert_eq!(rows.len(), 3);
    }
}
