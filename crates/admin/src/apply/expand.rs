//! Expands `${NAME}` in values from variables. `$${` is the escape for a literal `${`.

use std::collections::BTreeSet;

use serde_json::Value;
use tieline_bridge::agents;

use super::mistakes::MAX_MISTAKES;

/// API fields that aren't strings: a variable's value is converted to the type they need. So are those settings of an agent.
const TYPED: [&str; 11] = [
    "enabled",
    "streaming",
    "taskMode",
    "agentChoice",
    "pairing",
    "groupContext",
    "sessionTimeoutSeconds",
    "summaryWindowSeconds",
    "maxConcurrentRuns",
    "maxMessagesPerMinute",
    "maxMessagesPerPersonPerMinute",
];

/// Longest name of a variable, in bytes. Bounds the search for its end.
const MAX_NAME_BYTES: usize = 256;
/// Maximum number of missing variables reported for one field.
const MAX_NAMES: usize = 20;
/// Maximum size of all texts after expansion, in bytes.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// A file with its variables filled in.
#[derive(Debug)]
pub(super) struct Expanded {
    pub(super) value: Value,
    /// Fields with variables without a value: the field's path, and the names. At most one field more than is reported.
    pub(super) missing: Vec<(String, BTreeSet<String>)>,
    /// Whether the expanded file exceeds the size limit.
    pub(super) is_too_long: bool,
}

/// Expands the variables of all texts. Keys are not expanded.
pub(super) fn expand(value: &Value, variable: &dyn Fn(&str) -> Option<String>) -> Expanded {
    let mut filling = Filling::new(variable);
    let value = filling.fill(value);
    Expanded {
        value,
        is_too_long: filling.n_bytes > MAX_BYTES,
        missing: filling.missing,
    }
}

/// Expands the variables of one text. Those without a value stay as written.
pub(super) fn expand_text(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> String {
    Filling::new(variable).text(text)
}

struct Filling<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    /// The path of the current value.
    path: String,
    missing: Vec<(String, BTreeSet<String>)>,
    n_bytes: usize,
}

impl<'a> Filling<'a> {
    const fn new(variable: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            variable,
            path: String::new(),
            missing: Vec::new(),
            n_bytes: 0,
        }
    }

    fn fill(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(values) => {
                let values = values.iter().enumerate();
                values
                    .map(|(at, value)| self.below(&format!("[{at}]"), value))
                    .collect()
            }
            Value::Object(fields) => {
                let is_agents = is_agents_config(&self.path);
                let fields = fields.iter().map(|(name, value)| {
                    let filled = if self.path.is_empty() {
                        self.below(name, value)
                    } else {
                        self.below(&format!(".{name}"), value)
                    };
                    let is_typed = TYPED.contains(&name.as_str()) || is_agents && agents::is_typed(name);
                    (name.clone(), if is_typed { typed(value, filled) } else { filled })
                });
                Value::Object(fields.collect())
            }
            other => other.clone(),
        }
    }

    fn below(&mut self, step: &str, value: &Value) -> Value {
        let n_before = self.path.len();
        self.path.push_str(step);
        let filled = self.fill(value);
        self.path.truncate(n_before);
        filled
    }

    fn text(&mut self, text: &str) -> String {
        let mut missing = BTreeSet::new();
        let mut filled = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, from) = rest.split_at(at);
            let near = from.bytes().take(MAX_NAME_BYTES + "${}".len());
            let end = near.into_iter().position(|byte| byte == b'}');
            let (Some(end), false) = (end, before.ends_with('$')) else {
                filled.push_str(before.strip_suffix('$').unwrap_or(before));
                filled.push_str("${");
                rest = &from[2..];
                continue;
            };
            filled.push_str(before);
            self.put(&from[2..end], &mut filled, &mut missing);
            rest = &from[end + 1..];
        }
        filled.push_str(rest);
        if !missing.is_empty() && self.missing.len() <= MAX_MISTAKES {
            self.missing.push((self.path.clone(), missing));
        }
        filled
    }

    fn put(&mut self, name: &str, filled: &mut String, missing: &mut BTreeSet<String>) {
        match (self.variable)(name) {
            Some(value) => {
                self.n_bytes = self.n_bytes.saturating_add(value.len());
                if self.n_bytes <= MAX_BYTES {
                    filled.push_str(&value);
                }
            }
            None => {
                // Keep the variable, so that its field isn't reported as empty too.
                filled.push_str("${");
                filled.push_str(name);
                filled.push('}');
                if missing.len() < MAX_NAMES {
                    missing.insert(name.to_owned());
                }
            }
        }
    }
}

/// Escapes `text`: [`expand`] turns the result back into `text`.
pub(super) fn escaped(text: &str) -> String {
    text.replace("${", "$${")
}

/// Whether the path is that of an agent's settings: `agents[0].config`, in an organization or not.
fn is_agents_config(path: &str) -> bool {
    let place = path.strip_suffix("].config").and_then(|agent| agent.rsplit_once('['));
    place.is_some_and(|(list, _)| list.rsplit('.').next() == Some("agents"))
}

fn typed(written: &Value, filled: Value) -> Value {
    let (Some(before), Some(after)) = (written.as_str(), filled.as_str()) else {
        return filled;
    };
    if before == after {
        return filled;
    }
    match serde_json::from_str::<Value>(after) {
        Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
        _ => filled,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The description of the API.
    const DESCRIPTION: &str = include_str!("../openapi/description.json");

    /// Adds the fields of a schema, and of those that it refers to, that are booleans or numbers.
    fn add_typed(schemas: &Value, schema: &Value, found: &mut BTreeSet<String>) {
        let is_typed = |field: &Value| {
            let names = [&field["type"], &field["type"][0], &field["type"][1]];
            names
                .iter()
                .any(|it| matches!(it.as_str(), Some("boolean" | "integer" | "number")))
        };
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            if is_typed(field) {
                found.insert(name.clone());
            }
        }
        match schema {
            Value::Object(members) => members.values().for_each(|it| add_typed(schemas, it, found)),
            Value::Array(members) => members.iter().for_each(|it| add_typed(schemas, it, found)),
            _ => {}
        }
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap();
            add_typed(schemas, &schemas[name], found);
        }
    }

    #[test]
    fn typed_fields_are_those_of_the_api() {
        let description: Value = serde_json::from_str(DESCRIPTION).unwrap();
        let schemas = &description["components"]["schemas"];
        let mut expected = BTreeSet::new();
        for body in [
            "NewOrganization",
            "NewAgent",
            "NewIntegration",
            "NewTrigger",
            "MapperPatch",
            "NotifyPatch",
        ] {
            assert!(schemas[body].is_object(), "{body}");
            add_typed(schemas, &schemas[body], &mut expected);
        }
        assert_eq!(TYPED.map(str::to_owned).into_iter().collect::<BTreeSet<_>>(), expected);
    }

    fn environment(name: &str) -> Option<String> {
        match name {
            "A" => Some("1".to_owned()),
            "YAML" => Some("x: [${A}]".to_owned()),
            _ => None,
        }
    }

    #[track_caller]
    fn check(written: Value, expected: Value) {
        assert_eq!(expand(&written, &environment).value, expected);
    }

    #[test]
    fn variables_are_expanded_once_and_stay_strings() {
        check(
            json!({ "a": ["${A}", "x${A}y${A}"], "n": 2 }),
            json!({ "a": ["1", "x1y1"], "n": 2 }),
        );
        check(json!("${YAML}"), json!("x: [${A}]"));
        check(json!("$${A} $A ${ 100%"), json!("${A} $A ${ 100%"));
    }

    /// Searching the rest of the text for the end of each took seconds.
    #[test]
    fn unclosed_variables_take_linear_time() {
        let text = "${A".repeat(300_000);
        check(json!(text), json!(text));
    }

    #[test]
    fn variables_in_typed_fields_become_numbers_and_booleans() {
        check(
            json!({ "summaryWindowSeconds": "${A}", "groupContext": "${A}", "apiKey": "${A}", "enabled": "1" }),
            json!({ "summaryWindowSeconds": 1, "groupContext": 1, "apiKey": "1", "enabled": "1" }),
        );
    }

    #[test]
    fn variables_in_settings_of_an_agent_become_what_its_protocol_needs() {
        let written = |number: Value| json!([{ "config": { "historyMessages": number, "model": "${A}", "inputs": { "historyMessages": "${A}" } } }]);
        let filled = |number: Value| json!([{ "config": { "historyMessages": number, "model": "1", "inputs": { "historyMessages": "1" } } }]);
        check(
            json!({ "agents": written(json!("${A}")) }),
            json!({ "agents": filled(json!(1)) }),
        );
        check(
            json!({ "organizations": [{ "agents": written(json!("${A}")) }] }),
            json!({ "organizations": [{ "agents": filled(json!(1)) }] }),
        );
        // What stands in the file as a text stays one, and so does a value of another type: both are reported.
        check(
            json!({ "agents": written(json!("1")) }),
            json!({ "agents": filled(json!("1")) }),
        );
        check(
            json!({ "agents": written(json!("${YAML}")) }),
            json!({ "agents": filled(json!("x: [${A}]")) }),
        );
        check(
            json!({ "others": written(json!("${A}")) }),
            json!({ "others": filled(json!("1")) }),
        );
    }

    #[test]
    fn all_missing_variables_are_reported_with_their_fields() {
        let expanded = expand(&json!({ "a": ["${Z}", "${A}"], "b": { "c": "${B}" } }), &environment);
        let missing =
            [("a[0]", "Z"), ("b.c", "B")].map(|(path, name)| (path.to_owned(), BTreeSet::from([name.to_owned()])));
        assert_eq!(expanded.missing, missing);
    }

    #[test]
    fn escaping_round_trips() {
        for text in ["${A}", "$${A}", "a ${ b", "100 $", "plain"] {
            check(json!(escaped(text)), json!(text));
        }
    }

    #[test]
    fn number_of_reported_variables_is_bounded() {
        let texts: Vec<String> = (0..20_000).map(|n| format!("${{V{n}}}")).collect();
        let expanded = expand(&json!([texts, texts.concat()]), &environment);
        assert_eq!(expanded.missing.len(), MAX_MISTAKES + 1);
        let expanded = expand(&json!(texts.concat()), &environment);
        assert_eq!(expanded.missing[0].1.len(), MAX_NAMES);
        assert_eq!(expanded.value, json!(texts.concat()));
    }

    #[test]
    fn expansion_is_bounded() {
        let texts: Vec<String> = vec!["${BIG}".to_owned(); 10_000];
        let expanded = expand(&json!(texts), &|_| Some("x".repeat(100_000)));
        assert!(expanded.is_too_long);
    }
}
