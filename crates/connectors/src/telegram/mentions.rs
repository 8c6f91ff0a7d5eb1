//! Detects whether a text addresses the bot, and removes the mention.
//!
//! See [Bot API/MessageEntity](https://core.telegram.org/bots/api#messageentity): offsets count UTF-16 code units.

use std::ops::Range;

use super::settings::Settings;
use super::wire::Entity;

/// Largest number of entities that are examined. The platform renders at most 100.
const MAX_ENTITIES: usize = 500;

/// Result of reading a text's entities.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Addressed {
    /// The text without mentions of the bot, trimmed.
    pub text: String,
    /// Whether the bot is mentioned, or the text is a command with the bot's name.
    pub mentioned: bool,
    /// Whether the text is a command for another bot.
    pub for_other: bool,
}

/// Reads `text` with its entities. An entity whose range is not inside the text is skipped.
pub(super) fn read(text: &str, entities: &[Entity], bot: &Settings) -> Addressed {
    // Optimization: most texts have no entities.
    let offsets = if entities.is_empty() {
        Vec::new()
    } else {
        byte_offsets(text)
    };
    let mut cuts: Vec<Range<usize>> = Vec::new();
    let mut for_other = false;
    for entity in entities.iter().take(MAX_ENTITIES) {
        let Some(range) = byte_range(entity, &offsets) else {
            continue;
        };
        let words = &text[range.clone()];
        match entity.kind.as_str() {
            "mention" if words.strip_prefix('@').is_some_and(|name| is_bot(name, bot)) => cuts.push(range),
            "text_mention" if is_user(entity, bot) => cuts.push(range),
            "bot_command" => match words.split_once('@') {
                Some((command, name)) if is_bot(name, bot) => cuts.push(range.start + command.len()..range.end),
                Some(_) if range.start == 0 => for_other = true,
                _ => {}
            },
            _ => {}
        }
    }
    cuts.sort_by_key(|cut| (cut.start, cut.end));
    Addressed {
        mentioned: !cuts.is_empty(),
        text: without(text, &cuts),
        for_other,
    }
}

fn is_bot(name: &str, bot: &Settings) -> bool {
    let known = bot.username.as_deref();
    known.is_some_and(|known| known.eq_ignore_ascii_case(name))
}

fn is_user(entity: &Entity, bot: &Settings) -> bool {
    let user = entity.user.as_ref().map(|user| user.id);
    user.is_some() && user == bot.bot_id
}

/// Byte offset of each UTF-16 code unit of `text` and of its end. `None` inside a character.
fn byte_offsets(text: &str) -> Vec<Option<usize>> {
    let mut offsets = Vec::with_capacity(text.len() + 1);
    for (at, c) in text.char_indices() {
        offsets.push(Some(at));
        offsets.extend((c.len_utf16() == 2).then_some(None));
    }
    offsets.push(Some(text.len()));
    offsets
}

fn byte_range(entity: &Entity, offsets: &[Option<usize>]) -> Option<Range<usize>> {
    let end = entity.offset.checked_add(entity.length)?;
    let at = |unit: i64| *offsets.get(usize::try_from(unit).ok()?)?;
    let range = at(entity.offset)?..at(end)?;
    (range.start < range.end).then_some(range)
}

/// `text` without the ranges, which are sorted and may overlap. Where two spaces meet at a cut, one is kept.
fn without(text: &str, cuts: &[Range<usize>]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for cut in cuts {
        if cut.start > at {
            push_joined(&mut out, &text[at..cut.start]);
        }
        at = at.max(cut.end);
    }
    push_joined(&mut out, &text[at..]);
    out.trim().to_owned()
}

fn push_joined(out: &mut String, piece: &str) {
    let piece = match piece.strip_prefix(' ') {
        Some(rest) if out.ends_with(' ') => rest,
        _ => piece,
    };
    out.push_str(piece);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tieline_core::account::Credentials;

    use super::*;

    fn bot() -> Settings {
        let fields = [("botToken", "7012345678:x"), ("botUsername", "demo_bot")];
        Settings::read(&fields.into_iter().collect::<Credentials>()).unwrap()
    }

    fn entity(kind: &str, offset: i64, length: i64) -> Entity {
        Entity {
            kind: kind.to_owned(),
            offset,
            length,
            user: None,
        }
    }

    #[track_caller]
    fn check(text: &str, entities: &[Entity], expected: &str, mentioned: bool) {
        let read = read(text, entities, &bot());
        assert_eq!((read.text.as_str(), read.mentioned), (expected, mentioned));
    }

    #[test]
    fn offsets_count_utf16_units() {
        check("🧪🧪 @Demo_Bot hi", &[entity("mention", 5, 9)], "🧪🧪 hi", true);
        check("你好@demo_bot", &[entity("mention", 2, 9)], "你好", true);
        check("@demo_bot2 hi", &[entity("mention", 0, 10)], "@demo_bot2 hi", false);
        check("`@demo_bot`", &[entity("code", 0, 11)], "`@demo_bot`", false);
    }

    #[test]
    fn commands_keep_their_name() {
        let own = [entity("bot_command", 0, 13)];
        check("/new@demo_bot  x", &own, "/new  x", true);
        let other = read("/new@other_bot", &[entity("bot_command", 0, 14)], &bot());
        assert!(other.for_other && !other.mentioned);
        check("/new", &[entity("bot_command", 0, 4)], "/new", false);
    }

    #[test]
    fn hostile_ranges_are_skipped() {
        let hostile = [
            entity("mention", 0, i64::MAX),
            entity("mention", i64::MAX, i64::MAX),
            entity("mention", -1, 3),
            entity("mention", 5, -5),
            // Inside the emoji.
            entity("text_mention", 1, 3),
        ];
        check("🧪 @demo_bot", &hostile, "🧪 @demo_bot", false);
        let twice = [entity("mention", 0, 9), entity("mention", 0, 9)];
        check("@demo_bot a", &twice, "a", true);
    }

    proptest! {
        #[test]
        fn no_range_panics(text in "\\PC{0,30}|(@demo_bot|🧪| ){0,6}", ranges in prop::collection::vec((-3i64..40, -3i64..40), 0..6)) {
            let entities: Vec<_> = ranges.into_iter().map(|(offset, length)| entity("mention", offset, length)).collect();
            let read = read(&text, &entities, &bot());
            prop_assert!(read.text.len() <= text.len());
        }
    }
}
