//! Reference of a conversation: its id, and the form that it waits for, if any.

use serde::{Deserialize, Serialize};

use super::wire::Action;
use crate::run::MAX_REF_BYTES;

/// Longest question of a form that is stored to be asked again, in characters.
const MAX_PROMPT_CHARS: usize = 300;

/// State of the conversation that a session stores.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Conversation {
    /// Empty for a new one.
    pub(crate) id: String,
    /// The form that its workflow waits for.
    pub(crate) form: Option<Form>,
}

/// A form of a paused workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Form {
    /// Token for submitting it.
    pub(crate) token: String,
    /// The workflow run.
    pub(crate) run: String,
    /// The question.
    pub(crate) prompt: String,
    /// The buttons.
    pub(crate) actions: Vec<Action>,
    /// Name of the field for free text.
    pub(crate) input: Option<String>,
}

impl Conversation {
    /// Reads a reference.
    pub(crate) fn read(reference: Option<&str>) -> Self {
        let reference = reference.unwrap_or_default();
        serde_json::from_str(reference).unwrap_or_else(|_| Self {
            id: reference.to_owned(),
            form: None,
        })
    }

    /// The reference: the bare id unless a form waits.
    pub(crate) fn reference(&self) -> String {
        let waiting = self.form.as_ref().and_then(|_| serde_json::to_string(self).ok());
        // A reference over the limit drops the form: a chat couldn't answer one with that many buttons.
        let kept = waiting.filter(|reference| reference.len() <= MAX_REF_BYTES);
        kept.unwrap_or_else(|| self.id.clone())
    }
}

impl Form {
    pub(crate) fn new(
        token: String,
        run: String,
        prompt: &str,
        actions: Vec<Action>,
        inputs: Option<&serde_json::Value>,
    ) -> Self {
        let inputs = inputs.and_then(|inputs| inputs.as_array()).into_iter().flatten();
        let mut names = inputs.filter_map(|input| input["output_variable_name"].as_str());
        Self {
            token,
            run,
            prompt: prompt.chars().take(MAX_PROMPT_CHARS).collect(),
            actions,
            input: names.next().map(str::to_owned),
        }
    }

    /// Titles of the buttons.
    pub(crate) fn choices(&self) -> Vec<String> {
        self.actions.iter().map(|action| action.label().to_owned()).collect()
    }

    /// The action that the person chose, and the rest of the text. A form with a single action needs no choice.
    pub(crate) fn choose<'a>(&self, text: &'a str) -> Option<(&Action, &'a str)> {
        let text = text.trim();
        let matching = self.actions.iter().filter_map(|action| {
            let label = action.label();
            let start = text.get(..label.len())?;
            let rest = &text[label.len()..];
            let ends = rest.chars().next().is_none_or(|next| !next.is_alphanumeric());
            (start.to_lowercase() == label.to_lowercase() && ends).then_some((action, rest))
        });
        let chosen = matching.max_by_key(|(action, _)| action.label().len());
        let rest = |text: &'a str| text.trim_start_matches(|c: char| c.is_whitespace() || ":：,，.".contains(c));
        match (chosen, self.actions.as_slice()) {
            (Some((action, said)), _) => Some((action, rest(said))),
            (None, [only]) => Some((only, text)),
            (None, _) => None,
        }
    }
}

impl Action {
    fn label(&self) -> &str {
        if self.title.is_empty() { &self.id } else { &self.title }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn form(titles: &[&str]) -> Form {
        let actions = titles.iter().map(|title| Action {
            id: format!("id_{title}"),
            title: (*title).into(),
        });
        let inputs = json!([{"type": "paragraph", "output_variable_name": "comment"}]);
        Form::new("t".into(), "r".into(), "Sure?", actions.collect(), Some(&inputs))
    }

    #[test]
    fn reference_is_the_bare_id_unless_a_form_waits() {
        assert_eq!(Conversation::read(None), Conversation::default());
        assert_eq!(Conversation::read(Some("c-1")).reference(), "c-1");
        let waiting = Conversation {
            id: "c-1".into(),
            form: Some(form(&["Yes"])),
        };
        assert_eq!(Conversation::read(Some(&waiting.reference())), waiting);
    }

    #[track_caller]
    fn check(titles: &[&str], text: &str, expected: Option<(&str, &str)>) {
        let form = form(titles);
        let chosen = form.choose(text).map(|(action, rest)| (action.title.as_str(), rest));
        assert_eq!(chosen, expected, "{text}");
    }

    #[test]
    fn action_is_chosen_by_its_title() {
        check(&["Yes", "No"], " yes ", Some(("Yes", "")));
        check(&["Yes", "No"], "No: too dear", Some(("No", "too dear")));
        check(&["Yes", "Yes please"], "yes please", Some(("Yes please", "")));
        check(&["同意", "拒绝"], "拒绝，太贵", Some(("拒绝", "太贵")));
        check(&["Yes", "No"], "Nothing", None);
        check(&["Yes", "No"], "é", None);
        check(&["Go on"], "my name is Li", Some(("Go on", "my name is Li")));
        check(&[], "yes", None);
    }
}
