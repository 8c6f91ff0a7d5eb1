//! Mentions, and their placeholders in the text.

use std::collections::HashMap;

use super::wire::Mention;
use crate::mentions::NameBudget;

/// Longest placeholder, in bytes.
const MAX_KEY_BYTES: usize = 64;

/// Whether the bot itself is among `mentions`.
///
/// Its open id decides. While that is unknown, a mention of any bot counts: without the permission to read all group messages,
/// only those that mention this bot arrive.
///
/// See [Feishu Docs/获取机器人信息](https://open.feishu.cn/document/ukTMukTMukTM/uAjMxEjLwITMx4CMyETM).
pub(super) fn is_bot(mention: &Mention, bot: Option<&str>) -> bool {
    match bot {
        Some(bot) => mention.id.open_id == bot,
        None => mention.mentioned_type == "bot",
    }
}

/// `text` without the mentions of the bot, and with names instead of the other placeholders.
pub(super) fn named(text: &str, mentions: &[Mention], bot: Option<&str>) -> String {
    let by_key: HashMap<&str, &Mention> = mentions.iter().rev().map(|it| (it.key.as_str(), it)).collect();
    let mut out = String::with_capacity(text.len());
    let mut names = NameBudget::of(text);
    let mut rest = text;
    while let Some(at) = rest.find("@_") {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        let mention = placeholders(tail).find_map(|key| by_key.get(key));
        let Some(mention) = mention else {
            out.push_str("@_");
            rest = &tail["@_".len()..];
            continue;
        };
        rest = &tail[mention.key.len()..];
        if !is_bot(mention, bot) {
            let (sign, name) = match names.allows(&mention.name) {
                true => ("@", &mention.name),
                false => ("", &mention.key),
            };
            out.push_str(sign);
            out.push_str(name);
        } else if out.is_empty() || out.ends_with(char::is_whitespace) {
            // The space after the mention is removed with it.
            rest = rest.strip_prefix(' ').unwrap_or(rest);
        }
    }
    out.push_str(rest);
    out.replace("@_all", "@all").trim().to_owned()
}

/// The placeholders with which `text` may begin, the longest first: a word and a number, to which digits of the text may be attached. So
/// `@_user_10` is `@_user_1` and a 0 only if there is no mention 10.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    let bytes = &text.as_bytes()[..text.len().min(MAX_KEY_BYTES)];
    let is_word = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    let word = bytes
        .iter()
        .skip(1)
        .position(|byte| !is_word(byte))
        .map_or(bytes.len(), |word| word + 1);
    let n_digits = bytes[word..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    (0..=n_digits).rev().map(move |n| &text[..word + n])
}

#[cfg(test)]
mod tests {
    use super::super::wire::UserId;
    use super::*;

    fn mention(key: &str, open_id: &str, mentioned_type: &str, name: &str) -> Mention {
        Mention {
            key: key.into(),
            id: UserId {
                open_id: open_id.into(),
                ..UserId::default()
            },
            mentioned_type: mentioned_type.into(),
            name: name.into(),
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mentions = [
            mention("@_user_1", "ou_bot", "bot", "Tieline"),
            mention("@_user_2", "ou_tom", "user", "Tom"),
            mention("@_user_10", "ou_other", "bot", "Other"),
        ];
        assert_eq!(named(text, &mentions, Some("ou_bot")), expected);
    }

    #[test]
    fn bot_is_removed_and_others_are_named() {
        check("@_user_1 hi", "hi");
        check("hi @_user_1 there", "hi there");
        check("hi@_user_1", "hi");
        check("@_user_1@_user_2 和 @_user_10你好", "@Tom 和 @Other你好");
        check("@_user_1 /new", "/new");
    }

    #[test]
    fn many_mentions_and_long_names_take_linear_time_and_space() {
        let many: Vec<_> = (0..8000)
            .map(|n| mention(&format!("@_user_{n}"), "ou", "user", "N"))
            .collect();
        let text = "@_".repeat(240_000);
        assert_eq!(named(&text, &many, Some("ou_bot")), text);
        let long = [mention("@_a", "ou", "user", &"n".repeat(60_000))];
        let text = "@_a ".repeat(60_000);
        let shown = named(&text, &long, Some("ou_bot"));
        assert!(
            shown.starts_with("@nnn") && shown.len() < 7 * text.len(),
            "{}",
            shown.len()
        );
    }

    #[test]
    fn words_may_follow_a_placeholder() {
        check("@_user_2hello @_user_2_x", "@Tomhello @Tom_x");
    }

    #[test]
    fn digits_may_follow_a_placeholder() {
        check("@_user_12024年报表", "2024年报表");
        check("@_user_23 @_user_10 @_user_105", "@Tom3 @Other @Other5");
    }

    #[test]
    fn non_placeholders_are_unchanged() {
        check("a@_b @_user_3 @_user_", "a@_b @_user_3 @_user_");
        check("@_all look", "@all look");
    }

    #[test]
    fn known_bot_is_recognized_by_id_and_an_unknown_one_by_type() {
        let other = mention("@_user_1", "ou_other", "bot", "Other");
        assert!(!is_bot(&other, Some("ou_bot")));
        assert!(is_bot(&other, None));
        assert!(!is_bot(&mention("@_all", "", "", ""), None));
    }
}
