//! Buttons below an answer: what they carry, and who may press them.

use serde_json::{Value, json};
use tieline_core::notice::{Language, Notice};

/// What a button does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    NewSession,
    Stop,
}

impl Action {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::NewSession => "new",
            Self::Stop => "stop",
        }
    }

    const fn label(self) -> Notice {
        match self {
            Self::NewSession => Notice::ButtonNewSession,
            Self::Stop => Notice::ButtonStop,
        }
    }
}

/// The beginning of the `custom_id` of our buttons.
const PREFIX: &str = "tl";

/// What a button carries in its `custom_id`. The platform hands it back under its own signature, and hands back only what a message of
/// the bot holds, so it needs no proof of its own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Button<'a> {
    pub action: Action,
    /// Who may press it: a session may be shared, but an answer has one asker.
    pub asker: &'a str,
    /// The reply below which it is shown.
    pub reply: &'a str,
}

impl<'a> Button<'a> {
    /// `None` if the button isn't one of ours.
    pub(super) fn read(custom_id: &'a str) -> Option<Self> {
        let mut fields = custom_id.split(':');
        if fields.next() != Some(PREFIX) {
            return None;
        }
        let word = fields.next()?;
        let action = [Action::NewSession, Action::Stop]
            .into_iter()
            .find(|action| action.word() == word)?;
        let (asker, reply) = (fields.next()?, fields.next()?);
        fields.next().is_none().then_some(Self { action, asker, reply })
    }

    fn custom_id(&self) -> String {
        format!("{PREFIX}:{}:{}:{}", self.action.word(), self.asker, self.reply)
    }

    /// The `components` of a message with this button.
    ///
    /// See [Discord Docs/Button](https://discord.com/developers/docs/components/reference#button).
    pub(super) fn components(&self, language: Language) -> Value {
        json!([{ "type": 1, "components": [{
            "type": 2,
            "style": 2,
            "label": self.action.label().text(language),
            "custom_id": self.custom_id(),
        }]}])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buttons_are_read_back_and_others_are_not() {
        for action in [Action::NewSession, Action::Stop] {
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
            "tl:stop:42:tl-1:x",
        ] {
            assert_eq!(Button::read(other), None, "{other}");
        }
    }
}
