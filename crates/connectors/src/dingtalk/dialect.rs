//! Converts common Markdown to DingTalk's two dialects: messages and cards.
//!
//! Works line by line, so that unknown syntax is kept. Code is unchanged.
//!
//! See [DingTalk Docs/消息发送与接收类型](https://open.dingtalk.com/document/development/robot-message-type); for cards, what the
//! renderer was seen to do.

mod inline;
mod lines;

use lines::{Kind, Line};

/// Where the text is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Surface {
    /// `markdown`, `sampleMarkdown`.
    Message,
    /// The Markdown variable of an AI card.
    Card,
}

/// Converts common Markdown for a surface.
pub(super) fn write(text: &str, surface: Surface) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    let mut last: Option<Kind> = None;
    for line in lines::read(text) {
        let mut shown = show(&line, surface);
        if let Some(last) = last {
            out.push_str(separator(last, &line, surface));
            if joins_quote(last, line.kind, surface) {
                shown = shown.trim_start_matches(['>', ' ']).to_owned();
            }
        }
        out.push_str(&shown);
        last = Some(line.kind);
    }
    out
}

fn show(line: &Line<'_>, surface: Surface) -> String {
    match line.kind {
        Kind::Code | Kind::Fence => line.text.to_owned(),
        Kind::Table => inline::write(line.text, surface, true),
        Kind::Paragraph => inline::write(line.text.trim_end(), surface, false),
        Kind::List => inline::write(&lines::task_mark(line.text), surface, false),
        _ => inline::write(line.text, surface, false),
    }
}

/// A single line break inside a paragraph may be dropped, and a table needs a blank line before it.
fn separator(last: Kind, line: &Line<'_>, surface: Surface) -> &'static str {
    match (last, line.kind) {
        (Kind::Paragraph, Kind::Paragraph) => match surface {
            Surface::Message => "  \n  ",
            Surface::Card => "<br>",
        },
        (Kind::Quote, Kind::Quote) if surface == Surface::Card => "<br>",
        (Kind::Table | Kind::Blank, Kind::Table) => "\n",
        (_, Kind::Table) => "\n\n",
        _ => "\n",
    }
}

fn joins_quote(last: Kind, kind: Kind, surface: Surface) -> bool {
    surface == Surface::Card && last == Kind::Quote && kind == Kind::Quote
}

/// Title for the list of chats: the first words of a text, without markup, on one line.
pub(super) fn title(text: &str) -> String {
    const MAX_CHARS: usize = 40;
    let first = text
        .lines()
        .map(|line| line.trim_matches(|c: char| c.is_whitespace() || "#>*-+`|_~".contains(c)))
        .find(|line| !line.is_empty())
        .unwrap_or("…");
    let plain: String = first.chars().filter(|c| !"*`[]".contains(*c)).collect();
    plain.chars().take(MAX_CHARS).collect()
}

#[cfg(test)]
mod tests;
