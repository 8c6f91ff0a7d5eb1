//! Secrets in requests and answers: masked on the way out, kept on the way in.

use serde_json::{Map, Value};

/// What stands in place of a secret. Coming back it means: as it is.
pub(crate) const MASK: &str = "***";

/// The settings with the values of these fields masked, however deep they are.
pub(crate) fn masked(settings: &Map<String, Value>, is_secret: impl Fn(&str) -> bool) -> Map<String, Value> {
    let show = |(name, value): (&String, &Value)| {
        let value = if is_secret(name) { mask(value) } else { value.clone() };
        (name.clone(), value)
    };
    settings.iter().map(show).collect()
}

fn mask(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::String(text) if text.is_empty() => Value::String(String::new()),
        Value::Array(values) => Value::Array(values.iter().map(mask).collect()),
        Value::Object(values) => {
            Value::Object(values.iter().map(|(name, value)| (name.clone(), mask(value))).collect())
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Value::String(MASK.to_owned()),
    }
}

/// The settings after a patch: absent stays, null goes, the rest is as the patch has it.
///
/// A mask, and an empty text in a secret field, keep what was there. One that has nothing to keep goes.
pub(crate) fn patched(
    before: &Map<String, Value>,
    patch: Map<String, Value>,
    is_secret: impl Fn(&str) -> bool,
) -> Map<String, Value> {
    let mut after = before.clone();
    for (name, value) in patch {
        let keeps = is_secret(&name) && value.as_str() == Some("");
        let old = before.get(&name);
        let new = if keeps { old.cloned() } else { unmasked(old, value) };
        match new {
            Some(value) => after.insert(name, value),
            None => after.remove(&name),
        };
    }
    after
}

fn unmasked(old: Option<&Value>, new: Value) -> Option<Value> {
    match new {
        Value::Null => None,
        Value::String(text) if text == MASK => old.cloned(),
        Value::Array(values) => {
            let old = |at| old.and_then(|old| old.get(at));
            let values = values.into_iter().enumerate();
            Some(Value::Array(
                values.filter_map(|(at, value)| unmasked(old(at), value)).collect(),
            ))
        }
        Value::Object(values) => {
            let values = values.into_iter().filter_map(|(name, value)| {
                let old = old.and_then(|old| old.get(&name));
                unmasked(old, value).map(|value| (name, value))
            });
            Some(Value::Object(values.collect()))
        }
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn secret(name: &str) -> bool {
        ["apiKey", "secret", "headers"].contains(&name)
    }

    #[test]
    fn every_secret_value_is_masked() {
        let settings =
            object(json!({"apiKey": "a", "secret": ["b", "c"], "headers": {"x-key": "d", "n": 5}, "model": "m"}));
        let expected =
            json!({"apiKey": "***", "secret": ["***", "***"], "headers": {"x-key": "***", "n": "***"}, "model": "m"});
        assert_eq!(Value::Object(masked(&settings, secret)), expected);
    }

    #[track_caller]
    fn check(patch: Value, expected: Value) {
        let before =
            object(json!({"apiKey": "a", "secret": ["b", "c"], "headers": {"x": "d", "y": "e"}, "model": "m"}));
        assert_eq!(Value::Object(patched(&before, object(patch), secret)), expected);
    }

    #[test]
    fn absent_empty_and_masked_secrets_stay() {
        let before = json!({"apiKey": "a", "secret": ["b", "c"], "headers": {"x": "d", "y": "e"}, "model": "m"});
        check(json!({}), before.clone());
        check(json!({"apiKey": "", "secret": "***"}), before.clone());
        check(
            json!({"apiKey": "***", "secret": ["***", "***"], "headers": {"x": "***", "y": "***"}}),
            before,
        );
    }

    #[test]
    fn what_a_patch_says_is_done() {
        check(
            json!({"apiKey": "new", "secret": ["***", "z"], "headers": {"x": "***"}, "model": "", "gone": "***"}),
            json!({"apiKey": "new", "secret": ["b", "z"], "headers": {"x": "d"}, "model": ""}),
        );
        check(
            json!({"apiKey": null, "model": null}),
            json!({"secret": ["b", "c"], "headers": {"x": "d", "y": "e"}}),
        );
    }
}
