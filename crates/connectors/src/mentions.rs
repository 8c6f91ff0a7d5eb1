//! End of a mentioned name, for platforms that don't mark it.

/// Whether a name ends before this character: a blank, or punctuation. Conservative, so that a supposed name swallows no text.
pub(crate) const fn ends_name(next: char) -> bool {
    next.is_whitespace()
        || matches!(
            next,
            '，' | '。' | '：' | '；' | '！' | '？' | '、' | ',' | ':' | ';' | '!' | '?'
        )
}
