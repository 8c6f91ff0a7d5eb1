//! One line of Markdown outside code: tags, links, images.
//!
//! A card reads tags (`<at>`, `<font>`, ...) of which a wrong one fails the whole card, shows images by key only, and links to
//! http and https only. See [Feishu Docs/富文本组件](https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/feishu-cards/card-json-v2-components/content-components/rich-text).

use super::dialect::Place;
use super::links;

/// Rewrites one line, outside code. Line ends are not part of it.
pub(super) fn rewritten(line: &str, place: Place) -> String {
    let mut out = String::with_capacity(line.len() + 16);
    inline(line, place, true, &mut out);
    out
}

fn inline(text: &str, place: Place, links_allowed: bool, out: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '`', '!', '[', '<']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let taken = special(rest, place, links_allowed, out);
        rest = &rest[taken..];
    }
    out.push_str(rest);
}

/// Writes what `text` begins with, and says how many bytes that were. At least one.
fn special(text: &str, place: Place, links_allowed: bool, out: &mut String) -> usize {
    if place == Place::Text && !text.starts_with('<') {
        return copied(text, 1, out);
    }
    match text.as_bytes()[0] {
        b'\\' => copied(text, escaped(text), out),
        b'`' => copied(text, code_span(text), out),
        b'!' if text.starts_with("![") => match links::read(&text[1..]) {
            Some(image) => {
                let label = if image.label.is_empty() { "image" } else { image.label };
                link(label, image.address, place, links_allowed, out);
                1 + image.len
            }
            // It may go on in the next line. An image that isn't a key fails the whole card.
            None => disarmed_image(place, out),
        },
        b'[' => match links::read(text) {
            Some(found) => {
                link(found.label, found.address, place, links_allowed, out);
                found.len
            }
            None => copied(text, 1, out),
        },
        b'<' => angle(text, place, links_allowed, out),
        _ => copied(text, 1, out),
    }
}

fn copied(text: &str, len: usize, out: &mut String) -> usize {
    out.push_str(&text[..len]);
    len
}

fn disarmed_image(place: Place, out: &mut String) -> usize {
    out.push_str(if place.is_card() { "!&#91;" } else { "!\u{200b}[" });
    "![".len()
}

fn escaped(text: &str) -> usize {
    let escapes = text[1..].starts_with(|c: char| c.is_ascii_punctuation());
    1 + usize::from(escapes)
}

/// A code span with its backticks; the backticks alone if nothing closes it.
fn code_span(text: &str) -> usize {
    let ticks = text.len() - text.trim_start_matches('`').len();
    let mut from = ticks;
    while let Some(at) = text[from..].find('`') {
        let start = from + at;
        let run = text[start..].len() - text[start..].trim_start_matches('`').len();
        if run == ticks {
            return start + run;
        }
        from = start + run;
    }
    ticks
}

/// A link that may be followed, else the words and the address, if that says anything. An image is a link here: images are shown by key only.
fn link(label: &str, address: &str, place: Place, links_allowed: bool, out: &mut String) {
    let follows = links_allowed && links::is_web(address);
    let mut words = String::new();
    inline(label, place, false, &mut words);
    match (follows, address.is_empty() || address.starts_with("data:")) {
        (true, _) => {
            out.push('[');
            out.push_str(&words);
            out.push_str("](");
            out.push_str(address);
            out.push(')');
        }
        (false, true) => out.push_str(&words),
        (false, false) => {
            out.push_str(&words);
            out.push_str(" (");
            inline(address, place, false, out);
            out.push(')');
        }
    }
}

fn angle(text: &str, place: Place, links_allowed: bool, out: &mut String) -> usize {
    if let Some(address) = links::auto(text) {
        if place == Place::Text || !links_allowed {
            out.push_str(address);
        } else {
            link(address, address, place, true, out);
        }
        return address.len() + 2;
    }
    if let Some(len) = line_break(text) {
        out.push_str(if place.is_card() { "<br>" } else { "\n" });
        return len;
    }
    // Of a link only the words may be left, and they would make a tag of it.
    let tag = text[1..].starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?' | '[' | '<'));
    match (tag, place) {
        (true, Place::Card | Place::CardWithoutTables) => out.push_str("&#60;"),
        // Posts and texts know no entities: an invisible space breaks the tag.
        (true, _) => out.push_str("<\u{200b}"),
        (false, _) => out.push('<'),
    }
    1
}

fn line_break(text: &str) -> Option<usize> {
    ["<br>", "<br/>", "<br />", "<BR>"]
        .into_iter()
        .find(|tag| text.starts_with(tag))
        .map(str::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(place: Place, text: &str, expected: &str) {
        assert_eq!(rewritten(text, place), expected);
    }

    #[test]
    fn card_tags_are_disarmed_outside_code() {
        check(Place::Card, "<at id=all></at> a < b", "&#60;at id=all>&#60;/at> a < b");
        check(
            Place::Card,
            "`<at id=all>` ``a`<b>`` <i",
            "`<at id=all>` ``a`<b>`` &#60;i",
        );
        check(Place::Card, "`<open", "`&#60;open");
        check(Place::Text, "<at user_id=\"all\">", "<\u{200b}at user_id=\"all\">");
        check(Place::Card, "a<br/>b", "a<br>b");
        check(Place::Post, "a<br/>b", "a\nb");
    }

    #[test]
    fn images_become_links_and_other_schemes_words() {
        check(
            Place::Card,
            "![a cat](https://a.b/c.png \"t\")",
            "[a cat](https://a.b/c.png)",
        );
        check(Place::Card, "![](https://a.b/c.png)", "[image](https://a.b/c.png)");
        check(Place::Card, "![x](img_v3_x)", "x (img_v3_x)");
        check(Place::Card, "![x](data:image/) [y](data:a/)", "x y");
        check(
            Place::Card,
            "[mail](mailto:a@b.c) [t](https://a.b/(c))",
            "mail (mailto:a@b.c) [t](https://a.b/(c))",
        );
        check(
            Place::Card,
            "[![build](https://a/b.svg)](https://a/ci)",
            "[build (https://a/b.svg)](https://a/ci)",
        );
        check(Place::Card, "<https://a.b/c>", "[https://a.b/c](https://a.b/c)");
        check(Place::Text, "![a](b) [t](https://a.b)", "![a](b) [t](https://a.b)");
    }

    #[test]
    fn what_is_no_link_stays() {
        check(
            Place::Card,
            "a[0] = [1, 2](x y) !important [",
            "a[0] = [1, 2](x y) !important [",
        );
        check(Place::Card, "\\[not\\](a) \\", "\\[not\\](a) \\");
        check(Place::Card, "![a](https://a", "!&#91;a](https://a");
        check(
            Place::Card,
            "[t](<https://a.b/<at id=all>)></at>",
            "[t](&#60;https://a.b/&#60;at id=all>)>&#60;/at>",
        );
        check(Place::Card, "<[at id=all]()>", "&#60;at id=all>");
        check(Place::Card, "[t](https://a.b/<at)", "[t](https://a.b/&#60;at)");
    }
}
