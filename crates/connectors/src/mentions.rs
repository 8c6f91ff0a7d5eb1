//! Names of mentioned people: where one ends, for platforms that don't mark it, and how much text they may add.

/// Bytes that names may add to any text.
const MIN_ADDED_BYTES: usize = 1024;
/// Bytes that names may add for each byte of the text.
const ADDED_PER_BYTE: usize = 4;

/// Limits what names add to a text: a short placeholder may stand for a long name, and many for the same.
pub(crate) struct NameBudget(usize);

impl NameBudget {
    /// The budget of a text with placeholders.
    pub(crate) const fn of(text: &str) -> Self {
        Self(MIN_ADDED_BYTES + text.len().saturating_mul(ADDED_PER_BYTE))
    }

    /// Whether a placeholder may be replaced by this name. Else it stays.
    pub(crate) fn allows(&mut self, name: &str) -> bool {
        let rest = self.0.checked_sub(name.len());
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }
}

/// Whether a name ends before this character: a blank, or punctuation. Conservative, so that a supposed name swallows no text.
pub(crate) const fn ends_name(next: char) -> bool {
    next.is_whitespace()
        || matches!(
            next,
            '，' | '。' | '：' | '；' | '！' | '？' | '、' | ',' | ':' | ';' | '!' | '?'
        )
}
