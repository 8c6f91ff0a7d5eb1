//! Converts one line of Markdown outside code: tags, links, images.
//!
//! A card parses tags (`<at>`, `<font>`, ...), and an invalid one fails the whole card; it shows images by key only, and links to http and
//! https only. See [Feishu
//! Docs/富文本组件](https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/feishu-cards/card-json-v2-components/content-components/rich-text).

use std::ops::Range;

use super::links;
use super::surface::Surface;
use crate::markdown::{Inline, Kind, Part};

/// Rewrites one line, outside code. Line ends are not part of it.
pub(super) fn rewritten(line: &str, surface: Surface) -> String {
    let mut out = String::with_capacity(line.len() + 16);
    if surface == Surface::Text {
        text_message(line, &mut out);
        return out;
    }
    let inline = Inline::read(line);
    let mut writer = Writer {
        inline: &inline,
        surface,
        open: Vec::new(),
        n_links: 0,
        out,
    };
    for part in &inline.parts {
        writer.part(part);
    }
    writer.out
}

/// Converts a line of a text message, which shows Markdown source but parses tags.
fn text_message(line: &str, out: &mut String) {
    let mut at = 0;
    while let Some(next) = line[at..].find('<') {
        out.push_str(&line[at..at + next]);
        at += next;
        at += match links::auto(&line[at..]) {
            Some(address) => {
                out.push_str(address);
                address.len() + 2
            }
            None => angle(&line[at..], Surface::Text, out),
        };
    }
    out.push_str(&line[at..]);
}

/// Rendering of an open span.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// As a link that may be followed.
    Link,
    /// As its label, followed by the URL.
    Words,
    /// As its source.
    Source,
}

struct Writer<'a> {
    inline: &'a Inline<'a>,
    surface: Surface,
    open: Vec<Shown>,
    /// How many of the open spans are not rendered as their source.
    n_links: usize,
    out: String,
}

impl Writer<'_> {
    fn part(&mut self, part: &Part) {
        match part {
            Part::Text(range) => self.text(range.clone()),
            Part::Code(range) => self.out.push_str(&self.inline.line[range.clone()]),
            Part::Address(range) => self.address(range),
            Part::Open(span) => self.open(*span),
            Part::Close(span) => self.close(*span),
        }
    }

    const fn is_in_link(&self) -> bool {
        self.n_links > 0
    }

    fn address(&mut self, range: &Range<usize>) {
        let address = &self.inline.line[range.start + 1..range.end - 1];
        if !links::is_web(address) {
            self.text(range.clone());
        } else if self.is_in_link() {
            self.out.push_str(address);
        } else {
            self.out.push_str(&format!("[{address}]({address})"));
        }
    }

    /// A link that may be followed; otherwise the label and the URL, if that is meaningful. An image is treated as a link: images are shown
    /// by key only.
    fn open(&mut self, at: usize) {
        let span = &self.inline.spans[at];
        // Anything that may begin a tag is written unchanged.
        let is_safe = span.kind != Kind::Struck && !span.address.contains('<');
        let shown = match is_safe {
            false => Shown::Source,
            true if !self.is_in_link() && links::is_web(span.address) => Shown::Link,
            true => Shown::Words,
        };
        match shown {
            Shown::Source => self.text(span.whole.start..span.label.start),
            Shown::Link => self.out.push('['),
            Shown::Words => {}
        }
        if shown != Shown::Source && span.kind == Kind::Picture && span.label.is_empty() {
            self.out.push_str("image");
        }
        self.n_links += usize::from(shown != Shown::Source);
        self.open.push(shown);
    }

    fn close(&mut self, at: usize) {
        let span = &self.inline.spans[at];
        let shown = self.open.pop();
        self.n_links -= usize::from(matches!(shown, Some(Shown::Link | Shown::Words)));
        match shown {
            Some(Shown::Link) => self.out.push_str(&format!("]({})", span.address)),
            Some(Shown::Words) if span.address.is_empty() || span.address.starts_with("data:") => {}
            Some(Shown::Words) => {
                let address = span.address.replace("![", self.disarmed_image());
                self.out.push_str(&format!(" ({address})"));
            }
            Some(Shown::Source) | None => self.text(span.label.end..span.whole.end),
        }
    }

    fn disarmed_image(&self) -> &'static str {
        if self.surface.is_card() { "!&#91;" } else { "!\u{200b}[" }
    }

    fn text(&mut self, range: Range<usize>) {
        let (mut at, end) = (range.start, range.end);
        let line = self.inline.line;
        while let Some(next) = line[at..end].find(['\\', '!', '<']) {
            self.out.push_str(&line[at..at + next]);
            at += next;
            let rest = &line[at..];
            at += match rest.as_bytes() {
                [b'\\', escaped, ..] if escaped.is_ascii_punctuation() && at + 2 <= end => self.copied(rest, 2),
                // It may continue in the next line. An image that isn't a key fails the whole card.
                [b'!', b'[', ..] if at + 2 <= end => {
                    self.out.push_str(self.disarmed_image());
                    2
                }
                [b'<', ..] => angle(rest, self.surface, &mut self.out),
                _ => self.copied(rest, 1),
            };
        }
        self.out.push_str(&line[at.min(end)..end]);
    }

    fn copied(&mut self, text: &str, len: usize) -> usize {
        self.out.push_str(&text[..len]);
        len
    }
}

fn angle(text: &str, surface: Surface, out: &mut String) -> usize {
    if let Some(len) = line_break(text) {
        out.push_str(if surface.is_card() { "<br>" } else { "\n" });
        return len;
    }
    // Of a link perhaps only the label is kept, whose text could complete a tag.
    let tag = text[1..].starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?' | '[' | '<'));
    match (tag, surface) {
        (true, Surface::Card | Surface::CardWithoutTables) => out.push_str("&#60;"),
        // Posts and texts support no entities: an invisible space breaks the tag.
        (true, _) => out.push_str("<\u{200b}"),
        (false, _) => out.push('<'),
    }
    1
}

fn line_break(text: &str) -> Option<usize> {
    ["<br>", "<br/>", "<br />", "<BR>"]
        .into_iter()
        .find(|tag| text.starts_with(tag))
        .map(str::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(surface: Surface, text: &str, expected: &str) {
        assert_eq!(rewritten(text, surface), expected);
    }

    #[test]
    fn card_tags_are_escaped_outside_code() {
        check(
            Surface::Card,
            "<at id=all></at> a < b",
            "&#60;at id=all>&#60;/at> a < b",
        );
        check(
            Surface::Card,
            "`<at id=all>` ``a`<b>`` <i",
            "`<at id=all>` ``a`<b>`` &#60;i",
        );
        check(Surface::Card, "`<open", "`&#60;open");
        check(Surface::Text, "<at user_id=\"all\">", "<\u{200b}at user_id=\"all\">");
        check(Surface::Card, "a<br/>b", "a<br>b");
        check(Surface::Post, "a<br/>b", "a\nb");
    }

    #[test]
    fn images_become_links_and_other_schemes_become_text() {
        check(
            Surface::Card,
            "![a cat](https://a.b/c.png \"t\")",
            "[a cat](https://a.b/c.png)",
        );
        check(Surface::Card, "![](https://a.b/c.png)", "[image](https://a.b/c.png)");
        check(Surface::Card, "![x](img_v3_x)", "x (img_v3_x)");
        check(Surface::Card, "![x](data:image/) [y](data:a/)", "x y");
        check(
            Surface::Card,
            "[mail](mailto:a@b.c) [t](https://a.b/(c))",
            "mail (mailto:a@b.c) [t](https://a.b/(c))",
        );
        check(
            Surface::Card,
            "[![build](https://a/b.svg)](https://a/ci)",
            "[build (https://a/b.svg)](https://a/ci)",
        );
        check(Surface::Card, "<https://a.b/c>", "[https://a.b/c](https://a.b/c)");
        check(Surface::Text, "![a](b) [t](https://a.b)", "![a](b) [t](https://a.b)");
    }

    #[test]
    fn non_links_are_unchanged() {
        check(
            Surface::Card,
            "a[0] = [1, 2](x y) !important [",
            "a[0] = [1, 2](x y) !important [",
        );
        check(Surface::Card, "\\[not\\](a) \\", "\\[not\\](a) \\");
        check(Surface::Card, "![a](https://a", "!&#91;a](https://a");
        check(
            Surface::Card,
            "[t](<https://a.b/<at id=all>)></at>",
            "[t](&#60;https://a.b/&#60;at id=all>)>&#60;/at>",
        );
        check(Surface::Card, "<[at id=all]()>", "&#60;at id=all>");
        check(Surface::Card, "[t](https://a.b/<at)", "[t](https://a.b/&#60;at)");
    }
}
