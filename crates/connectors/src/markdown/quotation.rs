//! Quotations.

/// `text` as a quotation: each of its lines, and so nothing in it ends the quotation.
pub(crate) fn quotation(text: &str) -> String {
    let lines = text.lines().map(|line| format!("> {line}"));
    lines.collect::<Vec<_>>().join("\n")
}
