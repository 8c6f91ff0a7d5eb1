//! What is different between a file and the bridge, fit to be shown: no secrets.

use serde_json::{Map, Value};

use super::file::Entry;
use crate::terminal::one_line;

/// What the API shows in place of a secret.
const MASK: &str = "***";
/// Fields whose own fields are patched one by one; below them values are replaced whole.
const MERGED: [&str; 5] = ["credentials", "endpoints", "config", "access", "limits"];

/// What has to be done to something that is there.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Difference {
    /// One line for each field that changes.
    pub(super) lines: Vec<String>,
    /// Secrets whose values can't be compared: only the bridge can tell whether they are new.
    pub(super) secrets: Vec<String>,
    /// The patch that does it.
    pub(super) patch: Map<String, Value>,
}

/// The lines of something new.
#[must_use]
pub(super) fn of_new(entry: &Entry) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, value) in entry.written.iter().filter(|(name, _)| *name != "name") {
        flatten(&[name], value, &mut lines);
    }
    lines
}

fn flatten(path: &[&str], written: &Value, lines: &mut Vec<String>) {
    match written {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                flatten(&below(path, name), value, lines);
            }
        }
        other => lines.push(format!("{}: {}", path.join("."), new(path, &Value::Null, other))),
    }
}

/// What a file wants to be different from what is there.
#[must_use]
pub(super) fn between(current: &Value, entry: &Entry) -> Difference {
    let mut difference = Difference::default();
    for (name, wanted) in &entry.fields {
        let before = (difference.lines.len(), difference.secrets.len());
        let written = &entry.written.get(name).cloned().unwrap_or_default();
        compare(&[name], &current[name], wanted, written, &mut difference);
        if before != (difference.lines.len(), difference.secrets.len()) {
            difference.patch.insert(name.clone(), wanted.clone());
        }
    }
    difference
}

fn compare(path: &[&str], current: &Value, wanted: &Value, written: &Value, found: &mut Difference) {
    match (current, wanted) {
        (_, Value::String(text)) if text == MASK => {}
        (_, Value::Object(fields)) if current.is_object() || is_merged(path) => {
            for (name, wanted) in fields {
                compare(&below(path, name), &current[name], wanted, &written[name], found);
            }
            if !is_merged(path) {
                drop_others(path, current, fields, found);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                let name = index.to_string();
                compare(&below(path, &name), old, new, &written[index], found);
            }
        }
        (Value::String(text), Value::String(new)) if text == MASK && !new.is_empty() => {
            found.secrets.push(path.join("."));
        }
        _ if is_same(path, current, wanted) => {}
        _ => {
            let (old, new) = (old(path, current), new(path, current, written));
            found.lines.push(format!("{}: {old} -> {new}", path.join(".")));
        }
    }
}

fn drop_others(path: &[&str], current: &Value, wanted: &Map<String, Value>, found: &mut Difference) {
    let there = current.as_object().into_iter().flatten();
    for (name, value) in there.filter(|(name, _)| !wanted.contains_key(*name)) {
        let path = below(path, name);
        found
            .lines
            .push(format!("{}: {} -> (none)", path.join("."), old(&path, value)));
    }
}

fn is_merged(path: &[&str]) -> bool {
    matches!(path, [name] if MERGED.contains(name))
}

fn below<'a>(path: &[&'a str], name: &'a str) -> Vec<&'a str> {
    path.iter().copied().chain([name]).collect()
}

/// A number and the same number as a text mean the same to the API; so do nothing and an empty text. White space around a text
/// goes when it is saved, but not in what an agent is configured with.
fn is_same(path: &[&str], current: &Value, wanted: &Value) -> bool {
    let trimmed = |text: String| match path.first() {
        Some(&"config") => text,
        _ => text.trim().to_owned(),
    };
    match (plain(current).map(trimmed), plain(wanted).map(trimmed)) {
        (Some(current), Some(wanted)) => current == wanted || (current == MASK && wanted.is_empty()),
        _ => current == wanted,
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

fn old(path: &[&str], current: &Value) -> String {
    match current {
        Value::Null => "(none)".to_owned(),
        _ if is_secret(path, current) => MASK.to_owned(),
        shown => text(shown),
    }
}

fn new(path: &[&str], current: &Value, written: &Value) -> String {
    match written {
        Value::Null => "(none)".to_owned(),
        // Only the variable's name: what it holds may be a secret anywhere.
        Value::String(text) if text.contains("${") => one_line(text),
        _ if is_secret(path, current) => MASK.to_owned(),
        shown => text(shown),
    }
}

/// Whether a value is hidden. A credential is, unless the bridge shows it; others are if their name says so.
fn is_secret(path: &[&str], current: &Value) -> bool {
    let shown = current.as_str().is_some_and(|text| text != MASK);
    let named = path.iter().any(|name| {
        let name = name.to_ascii_lowercase();
        let ends = ["key", "secret", "token", "password", "authorization", "cookie"];
        name == "headers" || ends.iter().any(|end| name.ends_with(end))
    });
    named || (path.first() == Some(&"credentials") && !shown)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => one_line(text),
        other => one_line(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(wanted: Value, written: Option<Value>) -> Entry {
        let fields = |value: Value| value.as_object().unwrap().clone();
        Entry {
            name: "X".to_owned(),
            written: fields(written.unwrap_or_else(|| wanted.clone())),
            fields: fields(wanted),
        }
    }

    #[track_caller]
    fn check(current: Value, wanted: Value, lines: &[&str]) {
        let found = between(&current, &entry(wanted, None));
        assert_eq!(found.lines, lines);
        assert_eq!(found.patch.is_empty(), lines.is_empty() && found.secrets.is_empty());
    }

    #[test]
    fn what_is_not_in_the_file_stays() {
        check(
            json!({ "id": "1", "streaming": true, "endpoints": { "apiBase": "x", "wsUrl": "y" } }),
            json!({ "endpoints": { "apiBase": "x" } }),
            &[],
        );
    }

    #[test]
    fn changed_fields_are_patched() {
        let found = between(
            &json!({ "language": "zh-CN", "config": { "model": "a", "baseUrl": "u" } }),
            &entry(
                json!({ "language": "en", "config": { "model": "b", "baseUrl": "u" } }),
                None,
            ),
        );
        assert_eq!(found.lines, ["config.model: a -> b", "language: zh-CN -> en"]);
        assert_eq!(
            Value::from(found.patch),
            json!({ "language": "en", "config": { "model": "b", "baseUrl": "u" } })
        );
    }

    #[test]
    fn numbers_and_nothing_may_be_written_as_texts() {
        check(
            json!({ "credentials": { "agentId": "1000002" }, "welcome": null }),
            json!({ "credentials": { "agentId": 1000002, "botName": "" }, "welcome": null }),
            &[],
        );
    }

    #[test]
    fn white_space_that_saving_takes_away_is_no_difference() {
        check(
            json!({ "name": "A", "welcome": "hello", "endpoints": { "apiBase": "x" }, "access": { "users": ["a", "b"] },
                "credentials": { "botId": "b" } }),
            json!({ "name": " A", "welcome": "hello\n", "endpoints": { "apiBase": "x " }, "access": { "users": ["a ", "b"] },
                "credentials": { "botId": " b " } }),
            &[],
        );
        check(
            json!({ "config": { "systemPrompt": "Be brief." } }),
            json!({ "config": { "systemPrompt": "Be brief.\n" } }),
            &["config.systemPrompt: Be brief. -> Be brief. "],
        );
    }

    #[test]
    fn lists_and_objects_below_settings_are_replaced_whole() {
        check(
            json!({ "access": { "users": ["a"], "chats": [], "pairing": false }, "config": { "inputs": { "a": 1, "b": 2 } } }),
            json!({ "access": { "users": ["a", "b"] }, "config": { "inputs": { "a": 1 } } }),
            &["access.users: [\"a\"] -> [\"a\",\"b\"]", "config.inputs.b: 2 -> (none)"],
        );
    }

    #[test]
    fn secrets_are_sent_and_never_shown() {
        let found = between(
            &json!({ "credentials": { "secret": "***", "botId": "b1" }, "config": { "apiKey": "***" } }),
            &entry(
                json!({ "credentials": { "secret": "s3", "botId": "b2", "token": "t" }, "config": { "apiKey": "***" } }),
                Some(
                    json!({ "credentials": { "secret": "${S}", "botId": "b2", "token": "t" }, "config": { "apiKey": "***" } }),
                ),
            ),
        );
        assert_eq!(found.secrets, ["credentials.secret"]);
        assert_eq!(
            found.lines,
            ["credentials.botId: b1 -> b2", "credentials.token: (none) -> ***"]
        );
        assert_eq!(found.patch["credentials"]["secret"], "s3");
        assert!(!found.patch.contains_key("config"));
        let new = of_new(&entry(
            json!({ "config": { "apiKey": "k", "headers": { "X-Id": "h" }, "historyTokens": 5 }, "credentials": { "botId": "b" } }),
            None,
        ));
        assert_eq!(
            new,
            [
                "config.apiKey: ***",
                "config.headers.X-Id: ***",
                "config.historyTokens: 5",
                "credentials.botId: ***"
            ]
        );
    }
}
