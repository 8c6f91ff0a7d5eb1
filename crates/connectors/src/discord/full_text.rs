//! The whole text of a reply, in common Markdown: the answer, a notice, links to files.

use tieline_core::notice::{Language, Notice};
use tieline_core::reply::{DesiredReply, ReplyFile, Stage};

use crate::markdown;

/// The text that the messages of a reply show together. Its beginning is stable while the answer grows.
pub(super) fn whole(desired: &DesiredReply<'_>, language: Language) -> String {
    let mut text = markdown::answer(desired.text).trim_end().to_owned();
    let files: Vec<_> = desired.files.iter().map(link).collect();
    let notice = desired
        .notice
        .map(|notice| notice.referring(desired.reference, language).into_owned());
    for paragraph in notice.into_iter().chain((!files.is_empty()).then(|| files.join("\n"))) {
        if !text.is_empty() {
            // Closes code blocks that the agent left open, so that our text doesn't become code.
            text = markdown::piece(&text, 0, usize::MAX, str::to_owned).shown;
            text.push_str("\n\n");
        }
        text.push_str(&paragraph);
    }
    if desired.stage == Stage::Final && text.trim().is_empty() {
        // The platform refuses blank messages.
        notice_alone(Notice::EmptyAnswer, language)
    } else {
        text
    }
}

/// The replacement of a text that the platform blocks.
pub(super) fn withheld(desired: &DesiredReply<'_>, language: Language) -> String {
    match desired.link {
        Some(link) => format!("{} {link}", Notice::RestBehindLink.text(language)),
        None => notice_alone(Notice::Incomplete, language),
    }
}

/// The notice that the end of the answer may be missing, with a link to the whole.
pub(super) fn unconfirmed(desired: &DesiredReply<'_>, language: Language) -> String {
    let notice = notice_alone(Notice::Incomplete, language);
    match desired.link {
        Some(link) => format!("{notice}\n\n{} {link}", Notice::RestBehindLink.text(language)),
        None => notice,
    }
}

fn notice_alone(notice: Notice, language: Language) -> String {
    notice.text(language).to_owned()
}

fn link(file: &ReplyFile) -> String {
    let name = file.name.replace(['[', ']', '\n', '\r'], " ");
    format!("[{}]({})", name.trim(), markdown::address(file))
}
