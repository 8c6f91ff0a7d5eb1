//! Masking of secrets: replaced by `***` in responses, restored when a request sends the mask back.

use serde_json::{Map, Value};

use crate::problem::Problem;

/// Replaces a secret in responses. In a request it means: keep the stored value.
pub(crate) const MASK: &str = "***";

/// The settings with the values of these fields masked, at any depth.
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

/// The settings of `group` after a patch: absent fields keep their values, null removes a field, other values replace it.
///
/// A mask, and an empty text in a secret field, keep the stored value. In a list the first mask keeps the first stored entry, the second
/// mask the second.
///
/// # Errors
/// If there is no stored value for a mask: an export holds masks, and what it creates elsewhere would lack its secrets unnoticed.
pub(crate) fn patched(
    group: &str,
    before: &Map<String, Value>,
    patch: Map<String, Value>,
    is_secret: impl Fn(&str) -> bool,
) -> Result<Map<String, Value>, Problem> {
    let mut after = before.clone();
    for (name, value) in patch {
        let keeps = is_secret(&name) && value.as_str() == Some("");
        let old = before.get(&name);
        let new = if keeps {
            Ok(old.cloned())
        } else {
            unmasked(&format!("{group}.{name}"), old, value)
        };
        match new.map_err(|MaskOfNothing(field)| mask_of_nothing(field))? {
            Some(value) => after.insert(name, value),
            None => after.remove(&name),
        };
    }
    Ok(after)
}

fn mask_of_nothing(field: String) -> Problem {
    Problem::invalid(field, "is `***` but has no stored value: give the secret itself")
}

/// A mask without a stored value to keep, with the path of its field.
struct MaskOfNothing(String);

fn unmasked(field: &str, old: Option<&Value>, new: Value) -> Result<Option<Value>, MaskOfNothing> {
    Ok(match new {
        Value::Null => None,
        Value::String(text) if text == MASK => match old {
            Some(old) => Some(old.clone()),
            None => return Err(MaskOfNothing(field.to_owned())),
        },
        Value::Array(values) => Some(Value::Array(unmasked_list(field, old, values)?)),
        Value::Object(values) => {
            let mut kept = Map::new();
            for (name, value) in values {
                let old = old.and_then(|old| old.get(&name));
                if let Some(value) = unmasked(&format!("{field}.{name}"), old, value)? {
                    kept.insert(name, value);
                }
            }
            Some(Value::Object(kept))
        }
        other => Some(other),
    })
}

fn unmasked_list(field: &str, old: Option<&Value>, new: Vec<Value>) -> Result<Vec<Value>, MaskOfNothing> {
    // A single text is accepted where a list is: it counts as a list of one.
    let old = match old {
        Some(Value::Array(values)) => values.as_slice(),
        Some(lone) => std::slice::from_ref(lone),
        None => &[],
    };
    let mut unused = old.iter();
    let mut list = Vec::with_capacity(new.len());
    for (at, value) in new.into_iter().enumerate() {
        if value.as_str() == Some(MASK) {
            let stored = unused.next().cloned();
            list.push(stored.ok_or_else(|| MaskOfNothing(field.to_owned()))?);
        } else {
            list.extend(unmasked(&format!("{field}[{at}]"), old.get(at), value)?);
        }
    }
    Ok(list)
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
        let after = patched("config", &before, object(patch), secret).unwrap();
        assert_eq!(Value::Object(after), expected);
    }

    #[test]
    fn absent_empty_and_masked_secrets_are_kept() {
        let before = json!({"apiKey": "a", "secret": ["b", "c"], "headers": {"x": "d", "y": "e"}, "model": "m"});
        check(json!({}), before.clone());
        check(json!({"apiKey": "", "secret": "***"}), before.clone());
        check(
            json!({"apiKey": "***", "secret": ["***", "***"], "headers": {"x": "***", "y": "***"}}),
            before,
        );
    }

    #[test]
    fn patch_values_are_applied() {
        check(
            json!({"apiKey": "new", "secret": ["***", "z"], "headers": {"x": "***"}, "model": ""}),
            json!({"apiKey": "new", "secret": ["b", "z"], "headers": {"x": "d"}, "model": ""}),
        );
        check(
            json!({"apiKey": null, "model": null}),
            json!({"secret": ["b", "c"], "headers": {"x": "d", "y": "e"}}),
        );
        // A single text counts as a list of one, and masks may be at any position of the new list.
        check(
            json!({"apiKey": ["***", "new"], "secret": ["new", "***", "***"]}),
            json!({"apiKey": ["a", "new"], "secret": ["new", "b", "c"], "headers": {"x": "d", "y": "e"}, "model": "m"}),
        );
    }

    #[track_caller]
    fn check_refused(patch: Value, field: &str) {
        let before = object(json!({"apiKey": "a", "secret": ["b", "c"], "headers": {"x": "d"}, "model": "m"}));
        let problem = patched("config", &before, object(patch), secret).unwrap_err();
        let problem = serde_json::to_value(&problem).unwrap();
        assert_eq!(
            (&problem["code"], &problem["status"]),
            (&json!("invalid_field"), &json!(400))
        );
        assert_eq!(problem["field"], field);
    }

    #[test]
    fn mask_without_a_stored_value_is_refused() {
        check_refused(json!({"fresh": "***"}), "config.fresh");
        check_refused(json!({"headers": {"x": "***", "y": "***"}}), "config.headers.y");
        check_refused(json!({"secret": ["***", "***", "***"]}), "config.secret");
        check_refused(json!({"apiKey": ["***", "new", "***"]}), "config.apiKey");
        check_refused(json!({"fresh": ["***", "new"]}), "config.fresh");
        check_refused(json!({"headers": {"y": ["***"]}}), "config.headers.y");
    }
}
