//! Tolerant reading of JSON from agents: repairs lone surrogates.
//!
//! A JavaScript agent that splits its text inside an emoji sends each half of the surrogate pair as an escape of its own. A lone
//! surrogate is no character, and the parser refuses the whole event for it; here only the surrogate is replaced, like invalid UTF-8.
//!
//! See [RFC 8259/8.2](https://www.rfc-editor.org/rfc/rfc8259#section-8.2).

use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

const HIGH: RangeInclusive<u16> = 0xd800..=0xdbff;
const LOW: RangeInclusive<u16> = 0xdc00..=0xdfff;
/// Replacement for a lone surrogate.
const REPLACEMENT: &[u8] = b"\\ufffd";

/// Parses JSON. Lone surrogates are replaced.
pub(crate) fn read<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(json).or_else(|error| match whole_characters(json) {
        Some(mended) => serde_json::from_slice(&mended),
        None => Err(error),
    })
}

/// Reads a field that may be null, which means the same as an absent one.
pub(crate) fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Replaces every lone surrogate and keeps everything else in place. `None` if there is none.
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
            // Any escape, in particular an escaped backslash: the characters after it are plain text.
            _ if json[at] == b'\\' => 2,
            _ => 1,
        };
    }
    mended
}

/// The UTF-16 code unit that is escaped at this position, if any.
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
    fn lone_surrogate_is_replaced_and_the_rest_is_kept() {
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
    fn invalid_json_stays_invalid() {
        for json in [&br#"{"a":"\ud83d"#[..], br"\ud83d", br#""\ud83"#, br#""\"#, b""] {
            assert!(read::<serde_json::Value>(json).is_err());
        }
        let told = read::<serde_json::Value>(b"{\n]").unwrap_err();
        assert_eq!((told.line(), told.column()), (2, 1));
    }

    proptest::proptest! {
        #[test]
        fn any_sequence_of_surrogates_is_read(halves in proptest::collection::vec(r"\\ud83d|\\ude00|\\\\|\\n|u|d83d|x", 0..20)) {
            let json = format!("\"{}\"", halves.concat());
            proptest::prop_assert!(read::<String>(json.as_bytes()).is_ok());
        }
    }
}
