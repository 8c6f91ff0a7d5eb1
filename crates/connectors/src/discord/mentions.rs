//! Converts mentions and custom emoji from the platform's markup to readable text.

use std::collections::HashMap;

use super::wire::User;
use crate::mentions::NameBudget;

/// Identity of the bot: its user, and the roles that the platform manages for it, one per server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity<'a> {
    pub user: &'a str,
    pub roles: &'a [String],
}

impl Identity<'_> {
    fn is_role(&self, id: &str) -> bool {
        self.roles.iter().any(|role| role == id)
    }

    /// Whether one of the mentioned users and roles is the bot.
    pub(super) fn is_among(&self, users: &[User], roles: &[String]) -> bool {
        users.iter().any(|user| user.id == self.user) || roles.iter().any(|role| self.is_role(role))
    }
}

/// Removes mentions of the bot (each with one space before it) and trims; other mentions and custom emoji become their names.
///
/// See [Discord Docs/Message Formatting](https://discord.com/developers/docs/reference#message-formatting).
pub(super) fn readable(text: &str, users: &[User], bot: Identity<'_>) -> String {
    let names: HashMap<&str, &User> = users.iter().map(|user| (user.id.as_str(), user)).collect();
    let mut shown_names = NameBudget::of(text);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        let markup = &rest[at..];
        let end = end_of(markup);
        match meaning(&markup[..end], &names, bot) {
            Markup::Own => {
                if out.ends_with([' ', '\n']) {
                    out.pop();
                }
            }
            Markup::Shown(shown) if shown_names.allows(&shown) => out.push_str(&shown),
            Markup::Shown(_) | Markup::Text => out.push_str(&markup[..end]),
        }
        rest = &markup[end..];
    }
    out.push_str(rest);
    out.trim().to_owned()
}

/// Longest markup: a custom emoji, whose name has at most 32 characters.
const MAX_MARKUP: usize = 64;

/// End of the markup at the beginning of `text`; 1 if there is none.
fn end_of(text: &str) -> usize {
    let inside = text.bytes().take(MAX_MARKUP).skip(1);
    let close = inside.take_while(|byte| *byte != b'<').position(|byte| byte == b'>');
    close.map_or(1, |at| at + 2)
}

enum Markup {
    /// A mention of the bot.
    Own,
    /// Readable text of the markup.
    Shown(String),
    /// Ordinary text, or markup that is kept.
    Text,
}

fn meaning(markup: &str, names: &HashMap<&str, &User>, bot: Identity<'_>) -> Markup {
    let Some(inner) = markup.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) else {
        return Markup::Text;
    };
    if let Some(role) = inner.strip_prefix("@&") {
        return if bot.is_role(role) { Markup::Own } else { Markup::Text };
    }
    if let Some(user) = inner.strip_prefix("@!").or_else(|| inner.strip_prefix('@')) {
        return match names.get(user) {
            _ if user == bot.user => Markup::Own,
            Some(user) => Markup::Shown(format!("@{}", name_of(user))),
            None => Markup::Text,
        };
    }
    emoji(inner).map_or(Markup::Text, |name| Markup::Shown(format!(":{name}:")))
}

/// The name in `:name:id` or `a:name:id`.
fn emoji(inner: &str) -> Option<&str> {
    let (name, id) = inner
        .strip_prefix('a')
        .unwrap_or(inner)
        .strip_prefix(':')?
        .split_once(':')?;
    let is_id = !id.is_empty() && id.bytes().all(|digit| digit.is_ascii_digit());
    (is_id && !name.is_empty()).then_some(name)
}

/// The user's display name.
pub(super) fn name_of(user: &User) -> &str {
    let global = user.global_name.as_deref().filter(|name| !name.is_empty());
    global.unwrap_or(&user.username)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let user: User = serde_json::from_str(r#"{"id":"42","username":"mia_w","global_name":"Mia W"}"#).unwrap();
        let bot = Identity {
            user: "500",
            roles: &["600".to_owned()],
        };
        assert_eq!(readable(text, &[user], bot), expected);
    }

    #[test]
    fn own_mentions_are_removed_with_one_blank() {
        check("<@500> status", "status");
        check("hey <@!500> and <@42>, look", "hey and @Mia W, look");
        check("<@&600>", "");
        check("a  <@500>  b", "a   b");
    }

    #[test]
    fn other_markup_becomes_readable_text() {
        check(
            "<@42> in <#77> <:party:1> <a:wave:22>",
            "@Mia W in <#77> :party: :wave:",
        );
        check("<@&601> <@43>", "<@&601> <@43>");
    }

    #[test]
    fn angle_brackets_in_other_text_are_kept() {
        check("a < b > c <<@500>> <https://e.com> <", "a < b > c <> <https://e.com> <");
        check("<::1> <:x:> <@>", "<::1> <:x:> <@>");
    }
}
