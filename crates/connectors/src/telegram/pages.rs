//! Splits a reply into messages.

use serde_json::json;
use tieline_core::split::TextUnit;
use tieline_core::thinking_display::tail;

use super::dialect::{self, Rendered};
use crate::markdown::{Cutter, less_of_piece, next_visible};

/// Longest text of a message, in UTF-16 code units after formatting.
///
/// See [Bot API/sendMessage](https://core.telegram.org/bots/api#sendmessage).
pub(super) const MAX_UNITS: usize = 4096;
/// Largest number of UTF-8 bytes for one UTF-16 code unit.
const BYTES_PER_UNIT: usize = 3;

/// One message's text.
#[derive(Debug, PartialEq)]
pub(super) struct Page {
    pub shown: Rendered,
    /// Start of the next page in `full_text`.
    pub end: usize,
    /// Whether there is a next page.
    pub more: bool,
}

/// The page of `full_text` that begins at `from`, of at most `max` units. `None` if only white space is left.
///
/// `kept` is the end of the text that the page already shows: the page never ends before it, so that visible text doesn't move to the next
/// message.
pub(super) fn page(full_text: &str, mut from: usize, kept: usize, max: usize, growing: bool) -> Option<Page> {
    let cutter = Cutter::new(full_text);
    let mut visible_at = next_visible(full_text, from);
    while visible_at < full_text.len() {
        let (mut shown, mut end) = cut(&cutter, from, max, growing);
        if end < kept {
            let spare = |end| max.checked_sub(rendered(&cutter, from, end, growing).units);
            if let Some(longer) = cutter.end_keeping(kept, TextUnit::Utf16, spare) {
                (shown, end) = (rendered(&cutter, from, longer, growing), longer);
            }
        }
        if !shown.text.trim().is_empty() {
            return Some(Page {
                shown,
                end,
                more: !full_text[end..].trim().is_empty(),
            });
        }
        from = end;
        if from > visible_at {
            visible_at = next_visible(full_text, from);
        }
    }
    None
}

/// The page of `full_text` from `from` to `end`. `None` if that is more than `max` units: the agent has changed it.
pub(super) fn page_to(full_text: &str, from: usize, end: usize, max: usize) -> Option<Page> {
    let shown = rendered(&Cutter::new(full_text), from, end, false);
    (shown.units <= max).then(|| Page {
        shown,
        end,
        more: !full_text[end..].trim().is_empty(),
    })
}

/// The text from `from` to `end`, with its formatting.
fn rendered(cutter: &Cutter<'_>, from: usize, end: usize, growing: bool) -> Rendered {
    let piece = cutter.piece_within(end, from, usize::MAX, str::to_owned);
    dialect::render(&piece.shown, growing && end == cutter.text().len())
}

/// The reasoning of an agent that has sent no text yet, as an expandable block quote.
pub(super) fn reasoning(reasoning: &str) -> Page {
    let text = tail(reasoning, MAX_UNITS).to_owned();
    let units = dialect::units(&text);
    let quotation = json!({ "type": "expandable_blockquote", "offset": 0, "length": units });
    Page {
        shown: Rendered {
            text,
            units,
            entities: vec![quotation],
        },
        end: 0,
        more: false,
    }
}

/// The longest piece that fits. The cutter counts bytes of Markdown, so it is called with smaller sizes until the message fits.
fn cut(cutter: &Cutter<'_>, from: usize, max: usize, growing: bool) -> (Rendered, usize) {
    let mut attempt = 0;
    let mut bytes = max * BYTES_PER_UNIT;
    loop {
        let piece = cutter.piece(from, bytes, str::to_owned);
        let shown = dialect::render(&piece.shown, growing && piece.end == cutter.text().len());
        if shown.units <= max || bytes == 1 {
            return (shown, piece.end);
        }
        attempt += 1;
        bytes = less_of_piece(attempt, bytes, piece.end - from, max, shown.units);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pages(full_text: &str, max: usize) -> Vec<String> {
        let (mut pages, mut from) = (Vec::new(), 0);
        while let Some(page) = page(full_text, from, from, max, false) {
            assert!(page.end > from && page.shown.units <= max);
            from = page.end;
            pages.push(page.shown.text);
        }
        pages
    }

    #[test]
    fn cuts_are_at_paragraphs_and_count_utf16_units() {
        assert_eq!(pages("one two three\n\nfour five", 16), ["one two three", "four five"]);
        assert_eq!(pages("🧪🧪🧪", 4), ["🧪🧪", "🧪"]);
        assert_eq!(pages("一二三四五六", 4), ["一二三四", "五六"]);
        assert_eq!(pages("\n \n", 16), Vec::<String>::new());
    }

    #[test]
    fn cut_code_continues_as_code() {
        let first = page("```sh\none two\nthree four\n```", 0, 0, 14, false).unwrap();
        assert_eq!(
            (first.shown.text.as_str(), first.shown.entities.len(), first.more),
            ("one two", 1, true)
        );
    }

    proptest! {
        #[test]
        fn every_word_is_shown_and_every_page_fits(text in "([a-z]{1,9} |[一-龥]{1,9}|🧪|\n\n|\n|\\*\\*|`b` |- |```\n){0,80}", max in 40usize..120) {
            let numbered: String = text.split(' ').enumerate().map(|(n, piece)| format!("{piece} §{n}§ ")).collect();
            let joined = pages(&numbered, max).join(" ");
            for mark in numbered.split_whitespace().filter(|word| word.starts_with('§') && word.ends_with('§')) {
                prop_assert!(joined.contains(mark), "{} is lost in {:?}", mark, joined);
            }
        }
    }
}
