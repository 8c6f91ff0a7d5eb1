//! Nesting of JSON from outside. What is stored wraps it in levels of its own, and a parser refuses more than 128.

use serde_json::Value;

/// Whether a value is nested deeper than `levels`.
#[must_use]
pub fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| is_deeper(item, levels - 1)),
        Value::Object(fields) => levels == 0 || fields.values().any(|field| is_deeper(field, levels - 1)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn levels_are_counted() {
        let value = json!({ "a": [1, { "b": "c" }] });
        assert!(is_deeper(&value, 2));
        assert!(!is_deeper(&value, 3));
        assert!(!is_deeper(&json!("x"), 0));
    }
}
