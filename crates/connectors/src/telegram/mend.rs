//! Closes inline markup that a growing text has opened but not closed yet.

/// Closes open bold and code in the last paragraph of `text`, and removes incomplete markup at its end.
///
/// So a growing text shows its formatting at once, and no markup characters that vanish with the next words.
pub(super) fn mended(text: &str) -> String {
    let start = text.rfind("\n\n").map_or(0, |at| at + 2);
    let last = &text[start..];
    if last.contains("```") || last.contains("~~~") {
        return text.to_owned();
    }
    let kept = text.trim_end_matches(['*', '_', '`', '~']).len().max(start);
    let open = open_marks(&text[start..kept]);
    let closed_by_end = open.iter().rev().copied().collect::<String>();
    if text[kept..] == closed_by_end {
        return text.to_owned();
    }
    let words = text[..kept].trim_end_matches(' ');
    format!("{words}{closed_by_end}")
}

/// Open markup at the end of a paragraph, the outermost first.
fn open_marks(paragraph: &str) -> Vec<&'static str> {
    let (mut in_code, mut in_bold) = (false, false);
    let mut rest = paragraph;
    while let Some(at) = rest.find(['`', '*', '\\']) {
        rest = &rest[at..];
        let taken = if rest.starts_with('`') {
            in_code = !in_code;
            1
        } else if rest.starts_with("**") && !in_code {
            in_bold = !in_bold;
            2
        } else if let Some(escaped) = rest.strip_prefix('\\') {
            1 + escaped.chars().next().map_or(0, char::len_utf8)
        } else {
            1
        };
        rest = &rest[taken..];
    }
    let bold = in_bold.then_some("**");
    bold.into_iter().chain(in_code.then_some("`")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_markup_is_closed() {
        assert_eq!(mended("a **bo"), "a **bo**");
        assert_eq!(mended("a **bold** b"), "a **bold** b");
        assert_eq!(mended("a **bold**"), "a **bold**");
        assert_eq!(mended("a `co"), "a `co`");
        assert_eq!(mended("a **x `co"), "a **x `co`**");
        assert_eq!(mended("a **"), "a");
        assert_eq!(mended("a **bold "), "a **bold**");
        assert_eq!(mended("**open\n\nnext"), "**open\n\nnext");
        assert_eq!(mended("```\n**"), "```\n**");
        assert_eq!(mended("a \\** b"), "a \\** b");
    }
}
