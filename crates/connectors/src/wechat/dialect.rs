//! Converts common Markdown for the phone: bold, code, tables and headings up to level four stay, the rest becomes plain text.
//!
//! See [openclaw-weixin/src/messaging/markdown-filter.ts](https://github.com/Tencent/openclaw-weixin/blob/main/src/messaging/markdown-filter.ts).

use std::ops::Range;

use crate::markdown::{Inline, Kind, Part};

/// Converts common Markdown for the phone. Code is unchanged.
pub(super) fn write(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut fence = None;
    for line in text.split_inclusive('\n') {
        let marks = fence_marks(line);
        match (fence, marks) {
            (None, None) => write_line(without_deep_heading(line), &mut out),
            _ => out.push_str(line),
        }
        fence = match (fence, marks) {
            (None, marks) => marks,
            (Some((mark, length)), Some((closing, n))) if closing == mark && n >= length => None,
            (open, _) => open,
        };
    }
    out
}

/// Character and length of a code fence.
fn fence_marks(line: &str) -> Option<(char, usize)> {
    let body = line.trim_start_matches([' ', '\t', '>']);
    let mark = body.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = body.len() - body.trim_start_matches(mark).len();
    (length >= 3).then_some((mark, length))
}

/// Removes the marks of headings of level five and six, which the phone would show.
fn without_deep_heading(line: &str) -> &str {
    let body = line.trim_start_matches('#');
    let level = line.len() - body.len();
    match (level, body.strip_prefix(' ')) {
        (5 | 6, Some(words)) => words,
        _ => line,
    }
}

fn write_line(line: &str, out: &mut String) {
    let bare = line.trim_end_matches(['\n', '\r']);
    let inline = Inline::read(bare);
    for part in &inline.parts {
        match part {
            Part::Text(range) => words(bare, range.clone(), out),
            Part::Code(range) | Part::Address(range) => out.push_str(&bare[range.clone()]),
            Part::Open(span) => {
                let span = &inline.spans[*span];
                if span.kind != Kind::Picture {
                    out.push_str(&bare[span.whole.start..span.label.start]);
                }
            }
            Part::Close(span) => match inline.spans[*span].kind {
                Kind::Picture => name_picture(inline.label(*span), inline.spans[*span].address, out),
                Kind::Link | Kind::Struck => out.push_str(inline.tail(*span)),
            },
        }
    }
    out.push_str(&line[bare.len()..]);
}

/// A picture becomes its label and its URL.
fn name_picture(words: &str, address: &str, out: &mut String) {
    // A `data:` URL can't be opened.
    if !address.is_empty() && !address.starts_with("data:") {
        if !words.is_empty() {
            out.push_str(": ");
        }
        out.push_str(address);
    }
}

fn words(line: &str, range: Range<usize>, out: &mut String) {
    let mut before = line[..range.start].chars().next_back().unwrap_or(' ');
    let mut rest = &line[range];
    while let Some(next) = rest.chars().next() {
        let taken = match next {
            '*' | '_' => italic(rest, before, out),
            '\\' => escaped(rest, out),
            _ => None,
        };
        let taken = taken.unwrap_or_else(|| {
            out.push(next);
            next.len_utf8()
        });
        before = rest[..taken].chars().next_back().unwrap_or(' ');
        rest = &rest[taken..];
    }
}

/// Removes single marks around text. Double marks are bold, which is supported; a mark inside a word is no markup.
fn italic(text: &str, before: char, out: &mut String) -> Option<usize> {
    let mark = text.chars().next()?;
    let run = text.len() - text.trim_start_matches(mark).len();
    if run != 1 {
        out.push_str(&text[..run]);
        return Some(run);
    }
    let body = &text[1..];
    let end = body.find(mark)?;
    let (words, after) = (&body[..end], &body[end + 1..]);
    let inside_word = |c: Option<char>| mark == '_' && c.is_some_and(|c| c.is_alphanumeric());
    let is_markup = !words.is_empty()
        && !words.starts_with(char::is_whitespace)
        && !words.ends_with(char::is_whitespace)
        && !words.contains(['`', '[', '\n'])
        && !after.starts_with(mark)
        && !inside_word(Some(before))
        && !inside_word(after.chars().next());
    if !is_markup {
        return None;
    }
    out.push_str(words);
    Some(end + 2)
}

/// An escaped mark is literal.
fn escaped(text: &str, out: &mut String) -> Option<usize> {
    let mark = text[1..]
        .chars()
        .next()
        .filter(|c| matches!(c, '*' | '_' | '!' | '#'))?;
    out.push(mark);
    Some(1 + mark.len_utf8())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(write(text), expected);
    }

    #[test]
    fn supported_markup_is_kept() {
        for text in [
            "# One\n#### Four\n**bold** and __bold__\n",
            "- a\n- b\n\n1. c",
            "| a | b |\n|---|---|\n| 1 | 2 |",
            "```rust\nlet *a* = _b_; ![x](y)\n##### no heading\n```\n",
            "`*a*` and ``![b](c)``",
            "[words](https://example.com/a_b_c)",
            "2 * 3 * 4, snake_case_name, a*b",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn unsupported_markup_becomes_text() {
        check("##### Five\n###### Six", "Five\nSix");
        check("这是*重点*和_强调_。", "这是重点和_强调_。");
        check("an *important* and _urgent_ matter", "an important and urgent matter");
        check("![plot](https://e.com/p.png) below", "plot: https://e.com/p.png below");
        check("![](https://e.com/p.png)", "https://e.com/p.png");
        check("![plot](data:image/)", "plot");
        check("\\*no markup\\*", "*no markup*");
    }

    proptest! {
        #[test]
        fn no_word_is_lost(text in "([a-z]{1,6}|[ \n*_`!#\\[\\]()|>-]|中文){0,60}") {
            let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
            prop_assert_eq!(letters(&write(&text)), letters(&text));
        }
    }
}
