//! The payload of an invocation: a JSON template with placeholders in its strings.

use serde_json::{Map, Value, json};
use tieline_core::agent::{AgentPart, AgentRequest};

use crate::manifest::end_user;
use crate::prompt;

/// A string that is nothing but this becomes the list of attachments.
const FILES: &str = "{{files}}";

/// The template of agents that were made by the vendor's examples.
pub(crate) fn default_template() -> Value {
    json!({"prompt": "{{text}}"})
}

/// What the placeholders stand for.
pub(crate) struct Values {
    text: String,
    files: Vec<Value>,
    others: Vec<(&'static str, String)>,
}

impl Values {
    /// Those of a question. Attachments are links in the text unless the template has a place for them.
    pub(crate) fn of(request: &AgentRequest, template: &Value) -> Self {
        let message = &request.message;
        let has_files = mentions(template, FILES);
        Self {
            text: prompt::text(message, |part| has_files && !part.unavailable),
            files: prompt::parts(message)
                .filter(|part| !part.unavailable)
                .map(file)
                .collect(),
            others: vec![
                ("{{userId}}", end_user(&request.organization, &request.user.id)),
                ("{{sessionId}}", request.session.id.to_string()),
                ("{{messageId}}", request.message.id.to_string()),
                ("{{locale}}", request.user.locale.tag().to_owned()),
            ],
        }
    }

    /// Those of a probe.
    pub(crate) fn probe() -> Self {
        Self {
            text: "ping".into(),
            files: Vec::new(),
            others: Vec::new(),
        }
    }

    /// The template with its placeholders filled in.
    pub(crate) fn fill(&self, template: &Value) -> Value {
        match template {
            Value::String(text) if text == FILES => self.files.clone().into(),
            Value::String(text) => self.fill_text(text).into(),
            Value::Array(list) => list.iter().map(|item| self.fill(item)).collect(),
            Value::Object(fields) => {
                let filled = fields.iter().map(|(name, value)| (name.clone(), self.fill(value)));
                filled.collect::<Map<_, _>>().into()
            }
            other => other.clone(),
        }
    }

    fn fill_text(&self, template: &str) -> String {
        let known = self.others.iter();
        let filled = known.fold(template.to_owned(), |text, (name, value)| text.replace(name, value));
        // Last: the person's words may look like a placeholder.
        filled.replace("{{text}}", &self.text)
    }
}

fn mentions(template: &Value, placeholder: &str) -> bool {
    match template {
        Value::String(text) => text == placeholder,
        Value::Array(list) => list.iter().any(|item| mentions(item, placeholder)),
        Value::Object(fields) => fields.values().any(|value| mentions(value, placeholder)),
        _ => false,
    }
}

fn file(part: &AgentPart) -> Value {
    json!({"type": part.kind.word(), "url": part.url, "name": part.name, "mime": part.mime})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_words_of_a_person_are_not() {
        let values = Values {
            text: "say {{userId}} \"twice\"".into(),
            files: vec![json!({"url": "https://x"})],
            others: vec![("{{userId}}", "u1".into())],
        };
        let template =
            json!({"prompt": "{{text}}", "user": ["id {{userId}}", 5], "files": "{{files}}", "kept": "{{other}}"});
        let expected = json!({"prompt": "say {{userId}} \"twice\"", "user": ["id u1", 5], "files": [{"url": "https://x"}], "kept": "{{other}}"});
        assert_eq!(values.fill(&template), expected);
        assert!(mentions(&template, FILES) && !mentions(&default_template(), FILES));
    }
}
