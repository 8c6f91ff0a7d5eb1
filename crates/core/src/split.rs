//! Splits text at a platform's length limit.

/// The unit in which a platform counts length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextUnit {
    /// Bytes of UTF-8.
    Bytes,
    /// Code units of UTF-16.
    Utf16,
    /// Code points.
    Chars,
}

/// The longest text that a platform accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextLimit {
    /// Number of units.
    pub max: usize,
    /// The unit.
    pub unit: TextUnit,
}

impl TextLimit {
    /// The length of `text` in this limit's unit.
    #[must_use]
    pub fn measure(self, text: &str) -> usize {
        match self.unit {
            TextUnit::Bytes => text.len(),
            TextUnit::Utf16 => text.chars().map(char::len_utf16).sum(),
            TextUnit::Chars => text.chars().count(),
        }
    }

    /// Whether `text` fits.
    #[must_use]
    pub fn fits(self, text: &str) -> bool {
        self.measure(text) <= self.max
    }

    const fn cost(self, c: char) -> usize {
        match self.unit {
            TextUnit::Bytes => c.len_utf8(),
            TextUnit::Utf16 => c.len_utf16(),
            TextUnit::Chars => 1,
        }
    }
}

/// Splits `text` into parts that the platform accepts.
///
/// Cuts at a paragraph, else a line, else a space, else between characters; never inside a character, and if possible not inside a
/// grapheme: an accent, a skin tone or a joined sign stays with its base.
/// Joining the parts gives `text` back. Empty text gives no parts. A limit smaller than one character still makes progress,
/// one character a part.
#[must_use]
pub fn split(text: &str, limit: TextLimit) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (part, tail) = rest.split_at(cut(rest, limit));
        parts.push(part);
        rest = tail;
    }
    parts
}

/// The first part of [`split`], and the rest.
#[must_use]
pub fn split_first(text: &str, limit: TextLimit) -> (&str, &str) {
    if text.is_empty() {
        ("", "")
    } else {
        text.split_at(cut(text, limit))
    }
}

/// Like [`split_first`], but with the longest part that fits: for parts that the chat shows as one text.
#[must_use]
pub fn split_late(text: &str, limit: TextLimit) -> (&str, &str) {
    match longest_prefix(text, limit) {
        end if end == text.len() => (text, ""),
        end => text.split_at(before_joined(text, end)),
    }
}

/// Where the first part ends. At least one character.
fn cut(text: &str, limit: TextLimit) -> usize {
    let end = longest_prefix(text, limit);
    if end == text.len() {
        return end;
    }
    let head = &text[..end];
    // A break in the first half would waste too much of the limit.
    let after = |mark: &str| head.rfind(mark).map(|at| at + mark.len()).filter(|at| *at > end / 2);
    after("\n\n")
        .or_else(|| after("\n"))
        .or_else(|| after(" "))
        .unwrap_or_else(|| before_joined(text, end))
}

/// The last position up to `end` where no grapheme is cut; `end` if there is none.
fn before_joined(text: &str, end: usize) -> usize {
    let free = |at: &usize| !text[*at..].starts_with(joins) && !text[..*at].ends_with(ZERO_WIDTH_JOINER);
    let places = text[..end].char_indices().rev().map(|(at, _)| at);
    std::iter::once(end)
        .chain(places)
        .find(free)
        .filter(|at| *at > 0)
        .unwrap_or(end)
}

const ZERO_WIDTH_JOINER: char = '\u{200d}';

/// Whether a character belongs to the one before it: accents, variation selectors, skin tones, tags, the joiner.
fn joins(c: char) -> bool {
    matches!(c,
        '\u{0300}'..='\u{036f}' | '\u{1ab0}'..='\u{1aff}' | '\u{20d0}'..='\u{20ff}' | ZERO_WIDTH_JOINER
        | '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0020}'..='\u{e007f}')
}

fn longest_prefix(text: &str, limit: TextLimit) -> usize {
    // A text has no more units of any kind than bytes.
    if text.len() <= limit.max {
        return text.len();
    }
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += limit.cost(c);
        if used > limit.max {
            return if at == 0 { c.len_utf8() } else { at };
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn bytes(max: usize) -> TextLimit {
        TextLimit {
            max,
            unit: TextUnit::Bytes,
        }
    }

    #[track_caller]
    fn check(text: &str, limit: TextLimit, expected: &[&str]) {
        assert_eq!(split(text, limit), expected);
    }

    #[test]
    fn cuts_at_paragraph_then_line_then_space() {
        check("one two\n\nthree", bytes(10), &["one two\n\n", "three"]);
        check("one two\nthree", bytes(10), &["one two\n", "three"]);
        check("one two three", bytes(10), &["one two ", "three"]);
        check("onetwothree", bytes(6), &["onetwo", "three"]);
        check("", bytes(6), &[]);
    }

    #[test]
    fn late_cut_is_at_the_limit() {
        assert_eq!(split_late("one two\n\nthree", bytes(11)), ("one two\n\nth", "ree"));
        assert_eq!(split_late("one", bytes(3)), ("one", ""));
        assert_eq!(split_late("aaa👍🏽", bytes(9)), ("aaa", "👍🏽"));
    }

    #[test]
    fn never_cuts_inside_a_character() {
        check("你好", bytes(4), &["你", "好"]);
        check(
            "😀😀",
            TextLimit {
                max: 3,
                unit: TextUnit::Utf16,
            },
            &["😀", "😀"],
        );
        check("😀", bytes(1), &["😀"]);
    }

    #[test]
    fn joined_characters_stay_together() {
        check("aaa👍🏽", bytes(9), &["aaa", "👍🏽"]);
        check("ae\u{301}", bytes(3), &["a", "e\u{301}"]);
        check("👩\u{200d}💻👩\u{200d}💻", bytes(20), &["👩\u{200d}💻", "👩\u{200d}💻"]);
        // Longer than the limit: making progress takes precedence.
        check("e\u{301}\u{301}", bytes(3), &["e\u{301}", "\u{301}"]);
    }

    proptest! {
        #[test]
        fn join_is_identity_and_parts_fit(text in "\\PC{0,300}", max in 4usize..64) {
            for unit in [TextUnit::Bytes, TextUnit::Utf16, TextUnit::Chars] {
                let limit = TextLimit { max, unit };
                let parts = split(&text, limit);
                prop_assert_eq!(parts.concat(), text.clone());
                prop_assert!(parts.iter().all(|part| limit.fits(part) && !part.is_empty()));
            }
        }
    }
}
