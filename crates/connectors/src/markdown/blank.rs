//! Answers of which nothing would be visible.

use std::borrow::Cow;

use super::data::without_data;
use super::plain::{LinkStyle, PlainStyle, plain};

const STYLE: PlainStyle = PlainStyle {
    marks: false,
    links: LinkStyle::Anchor,
};

/// The text of an answer without `data:` URLs; empty if nothing of it would be visible, so that a notice takes its place.
pub(crate) fn answer(text: &str) -> Cow<'_, str> {
    if is_blank(text) { "".into() } else { without_data(text) }
}

/// Whether a chat would show nothing of `text`: white space, or markup without content, such as an open code fence or an inline picture
/// without a label.
pub(crate) fn is_blank(text: &str) -> bool {
    // Most texts begin with a word, and a word at the beginning of a line is never markup.
    let begins_with_word = text.trim_start().starts_with(char::is_alphanumeric);
    !begins_with_word && !plain(&without_data(text), STYLE).contains(is_visible)
}

fn is_visible(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts that render to nothing.
    const BLANK: [&str; 14] = [
        "",
        " \n",
        "![](data:image/png;base64,AAAA)",
        "[](data:text/csv,1)\n\n![ ](data:image/png,A)",
        "```",
        "```sh\n",
        "> ",
        ">\n> >\n",
        "# ",
        "[]()",
        "&nbsp;",
        "&#8203;\u{feff}",
        "<br>",
        "**&nbsp;**",
    ];

    #[test]
    fn markup_without_content_is_blank() {
        for text in BLANK {
            assert!(is_blank(text), "{text:?}");
            assert_eq!(answer(text), "");
        }
    }

    #[test]
    fn whatever_is_visible_is_kept() {
        for text in [
            "a",
            "  1. ",
            "。",
            "```\n.\n```",
            "---",
            "[](https://e.com)",
            "[](mailto:a@e.com)",
            "![a](data:image/)",
            "> `x`",
            "😀",
        ] {
            assert!(!is_blank(text), "{text:?}");
            assert_eq!(answer(text), text);
        }
    }
}
