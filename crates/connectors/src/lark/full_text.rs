//! Whole text of a reply, in common Markdown: the answer, a notice, links to files.

use tieline_core::card;
use tieline_core::notice::{Language, Notice};
use tieline_core::reply::{DesiredReply, ReplyFile, Stage};

use crate::markdown;

/// The text to be shown. Its beginning is stable while the answer grows.
pub(super) fn whole(desired: &DesiredReply<'_>, language: Language) -> String {
    let mut full_text = markdown::answer(desired.text).trim_end().to_owned();
    let files: Vec<_> = desired.files.iter().map(link).collect();
    let notice = desired
        .notice
        .map(|notice| sentence(&notice.referring(desired.reference, language)));
    for paragraph in notice.into_iter().chain((!files.is_empty()).then(|| files.join("\n"))) {
        if !full_text.is_empty() {
            // Closes code blocks that the agent left open, so that our text doesn't become code.
            full_text = markdown::piece(&full_text, 0, usize::MAX, str::to_owned).shown;
            full_text.push_str("\n\n");
        }
        full_text.push_str(&paragraph);
    }
    if desired.stage == Stage::Final && full_text.trim().is_empty() {
        // A card must not stay in its thinking state.
        full_text = sentence(Notice::EmptyAnswer.text(language));
    }
    full_text
}

/// The whole text, with the buttons as lines of the text.
pub(super) fn whole_with_buttons(desired: &DesiredReply<'_>, language: Language) -> String {
    let text = card::below(desired.text, &card::button_lines(desired.buttons, language));
    whole(
        &DesiredReply {
            text: &text,
            ..*desired
        },
        language,
    )
}

/// The replacement of a text that the platform refuses.
pub(super) fn withheld(desired: &DesiredReply<'_>, language: Language) -> String {
    match desired.link {
        Some(link) => format!("{} [{link}]({link})", Notice::BlockedBehindLink.text(language)),
        None => Notice::Incomplete.text(language).to_owned(),
    }
}

/// A single line end may be rendered as a space, so there are two.
fn sentence(text: &str) -> String {
    text.replace('\n', "\n\n")
}

fn link(file: &ReplyFile) -> String {
    let name = file.name.replace(['[', ']', '\n'], " ");
    format!("[{}]({})", name.trim(), markdown::address(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tieline_core::ids::ReplyId;

    #[test]
    fn blank_answer_ends_with_a_notice() {
        let reply = ReplyId::new("tl-1");
        let blank = |stage| DesiredReply::new(&reply, stage, " \n");
        let told = Notice::EmptyAnswer.text(Language::English);
        assert_eq!(whole(&blank(Stage::Final), Language::English), told);
        assert_eq!(whole(&blank(Stage::Growing), Language::English), "");
    }

    #[test]
    fn notice_and_files_follow_the_text_outside_its_code() {
        let reply = ReplyId::new("tl-1");
        let files = [ReplyFile {
            url: "https://a.b/c (1).pdf".into(),
            name: "[c].pdf".into(),
            mime: "application/pdf".into(),
        }];
        let desired = DesiredReply {
            notice: Some(Notice::Stopped),
            files: &files,
            ..DesiredReply::new(&reply, Stage::Final, "a\n```\nb\n")
        };
        let full_text = whole(&desired, Language::English);
        assert_eq!(
            full_text,
            "a\n```\nb\n```\n\n(Stopped.)\n\n[c .pdf](https://a.b/c%20%281%29.pdf)"
        );
    }
}
