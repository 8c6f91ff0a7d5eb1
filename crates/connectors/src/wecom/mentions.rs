//! Removes the mention of the bot from a group message.

use crate::mentions::ends_name;

/// `text` without the mention of the bot, trimmed.
///
/// The payload doesn't say which word is the bot's name, so its configured name is searched, which may contain spaces; without one, or
/// if it doesn't occur, the first word that starts with `@` is taken. People don't always type a space after it.
pub(super) fn strip<'a>(text: &'a str, bot_name: Option<&str>) -> std::borrow::Cow<'a, str> {
    let named =
        bot_name.and_then(|name| named(text, name, char::is_whitespace).or_else(|| named(text, name, ends_ours)));
    let Some((start, end)) = named.or_else(|| first_word(text)) else {
        return text.trim().into();
    };
    let (before, after) = (text[..start].trim(), text[end..].trim());
    match (before, after) {
        // Of a word that only begins with the name, the rest may be the whole message.
        ("", "") => bot_name
            .and_then(|name| text[start + 1..].strip_prefix(name))
            .unwrap_or_default()
            .trim()
            .into(),
        ("", rest) | (rest, "") => rest.into(),
        _ => format!("{before} {after}").into(),
    }
}

/// Position of `@name`, followed by the end of the text or by a character for which `ends` is true.
fn named(text: &str, name: &str, ends: fn(char) -> bool) -> Option<(usize, usize)> {
    text.match_indices('@').find_map(|(start, _)| {
        let rest = text[start + 1..].strip_prefix(name)?;
        let whole = rest.chars().next().is_none_or(ends);
        (whole && starts_word(text, start)).then(|| (start, text.len() - rest.len()))
    })
}

/// Whether the name ends before this character: `bot` isn't `bot2`, but Chinese is written without spaces.
const fn ends_ours(next: char) -> bool {
    !next.is_ascii_alphanumeric() && next != '_'
}

/// The first word that starts with `@`.
fn first_word(text: &str) -> Option<(usize, usize)> {
    let (start, _) = text.match_indices('@').find(|(at, _)| starts_word(text, *at))?;
    let length = text[start..].find(ends_name).unwrap_or(text.len() - start);
    (length > 1).then_some((start, start + length))
}

fn starts_word(text: &str, at: usize) -> bool {
    text[..at].chars().next_back().is_none_or(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, name: Option<&str>, expected: &str) {
        assert_eq!(strip(text, name), expected);
    }

    #[test]
    fn configured_name_is_stripped_even_with_spaces() {
        check("@My Helper 你好", Some("My Helper"), "你好");
        check("@My Helper", Some("My Helper"), "");
        check("@My Helper\u{2005}/new plan", Some("My Helper"), "/new plan");
        check(
            "ask @Bob about it @My Helper please",
            Some("My Helper"),
            "ask @Bob about it please",
        );
    }

    #[test]
    fn words_may_follow_the_name_without_a_space() {
        check("@小助手，帮我查", Some("小助手"), "，帮我查");
        check("@小助手帮我查 一下", Some("小助手"), "帮我查 一下");
        check("@bot2 hi", Some("bot"), "hi");
        check("@bot_2 hi", Some("bot"), "hi");
        check("@小助手2号是谁", Some("小助手"), "2号是谁");
        // The exact name takes precedence over a longer one that begins with it.
        check("@小助手长 和 @小助手 说", Some("小助手"), "@小助手长 和 说");
        check("@小助手，帮我 查", None, "，帮我 查");
        check("@Helper: hi", Some("Renamed"), ": hi");
    }

    #[test]
    fn without_a_name_the_first_word_is_removed() {
        check("@Helper 你好 @Bob", None, "你好 @Bob");
        check("  @Helper\n/new", None, "/new");
        check("你好 @Helper", None, "你好");
        check("@Renamed hi", Some("Helper"), "hi");
    }

    #[test]
    fn non_mentions_are_unchanged() {
        check("mail a@b.c now", None, "mail a@b.c now");
        check("@Helpers hi", Some("Helper"), "hi");
        check("an @ alone", None, "an @ alone");
        check(" plain ", None, "plain");
    }
}
