//! Block quotes.

/// `text` as a block quote. Every line gets the mark, so nothing in the text can end the quote.
pub(crate) fn quotation(text: &str) -> String {
    let lines = text.lines().map(|line| format!("> {line}"));
    lines.collect::<Vec<_>>().join("\n")
}
