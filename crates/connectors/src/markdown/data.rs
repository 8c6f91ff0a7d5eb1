//! Inline pictures and files in an answer: URLs that begin with `data:`.

use std::borrow::Cow;
use std::ops::Range;

use super::cut::after_line;

/// Beginning of such a URL, with the end of its label.
const BEGINNING: &str = "](data:";

/// Shortens the `data:` URLs in `text` to their beginning: `![a plot](data:image/)`, which a dialect shows by its label.
///
/// Done before anything is cut: no chat displays such a URL, and it is longer than a message. Code is unchanged.
/// The function maps a prefix of a text to a prefix of the result, so progress of a growing text stays valid: an unfinished URL is closed
/// at the end of the text, and an unclosed backtick makes the rest of its line code.
pub(crate) fn without_data(text: &str) -> Cow<'_, str> {
    if !text.contains(BEGINNING) {
        return text.into();
    }
    let mut out = String::new();
    let mut at = 0;
    for data in data(text) {
        out.push_str(&text[at..data.start]);
        out.push(')');
        at = data.end;
    }
    if at == 0 {
        return text.into();
    }
    out.push_str(&text[at..]);
    out.into()
}

/// `text` with `data:` URLs removed: `![a plot]`, or nothing if there is no label. For chats that show Markdown as it is.
pub(crate) fn with_labels(text: &str) -> Cow<'_, str> {
    let found = if text.contains(BEGINNING) {
        data(text)
    } else {
        Vec::new()
    };
    if found.is_empty() {
        return text.into();
    }
    let mut out = String::new();
    let mut at = 0;
    for data in found {
        let source = &text[at..data.start];
        let label = &source[..source.rfind('(').unwrap_or(source.len())];
        out.push_str(without_suffix(label, &["![]", "[]"]));
        at = data.end;
    }
    out.push_str(&text[at..]);
    out.into()
}

/// The beginning of a growing text of which [`with_labels`] will not change: without an end that may become a `data:` URL.
pub(crate) fn settled(text: &str) -> &str {
    let may_become_data = |end: &str| match end.strip_prefix(BEGINNING) {
        Some(kind) => kind.chars().all(|c| c.is_ascii_alphanumeric()),
        None => BEGINNING.starts_with(end),
    };
    let label = text.rfind(']').filter(|at| may_become_data(&text[*at..]));
    let text = label.map_or(text, |at| &text[..=at]);
    without_suffix(text, &["![]", "[]", "![", "[", "!"])
}

fn without_suffix<'a>(text: &'a str, suffixes: &[&str]) -> &'a str {
    suffixes
        .iter()
        .find_map(|suffix| text.strip_suffix(suffix))
        .unwrap_or(text)
}

/// Ranges to remove, including closing brackets.
fn data(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut fence = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let in_code = fence.is_some();
        fence = after_line(fence, line);
        if !in_code && fence.is_none() {
            in_line(line, start, &mut found);
        }
        start += line.len();
    }
    found
}

fn in_line(line: &str, start: usize, found: &mut Vec<Range<usize>>) {
    let mut at = 0;
    while let Some(next) = line[at..].find(['`', '\\', ']']) {
        at += next;
        let rest = &line[at..];
        at += match rest.as_bytes()[0] {
            b'`' => code_span(rest),
            b'\\' if rest[1..].starts_with(['`', '\\', ']']) => 2,
            _ => match address(rest) {
                Some(data) => {
                    found.push(start + at + data.start..start + at + data.end);
                    data.end
                }
                None => 1,
            },
        };
    }
}

/// Length of the code span that `text` begins with. It doesn't continue in the next line.
fn code_span(text: &str) -> usize {
    let run = |text: &str| text.len() - text.trim_start_matches('`').len();
    let ticks = run(text);
    let mut at = ticks;
    while let Some(next) = text[at..].find('`') {
        at += next;
        let length = run(&text[at..]);
        at += length;
        if length == ticks {
            return at;
        }
    }
    text.len()
}

/// Range of the URL to remove, if `text` begins with the end of a label followed by such a URL.
fn address(text: &str) -> Option<Range<usize>> {
    let rest = text.strip_prefix(BEGINNING)?;
    // A type, parameters or the data itself must follow; otherwise this may be the argument of a function call.
    let kind = rest.find(|c: char| !c.is_ascii_alphanumeric())?;
    if !rest[kind..].starts_with(['/', ';', ',']) {
        return None;
    }
    let start = BEGINNING.len() + kind + 1;
    Some(start..start + length(&text[start..]))
}

fn length(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            ')' if depth == 0 => return at + 1,
            ')' => depth -= 1,
            '(' => depth += 1,
            c if c.is_whitespace() => return at + title(&text[at..]),
            _ => {}
        }
    }
    text.len()
}

/// Length of the title between a URL and its closing bracket, including both. All of the rest, if that may still become a title.
fn title(text: &str) -> usize {
    let body = text.trim_start_matches([' ', '\t']);
    let after = match body.chars().next() {
        Some(mark @ ('"' | '\'')) => match body[1..].split_once([mark, '\n']) {
            Some((words, after)) if body[1 + words.len()..].starts_with(mark) => after.trim_start_matches([' ', '\t']),
            Some(_) => return 0,
            None => "",
        },
        _ => body,
    };
    match after.chars().next() {
        Some(')') => text.len() - after.len() + 1,
        Some(_) => 0,
        None => text.len(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(without_data(text), expected);
    }

    #[test]
    fn only_label_and_media_type_remain() {
        check("a ![b](data:image/png;base64,AA+/=) c", "a ![b](data:image/) c");
        check("[f](data:text/csv,1,2)[g](data:,x)", "[f](data:text/)[g](data:,)");
        check(
            "![](data:;base64,AA)\n![](data:a/b,(c)) d)",
            "![](data:;)\n![](data:a/) d)",
        );
        check(
            "[![b](data:image/gif,A)](https://e.com)",
            "[![b](data:image/)](https://e.com)",
        );
    }

    #[test]
    fn labels_remain_without_their_urls() {
        for (text, expected) in [
            ("a ![b](data:image/png;base64,AA+/=) c", "a ![b] c"),
            ("![](data:image/png,A)", ""),
            ("x [](data:,A)![](data:a/b,(c)) d)", "x  d)"),
            ("`![](data:image/png,A)`", "`![](data:image/png,A)`"),
        ] {
            assert_eq!(with_labels(text), expected);
        }
    }

    #[test]
    fn titles_are_removed_and_other_text_is_kept() {
        check("![b](data:image/png,A \"t\") c", "![b](data:image/) c");
        check("![b](data:image/png,A 't' )", "![b](data:image/)");
        check("![b](data:image/png,A ) c", "![b](data:image/) c");
        check("![b](data:image/png,A c d", "![b](data:image/) c d");
        check("![b](data:image/png,A \"c\" d)", "![b](data:image/) \"c\" d)");
        check("![b](data:image/png,A \"c\nd", "![b](data:image/) \"c\nd");
        check("![b](data:image/png,A\nc", "![b](data:image/)\nc");
    }

    #[test]
    fn unfinished_url_is_closed() {
        check("a ![b](data:image/png;bas", "a ![b](data:image/)");
        check("a ![b](data:image/png,A \"t", "a ![b](data:image/)");
        check("a ![b](data:image", "a ![b](data:image");
    }

    #[test]
    fn code_and_other_text_are_unchanged() {
        for text in [
            "```\n![b](data:image/png,A)\n```",
            "> ~~~\n> ![b](data:image/png,A)",
            "`![b](data:image/png,A)` and ``a`![b](data:image/png,A)``",
            "\\`a [b\\](data:image/png,A)",
            "handlers[name](data: Data) and rows[1](data:x)",
            "![b](https://e.com/data:image/png,A)",
        ] {
            check(text, text);
            assert!(matches!(without_data(text), Cow::Borrowed(_)));
        }
        check(
            "```\n![b](data:image/png,A)\n```\n`c` \\` ![b](data:image/png,A)",
            "```\n![b](data:image/png,A)\n```\n`c` \\` ![b](data:image/)",
        );
    }

    proptest! {
        #[test]
        fn prefix_gives_a_prefix_of_the_result(
            text in "(!\\[[a-z`]{0,2}\\]\\(data:|[a-z说]|/|;|,|\\(|\\)|\"|'| |\n|\n```|~~~|`{1,3}|\\\\|\\]|> |\r\n){0,40}",
        ) {
            let whole = without_data(&text);
            prop_assert_eq!(without_data(&whole), &whole[..]);
            for (at, _) in text.char_indices() {
                let part = without_data(&text[..at]);
                prop_assert!(whole.starts_with(&*part), "{:?} gives {:?}, {:?} gives {:?}", &text[..at], part, text, whole);
            }
            let whole = with_labels(&text);
            for (at, _) in text.char_indices() {
                let part = with_labels(settled(&text[..at]));
                prop_assert!(whole.starts_with(&*part), "{:?} gives {:?}, {:?} gives {:?}", &text[..at], part, text, whole);
            }
        }
    }
}
