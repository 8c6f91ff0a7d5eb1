//! Converts common Markdown to text, for chats that show little or no Markdown.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::dropped::{excess_cells, with_definitions};

/// What a chat shows beyond plain text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlainStyle {
    /// Whether headings, bold, inline code and quotes keep their markup.
    pub(crate) marks: bool,
    /// Format of links.
    pub(crate) links: LinkStyle,
}

/// Format of links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkStyle {
    /// `<a href="url">label</a>`.
    Anchor,
    /// `[label](url)`.
    Markdown,
}

/// Deepest level of a list that is indented further than its parent.
const MAX_INDENT: usize = 20;

/// Converts `text` to that style. No text is lost; rows of a table become lines of `head: cell`.
pub(crate) fn plain(text: &str, style: PlainStyle) -> String {
    let options = Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TABLES | Options::ENABLE_TASKLISTS;
    let text = with_definitions(text, options);
    let mut writer = Writer::new(style);
    for (event, range) in Parser::new_ext(&text, options).into_offset_iter() {
        match event {
            Event::End(TagEnd::TableCell) => writer.table.cell_end = range.end,
            Event::End(TagEnd::TableRow) => writer.excess(text.get(writer.table.cell_end..range.end)),
            _ => {}
        }
        writer.write(event);
    }
    writer.out.truncate(writer.out.trim_end().len());
    writer.out
}

struct Writer {
    style: PlainStyle,
    out: String,
    /// Number of the next item of each open list; `None` for bullets.
    lists: Vec<Option<u64>>,
    quotes: usize,
    /// Start of the label of each open link, and its URL.
    links: Vec<(usize, String)>,
    table: Table,
}

#[derive(Default)]
struct Table {
    head: Vec<String>,
    cells: Vec<String>,
    cell_start: usize,
    /// End of the last cell in the source.
    cell_end: usize,
    n_rows: usize,
}

impl Writer {
    fn new(style: PlainStyle) -> Self {
        Self {
            style,
            out: String::new(),
            lists: Vec::new(),
            quotes: 0,
            links: Vec::new(),
            table: Table::default(),
        }
    }

    fn write(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.begin(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) | Event::InlineMath(text) | Event::DisplayMath(text) => self.say(&text),
            Event::Code(code) => {
                self.mark("`");
                self.say(&code);
                self.mark("`");
            }
            Event::Html(html) | Event::InlineHtml(html) => self.html(&html),
            Event::SoftBreak | Event::HardBreak => self.out.push('\n'),
            Event::Rule => {
                self.gap(2);
                self.say("———");
                self.gap(2);
            }
            Event::TaskListMarker(done) => self.say(if done { "☑ " } else { "☐ " }),
            Event::FootnoteReference(name) => self.say(&format!("[{name}]")),
        }
    }

    fn begin(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph if self.lists.is_empty() => self.gap(2),
            Tag::Paragraph if !self.out.ends_with(['•', ' ']) => self.gap(1),
            Tag::Heading { level, .. } => {
                self.gap(2);
                if self.style.marks {
                    self.say(&format!("{} ", "#".repeat(depth(level))));
                }
            }
            Tag::BlockQuote(_) => {
                self.gap(2);
                self.quotes += 1;
            }
            Tag::CodeBlock(_) | Tag::HtmlBlock => self.gap(if self.lists.is_empty() { 2 } else { 1 }),
            Tag::List(start) => {
                self.gap(if self.lists.is_empty() { 2 } else { 1 });
                self.lists.push(start);
            }
            Tag::Item => self.item(),
            Tag::Table(_) => {
                self.gap(2);
                self.table = Table::default();
            }
            Tag::TableCell => self.table.cell_start = self.out.len(),
            Tag::Strong => self.mark("**"),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.links.push((self.out.len(), dest_url.into_string()));
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::CodeBlock | TagEnd::HtmlBlock => {
                self.gap(if self.lists.is_empty() { 2 } else { 1 });
            }
            TagEnd::BlockQuote(_) => {
                self.quotes -= 1;
                self.gap(2);
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.gap(if self.lists.is_empty() { 2 } else { 1 });
            }
            TagEnd::Item => self.gap(1),
            TagEnd::TableCell => {
                let cell = self.out.split_off(self.table.cell_start);
                self.table.cells.push(cell);
            }
            TagEnd::TableHead => self.table.head = std::mem::take(&mut self.table.cells),
            TagEnd::TableRow => self.row(),
            TagEnd::Table => self.table_end(),
            TagEnd::Strong => self.mark("**"),
            TagEnd::Link | TagEnd::Image => self.link(),
            _ => {}
        }
    }

    fn item(&mut self) {
        self.gap(1);
        let indent = "  ".repeat(self.lists.len().saturating_sub(1).min(MAX_INDENT));
        let bullet = match self.lists.last_mut() {
            Some(Some(number)) => {
                *number += 1;
                format!("{indent}{}. ", *number - 1)
            }
            _ => format!("{indent}• "),
        };
        self.say(&bullet);
    }

    /// Adds what follows the last cell in its row to that cell.
    fn excess(&mut self, after: Option<&str>) {
        if let (Some(cell), Some(excess)) = (self.table.cells.last_mut(), after.and_then(excess_cells)) {
            cell.push_str(&excess);
        }
    }

    fn row(&mut self) {
        let cells = std::mem::take(&mut self.table.cells);
        let named = |(at, cell): (usize, &String)| match self.table.head.get(at).map(String::as_str) {
            Some("") | None => cell.clone(),
            Some(head) => format!("{head}: {cell}"),
        };
        let fields: Vec<_> = cells.iter().enumerate().map(named).collect();
        self.table.n_rows += 1;
        self.say(&fields.join("; "));
        self.gap(1);
    }

    fn table_end(&mut self) {
        let table = std::mem::take(&mut self.table);
        if table.n_rows == 0 {
            self.say(&table.head.join("; "));
        }
        self.gap(2);
    }

    /// Writes a link around the label written since its start. Only web URLs become links.
    fn link(&mut self) {
        let Some((start, address)) = self.links.pop() else {
            return;
        };
        let is_web = address.starts_with("https://") || address.starts_with("http://");
        if !is_web && self.out[start..].trim().is_empty() && !address.starts_with("data:") {
            // Only the address can be shown of a link without a label.
            return self.say(&address);
        }
        if !is_web || self.out[start..] == *address {
            return;
        }
        let words = self.out.split_off(start);
        let words = words.trim();
        let address = address.replace('"', "%22").replace('<', "%3C").replace('>', "%3E");
        let written = match self.style.links {
            _ if words.is_empty() => address,
            LinkStyle::Anchor => format!("<a href=\"{address}\">{words}</a>"),
            LinkStyle::Markdown => format!("[{words}]({address})"),
        };
        self.say(&written);
    }

    fn html(&mut self, html: &str) {
        match html.trim() {
            "<br>" | "<br/>" | "<br />" => self.out.push('\n'),
            _ => self.say(html),
        }
    }

    fn mark(&mut self, mark: &str) {
        if self.style.marks {
            self.say(mark);
        }
    }

    /// Writes text, with quote marks before each line inside a quote.
    fn say(&mut self, text: &str) {
        for line in text.split_inclusive('\n') {
            if self.quotes > 0 && (self.out.is_empty() || self.out.ends_with('\n')) {
                self.out.push_str("> ");
            }
            self.out.push_str(line);
        }
    }

    /// Ends the line; if `line_breaks` is 2, adds an empty one.
    fn gap(&mut self, line_breaks: usize) {
        if self.out.is_empty() {
            return;
        }
        // No more than asked for are counted: empty blocks leave any number of them, which each following block would count again.
        let last = self.out.bytes().rev().take(line_breaks);
        let found = last.take_while(|byte| *byte == b'\n').count();
        for _ in found..line_breaks {
            self.out.push('\n');
        }
    }
}

const fn depth(level: HeadingLevel) -> usize {
    level as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BARE: PlainStyle = PlainStyle {
        marks: false,
        links: LinkStyle::Anchor,
    };
    const MARKED: PlainStyle = PlainStyle {
        marks: true,
        links: LinkStyle::Markdown,
    };

    #[track_caller]
    fn check(text: &str, bare: &str, marked: &str) {
        assert_eq!(plain(text, BARE), bare);
        assert_eq!(plain(text, MARKED), marked);
    }

    #[test]
    fn markup_is_removed_or_kept_by_style() {
        check(
            "# Title\n\n**bold** *it* ~~no~~ `code`\nnext",
            "Title\n\nbold it no code\nnext",
            "# Title\n\n**bold** it no `code`\nnext",
        );
        check(
            "> said\n> more\n\nback",
            "> said\n> more\n\nback",
            "> said\n> more\n\nback",
        );
    }

    #[test]
    fn lists_keep_their_markers() {
        let shown = "before\n\n• a\n  1. b\n  2. c\n• d\n\nafter";
        check("before\n\n- a\n  1. b\n  2. c\n- d\n\nafter", shown, shown);
        check("- [ ] a\n- [x] b", "• ☐ a\n• ☑ b", "• ☐ a\n• ☑ b");
        check("3. a\n\n   more\n4. b", "3. a\nmore\n4. b", "3. a\nmore\n4. b");
    }

    #[test]
    fn tables_become_lines() {
        let shown = "Name: Li; Age: 30\nName: Wu; Age: \n\nend";
        check("| Name | Age |\n|--|--|\n| Li | 30 |\n| Wu | |\n\nend", shown, shown);
        check("| Name | Age |\n|--|--|\n", "Name; Age", "Name; Age");
        let shown = "Command: ps aux; Use: grep ssh | finds the server | x|y\nCommand: ls; Use:";
        let table = "| Command | Use |\n|--|--|\n| ps aux | grep ssh | finds the server | x\\|y |\n| ls |\n";
        check(table, shown, shown);
    }

    #[test]
    fn unused_link_definitions_are_text() {
        let shown = "See docs.\n\n[docs]: https://e.com/d\n[b]: https://e.com/b \"B\"";
        check(
            "See docs.\n\n[docs]: https://e.com/d\n[b]: https://e.com/b \"B\"",
            shown,
            shown,
        );
        check(
            "See [docs][D].\n\n[d]: https://e.com/d\n> [e]: https://e.com/e",
            "See <a href=\"https://e.com/d\">docs</a>.\n\n> [e]: https://e.com/e",
            "See [docs](https://e.com/d).\n\n> [e]: https://e.com/e",
        );
    }

    #[test]
    fn code_keeps_its_lines() {
        let shown = "see\n\nfn a() {\n    b\n}\n\nend";
        check("see\n```rust\nfn a() {\n    b\n}\n```\nend", shown, shown);
    }

    #[test]
    fn web_links_are_kept_and_others_become_text() {
        check(
            "[docs](https://e.com/?q=\"a\") <https://e.com> ![chart](https://e.com/a.png)",
            "<a href=\"https://e.com/?q=%22a%22\">docs</a> https://e.com <a href=\"https://e.com/a.png\">chart</a>",
            "[docs](https://e.com/?q=%22a%22) https://e.com [chart](https://e.com/a.png)",
        );
        check(
            "[a](mailto:x) [b](data:text/) [](https://e.com)",
            "a b https://e.com",
            "a b https://e.com",
        );
        check("a<br>b", "a\nb", "a\nb");
    }

    fn letters(text: &str) -> Vec<char> {
        let mut letters: Vec<char> = text.chars().filter(|c| c.is_alphanumeric()).collect();
        letters.sort_unstable();
        letters
    }

    proptest! {
        #[test]
        fn no_letter_is_lost(text in "([a-z]{2,6}[ \n]|\\*\\*|~~[a-z]{3}~~ |\n\n|- \\[ \\] |> |- |1\\. |`[a-z]{3}` |\n```\n|# |中文|😀){0,40}") {
            let shown = letters(&plain(&text, BARE));
            let mut rest = shown.iter();
            for letter in letters(&text).into_iter().filter(|letter| !letter.is_ascii_digit()) {
                prop_assert!(rest.any(|shown| *shown == letter), "{} is lost of {:?}", letter, text);
            }
        }

        #[test]
        fn any_text_is_written(text in "\\PC{0,200}") {
            let _ = plain(&text, BARE);
            let _ = plain(&text, MARKED);
        }
    }
}
