//! Pictures of chats: what a bot shows, drawn approximately as in the platform's client.
//!
//! The same input gives the same bytes, so that a test can compare a picture with what the connectors send today.

mod blocks;
mod svg;

use blocks::Block;
use svg::{Canvas, Style};

/// How a client displays texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// As Markdown, tables included.
    Markdown,
    /// As Markdown without tables.
    MarkdownWithoutTables,
    /// As plain text.
    Plain,
}

/// The characteristics of a platform's client.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// The name above the chat.
    pub name: &'static str,
    /// How it shows texts.
    pub dialect: Dialect,
    /// Whether its theme is dark.
    pub dark: bool,
    /// The accent colour, of buttons and links.
    pub accent: &'static str,
}

/// A moment of a chat.
#[derive(Debug, Clone)]
pub struct Moment {
    /// The caption of the picture.
    pub caption: String,
    /// What the person said.
    pub question: String,
    /// What the bot shows, one entry for each message.
    pub messages: Vec<String>,
    /// Labels of buttons below the last message, and whether each opens an address.
    pub buttons: Vec<(String, bool)>,
}

/// Draws the moments one below the other.
#[must_use]
pub fn draw(client: Client, moments: &[Moment]) -> String {
    let style = Style::of(client);
    let mut canvas = Canvas::new(style, client.name);
    for moment in moments {
        canvas.caption(&moment.caption);
        canvas.question(&moment.question);
        let last = moment.messages.len().saturating_sub(1);
        for (at, message) in moment.messages.iter().enumerate() {
            let buttons: &[(String, bool)] = if at == last { &moment.buttons } else { &[] };
            canvas.answer(&Block::read(message, client.dialect), buttons);
        }
    }
    canvas.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Client = Client {
        name: "Chat <1>",
        dialect: Dialect::Markdown,
        dark: false,
        accent: "#06c",
    };

    #[test]
    fn words_are_escaped_and_tables_are_drawn() {
        let moment = Moment {
            caption: "now".to_owned(),
            question: "a < b & c?".to_owned(),
            messages: vec!["**yes**\n\n| x | y |\n|---|---|\n| 1 | 2 |\n\n```\ncode\n```".to_owned()],
            buttons: vec![("Go".to_owned(), false)],
        };
        let drawn = draw(CLIENT, std::slice::from_ref(&moment));
        assert!(
            drawn.contains("a &lt; b &amp; c?") && drawn.contains("Chat &lt;1&gt;"),
            "{drawn}"
        );
        assert!(
            !drawn.contains("**") && !drawn.contains("|---"),
            "Markdown is left in {drawn}"
        );
        assert_eq!(drawn, draw(CLIENT, std::slice::from_ref(&moment)));
        let plain = Client {
            dialect: Dialect::Plain,
            ..CLIENT
        };
        assert!(draw(plain, &[moment]).contains("**yes**"));
    }
}
