//! The payload of an invocation: a JSON template with placeholders in its strings.

use serde_json::{Value, json};
use tieline_core::agent::{AgentFailure, AgentPart, AgentRequest};

use crate::facts::{FILES, Facts, Filling};
use crate::prompt;

/// The default template, which suits agents made from the vendor's examples.
pub(crate) fn default_template() -> Value {
    json!({"prompt": "{{text}}"})
}

/// Values of the placeholders.
pub(crate) struct Values {
    text: String,
    files: Value,
    facts: Option<Facts>,
}

impl Values {
    /// Values for a question. Attachments become links in the text unless the template has a placeholder for them.
    pub(crate) fn of(request: &AgentRequest, template: &Value) -> Self {
        let message = &request.message;
        let has_files = mentions(template, FILES);
        Self {
            text: prompt::text(message, |part| has_files && !part.unavailable),
            files: prompt::parts(message)
                .filter(|part| !part.unavailable)
                .map(file)
                .collect(),
            facts: Some(Facts::of(request)),
        }
    }

    /// Values for a probe.
    pub(crate) fn probe() -> Self {
        Self {
            text: "ping".into(),
            files: json!([]),
            facts: None,
        }
    }

    /// The template with its placeholders filled in.
    pub(crate) fn fill(&self, template: &Value) -> Result<Value, AgentFailure> {
        Filling::of(self.facts.as_ref(), Some(&self.text))
            .with_files(&self.files)
            .value(template)
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
    fn text_and_files_are_filled_in() {
        let values = Values {
            text: "say {{userId}} \"twice\"".into(),
            files: json!([{"url": "https://x"}]),
            facts: None,
        };
        let template = json!({"prompt": "{{text}}", "user": [5], "files": "{{files}}", "kept": "{{other}}"});
        let expected = json!({"prompt": "say {{userId}} \"twice\"", "user": [5], "files": [{"url": "https://x"}], "kept": "{{other}}"});
        assert_eq!(values.fill(&template).unwrap(), expected);
        assert!(mentions(&template, FILES) && !mentions(&default_template(), FILES));
    }
}
