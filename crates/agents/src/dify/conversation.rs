//! Reference of a conversation: its id, whose it is, and the form that it waits for, if any.

use serde::{Deserialize, Serialize};
use tieline_core::agent::AgentRequest;
use tieline_core::event::ChatKind;
use tieline_core::ids::{OrganizationId, UserId};

use super::wire::Action;
use crate::manifest::end_user;
use crate::run::MAX_REF_BYTES;

/// Longest question of a form that is stored to be asked again, in characters.
const MAX_PROMPT_CHARS: usize = 300;

/// State of the conversation that a session stores.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Conversation {
    /// Empty for a new one.
    pub(crate) id: String,
    /// The `user` who began it, in a chat of several people: to every other user the app denies that it exists. Older versions stored none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// The form that its workflow waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
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
    /// A new conversation of the asker. A direct chat has a single person, so no user needs to be stored.
    pub(crate) fn begun_by(request: &AgentRequest) -> Self {
        let is_shared = request.chat.kind != ChatKind::Direct;
        Self {
            user: is_shared.then(|| end_user(&request.organization, &request.user.id)),
            ..Self::default()
        }
    }

    /// The conversation that a request continues, or a new one. Without a stored user it belongs to the asker, if it still exists for them.
    pub(crate) fn of(request: &AgentRequest) -> Self {
        let (kept, new) = (
            Self::read(request.session.conversation_ref.as_deref()),
            Self::begun_by(request),
        );
        Self {
            user: kept.user.or(new.user),
            ..kept
        }
    }

    /// Reads a reference.
    pub(crate) fn read(reference: Option<&str>) -> Self {
        let reference = reference.unwrap_or_default();
        serde_json::from_str(reference).unwrap_or_else(|_| Self {
            id: reference.to_owned(),
            ..Self::default()
        })
    }

    /// The `user` of its calls.
    pub(crate) fn user(&self, organization: &OrganizationId, asker: &UserId) -> String {
        let begun_by = self.user.clone();
        begun_by.unwrap_or_else(|| end_user(organization, asker))
    }

    /// The reference: the bare id if there is nothing else. `None` before the app has named the conversation.
    pub(crate) fn reference(&self) -> Option<String> {
        if self.id.is_empty() || self.user.is_none() && self.form.is_none() {
            return Some(self.id.clone()).filter(|id| !id.is_empty());
        }
        let written = serde_json::to_string(self).ok()?;
        if written.len() <= MAX_REF_BYTES || self.form.is_none() {
            return Some(written);
        }
        // Over the limit it drops the form: a chat couldn't answer one with that many buttons.
        let without = Self {
            form: None,
            ..self.clone()
        };
        without.reference()
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

    fn kept(user: Option<&str>, form: Option<Form>) -> Conversation {
        Conversation {
            id: "c-1".into(),
            user: user.map(str::to_owned),
            form,
        }
    }

    #[test]
    fn reference_is_read_as_it_was_written() {
        assert_eq!(Conversation::read(None), Conversation::default());
        assert_eq!(Conversation::default().reference(), None);
        assert_eq!(kept(None, None).reference().as_deref(), Some("c-1"));
        for conversation in [
            kept(None, None),
            kept(Some("u"), None),
            kept(None, Some(form(&["Yes"]))),
            kept(Some("u"), Some(form(&["Yes"]))),
        ] {
            assert_eq!(Conversation::read(conversation.reference().as_deref()), conversation);
        }
        let long = kept(Some("u"), Some(form(&["Yes"; MAX_REF_BYTES])));
        assert_eq!(Conversation::read(long.reference().as_deref()), kept(Some("u"), None));
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
