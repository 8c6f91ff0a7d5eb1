//! Short digests of shown text, stored to detect that an agent has changed it since.

use tieline_core::ids;

/// Number of bytes before a position whose digest shows whether the text changed there.
const TAIL: usize = 64;

/// A digest long enough to distinguish texts, of 16 characters.
pub(crate) fn short_digest(fields: &[&str]) -> String {
    let mut digest = ids::digest(fields);
    digest.truncate(16);
    digest
}

/// Digest of the text just before `at`, which is between two characters.
pub(crate) fn digest_before(text: &str, at: usize) -> String {
    let from = at.saturating_sub(TAIL);
    let from = (from..=at).find(|from| text.is_char_boundary(*from)).unwrap_or(at);
    short_digest(&[&text[from..at]])
}

/// Whether the text just before `at` is still the one of this digest.
pub(crate) fn is_unchanged_before(text: &str, at: usize, digest: &str) -> bool {
    text.is_char_boundary(at) && digest == digest_before(text, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_text_before_a_position_is_detected() {
        let text = "一二三四五六七八九十".repeat(10);
        let digest = digest_before(&text, 150);
        assert!(is_unchanged_before(&text, 150, &digest));
        assert!(is_unchanged_before(&format!("{text} more"), 150, &digest));
        assert!(!is_unchanged_before(&text.replace('一', "1"), 150, &digest));
        assert!(!is_unchanged_before(&text[..30], 150, &digest));
        assert!(!is_unchanged_before(&format!("x{text}"), 150, &digest));
    }
}
