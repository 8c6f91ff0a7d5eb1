//! The fields of an object that a file changes, without secrets.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::mask::MASK;

/// A field that changes. A secret is `"***"`, a value that the file takes from a variable is `"${NAME}"`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FieldChange {
    /// The field as a path (`config.model`).
    field: String,
    /// Null: the field did not exist.
    before: Value,
    /// Null: the field is removed.
    after: Value,
}

/// Whether the field at a path is secret.
pub(super) type IsSecret<'a> = &'a dyn Fn(&[&str]) -> bool;

/// The fields of something new.
pub(super) fn of_new(written: &Map<String, Value>, is_secret: IsSecret<'_>) -> Vec<FieldChange> {
    let mut comparison = Comparison::new(is_secret);
    for (name, value) in written.iter().filter(|(name, _)| *name != "name") {
        comparison.flatten(&[name], value);
    }
    comparison.found
}

/// The fields that differ. `written` holds the names of variables instead of their values.
pub(super) fn between(
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    written: &Map<String, Value>,
    is_secret: IsSecret<'_>,
) -> Vec<FieldChange> {
    let mut comparison = Comparison::new(is_secret);
    comparison.objects(&[], before, after, Some(written));
    comparison.found
}

struct Comparison<'a> {
    is_secret: IsSecret<'a>,
    found: Vec<FieldChange>,
}

impl<'a> Comparison<'a> {
    fn new(is_secret: IsSecret<'a>) -> Self {
        Self {
            is_secret,
            found: Vec::new(),
        }
    }

    fn flatten(&mut self, path: &[&str], written: &Value) {
        match written {
            Value::Object(fields) if !fields.is_empty() => {
                for (name, value) in fields {
                    self.flatten(&below(path, name), value);
                }
            }
            Value::Null => {}
            // An empty secret is the same as none.
            Value::String(text) if text.is_empty() && self.is_hidden(path) => {}
            other => self.note(path, &Value::Null, other, Some(other)),
        }
    }

    fn objects(
        &mut self,
        path: &[&str],
        before: &Map<String, Value>,
        after: &Map<String, Value>,
        written: Option<&Map<String, Value>>,
    ) {
        for (name, old) in before {
            let written = written.and_then(|written| written.get(name));
            let new = after.get(name).unwrap_or(&Value::Null);
            self.values(&below(path, name), old, new, written);
        }
        for (name, new) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
            let written = written.and_then(|written| written.get(name));
            self.values(&below(path, name), &Value::Null, new, written);
        }
    }

    fn values(&mut self, path: &[&str], before: &Value, after: &Value, written: Option<&Value>) {
        match (before, after) {
            _ if before == after => {}
            (Value::Object(old), Value::Object(new)) => {
                self.objects(path, old, new, written.and_then(Value::as_object));
            }
            (Value::Null, Value::Object(new)) if !new.is_empty() => {
                self.objects(path, &Map::new(), new, written.and_then(Value::as_object));
            }
            (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
                for (index, (old, new)) in old.iter().zip(new).enumerate() {
                    let written = written.and_then(|written| written.get(index));
                    self.values(&below(path, &index.to_string()), old, new, written);
                }
            }
            _ => self.note(path, before, after, written),
        }
    }

    fn is_hidden(&self, path: &[&str]) -> bool {
        (self.is_secret)(path) || is_named_secret(path)
    }

    fn note(&mut self, path: &[&str], before: &Value, after: &Value, written: Option<&Value>) {
        let shown = |value: &Value| match value {
            Value::Null => Value::Null,
            _ if self.is_hidden(path) => MASK.into(),
            value => value.clone(),
        };
        // Show only the variable's name: its value may be a secret in any field.
        let variable = written.filter(|written| holds_variable(written));
        self.found.push(FieldChange {
            field: path.join("."),
            before: shown(before),
            after: variable.cloned().unwrap_or_else(|| shown(after)),
        });
    }
}

/// Whether a value contains a variable. A list or an object that does is shown as it is written.
fn holds_variable(written: &Value) -> bool {
    written.as_str().is_some_and(|text| text.contains("${"))
}

fn below<'a>(path: &[&'a str], name: &'a str) -> Vec<&'a str> {
    path.iter().copied().chain([name]).collect()
}

/// Whether a field is hidden because of its name, whatever the manifest says about it.
fn is_named_secret(path: &[&str]) -> bool {
    path.iter().any(|name| {
        let name = name.to_ascii_lowercase();
        let ends = [
            "apikey",
            "aeskey",
            "secret",
            "token",
            "password",
            "authorization",
            "cookie",
        ];
        name == "headers" || ends.iter().any(|end| name.ends_with(end))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn secret(path: &[&str]) -> bool {
        path == ["credentials", "key"]
    }

    #[track_caller]
    fn check(before: Value, after: Value, written: Value, expected: &[(&str, Value, Value)]) {
        let found = between(&object(before), &object(after), &object(written), &secret);
        let found: Vec<_> = found
            .iter()
            .map(|change| (&*change.field, change.before.clone(), change.after.clone()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn changed_fields_are_named_one_by_one() {
        check(
            json!({"language": "zh-CN", "config": {"model": "a", "baseUrl": "u"}, "gone": 1}),
            json!({"language": "en", "config": {"model": "b", "baseUrl": "u"}, "access": {"users": ["a"]}}),
            json!({}),
            &[
                ("config.model", json!("a"), json!("b")),
                ("gone", json!(1), Value::Null),
                ("language", json!("zh-CN"), json!("en")),
                ("access.users", Value::Null, json!(["a"])),
            ],
        );
    }

    #[test]
    fn secrets_are_compared_and_never_shown() {
        check(
            json!({"credentials": {"key": "k1", "id": "b"}, "config": {"apiKey": "a1", "headers": {"X": "1"}}}),
            json!({"credentials": {"key": "k2", "id": "b"}, "config": {"apiKey": "a1", "headers": {"X": "2"}}}),
            json!({}),
            &[
                ("config.headers.X", json!("***"), json!("***")),
                ("credentials.key", json!("***"), json!("***")),
            ],
        );
        let new = of_new(
            &object(
                json!({"name": "A", "credentials": {"key": "k1", "id": "b"}, "config": {"historyTokens": 5, "apiKey": "x", "secret": ""}}),
            ),
            &secret,
        );
        let shown: Vec<_> = new
            .iter()
            .map(|change| (&*change.field, change.after.clone()))
            .collect();
        assert_eq!(
            shown,
            [
                ("config.apiKey", json!("***")),
                ("config.historyTokens", json!(5)),
                ("credentials.id", json!("b")),
                ("credentials.key", json!("***")),
            ]
        );
    }

    #[test]
    fn variables_are_shown_by_name() {
        check(
            json!({"config": {"model": "a", "keys": ["x", "y"]}}),
            json!({"config": {"model": "value-of-m", "keys": ["x", "value-of-y"]}}),
            json!({"config": {"model": "${M}", "keys": ["x", "${Y}"]}}),
            &[
                ("config.keys.1", json!("y"), json!("${Y}")),
                ("config.model", json!("a"), json!("${M}")),
            ],
        );
    }
}
