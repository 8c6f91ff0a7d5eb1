//! Content of a bubble or a message: a part of the agent's text in the bot's dialect, with our notices below it.

use std::borrow::Cow;

use tieline_core::notice::{Language, Notice};
use tieline_core::reference::Reference;
use tieline_core::reply::DesiredReply;

use super::dialect::{defused, render};
use crate::markdown::{Cutter, Piece, piece};

/// Longest content of a stream or a markdown message, in bytes.
///
/// See [WeCom Docs/被动回复消息](https://developer.work.weixin.qq.com/document/path/101031).
pub(super) const MAX_BYTES: usize = 20480;
/// Content of a bubble without text: an animation of dots.
///
/// See the official plugin, `WecomTeam/wecom-openclaw-plugin`, `src/const.ts`.
pub(super) const DOTS: &str = "<think></think>";

/// The growing text from `from` on. Animated dots while it is blank.
pub(super) fn growing(text: &str, from: usize) -> String {
    let shown = piece(text, from, MAX_BYTES, render).shown;
    if is_blank(&shown) { DOTS.to_owned() } else { shown }
}

/// Content of a bubble before the text begins.
pub(super) fn thinking(reasoning: &str) -> String {
    format!("<think>{}</think>", defused(reasoning))
}

/// The part of the text from `from` on that fits, with a note that it continues in another message. `kept`: end of the text that the
/// message shows already.
pub(super) fn part(text: &str, from: usize, kept: usize, language: Language) -> Piece {
    let sentence = Notice::Continued.text(language);
    let piece = Cutter::new(text).piece_keeping(kept, from, room_above(sentence), render);
    Piece {
        shown: below(&piece.shown, sentence),
        end: piece.end,
    }
}

/// End of the longest part of the text that fits above `note`: whatever of it is shown already stays.
pub(super) fn longest_end(text: &str, note: &str) -> usize {
    Cutter::new(text).longest_piece(0, room_above(note), render).end
}

/// The part of the text from `from` on that fits into a message that is followed by another.
pub(super) fn message(text: &str, from: usize) -> Piece {
    piece(text, from, MAX_BYTES, render)
}

/// The text from `from` on, with `tail` below it. It doesn't fit into one message if `end` is not the end of the text.
///
/// Never blank: the platform ignores a blank end, and the bubble's spinner would stay.
pub(super) fn last(text: &str, from: usize, tail: &str, language: Language) -> Piece {
    let piece = piece(text, from, room_above(tail), render);
    let shown = match (is_blank(&piece.shown), tail.is_empty()) {
        (true, true) => Notice::EmptyAnswer.text(language).to_owned(),
        (true, false) => tail.to_owned(),
        (false, true) => piece.shown,
        (false, false) => below(&piece.shown, tail),
    };
    Piece { shown, end: piece.end }
}

/// The text from `from` on in the only remaining message, with a link to what doesn't fit. `None` if there is nothing to send.
pub(super) fn only(text: &str, from: usize, desired: &DesiredReply<'_>, language: Language) -> Option<String> {
    let tail = sentence(desired.notice, desired.reference, language);
    if nothing_left(text, from, &tail) {
        return None;
    }
    let whole = last(text, from, &tail, language);
    if whole.end == text.len() {
        return Some(whole.shown);
    }
    let behind = behind(desired.link, language);
    let tail = if tail.is_empty() { behind } else { below(&behind, &tail) };
    Some(last(text, from, &tail, language).shown)
}

/// Note with a link to the rest of the text.
pub(super) fn behind(link: Option<&str>, language: Language) -> String {
    match link {
        Some(link) => format!("{}[{link}]({link})", Notice::RestBehindLink.text(language)),
        None => Notice::Incomplete.text(language).to_owned(),
    }
}

/// Whether everything is shown already, and there is no notice to add.
pub(super) fn nothing_left(text: &str, from: usize, tail: &str) -> bool {
    from > 0 && tail.is_empty() && is_blank(&text[from..])
}

/// Our notice, if any.
pub(super) fn sentence(notice: Option<Notice>, reference: Option<Reference>, language: Language) -> Cow<'static, str> {
    notice.map_or_else(Cow::default, |notice| notice.referring(reference, language))
}

/// Whether nothing of the text would be visible.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || c == '\u{200b}')
}

fn room_above(sentence: &str) -> usize {
    match sentence.len() {
        0 => MAX_BYTES,
        length => MAX_BYTES.saturating_sub(length + 2),
    }
}

/// `sentence` in a paragraph of its own below `shown`.
fn below(shown: &str, sentence: &str) -> String {
    if is_blank(shown) {
        sentence.to_owned()
    } else {
        format!("{}\n\n{sentence}", shown.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn letters(text: &str) -> String {
        let plain = text.replace(Notice::Continued.text(Language::English), "");
        plain.chars().filter(|c| c.is_alphanumeric()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Also if the dialect makes the text longer: padded rows, written-out links, escaped reasoning marks.
        #[test]
        fn parts_fit_and_lose_nothing(
            pieces in prop::collection::vec("<think>[a-z]{4}|\n\n|\\| [a-z] \\| b \\| c \\|\n\\|--\\|--\\|--\\|\n\\| d\n\\| e\n\n|```\n[a-z]{9}\n|<https://e\\.com/[a-z]{3}>|汉字{1,40}。|😀|[a-z]{3,9} ", 1..40),
            times in 20usize..120,
        ) {
            let text = pieces.concat().repeat(times);
            let (mut at, mut shown) = (0, String::new());
            while at < text.len() {
                let part = part(&text, at, 0, Language::English);
                prop_assert!(part.shown.len() <= MAX_BYTES, "{} bytes", part.shown.len());
                prop_assert!(part.end > at);
                at = part.end;
                shown.push_str(&part.shown);
            }
            let shown = letters(&shown);
            let mut rest = shown.chars();
            for letter in letters(&text).chars() {
                prop_assert!(rest.any(|shown| shown == letter), "{} is lost", letter);
            }
        }
    }
}
