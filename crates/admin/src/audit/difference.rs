//! The difference between two states of a resource, without its secrets.

use serde_json::{Map, Value};

/// Maximum stored size of a field's value, in bytes of JSON.
const MAX_VALUE_BYTES: usize = 2048;
/// Maximum stored size of a state, in bytes of JSON.
const MAX_STATE_BYTES: usize = 32 * 1024;
/// Replacement of larger values.
const TOO_LONG: &str = "(too long to be kept)";

/// A state of a resource.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// As the API returns it: secrets are masked.
    pub(crate) view: Value,
    /// The secrets by group and field. Only used to detect whether they change; never stored or shown.
    pub(crate) secrets: Map<String, Value>,
}

impl Shown {
    /// The view, truncated to the stored size.
    pub(super) fn bounded(self) -> Value {
        bounded(self.view)
    }
}

/// The fields that differ between two states, before and after. For a group of fields, only the fields that differ.
pub(crate) fn difference(before: &Shown, after: &Shown) -> (Value, Value) {
    let (mut was, mut is) = (Map::new(), Map::new());
    let nothing = Map::new();
    let old = before.view.as_object().unwrap_or(&nothing);
    let new = after.view.as_object().unwrap_or(&nothing);
    for name in names(old, new) {
        let (old, new) = (old.get(name), new.get(name));
        let secrets = (before.secrets.get(name), after.secrets.get(name));
        if let (Some(Value::Object(old)), Some(Value::Object(new))) = (old, new) {
            let (old, new) = of_groups(old, new, secrets);
            keep(&mut was, name, (!old.is_empty()).then_some(Value::Object(old)));
            keep(&mut is, name, (!new.is_empty()).then_some(Value::Object(new)));
        } else if old != new {
            keep(&mut was, name, old.cloned());
            keep(&mut is, name, new.cloned());
        }
    }
    (bounded(Value::Object(was)), bounded(Value::Object(is)))
}

fn of_groups(
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    (old_secrets, new_secrets): (Option<&Value>, Option<&Value>),
) -> (Map<String, Value>, Map<String, Value>) {
    let (mut was, mut is) = (Map::new(), Map::new());
    for name in names(old, new) {
        let secret = |of: Option<&Value>| of.and_then(|of| of.get(name)).cloned();
        if old.get(name) != new.get(name) || secret(old_secrets) != secret(new_secrets) {
            keep(&mut was, name, old.get(name).cloned());
            keep(&mut is, name, new.get(name).cloned());
        }
    }
    (was, is)
}

fn names<'a>(old: &'a Map<String, Value>, new: &'a Map<String, Value>) -> impl Iterator<Item = &'a String> {
    old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)))
}

fn keep(fields: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        fields.insert(name.to_owned(), value);
    }
}

/// `state`, truncated to the stored size: large values, and all values of a large state, are replaced.
fn bounded(state: Value) -> Value {
    let Value::Object(fields) = state else { return state };
    let short = |(name, value): (String, Value)| (name, shortened(value));
    let fields: Map<String, Value> = fields.into_iter().map(short).collect();
    let n_bytes: usize = fields
        .iter()
        .map(|(name, value)| name.len() + value.to_string().len())
        .sum();
    if n_bytes <= MAX_STATE_BYTES {
        return Value::Object(fields);
    }
    let names = fields.into_iter().take(100);
    Value::Object(
        names
            .map(|(name, _)| (name.chars().take(100).collect(), Value::from(TOO_LONG)))
            .collect(),
    )
}

fn shortened(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| (name, replaced(value)))
                .collect(),
        ),
        other => replaced(other),
    }
}

fn replaced(value: Value) -> Value {
    if value.to_string().len() > MAX_VALUE_BYTES {
        return Value::from(TOO_LONG);
    }
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(view: Value, secrets: Value) -> Shown {
        Shown {
            view,
            secrets: secrets.as_object().unwrap().clone(),
        }
    }

    #[track_caller]
    fn check(before: Shown, after: Shown, was: Value, is: Value) {
        assert_eq!(difference(&before, &after), (was, is));
    }

    #[test]
    fn only_differing_fields_are_kept() {
        let config = |key: &str, model: &str| {
            let view = json!({ "name": "a", "config": { "apiKey": "***", "model": model } });
            state(view, json!({ "config": { "apiKey": key } }))
        };
        check(config("k", "m"), config("k", "m"), json!({}), json!({}));
        check(
            config("k", "m"),
            config("k", "n"),
            json!({ "config": { "model": "m" } }),
            json!({ "config": { "model": "n" } }),
        );
    }

    #[test]
    fn a_changed_secret_is_named_and_never_shown() {
        let with = |key: &str| {
            let view = json!({ "config": { "apiKey": "***" } });
            state(view, json!({ "config": { "apiKey": key } }))
        };
        let masked = json!({ "config": { "apiKey": "***" } });
        check(with("old"), with("new"), masked.clone(), masked);
    }

    #[test]
    fn long_values_are_replaced() {
        let with = |text: &str| state(json!({ "name": text }), json!({}));
        let long = "x".repeat(MAX_VALUE_BYTES);
        check(
            with("a"),
            with(&long),
            json!({ "name": "a" }),
            json!({ "name": TOO_LONG }),
        );
    }
}
