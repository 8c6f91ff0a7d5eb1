use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(text: &str, message: &str, card: &str) {
    assert_eq!(write(text, Surface::Message), message, "message");
    assert_eq!(write(text, Surface::Card), card, "card");
}

#[track_caller]
fn check_both(text: &str, expected: &str) {
    check(text, expected, expected);
}

#[test]
fn lone_line_breaks_in_a_paragraph_are_kept_visible() {
    check("one\ntwo\n\nthree", "one  \n  two\n\nthree", "one<br>two\n\nthree");
    check("one  \ntwo", "one  \n  two", "one<br>two");
    check(
        "> one\n> two\n>\n> three",
        "> one\n> two\n>\n> three",
        "> one<br>two<br><br>three",
    );
}

#[test]
fn blocks_keep_their_line_breaks() {
    check_both("# Title\ntext", "# Title\ntext");
    check_both("- a\n- b\n  more\n1. c", "- a\n- b\n  more\n1. c");
    check_both("text\n---\nmore", "text\n---\nmore");
    check_both("Title\n===", "Title\n===");
}

#[test]
fn code_stays_as_it_is() {
    check_both(
        "```html\n<b>\n\n[x](ftp://y)\n| a |\n```",
        "```html\n<b>\n\n[x](ftp://y)\n| a |\n```",
    );
    check_both("~~~\n```\n<b>\n~~~", "~~~\n```\n<b>\n~~~");
    check_both("`<b>` and ``a`<b>`` and `<b>", "`<b>` and ``a`<b>`` and `&lt;b>");
    check_both("    <indented>", "    <indented>");
    check_both(
        "> ```\n> <b>x\n>\n> [y](ftp://z)\n> ```",
        "> ```\n> <b>x\n>\n> [y](ftp://z)\n> ```",
    );
    check(
        "> a\n> ~~~\n> <b>\n> ~~~\n> <c>\n> d",
        "> a\n> ~~~\n> <b>\n> ~~~\n> &lt;c>\n> d",
        "> a\n> ~~~\n> <b>\n> ~~~\n> &lt;c><br>d",
    );
    check_both("> ```\n> <b>\n<c>", "> ```\n> <b>\n&lt;c>");
    check_both("```\n> ```\n<b>\n```", "```\n> ```\n<b>\n```");
}

#[test]
fn tables_get_a_blank_line_before_them() {
    check_both(
        "text\n| a | b |\n|---|---|\n| 1 | 2 |",
        "text\n\n| a | b |\n|---|---|\n| 1 | 2 |",
    );
    check_both(
        "text\n\na | b\n--|--\n1 | 2\n\nend",
        "text\n\na | b\n--|--\n1 | 2\n\nend",
    );
    check("| a<br>b |\n|---|", "| a b |\n|---|", "| a<br>b |\n|---|");
}

#[test]
fn tags_are_written_out() {
    check_both("use Vec<String> here", "use Vec&lt;String> here");
    check_both("1 < 2 > 0, <3", "1 < 2 > 0, <3");
    check_both("a \\<b> c", "a &lt;b> c");
    check_both("<https://example.com/a>", "https://example.com/a");
    check_both("open <b", "open &lt;b");
    check("a<br/>b", "a  \n  b", "a<br>b");
    check(
        "<font color=\"red\">x</font>",
        "&lt;font color=\"red\">x&lt;/font>",
        "<font color=\"red\">x</font>",
    );
    check_both("<a atId=\"boss\">boss</a>", "&lt;a atId=\"boss\">boss&lt;/a>");
}

#[test]
fn only_web_addresses_are_linked() {
    check_both("[x](https://e.com/a_(b) \"t\")", "[x](https://e.com/a_(b) \"t\")");
    check_both("[mail](mailto:a@b.c)", "mail (mailto:a@b.c)");
    check_both("[run](javascript:alert)", "run (javascript:alert)");
    check_both("[a [b] c](https://e.com)", "[a [b] c](https://e.com)");
    check_both("[no link] (x) [ref][1]", "[no link] (x) [ref][1]");
    check_both("[Vec<T>](https://e.com)", "[Vec&lt;T>](https://e.com)");
}

#[test]
fn brackets_are_matched_at_any_distance() {
    let brackets = "[".repeat(12_000);
    check_both(&brackets, &brackets);
    let address = format!("mailto:{}", "a".repeat(4000));
    check_both(&format!("[x]({address})"), &format!("x ({address})"));
}

#[test]
fn unfetchable_pictures_become_label_and_url() {
    check_both("![cat](https://e.com/c.png)", "![cat](https://e.com/c.png)");
    check_both("![cat](@lADPDe7s)", "![cat](@lADPDe7s)");
    check_both("![cat](data:image/png;base64,AAAA)", "cat");
    check_both("![](data:image/png;base64,AAAA)", "🖼");
    check_both("[cat](data:image/)", "cat");
    check_both("![cat](file:///c.png)", "cat (file:///c.png)");
}

#[test]
fn unknown_marks_are_replaced() {
    check_both("~~old~~ new ~~", "old new ~~");
    check_both("- [ ] open\n- [x] done\n- [y] text", "- ☐ open\n- ☑ done\n- [y] text");
}

#[test]
fn titles_are_the_first_words() {
    assert_eq!(title("\n## **巡检** `ok`\nmore"), "巡检 ok");
    assert_eq!(title(&"长".repeat(100)), "长".repeat(40));
    assert_eq!(title(" \n---\n"), "…");
}

/// Letters and digits that people read, in order.
fn words(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|c| c.is_alphanumeric())
}

proptest! {
    #[test]
    fn no_text_is_lost(
        text in "([ac-z]{1,5}|[ \n]|\n\n|```\n|`|~~|\\*\\*|# |> |- |\\| |\\|--\\|\n|<|>|\\[|\\]|\\(|\\)|!|\\\\|中文|😀|https://a\\.cc){0,40}",
    ) {
        for surface in [Surface::Message, Surface::Card] {
            let shown = write(&text, surface);
            let mut left = words(&shown);
            for c in words(&text) {
                prop_assert!(left.any(|shown| shown == c), "{:?} is lost from {:?}: {:?}", c, text, shown);
            }
        }
    }

    #[test]
    fn anything_can_be_written(text in any::<String>()) {
        for surface in [Surface::Message, Surface::Card] {
            write(&text, surface);
            prop_assert!(title(&text).chars().count() <= 40);
        }
    }
}
