//! Whole text of a reply in common Markdown: the answer, a notice, links to files.

use tieline_core::notice::{Language, Notice};
use tieline_core::reply::{DesiredReply, Stage};

use crate::markdown;

/// The text that the chat should show. Its beginning is stable while the answer grows.
pub(super) fn whole(desired: &DesiredReply<'_>, language: Language) -> String {
    let mut full_text = markdown::without_data(desired.text).trim_end().to_owned();
    if let Some(notice) = desired.notice {
        if !full_text.is_empty() {
            // Closes code blocks that the agent left open, so that our text doesn't become code.
            full_text = markdown::piece(&full_text, 0, usize::MAX, str::to_owned).shown;
            full_text.push_str("\n\n");
        }
        full_text.push_str(&notice.referring(desired.reference, language));
    }
    let full_text = markdown::with_files(&full_text, desired.files).into_owned();
    if desired.stage == Stage::Final && full_text.trim().is_empty() {
        return Notice::EmptyAnswer.text(language).to_owned();
    }
    full_text
}
