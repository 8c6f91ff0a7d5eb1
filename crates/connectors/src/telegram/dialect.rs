//! Converts common Markdown to a message's text and entities.
//!
//! Entities instead of HTML or MarkdownV2: nothing needs escaping, no markup can be cut or left open, and the platform's length limit
//! applies to the text alone. See [Bot API/Formatting options](https://core.telegram.org/bots/api#formatting-options).

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use serde_json::{Value, json};
use url::{Host, Url};

use super::table::Table;
use crate::markdown::{excess_cells, with_definitions};

/// Deepest level of a list that is indented further than its parent.
const MAX_INDENT: usize = 20;

/// A rendered text.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Rendered {
    pub text: String,
    /// Length of the text in UTF-16 code units, as the platform counts.
    pub units: usize,
    /// `MessageEntity` objects.
    pub entities: Vec<Value>,
}

/// Renders `markdown`. No text is lost; unclosed inline markup stays text unless `growing`.
pub(super) fn render(markdown: &str, growing: bool) -> Rendered {
    let mended = growing.then(|| super::mend::mended(markdown));
    let source = mended.as_deref().unwrap_or(markdown);
    let options = Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TABLES | Options::ENABLE_TASKLISTS;
    let source = with_definitions(source, options);
    let mut writer = Writer::default();
    let mut cell_end = 0;
    for (event, range) in Parser::new_ext(&source, options).into_offset_iter() {
        match event {
            Event::End(TagEnd::TableCell) => cell_end = range.end,
            Event::End(TagEnd::TableRow) => {
                let excess = source.get(cell_end..range.end).and_then(excess_cells);
                excess.into_iter().for_each(|excess| writer.words(&excess));
            }
            _ => {}
        }
        writer.event(event);
    }
    writer.finish()
}

/// An open entity.
struct Open {
    kind: &'static str,
    /// Its start, in UTF-16 code units.
    start: usize,
    extra: Option<(&'static str, String)>,
    /// URL of a link that can't be followed: it is written after the label.
    address: Option<String>,
}

#[derive(Default)]
struct Writer {
    out: Rendered,
    open: Vec<Open>,
    /// Line breaks that are due before the next text.
    breaks: usize,
    /// For each open list: the next number, or `None` for bullets.
    lists: Vec<Option<u64>>,
    /// Number of open quotes. Only the outermost is an entity: they can't be nested.
    quotes: usize,
    /// Whether a list marker or the beginning of a quote was just written: the first block begins there.
    at_start: bool,
    table: Option<Table>,
    /// URL of the open link in a table, which is written after its label: tables have no entities.
    address_in_table: Option<String>,
}

impl Writer {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) | Event::Html(text) | Event::InlineMath(text) | Event::DisplayMath(text) => {
                self.words(&text)
            }
            Event::InlineHtml(tag) if is_line_break(&tag) => self.words("\n"),
            Event::InlineHtml(text) => self.words(&text),
            Event::Code(code) if self.table.is_some() => self.words(&code),
            Event::Code(code) => {
                self.begin("code", None);
                self.words(&code);
                self.close();
            }
            Event::SoftBreak | Event::HardBreak => self.words("\n"),
            Event::Rule => {
                self.block(2);
                self.words("———");
                self.breaks = 2;
            }
            Event::TaskListMarker(done) => self.words(if done { "☑ " } else { "☐ " }),
            Event::FootnoteReference(name) => self.words(&format!("[{name}]")),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph | Tag::HtmlBlock => self.block(if self.lists.is_empty() { 2 } else { 1 }),
            Tag::Heading { .. } => {
                self.block(2);
                self.begin("bold", None);
            }
            Tag::BlockQuote(_) => {
                self.block(2);
                self.quotes += 1;
                if self.quotes == 1 {
                    self.begin("blockquote", None);
                    self.at_start = true;
                }
            }
            Tag::CodeBlock(kind) => {
                self.block(2);
                self.begin("pre", language(&kind));
            }
            Tag::List(first) => {
                self.block(if self.lists.is_empty() { 2 } else { 1 });
                self.lists.push(first);
            }
            Tag::Item => self.item(),
            Tag::Table(_) => {
                self.block(2);
                self.table = Some(Table::default());
            }
            Tag::TableHead | Tag::TableRow => self.table.iter_mut().for_each(Table::begin_row),
            Tag::TableCell => self.table.iter_mut().for_each(Table::begin_cell),
            Tag::Strong => self.begin("bold", None),
            Tag::Emphasis => self.begin("italic", None),
            Tag::Strikethrough => self.begin("strikethrough", None),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => self.begin_link(&dest_url),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::HtmlBlock => self.breaks = if self.lists.is_empty() { 2 } else { 1 },
            TagEnd::Heading(_) => {
                self.close();
                self.breaks = 2;
            }
            TagEnd::BlockQuote(_) => {
                self.quotes = self.quotes.saturating_sub(1);
                if self.quotes == 0 {
                    self.close();
                }
                self.breaks = 2;
            }
            TagEnd::CodeBlock => {
                self.trim_code();
                self.close();
                self.breaks = 2;
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.breaks = if self.lists.is_empty() { 2 } else { 1 };
            }
            TagEnd::Item => self.breaks = self.breaks.max(1),
            TagEnd::Table => self.end_table(),
            TagEnd::Strong | TagEnd::Emphasis | TagEnd::Strikethrough => self.close(),
            TagEnd::Link | TagEnd::Image => self.end_link(),
            _ => {}
        }
    }

    fn item(&mut self) {
        self.breaks = self
            .breaks
            .max(usize::from(!self.out.text.is_empty()))
            .min(if self.lists.len() > 1 { 1 } else { 2 });
        let indent = "  ".repeat(self.lists.len().saturating_sub(1).min(MAX_INDENT));
        let mark = match self.lists.last_mut() {
            Some(Some(number)) => {
                *number += 1;
                format!("{indent}{}. ", *number - 1)
            }
            _ => format!("{indent}• "),
        };
        self.words(&mark);
        self.at_start = true;
    }

    /// Begins a block: after an empty line, or on a line of its own.
    fn block(&mut self, breaks: usize) {
        if !self.at_start {
            self.breaks = self.breaks.max(breaks);
        }
    }

    fn words(&mut self, text: &str) {
        if let Some(table) = &mut self.table {
            return table.push(text);
        }
        self.write_breaks();
        self.at_start = false;
        self.push(text);
    }

    /// Writes pending line breaks: those before an entity are not part of it.
    fn write_breaks(&mut self) {
        if !self.out.text.is_empty() {
            for _ in 0..self.breaks {
                self.push("\n");
            }
        }
        self.breaks = 0;
    }

    fn push(&mut self, text: &str) {
        self.out.text.push_str(text);
        self.out.units += units(text);
    }

    fn begin(&mut self, kind: &'static str, extra: Option<(&'static str, String)>) {
        if self.table.is_some() {
            return;
        }
        self.write_breaks();
        self.open.push(Open {
            kind,
            start: self.out.units,
            extra,
            address: None,
        });
    }

    fn begin_link(&mut self, address: &str) {
        let is_written = !address.is_empty() && !address.starts_with("data:");
        if self.table.is_some() {
            self.address_in_table = is_written.then(|| address.to_owned());
            return;
        }
        let follows = is_followable(address);
        self.begin("text_link", follows.then(|| ("url", address.to_owned())));
        if let Some(open) = self.open.last_mut() {
            open.address = (!follows && is_written).then(|| address.to_owned());
        }
    }

    fn end_link(&mut self) {
        if let Some(table) = &mut self.table {
            return self
                .address_in_table
                .take()
                .into_iter()
                .for_each(|address| table.push_address(&address));
        }
        let Some(open) = self.open.last_mut() else { return };
        let (start, address) = (open.start, open.address.take());
        let url = open.extra.as_ref().map(|(_, url)| url.clone());
        if let Some(url) = url.filter(|_| self.out.units == start) {
            // A picture or a link without a label.
            self.words(&url);
        }
        self.close();
        if let Some(address) = address {
            self.words(&format!(" ({address})"));
        }
    }

    fn close(&mut self) {
        if self.table.is_some() {
            return;
        }
        let Some(open) = self.open.pop() else { return };
        let length = self.out.units - open.start;
        let nameless_link = open.kind == "text_link" && open.extra.is_none();
        if length == 0 || nameless_link {
            return;
        }
        let mut entity = json!({ "type": open.kind, "offset": open.start, "length": length });
        if let Some((name, value)) = open.extra {
            entity[name] = Value::String(value);
        }
        self.out.entities.push(entity);
    }

    /// Removes the last line break of a code block, which is markup.
    fn trim_code(&mut self) {
        let start = self.open.last().map_or(0, |open| open.start);
        if self.out.units > start && self.out.text.ends_with('\n') {
            self.out.text.pop();
            self.out.units -= 1;
        }
    }

    fn end_table(&mut self) {
        if let Some(table) = self.table.take() {
            self.begin("pre", None);
            self.words(&table.text());
            self.close();
            self.breaks = 2;
        }
    }

    /// Ends entities where the text ends, because the platform trims messages.
    fn finish(mut self) -> Rendered {
        while !self.open.is_empty() {
            self.close();
        }
        let kept = self.out.text.trim_end().len();
        self.out.text.truncate(kept);
        self.out.units = units(&self.out.text);
        let end = self.out.units;
        self.out.entities.retain_mut(|entity| clip(entity, end));
        self.out
            .entities
            .sort_by_key(|entity| (number(entity, "offset"), std::cmp::Reverse(number(entity, "length"))));
        self.out
    }
}

/// Length of a text as the platform counts.
pub(super) fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

fn number(entity: &Value, name: &str) -> usize {
    let number = entity[name].as_u64().unwrap_or_default();
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn clip(entity: &mut Value, end: usize) -> bool {
    let start = number(entity, "offset");
    let length = number(entity, "length").min(end.saturating_sub(start));
    entity["length"] = json!(length);
    length > 0
}

fn language(kind: &CodeBlockKind<'_>) -> Option<(&'static str, String)> {
    let CodeBlockKind::Fenced(info) = kind else { return None };
    let word = info.split_whitespace().next()?;
    Some(("language", word.to_owned()))
}

/// Whether an address may become a link. The platform ignores hosts without a dot, as in `https://wiki/`, and refuses buttons that open them. Other
/// schemes are refused too, or trigger actions on the person's device.
///
/// See [td LinkManager.cpp](https://github.com/tdlib/td/blob/master/td/telegram/LinkManager.cpp), `check_link`.
pub(super) fn is_followable(address: &str) -> bool {
    let Ok(url) = Url::parse(address) else {
        return false;
    };
    match (url.scheme(), url.host()) {
        ("mailto", _) => true,
        ("http" | "https", Some(Host::Domain(name))) => name.trim_end_matches('.').contains('.'),
        ("http" | "https", host) => host.is_some(),
        _ => false,
    }
}

fn is_line_break(tag: &str) -> bool {
    ["<br>", "<br/>", "<br />"]
        .iter()
        .any(|known| tag.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(markdown: &str, text: &str, entities: &Value) {
        let rendered = render(markdown, false);
        assert_eq!(rendered.text, text);
        assert_eq!(json!(rendered.entities), *entities);
    }

    #[test]
    fn inline_markup_becomes_entities_in_utf16_units() {
        check(
            "🧪 **bold _both_** `code` ~~gone~~",
            "🧪 bold both code gone",
            &json!([
                { "type": "bold", "offset": 3, "length": 9 },
                { "type": "italic", "offset": 8, "length": 4 },
                { "type": "code", "offset": 13, "length": 4 },
                { "type": "strikethrough", "offset": 18, "length": 4 },
            ]),
        );
        check("a < b & *not", "a < b & *not", &json!([]));
    }

    #[test]
    fn only_web_links_are_kept() {
        check(
            "[docs](https://a.b/c) <https://a.b> [file](tg://x) ![](https://a.b/i.png)",
            "docs https://a.b file (tg://x) https://a.b/i.png",
            &json!([
                { "type": "text_link", "offset": 0, "length": 4, "url": "https://a.b/c" },
                { "type": "text_link", "offset": 5, "length": 11, "url": "https://a.b" },
                { "type": "text_link", "offset": 31, "length": 17, "url": "https://a.b/i.png" },
            ]),
        );
    }

    #[test]
    fn addresses_that_the_platform_ignores_are_written() {
        check(
            "[wiki](https://wiki/page) [host](http://10.1.2.3/)",
            "wiki (https://wiki/page) host",
            &json!([{ "type": "text_link", "offset": 25, "length": 4, "url": "http://10.1.2.3/" }]),
        );
    }

    #[test]
    fn blocks_are_separated() {
        check(
            "# Title\ntext\n\n- one\n  - two\n- three\n\n1. x\n2. y\n\n> quote\n> > deep\n\nend",
            "Title\n\ntext\n\n• one\n  • two\n• three\n\n1. x\n2. y\n\nquote\n\ndeep\n\nend",
            &json!([
                { "type": "bold", "offset": 0, "length": 5 },
                { "type": "blockquote", "offset": 47, "length": 11 },
            ]),
        );
    }

    #[test]
    fn code_and_tables_keep_their_shape() {
        check(
            "```rust\nlet a = 1;\n\nlet b;\n```\n\n|a|名|\n|-|-|\n|12|x|",
            "let a = 1;\n\nlet b;\n\na  | 名\n---+---\n12 | x",
            &json!([
                { "type": "pre", "offset": 0, "length": 18, "language": "rust" },
                { "type": "pre", "offset": 20, "length": 21 },
            ]),
        );
    }

    #[test]
    fn cells_beyond_the_columns_stay_in_the_last_one() {
        check(
            "|command|use|\n|-|-|\n| ps aux | grep ssh | finds the server |",
            "command | use\n--------+----------------------------\nps aux  | grep ssh | finds the server",
            &json!([{ "type": "pre", "offset": 0, "length": 89 }]),
        );
    }

    #[test]
    fn unused_link_definitions_are_text() {
        check("See docs.\n\n[docs]: tg://x", "See docs.\n\n[docs]: tg://x", &json!([]));
        check("See [docs].\n\n[docs]: tg://x", "See docs (tg://x).", &json!([]));
    }

    #[test]
    fn links_in_tables_keep_their_addresses() {
        check(
            "|issue|page|\n|-|-|\n|[#7](https://a.b/7)|<https://a.b>|\n|![](https://a.b/i.png)|x|",
            "issue               | page\n--------------------+------------\n#7 (https://a.b/7)  | https://a.b\n(https://a.b/i.png) | x",
            &json!([{ "type": "pre", "offset": 0, "length": 118 }]),
        );
    }

    proptest! {
        #[test]
        fn entities_are_nested_and_inside_the_text(text in "([a-z]{1,4}|[*_~`]{1,3}|\\[|\\]\\(https://a\\)|🧪|\n|\n\n|> |- |```|\\|a\\|\n|\\|-\\|\n| ){0,40}", growing: bool) {
            let rendered = render(&text, growing);
            prop_assert_eq!(rendered.units, units(&rendered.text));
            let ranges: Vec<_> = rendered.entities.iter().map(|it| (number(it, "offset"), number(it, "offset") + number(it, "length"))).collect();
            for (at, (start, end)) in ranges.iter().enumerate() {
                prop_assert!(start < end && *end <= rendered.units);
                for (other_start, other_end) in &ranges[at + 1..] {
                    prop_assert!(other_start >= end || other_end <= end, "{:?}", ranges);
                }
            }
        }

        #[test]
        fn no_word_is_lost(text in "([a-z]{1,6} |[*_~`]{1,3}|🧪|\n|\n\n|> |- |```\n|# ){0,40}") {
            let rendered = render(&text, false).text;
            let letters = |text: &str| text.chars().filter(char::is_ascii_lowercase).collect::<String>();
            // The language of a code block is not part of the text.
            if !text.contains("```") && !text.contains("~~~") {
                prop_assert_eq!(letters(&rendered), letters(&text));
            }
        }
    }
}
