//! The end of a mentioned name, where the platform doesn't mark it.

/// Whether a name ends before this: at a blank, or where a sentence goes on. So that what is taken for a name swallows no words.
pub(crate) const fn ends_name(next: char) -> bool {
    next.is_whitespace()
        || matches!(
            next,
            '，' | '。' | '：' | '；' | '！' | '？' | '、' | ',' | ':' | ';' | '!' | '?'
        )
}
