//! `${NAME}` in values, filled in from the environment. `$${` stands for `${` itself.

use std::collections::BTreeSet;

use serde_json::Value;

/// Variables that a file names and the environment doesn't have.
#[derive(Debug, thiserror::Error)]
#[error("environment variables are not set: {}", names.iter().map(String::as_str).collect::<Vec<_>>().join(", "))]
pub struct MissingVariables {
    names: BTreeSet<String>,
}

/// Fields of the API that are no texts: a variable's value becomes what they need.
const TYPED: [&str; 7] = [
    "enabled",
    "streaming",
    "taskMode",
    "pairing",
    "sessionTimeoutSeconds",
    "summaryWindowSeconds",
    "maxConcurrentRuns",
];

/// Fills in the variables of all texts. Keys stay as they are.
///
/// # Errors
/// [`MissingVariables`], all at once.
pub(super) fn expand(value: &Value, variable: impl Fn(&str) -> Option<String>) -> Result<Value, MissingVariables> {
    let mut names = BTreeSet::new();
    let expanded = fill(value, &variable, &mut names);
    if names.is_empty() {
        Ok(expanded)
    } else {
        Err(MissingVariables { names })
    }
}

fn fill(value: &Value, variable: &dyn Fn(&str) -> Option<String>, missing: &mut BTreeSet<String>) -> Value {
    match value {
        Value::String(text) => Value::String(fill_text(text, variable, missing)),
        Value::Array(values) => values.iter().map(|value| fill(value, variable, missing)).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| {
                let filled = fill(value, variable, missing);
                (name.clone(), typed(name, value, filled))
            });
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

fn fill_text(text: &str, variable: &dyn Fn(&str) -> Option<String>, missing: &mut BTreeSet<String>) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        let end = from.find('}');
        let (Some(end), false) = (end, before.ends_with('$')) else {
            filled.push_str(before.strip_suffix('$').unwrap_or(before));
            filled.push_str("${");
            rest = &from[2..];
            continue;
        };
        filled.push_str(before);
        let name = &from[2..end];
        match variable(name) {
            Some(value) => filled.push_str(&value),
            None => {
                missing.insert(name.to_owned());
            }
        }
        rest = &from[end + 1..];
    }
    filled.push_str(rest);
    filled
}

fn typed(name: &str, written: &Value, filled: Value) -> Value {
    let (Some(before), Some(after)) = (written.as_str(), filled.as_str()) else {
        return filled;
    };
    if before == after || !TYPED.contains(&name) {
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

    fn environment(name: &str) -> Option<String> {
        match name {
            "A" => Some("1".to_owned()),
            "YAML" => Some("x: [${A}]".to_owned()),
            _ => None,
        }
    }

    #[track_caller]
    fn check(written: Value, expected: Value) {
        assert_eq!(expand(&written, environment).unwrap(), expected);
    }

    #[test]
    fn variables_are_filled_in_once_and_stay_texts() {
        check(
            json!({ "a": ["${A}", "x${A}y${A}"], "n": 2 }),
            json!({ "a": ["1", "x1y1"], "n": 2 }),
        );
        check(json!("${YAML}"), json!("x: [${A}]"));
        check(json!("$${A} $A ${ 100%"), json!("${A} $A ${ 100%"));
    }

    #[test]
    fn variables_of_numbers_and_switches_become_such() {
        check(
            json!({ "summaryWindowSeconds": "${A}", "apiKey": "${A}", "enabled": "1" }),
            json!({ "summaryWindowSeconds": 1, "apiKey": "1", "enabled": "1" }),
        );
    }

    #[test]
    fn missing_variables_are_named_together() {
        let error = expand(&json!(["${Z}", "${B}", "${A}", "${Z}"]), environment).unwrap_err();
        assert_eq!(error.to_string(), "environment variables are not set: B, Z");
    }
}
