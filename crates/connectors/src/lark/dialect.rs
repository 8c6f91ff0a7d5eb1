//! Converts common Markdown to the dialects of the platform's cards, posts and texts.
//!
//! The source is kept except for what would be displayed wrongly: see the files below. A fence must be at the start of its line.
//! See [Feishu Docs/富文本组件](https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/feishu-cards/card-json-v2-components/content-components/rich-text).

use super::inline;
use super::lists::Lists;
use super::surface::Surface;

/// Converts `text` for `surface`. No text is lost.
pub(super) fn render(text: &str, surface: Surface) -> String {
    let mut writer = Writer {
        surface,
        out: String::with_capacity(text.len() + 64),
        fence: None,
        in_table: false,
        lists: Lists::default(),
    };
    let mut rest = text;
    while !rest.is_empty() {
        let line = first_line(rest);
        writer.line(line, rest);
        rest = &rest[line.len()..];
    }
    writer.end_table();
    writer.out
}

/// Start of each table in `text`, outside code. `in_code`, `in_table`: blocks left open by the preceding text.
pub(super) fn tables(text: &str, mut in_code: bool, mut in_table: bool) -> Vec<usize> {
    let mut found = Vec::new();
    let (mut at, mut fence) = (0, None::<Fence>);
    while at < text.len() {
        let line = first_line(&text[at..]);
        in_table &= line.contains('|');
        if in_code {
            in_code = !Fence::may_close(line);
        } else if let Some(open) = &fence {
            fence = fence.clone().filter(|_| !open.is_closed_by(line));
        } else if !in_table && begins_table(&text[at..]) {
            in_table = true;
            found.push(at);
        } else {
            fence = Fence::opened_by(line);
        }
        at += line.len();
    }
    found
}

struct Writer {
    surface: Surface,
    out: String,
    fence: Option<Fence>,
    /// Whether the last line belongs to a table that is shown as code.
    in_table: bool,
    lists: Lists,
}

impl Writer {
    /// Writes `line`, the first line of `rest`.
    fn line(&mut self, line: &str, rest: &str) {
        let bare = line.trim_end_matches(['\n', '\r']);
        if self.surface == Surface::Text {
            self.out.push_str(&inline::rewritten(bare, self.surface));
        } else if let Some(fence) = &self.fence {
            let closed = fence.is_closed_by(bare);
            let shown = if closed {
                fence.closing()
            } else {
                fence.content(bare).to_owned()
            };
            self.out.push_str(&shown);
            self.fence = self.fence.take().filter(|_| !closed);
        } else {
            self.outside_code(bare, rest);
        }
        self.out.push_str(&line[bare.len()..]);
    }

    fn outside_code(&mut self, line: &str, rest: &str) {
        if self.in_table && !line.contains('|') {
            self.end_table();
        }
        if !self.in_table && self.surface != Surface::Card && begins_table(rest) {
            self.in_table = true;
            self.out.push_str("```\n");
        }
        if self.in_table {
            return self.out.push_str(line);
        }
        self.fence = Fence::opened_by(line);
        match &self.fence {
            Some(fence) => self.out.push_str(&fence.opening()),
            None => self
                .out
                .push_str(&inline::rewritten(&self.lists.indented(line), self.surface)),
        }
    }

    fn end_table(&mut self) {
        if std::mem::take(&mut self.in_table) {
            let line_break = if self.out.ends_with('\n') { "" } else { "\n" };
            self.out.push_str(line_break);
            self.out.push_str("```\n");
        }
    }
}

/// Code between two lines of backticks or tildes.
#[derive(Debug, Clone)]
struct Fence {
    /// Its prefix: quote marks are kept, indentation is removed.
    before: String,
    marks: String,
    info: String,
}

impl Fence {
    fn opened_by(line: &str) -> Option<Self> {
        let body = line.trim_start_matches([' ', '\t', '>']);
        let sign = body.chars().next().filter(|c| matches!(c, '`' | '~'))?;
        let info = body.trim_start_matches(sign);
        let marks = &body[..body.len() - info.len()];
        let opens = marks.len() >= 3 && !(sign == '`' && info.contains('`'));
        opens.then(|| Self {
            before: line[..line.len() - body.len()].to_owned(),
            marks: marks.to_owned(),
            info: info.trim().to_owned(),
        })
    }

    fn is_closed_by(&self, line: &str) -> bool {
        let body = line.trim_start_matches([' ', '\t', '>']).trim_end();
        body.starts_with(&self.marks) && body.chars().all(|c| self.marks.starts_with(c))
    }

    /// Whether `line` closes a fence of which only the end is known.
    fn may_close(line: &str) -> bool {
        let body = line.trim_start_matches([' ', '\t', '>']).trim_end();
        let sign = body.chars().next().filter(|c| matches!(c, '`' | '~'));
        sign.is_some_and(|sign| body.len() >= 3 && body.chars().all(|c| c == sign))
    }

    fn quote(&self) -> &str {
        if self.before.contains('>') { &self.before } else { "" }
    }

    fn opening(&self) -> String {
        format!("{}{}", self.closing(), self.info)
    }

    fn closing(&self) -> String {
        format!("{}{}", self.quote(), "`".repeat(self.marks.len()))
    }

    /// A line of the code, without the fence's indentation.
    fn content<'a>(&self, line: &'a str) -> &'a str {
        if !self.quote().is_empty() {
            return line;
        }
        let indent = line
            .bytes()
            .zip(self.before.bytes())
            .take_while(|(one, other)| one == other);
        &line[indent.count()..]
    }
}

fn first_line(text: &str) -> &str {
    text.split_inclusive('\n').next().unwrap_or_default()
}

fn begins_table(text: &str) -> bool {
    let header = first_line(text);
    let rule = first_line(&text[header.len()..]);
    let only = |c: char| matches!(c, '|' | '-' | ':' | ' ' | '\t');
    header.contains('|') && rule.contains('|') && rule.contains('-') && rule.trim_end().chars().all(only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(surface: Surface, text: &str, expected: &str) {
        assert_eq!(render(text, surface), expected);
    }

    #[test]
    fn fences_are_moved_to_the_start_of_the_line() {
        check(
            Surface::Card,
            "- a\n  ```sh\n  ls <b>\n    -x\n  ```\n<b>",
            "- a\n```sh\nls <b>\n  -x\n```\n&#60;b>",
        );
        check(Surface::Card, "~~~ rust\n<x>\n~~~", "```rust\n<x>\n```");
        check(
            Surface::Card,
            "> ```\n> <x>\n> ```\n> <x>",
            "> ```\n> <x>\n> ```\n> &#60;x>",
        );
        check(Surface::Card, "````\n```\n````\n<x>", "````\n```\n````\n&#60;x>");
    }

    #[test]
    fn tables_become_code_on_surfaces_without_tables() {
        let table = "|a|b|\n|-|-|\n|<i>|2|\n\nend <b>";
        check(Surface::Card, table, "|a|b|\n|-|-|\n|&#60;i>|2|\n\nend &#60;b>");
        check(
            Surface::CardWithoutTables,
            table,
            "```\n|a|b|\n|-|-|\n|<i>|2|\n```\n\nend &#60;b>",
        );
        check(Surface::Post, "|a|\n|-|\n|1|", "```\n|a|\n|-|\n|1|\n```\n");
        check(Surface::Text, table, "|a|b|\n|-|-|\n|<\u{200b}i>|2|\n\nend <\u{200b}b>");
    }

    #[test]
    fn tables_are_counted_outside_code() {
        let text = "|a|\n|-|\n|1|\n\n```\n|a|\n|-|\n```\na|b\n-|-\nx\n\n---\n|no|\n";
        assert_eq!(tables(text, false, false), [0, text.find("a|b").unwrap_or_default()]);
    }
}
