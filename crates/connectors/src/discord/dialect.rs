//! Converts common Markdown to Discord's dialect. No text is lost.
//!
//! Most syntax is the same. Tables, deep headings, task lists, pictures and tilde fences aren't supported; double underscores underline
//! and double bars hide text.
//!
//! See [Discord Docs/Message Formatting](https://discord.com/developers/docs/reference#message-formatting) and
//! [Discord Help/Markdown Text 101](https://support.discord.com/hc/en-us/articles/210298617).

use std::borrow::Cow;

use crate::markdown::{Inline, Kind, Part};

/// `text` as a message shows it.
pub(super) fn render(text: &str) -> String {
    let mut writer = Writer {
        out: String::with_capacity(text.len() + 16),
        fence: None,
        in_table: false,
    };
    let mut rest = text;
    while !rest.is_empty() {
        let line = rest.split_inclusive('\n').next().unwrap_or(rest);
        writer.line(line, &rest[line.len()..]);
        rest = &rest[line.len()..];
    }
    writer.end_table();
    writer.out
}

struct Writer<'a> {
    out: String,
    /// The marks of the open code fence.
    fence: Option<&'a str>,
    /// Whether the last line belongs to a table, which is shown as code.
    in_table: bool,
}

/// The only fence that the platform supports: three backticks.
const FENCE: &str = "```";
/// Keeps three backticks inside code from ending it. The added character is invisible.
const BROKEN_FENCE: &str = "``\u{200b}`";

/// The mark of bold text.
const BOLD: &str = "**";

impl<'a> Writer<'a> {
    fn line(&mut self, line: &'a str, next: &str) {
        let bare = line.trim_end_matches(['\n', '\r']);
        let ending = &line[bare.len()..];
        if let Some(marks) = self.fence {
            if closes(bare, marks) {
                self.fence = None;
                self.out.push_str(before_marks(bare));
                self.out.push_str(FENCE);
            } else {
                self.out.push_str(&bare.replace(FENCE, BROKEN_FENCE));
            }
        } else {
            self.outside_code(bare, next);
        }
        self.out.push_str(ending);
    }

    fn outside_code(&mut self, line: &'a str, next: &str) {
        if self.in_table && !line.contains('|') {
            self.end_table();
        }
        if !self.in_table && begins_table(line, next) {
            self.in_table = true;
            self.out.push_str(FENCE);
            self.out.push('\n');
        }
        if self.in_table {
            return self.out.push_str(&line.replace(FENCE, BROKEN_FENCE));
        }
        let before = before_marks(line);
        let body = &line[before.len()..];
        if let Some(marks) = opens(body) {
            self.fence = Some(marks);
            self.out.push_str(before);
            self.out.push_str(FENCE);
            self.out.push_str(body[marks.len()..].trim());
            return;
        }
        self.out.push_str(&block(line));
    }

    fn end_table(&mut self) {
        if std::mem::take(&mut self.in_table) {
            if !self.out.ends_with('\n') {
                self.out.push('\n');
            }
            self.out.push_str(FENCE);
            self.out.push('\n');
        }
    }
}

/// Indentation and quote marks of a line.
fn before_marks(line: &str) -> &str {
    &line[..line.len() - line.trim_start_matches([' ', '\t', '>']).len()]
}

/// The marker of a code fence that `body` opens.
fn opens(body: &str) -> Option<&str> {
    let mark = body.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let info = body.trim_start_matches(mark);
    let marks = &body[..body.len() - info.len()];
    (marks.len() >= 3 && !(mark == '`' && info.contains('`'))).then_some(marks)
}

fn closes(line: &str, marks: &str) -> bool {
    let body = line[before_marks(line).len()..].trim_end();
    body.starts_with(marks) && body.trim_start_matches(&marks[..1]).is_empty()
}

/// Whether `line` is the head of a table: cells, with the rule on the next line.
fn begins_table(line: &str, next: &str) -> bool {
    let rule = next.lines().next().unwrap_or_default();
    let is_rule = rule.contains('|')
        && rule.contains('-')
        && rule.chars().all(|c| matches!(c, '|' | '-' | ':' | ' ' | '\t' | '\r'));
    line.contains('|') && is_rule
}

/// A line outside code.
fn block(line: &str) -> String {
    let body = &line[before_marks(line).len()..];
    let before = &quote_marks(&line[..line.len() - body.len()]);
    let hashes = body.len() - body.trim_start_matches('#').len();
    // Three levels of headings are supported; deeper ones become a line in bold.
    if (4..=6).contains(&hashes) && body[hashes..].starts_with(' ') {
        let title = body[hashes..].trim().trim_matches('*');
        return format!("{before}**{}**", inline(title));
    }
    for (mark, shown) in [("[ ] ", "☐ "), ("[x] ", "☑ "), ("[X] ", "☑ ")] {
        let task = ["- ", "* ", "+ "]
            .into_iter()
            .find_map(|bullet| body.strip_prefix(bullet)?.strip_prefix(mark));
        if let Some(task) = task {
            return format!("{before}- {shown}{}", inline(task));
        }
    }
    format!("{before}{}", inline(body))
}

/// Three quote marks in a row would make all the rest of the message a quote: they are separated.
fn quote_marks(before: &str) -> Cow<'_, str> {
    match before.trim_start().starts_with(">>>") {
        true => before.replace('>', "> ").replace(">  ", "> ").into(),
        false => before.into(),
    }
}

/// The text of a line; code spans and URLs are unchanged.
fn inline(text: &str) -> String {
    let inline = Inline::read(text);
    let mut out = String::with_capacity(text.len());
    for part in &inline.parts {
        match part {
            Part::Text(range) => words(&text[range.clone()], &mut out),
            Part::Code(range) | Part::Address(range) => out.push_str(&text[range.clone()]),
            // A `data:` URL can't be opened: only its label is shown.
            Part::Open(span) | Part::Close(span) if inline.spans[*span].address.starts_with("data:") => {}
            Part::Open(span) => out.push_str(match inline.spans[*span].kind {
                // A picture is shown as a link to its URL.
                Kind::Link | Kind::Picture => "[",
                Kind::Struck => "~~",
            }),
            Part::Close(span) => out.push_str(inline.tail(*span)),
        }
    }
    out
}

fn words(text: &str, out: &mut String) {
    let mut rest = text;
    let mut in_bold = false;
    while let Some(at) = rest.find(['_', '|', '\\', 'h']) {
        out.push_str(&rest[..at]);
        let url = url_length(&rest[at..], in_bold);
        let (shown, length) = match url {
            // The platform takes no markup inside a URL, and an escape would become a part of it.
            Some(length) => (&rest[at..at + length], length),
            None => special(&rest[at..], out.chars().next_back()),
        };
        in_bold ^= url.is_none() && shown == BOLD;
        out.push_str(shown);
        rest = &rest[at + length..];
    }
    out.push_str(rest);
}

/// Length of the URL that `text` begins with. Underscores that close bold text around the URL, and a bracket that closes one before it, are
/// not part of it.
fn url_length(text: &str, in_bold: bool) -> Option<usize> {
    let address = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let start = text.len() - address.len();
    let mut depth = 0_usize;
    let ends = |c: char| match c {
        ')' if depth == 0 => true,
        ')' => {
            depth -= 1;
            false
        }
        '(' => {
            depth += 1;
            false
        }
        c => c.is_whitespace() || c == '<',
    };
    let url = &address[..address.find(ends).unwrap_or(address.len())];
    let closed = url
        .trim_end_matches(['.', ',', ':', ';', '!', '?', '"', '\'', '*'])
        .strip_suffix("__");
    Some(start + closed.filter(|_| in_bold).unwrap_or(url).len())
}

/// The replacement for the beginning of `text`, and how many bytes of it are replaced. `before` is the character before it.
fn special(text: &str, before: Option<char>) -> (&str, usize) {
    let in_word = before.is_some_and(char::is_alphanumeric);
    match text.as_bytes() {
        // An escaped character stays escaped.
        [b'\\', next, ..] if next.is_ascii() => (&text[..2], 2),
        [b'|', b'|', ..] => ("\\|\\|", 2),
        [b'_', b'_', next, ..] if !in_word && *next != b'_' && !next.is_ascii_whitespace() => (BOLD, 2),
        [b'_', b'_', ..] if closes_bold(before, &text[2..]) => (BOLD, 2),
        [b'_', b'_', ..] => ("\\_\\_", 2),
        _ => (&text[..1], 1),
    }
}

/// Whether two underscores between `before` and `after` can end a bold span.
fn closes_bold(before: Option<char>, after: &str) -> bool {
    before.is_some_and(|c| !c.is_whitespace()) && !after.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(render(text), expected);
    }

    #[test]
    fn common_syntax_is_unchanged() {
        let text = "# a\n**b** *c* _d_ ~~e~~\n- f\n  1. g\n> h\n`i` [j](https://e.com)\n";
        check(text, text);
    }

    #[test]
    fn tables_are_shown_as_code() {
        check(
            "x\n| a | b |\n|---|---|\n| 1 | 2 |\ny",
            "x\n```\n| a | b |\n|---|---|\n| 1 | 2 |\n```\ny",
        );
        check("a | b\n--|--", "```\na | b\n--|--\n```\n");
        check("a | b", "a | b");
    }

    #[test]
    fn every_fence_becomes_three_backticks() {
        check("~~~rust\na\n~~~\nb", "```rust\na\n```\nb");
        check("````\n```\n````", "```\n``\u{200b}`\n```");
        check("> ```sh\n> ls\n> ```", "> ```sh\n> ls\n> ```");
        check("```\n||__a__\n| b |\n|--|\n```", "```\n||__a__\n| b |\n|--|\n```");
    }

    #[test]
    fn nested_quotes_end_where_they_end() {
        check(">>> a\n\nb", "> > > a\n\nb");
        check("  >>>> a", "  > > > > a");
        check(">> a\n>>>b", ">> a\n> > > b");
        check("`>>> a`\n```\n>>> a\n```", "`>>> a`\n```\n>>> a\n```");
    }

    #[test]
    fn headings_tasks_and_pictures() {
        check("#### a\n##### **b**\n####c", "**a**\n**b**\n####c");
        check("- [ ] a\n  * [x] b", "- ☐ a\n  - ☑ b");
        check("![cat](https://e.com/c.png)!", "[cat](https://e.com/c.png)!");
        check("a ![cat](data:image/) [b](data:text/)![](data:image/)", "a cat b");
    }

    #[test]
    fn markup_with_another_meaning_is_replaced() {
        check("__bold__ and __init__.py", "**bold** and **init**.py");
        check("a || b", "a \\|\\| b");
        check("`a || __b__` and ``c ` __d__``", "`a || __b__` and ``c ` __d__``");
        check("snake_case a__b \\__c", "snake_case a\\_\\_b \\__c");
    }

    #[test]
    fn urls_are_unchanged() {
        for text in [
            "https://example.com/foo__bar__baz",
            "see http://e.com/__a__?b=c||d||e\\f, (https://e.com/a__b__(c__d)) and https://e.com/x__",
            "the host__ of http and https:// __",
        ] {
            let expected = text.replace("host__", "host**").replace("// __", "// \\_\\_");
            check(text, &expected);
        }
        check("__see https://e.com/a__b__.__ c", "**see https://e.com/a__b__.** c");
        check(
            "__https://e.com/a__, (https://e.com)__b__",
            "**https://e.com/a**, (https://e.com)**b**",
        );
    }

    proptest! {
        #[test]
        fn no_word_is_lost(text in "([a-z]{1,6}|[ \n`~_|#>!\\\\*\\[\\]()-]|```\n|中文){0,60}") {
            let shown = render(&text);
            let mut words = shown.split(|c: char| !c.is_ascii_lowercase()).filter(|word| !word.is_empty());
            for word in text.split(|c: char| !c.is_ascii_lowercase()).filter(|word| !word.is_empty()) {
                prop_assert!(words.any(|shown| shown == word), "{} is lost in {}", word, shown);
            }
        }
    }
}
