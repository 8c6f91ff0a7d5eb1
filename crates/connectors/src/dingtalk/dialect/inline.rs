//! Inline elements: links, pictures, tags.

use std::ops::Range;

use super::Surface;
use crate::markdown::{Inline, Kind, Part, Span};

/// Longest tag that is examined: only line breaks and fonts are supported.
const MAX_TAG: usize = 256;

/// Writes one line that isn't code.
pub(super) fn write(line: &str, surface: Surface, in_table: bool) -> String {
    if !line.contains(['`', '[', '<', '~', '\\']) {
        return line.to_owned();
    }
    let inline = Inline::read(line);
    let mut writer = Writer {
        inline: &inline,
        surface,
        in_table,
        depth: 0,
        out: String::with_capacity(line.len() + line.len() / 8),
    };
    let mut until = None;
    for (at, part) in inline.parts.iter().enumerate() {
        match (until, part) {
            (Some(span), Part::Close(end)) if span == *end => until = None,
            (Some(_), _) => {}
            (None, part) => until = writer.part(part, inline.parts.get(at + 1)),
        }
    }
    writer.out
}

struct Writer<'a> {
    inline: &'a Inline<'a>,
    surface: Surface,
    in_table: bool,
    /// Depth of links around the text.
    depth: usize,
    out: String,
}

impl Writer<'_> {
    /// Writes a part. Returns the span that is written whole, so that its inner parts are left out.
    fn part(&mut self, part: &Part, next: Option<&Part>) -> Option<usize> {
        match part {
            Part::Text(range) => self.text(range.clone(), matches!(next, Some(Part::Open(_)))),
            Part::Code(range) => self.out.push_str(&self.inline.line[range.clone()]),
            Part::Address(range) => {
                let address = &self.inline.line[range.start + 1..range.end - 1];
                if is_web(address) {
                    self.out.push_str(address);
                } else {
                    self.text(range.clone(), false);
                }
            }
            Part::Open(span) => return self.open(*span),
            Part::Close(span) => self.close(*span),
        }
        None
    }

    fn open(&mut self, at: usize) -> Option<usize> {
        let span = &self.inline.spans[at];
        match span.kind {
            // Strikethrough isn't supported: the words stay, the marks are removed.
            Kind::Struck => {}
            Kind::Link => {
                self.depth += 1;
                if is_web(span.address) {
                    self.out.push('[');
                }
            }
            Kind::Picture if is_fetched(span) => {
                self.out.push_str(&self.inline.line[span.whole.clone()]);
                return Some(at);
            }
            Kind::Picture => {
                self.depth += 1;
                if span.label.is_empty() && span.address.starts_with("data:") {
                    self.out.push('🖼');
                }
            }
        }
        None
    }

    fn close(&mut self, at: usize) {
        let span = &self.inline.spans[at];
        match span.kind {
            Kind::Struck => return,
            Kind::Link if is_web(span.address) => self.out.push_str(self.inline.tail(at)),
            Kind::Link | Kind::Picture => self.name_address(self.inline.label(at), span.address),
        }
        self.depth -= 1;
    }

    /// Writes the label and the address as text: only web URLs may be linked, and the platform can't fetch other pictures.
    fn name_address(&mut self, label: &str, address: &str) {
        if !address.is_empty() && address != label && !address.starts_with("data:") {
            self.out.push_str(if label.is_empty() { "(" } else { " (" });
            self.out.push_str(address);
            self.out.push(')');
        }
    }

    /// `opens_next`: a span follows, of which perhaps only the label is kept.
    fn text(&mut self, range: Range<usize>, opens_next: bool) {
        let text = &self.inline.line[range];
        let mut at = 0;
        while let Some(next) = text[at..].find(['\\', '<']) {
            self.out.push_str(&text[at..at + next]);
            at += next;
            let rest = &text[at..];
            at += match rest.as_bytes() {
                // An escaped `<` would be parsed as a tag all the same.
                [b'\\', b'<', ..] => self.put("&lt;", 2),
                [b'\\', escaped, ..] if escaped.is_ascii_punctuation() => self.put(&rest[..2], 2),
                [b'<'] if opens_next => self.put("&lt;", 1),
                [b'<', ..] => self.tag(rest),
                _ => self.put(&rest[..1], 1),
            };
        }
        self.out.push_str(&text[at..]);
    }

    fn put(&mut self, shown: &str, length: usize) -> usize {
        self.out.push_str(shown);
        length
    }

    /// The platform drops tags with their content or shows them raw, so `Vec<T>` would lose its `T`: tags are escaped.
    fn tag(&mut self, text: &str) -> usize {
        let begins = text[1..].starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'));
        if !begins {
            return self.put("<", 1);
        }
        if !may_be_known(&text[1..]) {
            return self.put("&lt;", 1);
        }
        let Some(end) = text.bytes().take(MAX_TAG).position(|byte| byte == b'>') else {
            return self.put("&lt;", 1);
        };
        let inner = &text[1..end];
        if inner.trim_end_matches(['/', ' ']).eq_ignore_ascii_case("br") {
            let line_break = match (self.surface, self.in_table || self.depth > 0) {
                (Surface::Card, _) => "<br>",
                (Surface::Message, true) => " ",
                (Surface::Message, false) => "  \n  ",
            };
            return self.put(line_break, end + 1);
        }
        if self.surface == Surface::Card && (inner == "/font" || inner.starts_with("font ")) {
            return self.put(&text[..=end], end + 1);
        }
        self.put("&lt;", 1)
    }
}

/// Whether this may be the inside of one of the two supported tags.
fn may_be_known(inner: &str) -> bool {
    let starts = |name: &str| {
        inner
            .get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name))
    };
    starts("br") || starts("font ") || starts("/font")
}

/// Whether the platform fetches the picture.
fn is_fetched(span: &Span<'_>) -> bool {
    is_web(span.address) || span.address.starts_with(['@', '$'])
}

fn is_web(address: &str) -> bool {
    let starts = |scheme: &str| {
        let start = address.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    starts("http://") || starts("https://")
}
