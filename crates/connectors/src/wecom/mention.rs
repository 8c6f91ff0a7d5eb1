//! Taking the mention of the bot out of a group message.

/// `text` without the mention of the bot, trimmed.
///
/// The payload doesn't say which word names the bot, so it is looked for by its configured name, which may hold spaces; without one, or
/// if it doesn't occur, the first word that starts with `@` is taken.
pub(super) fn strip<'a>(text: &'a str, bot_name: Option<&str>) -> std::borrow::Cow<'a, str> {
    let found = bot_name.and_then(|name| named(text, name)).or_else(|| first_word(text));
    let Some((start, end)) = found else {
        return text.trim().into();
    };
    let (before, after) = (text[..start].trim(), text[end..].trim());
    match (before, after) {
        ("", rest) | (rest, "") => rest.into(),
        _ => format!("{before} {after}").into(),
    }
}

/// Where `@name` stands as a word of its own.
fn named(text: &str, name: &str) -> Option<(usize, usize)> {
    text.match_indices('@').find_map(|(start, _)| {
        let rest = text[start + 1..].strip_prefix(name)?;
        let whole = rest.chars().next().is_none_or(char::is_whitespace);
        (whole && starts_word(text, start)).then(|| (start, text.len() - rest.len()))
    })
}

/// The first word that starts with `@`.
fn first_word(text: &str) -> Option<(usize, usize)> {
    let (start, _) = text.match_indices('@').find(|(at, _)| starts_word(text, *at))?;
    let length = text[start..].find(char::is_whitespace).unwrap_or(text.len() - start);
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
    fn without_a_name_the_first_word_goes() {
        check("@Helper 你好 @Bob", None, "你好 @Bob");
        check("  @Helper\n/new", None, "/new");
        check("你好 @Helper", None, "你好");
        check("@Renamed hi", Some("Helper"), "hi");
    }

    #[test]
    fn what_is_no_mention_stays() {
        check("mail a@b.c now", None, "mail a@b.c now");
        check("@Helpers hi", Some("Helper"), "hi");
        check("an @ alone", None, "an @ alone");
        check(" plain ", None, "plain");
    }
}
