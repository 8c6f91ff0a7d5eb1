//! Splits an answer into pages, one for each message.

use tieline_core::split::{TextLimit, TextUnit};
use tieline_core::thinking_display::tail;

use super::dialect;
use crate::markdown::{Cutter, less_room, next_visible};

/// Longest text of a message. The documentation says characters; the number of UTF-16 code units is never smaller.
///
/// See [Discord Docs/Create Message](https://discord.com/developers/docs/resources/message#create-message).
pub(super) const LIMIT: TextLimit = TextLimit {
    max: 2000,
    unit: TextUnit::Utf16,
};
/// Longest reasoning that a message shows; it allows for lines of one letter each after the quote mark.
const MAX_REASONING_BYTES: usize = 750;
/// Largest number of UTF-8 bytes for one UTF-16 code unit.
const BYTES_PER_UNIT: usize = 3;

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

/// The page of `text` that begins at `from`. `None` if only white space is left.
///
/// `shown` is the end of the text that the page already shows: the page never ends before it, so that visible text doesn't move to the next
/// message.
pub(super) fn page(text: &str, mut from: usize, shown: usize) -> Option<Page> {
    let cutter = Cutter::new(text);
    let mut visible_at = next_visible(text, from);
    while visible_at < text.len() {
        let (mut end, mut rendered) = cut(&cutter, from);
        if end < shown {
            let spare = |end| LIMIT.max.checked_sub(LIMIT.measure(&rendered_of(&cutter, from, end)));
            if let Some(longer) = cutter.end_keeping(shown, LIMIT.unit, spare) {
                (end, rendered) = (longer, rendered_of(&cutter, from, longer));
            }
        }
        let visible = trimmed(&rendered, is_in_line(text, from));
        if !visible.is_empty() {
            return Some(Page {
                text: visible.to_owned(),
                end,
                more: !text[end..].trim().is_empty(),
            });
        }
        from = end;
        if from > visible_at {
            visible_at = next_visible(text, from);
        }
    }
    None
}

/// The page of `text` from `from` to `end`. `None` if it doesn't fit: the agent has changed it.
pub(super) fn page_to(text: &str, from: usize, end: usize) -> Option<Page> {
    let shown = rendered(text, from, end);
    LIMIT.fits(&shown).then(|| Page {
        text: shown,
        end,
        more: !text[end..].trim().is_empty(),
    })
}

/// The reasoning of an agent that has sent no text yet, in small print.
pub(super) fn reasoning(reasoning: &str) -> Page {
    let lines = tail(reasoning, MAX_REASONING_BYTES).lines();
    let lines = lines.map(str::trim).filter(|line| !line.is_empty());
    let text: Vec<String> = lines
        .map(|line| format!("-# {}", line.replace("```", "``\u{200b}`")))
        .collect();
    Page {
        text: text.join("\n"),
        end: 0,
        more: false,
    }
}

/// `text` from `from` to `end`, in the dialect of one message.
pub(super) fn rendered(text: &str, from: usize, end: usize) -> String {
    rendered_of(&Cutter::new(text), from, end)
}

fn rendered_of(cutter: &Cutter<'_>, from: usize, end: usize) -> String {
    let whole = cutter.piece_within(end, from, usize::MAX, dialect::render).shown;
    trimmed(&whole, is_in_line(cutter.text(), from)).to_owned()
}

/// Whether a page that begins at `from` begins inside a line, where a leading space only separates two words.
fn is_in_line(text: &str, from: usize) -> bool {
    from > 0 && !text[..from].ends_with('\n')
}

/// Text without leading and trailing blank lines. Leading spaces of a line are kept as indentation.
fn trimmed(text: &str, in_line: bool) -> &str {
    let is_blank = |c: char| matches!(c, '\n' | '\r') || (in_line && c == ' ');
    text.trim_end().trim_start_matches(is_blank)
}

fn cut(cutter: &Cutter<'_>, from: usize) -> (usize, String) {
    let mut max_bytes = LIMIT.max * BYTES_PER_UNIT;
    let mut attempt = 0;
    loop {
        let piece = cutter.piece(from, max_bytes, dialect::render);
        let length = LIMIT.measure(&piece.shown);
        if length <= LIMIT.max || max_bytes <= BYTES_PER_UNIT {
            return (piece.end, piece.shown);
        }
        attempt += 1;
        let fair = max_bytes.min(piece.shown.len()) * LIMIT.max / length;
        max_bytes = less_room(attempt, fair, max_bytes.min(piece.end - from).max(BYTES_PER_UNIT)).max(BYTES_PER_UNIT);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pages(text: &str) -> Vec<Page> {
        let (mut pages, mut from) = (Vec::new(), 0);
        while let Some(page) = page(text, from, from) {
            assert!(page.end > from);
            from = page.end;
            pages.push(page);
        }
        pages
    }

    #[test]
    fn longest_text_fits_one_page_and_one_more_character_needs_two() {
        for (unit, width) in [("x", 1), ("中", 1), ("😀", 2)] {
            let fits = unit.repeat(2000 / width);
            assert_eq!(pages(&fits).len(), 1, "{unit}");
            assert_eq!(pages(&(fits + unit)).len(), 2, "{unit}");
        }
    }

    #[test]
    fn code_is_closed_and_reopened() {
        let text = format!("```rust\n{}```", "let a = 1;\n".repeat(300));
        let pages = pages(&text);
        assert_eq!(pages.len(), 2);
        for page in &pages {
            assert!(
                page.text.starts_with("```rust\n") && page.text.ends_with("\n```"),
                "{}",
                page.text
            );
        }
    }

    #[test]
    fn shown_text_stays_in_its_message_while_the_answer_grows() {
        let head = format!("{}\n\n{}", "a ".repeat(700), "b ".repeat(280));
        let shown = page(&head, 0, 0).unwrap();
        assert!(!shown.more);
        let longer = format!("{head}{}", "c ".repeat(500));
        let page = page(&longer, 0, shown.end).unwrap();
        assert!(page.more && page.text.starts_with(&shown.text), "{}", page.text);
        assert!(page.end > shown.end, "the room that is left is used");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn pages_fit_and_contain_every_word(text in "([a-z]{1,9}[ \n]|```\n|中文。|\\| a \\|\n|\\|--\\|\n|> |😀|__){200,900}") {
            let pages = pages(&text);
            prop_assert!(pages.iter().all(|page| LIMIT.fits(&page.text)));
            let all = pages.iter().map(|page| page.text.as_str()).collect::<Vec<_>>().join("\n");
            let mut words = all.split(|c: char| !c.is_ascii_lowercase());
            for word in text.split(|c: char| !c.is_ascii_lowercase()).filter(|word| !word.is_empty()) {
                prop_assert!(words.any(|shown| shown == word), "{} is lost", word);
            }
        }

        #[test]
        fn growing_pages_never_lose_shown_text(text in "([a-z]{1,9}[ \n]|\n\n|中文。|😀){300,900}", step in 1usize..400) {
            let (mut at, mut shown) = (0, 0);
            while at < text.len() {
                at = (at + step..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
                let Some(page) = page(&text[..at], 0, shown) else { continue };
                prop_assert!(page.end >= shown, "{} < {}", page.end, shown);
                prop_assert!(LIMIT.fits(&page.text));
                shown = page.end;
                if page.more { break }
            }
        }
    }
}
