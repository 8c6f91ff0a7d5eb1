//! The whole text of a reply in common Markdown: the answer, a sentence of ours, links to files.

use tieline_core::notice::{Language, Notice};
use tieline_core::reply::{DesiredReply, Stage};

use crate::markdown;

/// The text that the chat should show. Its beginning stays the same while the answer grows.
pub(super) fn whole(desired: &DesiredReply<'_>, language: Language) -> String {
    let mut full_text = markdown::without_data(desired.text).trim_end().to_owned();
    if let Some(notice) = desired.notice {
        if !full_text.is_empty() {
            // Nothing of ours may end up inside code that the agent left open.
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
