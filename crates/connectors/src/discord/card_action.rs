//! Buttons below an answer: their content, and who may press them.

use serde_json::{Value, json};
use tieline_core::card;
use tieline_core::ids::ReplyId;
use tieline_core::notice::{Language, Notice};

/// Action of a button.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    NewSession,
    Stop,
    /// Sends the text of the card's button with this number.
    Choice(u8),
}

impl Action {
    pub(super) fn word(self) -> String {
        match self {
            Self::NewSession => "new".to_owned(),
            Self::Stop => "stop".to_owned(),
            Self::Choice(number) => format!("{CHOICE}{number}"),
        }
    }

    fn read(word: &str) -> Option<Self> {
        match word {
            "new" => Some(Self::NewSession),
            "stop" => Some(Self::Stop),
            _ => word.strip_prefix(CHOICE)?.parse().ok().map(Self::Choice),
        }
    }
}

/// Prefix of the `custom_id` of our buttons.
const PREFIX: &str = "tl";
/// Prefix of a choice's word.
const CHOICE: &str = "choice";
/// Field of a reply handle that says that the interaction has its initial response already.
pub(super) const ANSWERED: &str = "answered";
/// Styles of buttons.
///
/// See [Discord Docs/Button](https://discord.com/developers/docs/components/reference#button-button-styles).
const PRIMARY: u8 = 1;
const SECONDARY: u8 = 2;
const SUCCESS: u8 = 3;
const LINK: u8 = 5;

/// Content of a button's `custom_id`. The platform returns it under its own signature, and only if a message of the bot contains it, so it
/// needs no signature of its own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Button<'a> {
    pub action: Action,
    /// Who may press it: a session may be shared, but an answer has one asker. Empty: everyone in the chat.
    pub asker: &'a str,
    /// The reply that it is shown below.
    pub reply: &'a str,
}

impl<'a> Button<'a> {
    /// `None` if the button isn't one of ours.
    pub(super) fn read(custom_id: &'a str) -> Option<Self> {
        let mut fields = custom_id.split(':');
        if fields.next() != Some(PREFIX) {
            return None;
        }
        let action = Action::read(fields.next()?)?;
        let (asker, reply) = (fields.next()?, fields.next()?);
        fields.next().is_none().then_some(Self { action, asker, reply })
    }

    fn custom_id(&self) -> String {
        format!("{PREFIX}:{}:{}:{}", self.action.word(), self.asker, self.reply)
    }

    /// Whether `person` may press it.
    pub(super) fn is_for(&self, person: &str) -> bool {
        self.asker.is_empty() || self.asker == person
    }
}

/// The buttons below an answer: those of its card, and our own.
pub(super) fn components(
    own: Option<Action>,
    card: &[card::Button],
    asker: &str,
    reply: &ReplyId,
    language: Language,
) -> Value {
    let callback = |style: u8, label: &str, action: Action| {
        let reply = reply.as_str();
        let custom_id = Button { action, asker, reply }.custom_id();
        json!({ "type": 2, "style": style, "label": label, "custom_id": custom_id })
    };
    let of_card = card.iter().zip(0..).map(|(button, number)| match &button.action {
        card::Action::Url(url) => json!({ "type": 2, "style": LINK, "label": button.text, "url": url }),
        card::Action::Value(_) => callback(PRIMARY, &button.text, Action::Choice(number)),
    });
    let label = |action: Action| match action {
        Action::Stop => Notice::ButtonStop.text(language),
        _ => Notice::ButtonNewSession.text(language),
    };
    let own = own.map(|action| callback(SECONDARY, label(action), action));
    let rows = [of_card.collect(), own.into_iter().collect::<Vec<_>>()];
    let rows = rows.into_iter().filter(|row| !row.is_empty());
    rows.map(|row| json!({ "type": 1, "components": row })).collect()
}

/// The components of a message after one of its choices was pressed: that one is marked, and all are disabled. `None` if `pressed` isn't
/// among them.
pub(super) fn marked(components: &Value, pressed: &str) -> Option<Value> {
    let mut marked = components.clone();
    let mut is_there = false;
    let rows = marked.as_array_mut()?.iter_mut();
    let buttons = rows
        .filter_map(|row| row.get_mut("components")?.as_array_mut())
        .flatten();
    for button in buttons.filter(|button| is_choice(button)) {
        button["disabled"] = true.into();
        if button["custom_id"] == pressed {
            is_there = true;
            button["style"] = SUCCESS.into();
            button["label"] = format!("✓ {}", button["label"].as_str().unwrap_or_default()).into();
        }
    }
    is_there.then_some(marked)
}

fn is_choice(button: &Value) -> bool {
    let read = button["custom_id"].as_str().and_then(Button::read);
    read.is_some_and(|button| matches!(button.action, Action::Choice(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressed_choice_is_marked_and_other_buttons_are_kept() {
        let choice = |number: u8| format!("tl:choice{number}:42:tl-1");
        let button = |id: &str, label: &str| json!({ "type": 2, "style": PRIMARY, "label": label, "custom_id": id });
        let link = json!({ "type": 2, "style": LINK, "label": "Log", "url": "https://example.com" });
        let own = button("tl:new:42:tl-1", "New session");
        let row = |buttons: Value| json!({ "type": 1, "components": buttons });
        let components = json!([
            row(json!([link, button(&choice(1), "Yes"), button(&choice(2), "No")])),
            row(json!([own]))
        ]);
        let mut yes = button(&choice(1), "✓ Yes");
        (yes["style"], yes["disabled"]) = (SUCCESS.into(), true.into());
        let mut no = button(&choice(2), "No");
        no["disabled"] = true.into();
        let expected = json!([row(json!([link, yes, no])), row(json!([own]))]);
        assert_eq!(marked(&components, &choice(1)), Some(expected));
        assert_eq!(marked(&components, &choice(3)), None);
        assert_eq!(marked(&Value::Null, &choice(1)), None);
    }

    #[test]
    fn own_buttons_are_parsed_and_foreign_ones_are_not() {
        for action in [Action::NewSession, Action::Stop, Action::Choice(4)] {
            let button = Button {
                action,
                asker: "310000000000000042",
                reply: "tl-Zm9vYmFyYmF6Zm9vYmFyYmF6Zm9vYmFy",
            };
            let id = button.custom_id();
            assert!(id.len() <= 100, "the platform allows 100 characters");
            assert_eq!(Button::read(&id), Some(button));
        }
        for other in [
            "",
            "tl",
            "stop:run_81",
            "tl:stop:42",
            "tl:ban:42:tl-1",
            "tl:choice:42:tl-1",
            "tl:choice-1:42:tl-1",
            "tl:stop:42:tl-1:x",
        ] {
            assert_eq!(Button::read(other), None, "{other}");
        }
    }
}
