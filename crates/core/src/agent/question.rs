//! The question with which an agent ends its turn, as a part of the answer's text.

use serde::{Deserialize, Serialize};

/// A question to the person, as it was appended to the answer's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedQuestion {
    prompt: String,
    /// Its choices, one a line, if they can't be buttons.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    list: String,
}

impl AskedQuestion {
    /// A question with the choices that are listed in the text.
    #[must_use]
    pub(super) fn new(prompt: &str, listed: &[String]) -> Self {
        Self {
            prompt: prompt.to_owned(),
            list: listed.iter().map(|choice| format!("\n- {choice}")).collect(),
        }
    }

    /// Appends the question as a paragraph.
    pub(super) fn append_to(&self, text: &mut String) {
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str(&self.prompt);
        text.push_str(&self.list);
    }

    /// Whether a text asks it already.
    #[must_use]
    pub(super) fn is_in(&self, text: &str) -> bool {
        let words = match self.prompt.trim() {
            "" => self.list.trim(),
            prompt => prompt,
        };
        text.contains(words)
    }
}

#[cfg(test)]
mod tests {
    use crate::agent::{AgentEvent, Draft};

    fn ask(prompt: &str, choices: &[&str]) -> AgentEvent {
        AgentEvent::InputRequired {
            prompt: prompt.into(),
            choices: choices.iter().map(|choice| (*choice).to_owned()).collect(),
            resume_ref: None,
        }
    }

    #[track_caller]
    fn check(events: &[AgentEvent], final_text: Option<&str>, expected: &str) {
        let mut draft = Draft::default();
        for event in events {
            draft.apply(event);
        }
        let final_text = final_text.map(str::to_owned);
        draft.apply(&AgentEvent::Completed { final_text });
        assert_eq!(draft.text, expected);
    }

    #[test]
    fn final_text_does_not_remove_a_question() {
        let written = AgentEvent::TextDelta("Draft".into());
        let asked = [written.clone(), ask("Send it?", &["yes", "no"])];
        check(&asked, Some("Draft."), "Draft.\n\nSend it?");
        check(&asked, Some("Draft. Send it? Yes or no."), "Draft. Send it? Yes or no.");
        check(&asked, None, "Draft\n\nSend it?");
        let long = "x".repeat(41);
        let listed = format!("Draft.\n\nSend it?\n- {long}");
        check(&[ask("Send it?", &[&long])], Some("Draft."), &listed);
        check(&[ask("", &[&long])], Some("Draft."), &format!("Draft.\n\n\n- {long}"));
        let replaced = AgentEvent::TextSnapshot("Draft.".into());
        check(&[ask("Send it?", &[]), replaced], None, "Draft.\n\nSend it?");
        check(&[written], Some("Draft."), "Draft.");
    }
}
