//! Cards: a title, a Markdown text, fields and buttons, shown by each platform in its own way.

mod read;

use serde::{Deserialize, Serialize};

use crate::bilingual::Bilingual;
use crate::ids::ReplyId;
use crate::notice::Language;

pub use read::{CardError, MAX_BUTTONS, MAX_FIELDS};

/// A card as operators and agents write it. Within the limits that [`Card::read`] checks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// The title: one line, no Markdown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The text, in common Markdown. Only a card of choices has none: the question is in the answer's text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Names and values, listed below the text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
    /// The buttons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buttons: Vec<Button>,
}

/// A named value of a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A button of a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Button {
    /// Its label: one line, no Markdown.
    pub text: String,
    /// What a click on it does.
    #[serde(flatten)]
    pub action: Action,
}

/// What a click on a button does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Opens this address.
    Url(String),
    /// Sends this to the agent, as a message of the person who clicked.
    Value(String),
}

impl Card {
    /// A card of choices without text of its own. `None` if they are too many, too long or not distinct.
    #[must_use]
    pub fn of_choices(choices: &[String]) -> Option<Self> {
        let buttons: Option<Vec<_>> = choices.iter().map(|choice| read::choice(choice)).collect();
        let buttons = buttons.filter(|buttons| (1..=MAX_BUTTONS).contains(&buttons.len()))?;
        let is_repeated = |at: usize| buttons[..at].contains(&buttons[at]);
        (!(0..buttons.len()).any(is_repeated)).then_some(Self {
            buttons,
            ..Self::default()
        })
    }

    /// Everything but the buttons, in Markdown.
    #[must_use]
    pub fn body(&self) -> String {
        let title = self.title.as_ref().map(|title| format!("**{title}**"));
        let fields: Vec<_> = self.fields.iter().map(Field::line).collect();
        let blocks = [
            title.unwrap_or_default(),
            self.text.trim().to_owned(),
            fields.join("\n"),
        ];
        let blocks: Vec<_> = blocks.into_iter().filter(|block| !block.is_empty()).collect();
        blocks.join("\n\n")
    }

    /// The card with every text passed through `change`, for the redaction of agents' output. Addresses are kept.
    #[must_use]
    pub fn with_words(&self, change: impl Fn(&str) -> String) -> Self {
        let action = |action: &Action| match action {
            Action::Url(url) => Action::Url(url.clone()),
            Action::Value(value) => Action::Value(change(value)),
        };
        Self {
            title: self.title.as_deref().map(&change),
            text: change(&self.text),
            fields: self
                .fields
                .iter()
                .map(|field| Field {
                    name: change(&field.name),
                    value: change(&field.value),
                })
                .collect(),
            buttons: self
                .buttons
                .iter()
                .map(|button| Button {
                    text: change(&button.text),
                    action: action(&button.action),
                })
                .collect(),
        }
    }

    /// The card without buttons that open an unencrypted address: they are links of the text.
    #[must_use]
    pub fn without_http(mut self) -> Self {
        let is_open = |button: &Button| button.url().is_some_and(|url| !url.starts_with("https://"));
        let (open, buttons): (Vec<_>, Vec<_>) = self.buttons.into_iter().partition(is_open);
        self.text = below(&self.text, &button_lines(&open, Language::English));
        self.buttons = buttons;
        self
    }

    /// Its length, in bytes.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        let fields = self.fields.iter().map(|field| field.name.len() + field.value.len());
        let buttons = self.buttons.iter().map(|button| match &button.action {
            Action::Url(words) | Action::Value(words) => button.text.len() + words.len(),
        });
        self.title.as_ref().map_or(0, String::len) + self.text.len() + fields.sum::<usize>() + buttons.sum::<usize>()
    }
}

impl Field {
    fn line(&self) -> String {
        format!("- **{}**: {}", self.name, self.value)
    }
}

impl Button {
    /// The address that it opens, if it opens one.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        match &self.action {
            Action::Url(url) => Some(url),
            Action::Value(_) => None,
        }
    }

    /// The text that it sends to the agent, if it sends one.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        match &self.action {
            Action::Url(_) => None,
            Action::Value(value) => Some(value),
        }
    }
}

const ANSWER: Bilingual = Bilingual {
    en: ": answer ",
    zh: "：请回复 ",
};

/// The buttons as Markdown lines, where they can't be shown as buttons: links, and the texts to reply with.
pub fn button_lines<'a>(buttons: impl IntoIterator<Item = &'a Button>, language: Language) -> String {
    let line = |button: &Button| match &button.action {
        Action::Url(url) => {
            let label = button.text.replace(['[', ']'], " ");
            let url = url.replace('(', "%28").replace(')', "%29").replace(' ', "%20");
            format!("- [{}]({url})", label.trim())
        }
        Action::Value(value) if *value == button.text => format!("- {value}"),
        Action::Value(value) => format!("- {}{}{value}", button.text, ANSWER.in_language(language)),
    };
    let lines: Vec<_> = buttons.into_iter().map(line).collect();
    lines.join("\n")
}

/// `text` with `block` as a paragraph below it, outside of code blocks that `text` leaves open. The result starts with `text`, byte for byte.
#[must_use]
pub fn below(text: &str, block: &str) -> String {
    if block.is_empty() {
        return text.to_owned();
    }
    if text.trim().is_empty() {
        return block.to_owned();
    }
    let open = text.lines().fold(None, |open: Option<&str>, line| {
        let line = line.trim_start();
        let fence = ["```", "~~~"].into_iter().find(|fence| line.starts_with(fence));
        match (open, fence) {
            (Some(opened), Some(fence)) if opened == fence => None,
            (Some(opened), _) => Some(opened),
            (None, fence) => fence,
        }
    });
    let end = open.map(|fence| format!("\n{fence}")).unwrap_or_default();
    format!("{text}{end}\n\n{block}")
}

/// Prefix of the click key of a button that sends a text to the agent: see [`choice_key`].
const CHOICE: &str = "tl:choice:";

/// The key of a button that sends a text to the agent: the reply and the button's index. At most 64 bytes of ASCII without white space,
/// the least that a platform allows. The text is looked up in the reply, never taken from a click.
#[must_use]
pub fn choice_key(reply: &ReplyId, button: usize) -> String {
    format!("{CHOICE}{button}:{reply}")
}

/// Like [`choice_key`], with the button's label, for a platform that doesn't repeat it in a click: see [`chosen_label`].
#[must_use]
pub fn labelled_choice_key(reply: &ReplyId, number: usize, button: &Button) -> String {
    format!("{}|{}", choice_key(reply, number), button.text)
}

/// The label of the clicked button, as contained in its key.
#[must_use]
pub fn chosen_label(key: &str) -> Option<&str> {
    read_choice_key(key)?;
    key.split_once('|').map(|(_, label)| label)
}

/// Reads a key of [`choice_key`] or [`labelled_choice_key`].
#[must_use]
pub fn read_choice_key(key: &str) -> Option<(ReplyId, usize)> {
    let key = key.split_once('|').map_or(key, |(key, _)| key);
    let (button, reply) = key.strip_prefix(CHOICE)?.split_once(':')?;
    let is_one = button.len() <= 2 && button.bytes().all(|digit| digit.is_ascii_digit());
    let button = button.parse().ok().filter(|_| is_one && !reply.is_empty())?;
    Some((ReplyId::new(reply), button))
}

#[cfg(test)]
mod tests;
