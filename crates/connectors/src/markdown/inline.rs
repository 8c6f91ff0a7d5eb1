//! Parser for inline elements of one line of common Markdown: code, URLs, links, pictures, strikethrough.

use std::ops::Range;

use pulldown_cmark::{Event, LinkType, Options, Parser, Tag, TagEnd};

/// Kind of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `[label](address)`.
    Link,
    /// `![label](address)`.
    Picture,
    /// `~~label~~`.
    Struck,
}

/// An element with a label, which may contain other elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span<'a> {
    pub(crate) kind: Kind,
    /// Range of the whole element in the line.
    pub(crate) whole: Range<usize>,
    /// Range of its label in the line.
    pub(crate) label: Range<usize>,
    /// Its URL as written, without brackets and title. Empty for strikethrough.
    pub(crate) address: &'a str,
}

/// A part of a line. The concatenated parts are the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// Text, including tags and escapes.
    Text(Range<usize>),
    /// A code span with its backticks.
    Code(Range<usize>),
    /// `<https://…>` with its brackets.
    Address(Range<usize>),
    /// The start of the span with this index, up to its label.
    Open(usize),
    /// The end of the span with this index, after its label.
    Close(usize),
}

/// One line of common Markdown, parsed as the content of a paragraph.
#[derive(Debug)]
pub(crate) struct Inline<'a> {
    pub(crate) line: &'a str,
    pub(crate) spans: Vec<Span<'a>>,
    pub(crate) parts: Vec<Part>,
}

/// Prefix that makes a line parse as a paragraph rather than a list, a heading or code.
const PARAGRAPH: &str = ".";

impl<'a> Inline<'a> {
    /// Parses `line`, which has no line break.
    pub(crate) fn read(line: &'a str) -> Self {
        let mut reader = Reader {
            inline: Self {
                line,
                spans: Vec::new(),
                parts: Vec::new(),
            },
            at: 0,
            open: Vec::new(),
        };
        if line.contains(['`', '[', '<', '~']) {
            let paragraph = format!("{PARAGRAPH}{line}");
            for (event, range) in Parser::new_ext(&paragraph, Options::ENABLE_STRIKETHROUGH).into_offset_iter() {
                let start = range.start.saturating_sub(PARAGRAPH.len());
                reader.event(event, start..range.end - PARAGRAPH.len());
            }
        }
        reader.text_until(line.len());
        reader.inline
    }

    /// Source of a span's end, after its label.
    pub(crate) fn tail(&self, span: usize) -> &'a str {
        let span = &self.spans[span];
        &self.line[span.label.end..span.whole.end]
    }

    /// Source of a span's label.
    pub(crate) fn label(&self, span: usize) -> &'a str {
        &self.line[self.spans[span].label.clone()]
    }
}

struct Reader<'a> {
    inline: Inline<'a>,
    /// Position in the line up to which `parts` is complete.
    at: usize,
    /// Open spans, innermost last.
    open: Vec<Open>,
}

struct Open {
    span: usize,
    /// Index of its `Part::Open`.
    part: usize,
    /// Position up to which its label is known to extend.
    label_end: usize,
}

impl Reader<'_> {
    fn event(&mut self, event: Event<'_>, range: Range<usize>) {
        match event {
            Event::Start(Tag::Link {
                link_type: LinkType::Inline,
                ..
            }) => self.begin(Kind::Link, range),
            Event::Start(Tag::Image {
                link_type: LinkType::Inline,
                ..
            }) => self.begin(Kind::Picture, range),
            Event::Start(Tag::Strikethrough) if self.inline.line[range.clone()].starts_with("~~") => {
                self.begin(Kind::Struck, range);
            }
            Event::Start(Tag::Link {
                link_type: LinkType::Autolink,
                ..
            }) => self.whole(range, Part::Address),
            Event::Code(_) => self.whole(range, Part::Code),
            Event::End(TagEnd::Link | TagEnd::Image | TagEnd::Strikethrough) => self.end(&range),
            _ => self.note(range.end),
        }
    }

    /// Records that something in the label of the innermost open span ends here.
    fn note(&mut self, end: usize) {
        if let Some(open) = self.open.last_mut() {
            let whole_end = self.inline.spans[open.span].whole.end;
            if end < whole_end {
                open.label_end = open.label_end.max(end);
            }
        }
    }

    fn text_until(&mut self, end: usize) {
        if self.at < end {
            self.inline.parts.push(Part::Text(self.at..end));
            self.at = end;
        }
    }

    fn whole(&mut self, range: Range<usize>, part: fn(Range<usize>) -> Part) {
        self.note(range.end);
        if range.start >= self.at {
            self.text_until(range.start);
            self.at = range.end;
            self.inline.parts.push(part(range));
        }
    }

    fn begin(&mut self, kind: Kind, whole: Range<usize>) {
        if whole.start < self.at {
            return;
        }
        self.text_until(whole.start);
        let label_start = whole.start + if kind == Kind::Link { 1 } else { 2 };
        let span = self.inline.spans.len();
        self.open.push(Open {
            span,
            part: self.inline.parts.len(),
            label_end: label_start,
        });
        self.inline.parts.push(Part::Open(span));
        self.at = label_start;
        self.inline.spans.push(Span {
            kind,
            whole,
            label: label_start..label_start,
            address: "",
        });
    }

    fn end(&mut self, whole: &Range<usize>) {
        let is_innermost = |open: &Open| self.inline.spans[open.span].whole == *whole;
        if !self.open.last().is_some_and(is_innermost) {
            return self.note(whole.end);
        }
        let Some(open) = self.open.pop() else { return };
        self.note(whole.end);
        let span = &mut self.inline.spans[open.span];
        let line = self.inline.line;
        let label_end = match span.kind {
            Kind::Struck => whole.end.checked_sub(2),
            Kind::Link | Kind::Picture => line[open.label_end..whole.end].find("](").map(|at| open.label_end + at),
        };
        match label_end.filter(|end| *end >= self.at) {
            Some(end) => {
                span.label.end = end;
                if span.kind != Kind::Struck {
                    span.address = address(&line[end + 2..whole.end - 1]);
                }
                self.text_until(end);
                self.inline.parts.push(Part::Close(open.span));
                self.at = whole.end;
            }
            // Its source can't be mapped to a span: it stays text.
            None => self.inline.parts[open.part] = Part::Text(whole.start..span.label.start),
        }
    }
}

/// The URL in the round brackets of a link.
fn address(inner: &str) -> &str {
    let inner = inner.trim();
    match inner.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        Some((address, _)) => address,
        None => inner.split_whitespace().next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(inline: &Inline<'_>) -> String {
        let part = |part: &Part| match part {
            Part::Text(range) | Part::Code(range) | Part::Address(range) => &inline.line[range.clone()],
            Part::Open(span) => &inline.line[inline.spans[*span].whole.start..inline.spans[*span].label.start],
            Part::Close(span) => inline.tail(*span),
        };
        inline.parts.iter().map(part).collect()
    }

    #[track_caller]
    fn check(line: &str, expected: &[(Kind, &str, &str)]) {
        let inline = Inline::read(line);
        let spans = inline.spans.iter().enumerate();
        let found: Vec<_> = spans
            .map(|(at, span)| (span.kind, inline.label(at), span.address))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(source(&inline), line);
    }

    #[test]
    fn spans_have_their_label_and_address() {
        check(
            "- [a [b] `c](d)`](https://e.com/f_(g) \"t\") ~~h~~",
            &[
                (Kind::Link, "a [b] `c](d)`", "https://e.com/f_(g)"),
                (Kind::Struck, "h", ""),
            ],
        );
        check(
            "[![b](https://a/b.svg)](<https://a/c i>)",
            &[
                (Kind::Link, "![b](https://a/b.svg)", "https://a/c i"),
                (Kind::Picture, "b", "https://a/b.svg"),
            ],
        );
        check("    [**a**]()", &[(Kind::Link, "**a**", "")]);
    }

    #[test]
    fn unmatched_markup_is_text() {
        for line in [
            "a[0] = [1, 2](x y) [ref][1] ~5 ~6~",
            "\\[a\\](b) `[a](b)` ``c`",
            "<b> <[",
            "# - > 1.",
        ] {
            check(line, &[]);
        }
        let inline = Inline::read("see <https://e.com> and `<b>`");
        assert_eq!(
            inline.parts,
            [
                Part::Text(0..4),
                Part::Address(4..19),
                Part::Text(19..24),
                Part::Code(24..29)
            ]
        );
    }

    proptest! {
        #[test]
        fn concatenated_parts_are_the_line(line in "([a-z ]|\\[|\\]|\\(|\\)|!|~~?|`{1,3}|<|>|\\\\|https://|\\*\\*?|\r|- |> |#|中|😀){0,40}") {
            let inline = Inline::read(&line);
            prop_assert_eq!(source(&inline), line.as_str());
            let mut open = Vec::new();
            for part in &inline.parts {
                match part {
                    Part::Open(span) => open.push(*span),
                    Part::Close(span) => prop_assert_eq!(open.pop(), Some(*span)),
                    _ => {}
                }
            }
            prop_assert!(open.is_empty());
        }
    }
}
