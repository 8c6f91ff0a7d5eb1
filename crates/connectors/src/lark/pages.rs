//! Splits an answer into pages, one for each message.

use tieline_core::split::TextUnit;

use super::dialect;
use super::surface::Surface;
use crate::markdown::{self, Cutter, Piece, less_of_piece, next_visible};

/// Tables in one card. Four are documented; errors have been measured from the fourth on.
///
/// See the official plugin's [src/card](https://github.com/larksuite/openclaw-lark/tree/main/src/card).
const MAX_TABLES: usize = 3;

/// One message's text.
#[derive(Debug, PartialEq)]
pub(super) struct Page {
    /// The text in the platform's dialect.
    pub text: String,
    /// Start of the next page in the answer.
    pub end: usize,
    /// Whether there is a next page.
    pub more: bool,
}

/// Size of `text` in bytes inside a card inside a request: JSON in JSON, so escapes are escaped.
pub(super) fn weight(text: &str) -> usize {
    let of = |c: char| match c {
        '"' | '\\' => 4,
        '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 3,
        c if c < ' ' => 7,
        c => c.len_utf8(),
    };
    text.chars().map(of).sum()
}

/// The reasoning of an agent that has sent no text yet, as a block quote.
pub(super) fn reasoning(reasoning: &str, max: usize, surface: Surface) -> Option<Page> {
    let page = page(&markdown::quotation(reasoning), 0, 0, max, surface)?;
    Some(Page {
        end: 0,
        more: false,
        ..page
    })
}

/// The page of `text` that begins at `from`, with a weight of at most `max`. `None` if only white space is left.
///
/// `kept` is the end of the text that the page already shows: the page doesn't end before it, so that visible text doesn't move to the next
/// message, unless a table requires it.
pub(super) fn page(text: &str, mut from: usize, kept: usize, max: usize, surface: Surface) -> Option<Page> {
    let cutter = Cutter::new(text);
    let mut visible_at = next_visible(text, from);
    while visible_at < text.len() {
        let until = end_of_tables(&cutter, from, max, surface);
        let mut piece = cut(&cutter, until, from, max, surface);
        if piece.end < kept.min(until) {
            let whole = |end: usize| rendered(&cutter, from, end.min(until), surface);
            let spare = |end| max.checked_sub(weight(&whole(end).shown));
            piece = cutter
                .end_keeping(kept.min(until), TextUnit::Bytes, spare)
                .map_or(piece, whole);
        }
        let shown = trimmed(&piece.shown, is_in_line(text, from));
        if !shown.is_empty() {
            return Some(Page {
                text: shown.to_owned(),
                end: piece.end,
                more: !text[piece.end..].trim().is_empty(),
            });
        }
        from = piece.end;
        if from > visible_at {
            visible_at = next_visible(text, from);
        }
    }
    None
}

/// The page of `text` from `from` to `end`. `None` if its weight is more than `max`: the agent has changed it.
pub(super) fn page_to(text: &str, from: usize, end: usize, max: usize, surface: Surface) -> Option<Page> {
    let piece = rendered(&Cutter::new(text), from, end, surface);
    let shown = trimmed(&piece.shown, is_in_line(text, from));
    (weight(shown) <= max).then(|| Page {
        text: shown.to_owned(),
        end,
        more: !text[end..].trim().is_empty(),
    })
}

/// All of the text from `from` to `end`.
fn rendered(cutter: &Cutter<'_>, from: usize, end: usize, surface: Surface) -> Piece {
    cutter.piece_within(end, from, usize::MAX, |text| dialect::render(text, surface))
}

/// Whether a page that begins at `from` begins inside a line, where a leading space only separates two words.
fn is_in_line(text: &str, from: usize) -> bool {
    from > 0 && !text[..from].ends_with('\n')
}

/// Text without leading and trailing blank lines.
fn trimmed(text: &str, in_line: bool) -> &str {
    let is_blank = |c: char| matches!(c, '\n' | '\r') || (in_line && c == ' ');
    text.trim_end().trim_start_matches(is_blank)
}

/// The largest piece within the weight limit. The cutter counts bytes, so it is called with smaller sizes until the weight is right.
fn cut(cutter: &Cutter<'_>, until: usize, from: usize, max: usize, surface: Surface) -> Piece {
    let mut bytes = max;
    let mut attempt = 0;
    loop {
        let piece = cutter.piece_within(until, from, bytes, |text| dialect::render(text, surface));
        let weighs = weight(&piece.shown);
        if weighs <= max || bytes == 1 {
            return piece;
        }
        attempt += 1;
        bytes = less_of_piece(attempt, bytes, piece.end - from, max, weighs);
    }
}

/// End of the page required by the table limit: before the first table that is too many.
fn end_of_tables(cutter: &Cutter<'_>, from: usize, max: usize, surface: Surface) -> usize {
    let text = cutter.text();
    if surface != Surface::Card {
        return text.len();
    }
    // A page contains no more of the source than its limit; the rest of its last line decides whether that line begins a table.
    let near = (from + max..text.len()).find(|at| text.is_char_boundary(*at));
    let reach = near.map_or(text.len(), |near| end_of_lines(text, near, 2));
    let ahead = &text[from..reach];
    if !ahead.contains('|') {
        return text.len();
    }
    // A table that continues from the previous page counts too.
    let goes_on = text[..from].lines().next_back().is_some_and(|line| line.contains('|'));
    let begins = dialect::tables(ahead, cutter.is_in_code(from), cutter.is_in_table(from));
    begins
        .into_iter()
        .map(|at| from + at)
        .skip(MAX_TABLES - usize::from(goes_on))
        .find(|at| *at > from)
        .unwrap_or(text.len())
}

/// End of the `n` lines from `at` on.
fn end_of_lines(text: &str, at: usize, n: usize) -> usize {
    let lines = text[at..].split_inclusive('\n').take(n);
    at + lines.map(str::len).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pages(text: &str, max: usize, surface: Surface) -> Vec<String> {
        let (mut pages, mut from) = (Vec::new(), 0);
        while let Some(page) = page(text, from, from, max, surface) {
            assert!(page.end > from);
            assert_ne!(page.more, text[page.end..].trim().is_empty());
            from = page.end;
            pages.push(page.text);
        }
        pages
    }

    #[track_caller]
    fn check(text: &str, max: usize, expected: &[&str]) {
        assert_eq!(pages(text, max, Surface::Card), expected);
    }

    #[test]
    fn short_text_is_one_page() {
        check("\n\n **a** <b>\n", 100, &[" **a** &#60;b>"]);
        check(" \n\t\n", 100, &[]);
    }

    #[test]
    fn pages_end_at_paragraphs_and_respect_the_request_weight() {
        check("one two three\n\nfour five", 22, &["one two three", "four five"]);
        check("一二三四五六七八", 12, &["一二三四", "五六七八"]);
        check(&"\"".repeat(16), 40, &[&"\"".repeat(10), &"\"".repeat(6)]);
    }

    #[test]
    fn fourth_table_begins_a_new_page() {
        let table = "|a|b|\n|-|-|\n|1|2|\n\n";
        let four = pages(&table.repeat(4), 1000, Surface::Card);
        assert_eq!(four, [table.repeat(3).trim_end(), table.trim_end()]);
        assert_eq!(pages(&table.repeat(4), 1000, Surface::CardWithoutTables).len(), 1);
    }

    #[test]
    fn continued_tables_count() {
        let rows = "|row of the first table|\n".repeat(6);
        let text = format!("|h|\n|-|\n{rows}\n{}", "|h|\n|-|\n|1|\n\n".repeat(3));
        for page in pages(&text, 200, Surface::Card) {
            assert!(dialect::tables(&page, false, false).len() <= MAX_TABLES, "{page}");
        }
    }

    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            5 => "[a-z]{1,12} ",
            2 => "[一-龥]{1,20}",
            1 => Just("\n".to_owned()),
            1 => Just("\n\n".to_owned()),
            1 => "😀{1,3}",
            1 => Just("\n```rust\n".to_owned()),
            1 => Just("\n```\n".to_owned()),
            1 => Just("\n|a|b|\n|-|-|\n|1|2|\n".to_owned()),
            1 => Just("\n  - ".to_owned()),
            1 => r#"[<>"\\`\[\]()!|~-]{1,6}"#,
            1 => Just("![i](https://a.b/c.png)".to_owned()),
            1 => Just("<at id=all></at>".to_owned()),
        ]
    }

    /// Numbered marks among other content, so that a lost one is detected.
    fn text() -> impl Strategy<Value = String> {
        prop::collection::vec(piece(), 0..120).prop_map(|pieces| {
            let numbered = pieces.iter().enumerate();
            numbered.map(|(n, piece)| format!("{piece} §{n}§ ")).collect()
        })
    }

    fn surface() -> impl Strategy<Value = Surface> {
        prop::sample::select(vec![
            Surface::Card,
            Surface::CardWithoutTables,
            Surface::Post,
            Surface::Text,
        ])
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_every_page_fits(text in text(), max in 150usize..600, surface in surface()) {
            let pages = pages(&text, max, surface);
            let joined = pages.join("\n");
            for mark in text.split_whitespace().filter(|word| word.starts_with('§')) {
                prop_assert!(joined.contains(mark), "{mark} is lost");
            }
            for page in &pages {
                prop_assert!(weight(page) <= max, "{} > {max}: {page}", weight(page));
                prop_assert!(surface != Surface::Card || dialect::tables(page, false, false).len() <= MAX_TABLES);
            }
        }

        #[test]
        fn no_tag_remains_outside_code(text in "([a-z <>/=!:\\[\\]()\n|-]|<at id=all>|<font>|\\[t\\]\\(|\\[t\\]\\(<|https://){0,80}") {
            for page in pages(&text, 300, Surface::Card) {
                let page = page.replace("<br>", "");
                let mut after = page.split('<').skip(1);
                prop_assert!(after.all(|after| !after.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')), "{page}");
            }
        }

        #[test]
        fn paging_of_any_text_terminates(text in "\\PC{0,200}|[`|\\-\n \\[\\](<!]{0,200}", max in 40usize..100, surface in surface()) {
            prop_assert!(pages(&text, max, surface).len() <= text.len());
        }

        #[test]
        fn weight_is_that_of_json_in_json(text in "\\PC{0,50}|[\\x00-\\x20\"\\\\]{0,20}") {
            let json = serde_json::Value::String(text.clone()).to_string();
            let twice = serde_json::Value::String(json).to_string();
            // Without the quotes around each: `"` and `\"`.
            prop_assert_eq!(weight(&text), twice.len() - 6);
        }
    }
}
