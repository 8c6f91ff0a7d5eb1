//! Whole text of a reply in common Markdown: the answer, a notice, links to files.

use tieline_core::card::{Button, below, button_lines};
use tieline_core::notice::{Language, Notice};
use tieline_core::reply::{DesiredReply, Stage};

use super::dialect::is_followable;
use crate::markdown;

/// The text that the chat should show. Its beginning is stable while the answer grows.
pub(super) fn whole(desired: &DesiredReply<'_>, language: Language) -> String {
    let mut full_text = markdown::answer(desired.text).trim_end().to_owned();
    if let Some(notice) = desired.notice {
        if !full_text.is_empty() {
            // Closes code blocks that the agent left open, so that our text doesn't become code.
            full_text = markdown::piece(&full_text, 0, usize::MAX, str::to_owned).shown;
            full_text.push_str("\n\n");
        }
        full_text.push_str(&notice.referring(desired.reference, language));
    }
    let links = desired.buttons.iter().filter(|button| !is_accepted(button));
    let full_text = below(&full_text, &button_lines(links, language));
    let full_text = markdown::with_files(&full_text, desired.files).into_owned();
    if desired.stage == Stage::Final && full_text.trim().is_empty() {
        return Notice::EmptyAnswer.text(language).to_owned();
    }
    full_text
}

/// Whether the platform accepts a button. One with an address that it can't open makes it refuse the whole message (`BUTTON_URL_INVALID`): such a
/// button is a line of the text.
pub(super) fn is_accepted(button: &Button) -> bool {
    button.url().is_none_or(is_followable)
}
