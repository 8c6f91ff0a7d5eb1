//! JSON from agents, as they really write it.
//!
//! A JavaScript agent that cuts its text between the two halves of an emoji sends each half as an escape of its own. Such a half is no
//! character, and our parser refuses the whole event for it; here it costs only itself, like a byte that is not UTF-8.
//!
//! See [RFC 8259/8.2](https://www.rfc-editor.org/rfc/rfc8259#section-8.2).

use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;

const HIGH: RangeInclusive<u16> = 0xd800..=0xdbff;
const LOW: RangeInclusive<u16> = 0xdc00..=0xdfff;
/// What stands in for half a character.
const REPLACEMENT: &[u8] = b"\\ufffd";

/// Reads JSON. Halves of characters are replaced.
pub(crate) fn read<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(json).or_else(|error| match whole_characters(json) {
        Some(mended) => serde_json::from_slice(&mended),
        None => Err(error),
    })
}

/// The same with every lone half replaced, nothing else moved. `None` if there is none.
fn whole_characters(json: &[u8]) -> Option<Vec<u8>> {
    let mut mended = None;
    let mut at = 0;
    while at < json.len() {
        at += match escaped(json, at) {
            Some(half) if HIGH.contains(&half) && escaped(json, at + 6).is_some_and(|it| LOW.contains(&it)) => 12,
            Some(half) if HIGH.contains(&half) || LOW.contains(&half) => {
                let mended = mended.get_or_insert_with(|| json.to_vec());
                mended[at..at + 6].copy_from_slice(REPLACEMENT);
                6
            }
            // Whatever it escapes, a backslash above all: what follows that one is text.
            _ if json[at] == b'\\' => 2,
            _ => 1,
        };
    }
    mended
}

/// The code unit that is escaped there, if one is.
fn escaped(json: &[u8], at: usize) -> Option<u16> {
    let hex = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: &str) {
        let json = format!("\"{json}\"");
        assert_eq!(read::<String>(json.as_bytes()).unwrap(), expected, "{json}");
    }

    #[test]
    fn half_a_character_costs_only_itself() {
        check(r"hi \ud83d", "hi \u{fffd}");
        check(r"\ude00 there", "\u{fffd} there");
        check(r"\uD83D\n\uDE00", "\u{fffd}\n\u{fffd}");
        check(r"\ud83d\ud83d\ude00\ude00", "\u{fffd}😀\u{fffd}");
        check(r"\ud83d\u0041", "\u{fffd}A");
        check(r"\ud83dA", "\u{fffd}A");
    }

    #[test]
    fn whole_characters_and_escaped_backslashes_stay() {
        check(r"\ud83d\ude00", "😀");
        check(r"\\ud83d", r"\ud83d");
        check(r"\\\ud83d\\ude00", "\\\u{fffd}\\ude00");
        check(r"\\\\ud83d \ud83d", "\\\\ud83d \u{fffd}");
    }

    #[test]
    fn what_is_no_json_stays_none() {
        for json in [&br#"{"a":"\ud83d"#[..], br"\ud83d", br#""\ud83"#, br#""\"#, b""] {
            assert!(read::<serde_json::Value>(json).is_err());
        }
        let told = read::<serde_json::Value>(b"{\n]").unwrap_err();
        assert_eq!((told.line(), told.column()), (2, 1));
    }

    proptest::proptest! {
        #[test]
        fn any_halves_are_read(halves in proptest::collection::vec(r"\\ud83d|\\ude00|\\\\|\\n|u|d83d|x", 0..20)) {
            let json = format!("\"{}\"", halves.concat());
            proptest::prop_assert!(read::<String>(json.as_bytes()).is_ok());
        }
    }
}
