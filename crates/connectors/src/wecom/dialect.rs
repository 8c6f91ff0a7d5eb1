//! Converts common Markdown to the bot's dialect.
//!
//! The dialect is close to common Markdown, so the source is patched where they differ and kept everywhere else.
//! See [WeCom Docs/主动回复消息](https://developer.work.weixin.qq.com/document/path/101138).

use std::ops::Range;

use pulldown_cmark::{Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd};

/// Deepest level of nested quotes that the platform shows.
const QUOTE_LEVELS: usize = 3;

/// Converts `text` to the bot's dialect. No text is lost.
pub(super) fn render(text: &str) -> String {
    let (mut edits, code) = read(text);
    edits.extend(deep_quotes(text, &code));
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    defused(&apply(text, edits))
}

/// Prevents text from starting a reasoning block.
///
/// A literal `<think` would start one; a zero-width space after the `<` keeps it text.
pub(super) fn defused(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let (before, tail) = rest.split_at(at + 1);
        out.push_str(before);
        let word = tail.strip_prefix('/').unwrap_or(tail);
        if word.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("think")) {
            out.push('\u{200b}');
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

type Edit = (Range<usize>, String);

fn apply(text: &str, edits: Vec<Edit>) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut at = 0;
    for (range, new) in edits {
        // Edits inside a range that is replaced as a whole are dropped.
        if range.start < at {
            continue;
        }
        out.push_str(&text[at..range.start]);
        out.push_str(&new);
        at = range.end;
    }
    out.push_str(&text[at..]);
    out
}

/// A code block.
struct Code {
    range: Range<usize>,
    /// Depth of quotes around it.
    quotes: usize,
}

/// The edits that `text` needs, and its code blocks, in order.
fn read(text: &str) -> (Vec<Edit>, Vec<Code>) {
    let options =
        Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TABLES | Options::ENABLE_TASKLISTS | Options::ENABLE_FOOTNOTES;
    let (mut edits, mut code) = (Vec::new(), Vec::new());
    let mut columns = 0;
    let mut cells = 0;
    for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
        let source = &text[range.clone()];
        match event {
            Event::Start(Tag::Strikethrough) => unmark(source, &range, &mut edits),
            Event::TaskListMarker(done) => edits.push((range, if done { "☑" } else { "☐" }.to_owned())),
            Event::FootnoteReference(name) => edits.push((range, format!("[{name}]"))),
            Event::Start(Tag::FootnoteDefinition(name)) => note(&name, source, &range, &mut edits),
            Event::Start(Tag::Item) if source.starts_with(['*', '+']) => {
                edits.push((range.start..range.start + 1, "-".to_owned()));
            }
            Event::Start(Tag::Heading { level, .. }) => underlined(level, source, &range, &mut edits),
            Event::Start(Tag::Image { dest_url, .. }) if dest_url.starts_with("data:") => {
                edits.push((range, alternative(source)));
            }
            Event::Start(Tag::Link {
                link_type, dest_url, ..
            }) => link(link_type, &dest_url, text, &range, &mut edits),
            Event::Start(Tag::Table(alignments)) => columns = alignments.len(),
            Event::Start(Tag::TableRow) => cells = 0,
            Event::Start(Tag::TableCell) if !range.is_empty() || source.contains('|') => cells += 1,
            Event::End(TagEnd::TableRow) => short_row(columns - cells.min(columns), source, &range, &mut edits),
            // The parser's copy of a tag lacks the quote and list markers of its continuation lines: only the source range has its length.
            Event::InlineHtml(_) => tag(source, range, &mut edits),
            Event::Html(_) => html(source, range.start, &mut edits),
            Event::Start(Tag::CodeBlock(_)) => {
                let before = text[..range.start].rsplit('\n').next().unwrap_or_default();
                let quotes = before.matches('>').count();
                code.push(Code { range, quotes });
            }
            _ => {}
        }
    }
    (edits, code)
}

/// Removes strikethrough markup, which would be shown literally.
fn unmark(source: &str, range: &Range<usize>, edits: &mut Vec<Edit>) {
    let marks = source.len() - source.trim_start_matches('~').len();
    edits.push((range.start..range.start + marks, String::new()));
    edits.push((range.end - marks..range.end, String::new()));
}

/// `[^1]: text` without its caret would be parsed as the target of a link.
fn note(name: &str, source: &str, range: &Range<usize>, edits: &mut Vec<Edit>) {
    if let Some(head) = source.find("]:").filter(|_| source.starts_with("[^")) {
        edits.push((range.start..range.start + head + 2, format!("[{name}]")));
    }
}

/// Underlined headings become headings with `#`.
fn underlined(level: HeadingLevel, source: &str, range: &Range<usize>, edits: &mut Vec<Edit>) {
    let body = source.trim_end();
    let Some((title, underline)) = body.rsplit_once('\n') else {
        return;
    };
    if source.starts_with('#')
        || !underline
            .trim_matches([' ', '\t', '>'])
            .chars()
            .all(|c| matches!(c, '=' | '-'))
    {
        return;
    }
    let marks = if level == HeadingLevel::H1 { "# " } else { "## " };
    edits.push((range.start..range.start, marks.to_owned()));
    edits.push((range.start + title.len()..range.start + body.len(), String::new()));
}

/// Replacement of a picture that can't be shown.
fn alternative(source: &str) -> String {
    let words = source.strip_prefix("![").and_then(|rest| rest.split_once(']'));
    words.map_or_else(String::new, |(words, _)| words.to_owned())
}

/// Only `[text](url)` is supported as a link, and `data:` URLs lead nowhere.
fn link(kind: LinkType, address: &str, text: &str, range: &Range<usize>, edits: &mut Vec<Edit>) {
    let target = format!("]({address})");
    let last = range.end - 1;
    match kind {
        LinkType::Autolink => edits.push((range.clone(), format!("[{address}{target}"))),
        LinkType::Reference => {
            if let Some(at) = text[range.clone()].rfind("][") {
                edits.push((range.start + at..range.end, target));
            }
        }
        // The parser excludes the empty brackets from the range.
        LinkType::Collapsed if text[range.end..].starts_with("[]") => edits.push((last..range.end + 2, target)),
        LinkType::Shortcut | LinkType::Collapsed => edits.push((last..range.end, target)),
        LinkType::Inline if address.starts_with("data:") => {
            if let Some(at) = text[range.clone()].rfind("](") {
                edits.push((range.start..range.start + 1, String::new()));
                edits.push((range.start + at..range.end, String::new()));
            }
        }
        _ => {}
    }
}

/// Pads a row that has fewer cells than columns, which would break the table.
fn short_row(missing: usize, source: &str, range: &Range<usize>, edits: &mut Vec<Edit>) {
    if missing > 0 {
        let end = range.start + source.trim_end().len();
        let bar = if source.trim_end().ends_with('|') { "" } else { " |" };
        edits.push((end..end, format!("{bar}{}", "  |".repeat(missing))));
    }
}

/// Tags for style and layout. Others may be text (`Vec<T>`), so they stay.
const LOOKS: [&str; 24] = [
    "u", "s", "del", "ins", "p", "div", "span", "font", "center", "sub", "sup", "small", "big", "mark", "details",
    "summary", "section", "article", "kbd", "code", "ul", "ol", "label", "abbr",
];

fn tag(source: &str, range: Range<usize>, edits: &mut Vec<Edit>) {
    if let Some(new) = replacement(source) {
        edits.push((range, new.to_owned()));
    }
}

/// Handles a line of an HTML block, which may contain several tags.
fn html(source: &str, start: usize, edits: &mut Vec<Edit>) {
    let mut at = 0;
    while let Some(open) = source[at..].find('<').map(|found| at + found) {
        let Some(close) = source[open..].find('>').map(|found| open + found + 1) else {
            return;
        };
        tag(&source[open..close], start + open..start + close, edits);
        at = close;
    }
}

fn replacement(tag: &str) -> Option<&'static str> {
    let inner = tag.trim_start_matches(['<', '/']);
    let name = inner
        .split(|c: char| !c.is_ascii_alphanumeric())
        .next()?
        .to_ascii_lowercase();
    match name.as_str() {
        "br" => Some("\n"),
        "b" | "strong" => Some("**"),
        "i" | "em" => Some("*"),
        name => LOOKS.contains(&name).then_some(""),
    }
}

/// Removes surplus marks of quotes nested deeper than the platform shows.
fn deep_quotes(text: &str, code: &[Code]) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut code = code.iter().peekable();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        while code.next_if(|block| block.range.end <= start).is_some() {}
        let block = code.peek().filter(|block| block.range.start < start + line.len());
        let marks = quote_marks(line, block.map(|block| block.quotes));
        if let Some((at, _)) = marks.match_indices('>').nth(QUOTE_LEVELS) {
            edits.push((start + at..start + marks.len(), String::new()));
        }
        start += line.len();
    }
    edits
}

/// The quote marks before a line; in code at most `most`, since further ones belong to the code.
fn quote_marks(line: &str, most: Option<usize>) -> &str {
    let marks = &line[..line.len() - line.trim_start_matches(['>', ' ']).len()];
    let Some(most) = most else { return marks };
    let Some((last, _)) = most.checked_sub(1).and_then(|last| marks.match_indices('>').nth(last)) else {
        return "";
    };
    let end = last + 1;
    &marks[..end + usize::from(marks[end..].starts_with(' '))]
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
    fn supported_syntax_is_unchanged() {
        for text in [
            "# Title\n\n**bold** *italic* `code` [t](https://e.com) ![i](https://e.com/a.png)\n\n---\n",
            "- a\n  - b\n1. c\n\n> q\n>> r\n>>> s\n",
            "```rust\nlet x: Vec<u8> = ~~1~~; // - [ ] <br>\n```\n",
            "| a | b |\n|---|---|\n| 1 | 2 |\n",
            "```\n<<<<<<< HEAD\na\n=======\nb\n>>>>>>> branch\n```",
            "~~~\n>>>> a\n~~~\n\n    >>>> b\n",
            "> ```\n> >>>> a\n> ```\n\n- ```\n  >>>> b\n  ```\n",
            "Vec<T> and a < b and `<br>` and snake_case_name and 5*3*2",
            "price ~5 and ~6 \\(x\\)",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn strike_tasks_and_bullets_become_plain() {
        check("~~gone~~ here", "gone here");
        check("- [ ] open\n- [x] done", "- ☐ open\n- ☑ done");
        check("* a\n* b", "- a\n- b");
    }

    #[test]
    fn footnotes_and_links_are_written_out() {
        check("Fact[^1].\n\n[^1]: Source.", "Fact[1].\n\n[1] Source.");
        check("<https://e.com/x>", "[https://e.com/x](https://e.com/x)");
        check(
            "[t][r]\n\n[r]: https://e.com",
            "[t](https://e.com)\n\n[r]: https://e.com",
        );
        check(
            "[r][] [r]\n\n[r]: https://e.com",
            "[r](https://e.com) [r](https://e.com)\n\n[r]: https://e.com",
        );
        check("![chart](data:image/png;base64,AAAA) after", "chart after");
        check("[**rows**](data:text/) after", "**rows** after");
    }

    #[test]
    fn html_and_headings_become_markdown() {
        check("a<br>b <b>c</b> <span style=\"x\">d</span>", "a\nb **c** d");
        check("<div>\nx\n</div>", "\nx\n");
        check("> <div>说</div>\n> <p>x", "> 说\n> x");
        check("Title\n=====\n\ntext", "# Title\n\ntext");
        check("Sub\n---\ntext", "## Sub\ntext");
    }

    #[test]
    fn multi_line_tags_are_replaced_whole() {
        check("> a <b\n> x=说>z", "> a **z");
        check("1. a <b\n   title=\"说\">x", "1. a **x");
        check("- a <span\n  id=\"x>y\">z", "- a z");
        check("> a <T\n> x=说>z", "> a <T\n> x=说>z");
    }

    #[test]
    fn short_rows_are_padded_and_deep_quotes_flattened() {
        check("| a | b |\n|---|---|\n| 1 |\n", "| a | b |\n|---|---|\n| 1 |  |\n");
        check("a | b\n---|---\n1\n", "a | b\n---|---\n1 |  |\n");
        check(">>>> deep", ">>>deep");
        check("> > > > > deep", "> > > deep");
        check(
            ">>>>> ```\n>>>>> > code\n>>>>> ```\n>>>> b",
            ">>>```\n>>>> code\n>>>```\n>>>b",
        );
    }

    #[test]
    fn reasoning_marks_are_escaped() {
        check("say <think>x</think>", "say <\u{200b}think>x<\u{200b}/think>");
        check("`<THINK>` <thi", "`<\u{200b}THINK>` <thi");
    }

    /// Visible text, without markup.
    fn letters(text: &str) -> String {
        let plain = text.replace("<br>", "").replace("[x]", "");
        plain.chars().filter(|c| c.is_alphanumeric()).collect()
    }

    proptest! {
        #[test]
        fn no_letter_is_lost(text in "([a-z]{2,6}[ \n]|\\*\\*|~~|\n\n|- \\[x\\] |> |>>>> |\\| |\n\\|--\\|--\\|\n|`|```\n|# |\\[a\\]\\(b\\)|<think>|<br>|中文|😀){0,40}") {
            let shown = letters(&render(&text));
            let mut rest = shown.chars();
            for letter in letters(&text).chars() {
                prop_assert!(rest.any(|shown| shown == letter), "{} is lost in {:?}", letter, render(&text));
            }
        }

        #[test]
        fn any_text_renders(text in "\\PC{0,200}") {
            let _ = render(&text);
        }

        #[test]
        fn any_markup_renders(text in "(> |- |1\\. |[a-z说😀]| |\n|\n {3}|<b\n> x=说>|<b\n {3}t=\"说\">|<div|</b|>|~~?|\\[|\\]|\\(|\\)|\\[\\^1\\]:?|===|```|`|\\|-?){0,40}") {
            let _ = render(&text);
        }
    }
}
