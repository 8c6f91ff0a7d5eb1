//! Secrets are bound to the origin of the address they were given for: when an address moves to another origin, they must be given again.
//!
//! Otherwise, a person who may change settings could read a masked secret by pointing the address at a server of their own.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use tieline_core::outbound_url;

use crate::mask::MASK;
use crate::problem::Problem;

/// Rejects a change that would send a kept secret of `group` to another origin.
///
/// `before` are the settings before the change, `patch` is the request's change of them; `from` and `to` are the addresses before and
/// after, by field.
pub(crate) fn check<'a>(
    group: &str,
    before: &Map<String, Value>,
    patch: Option<&Map<String, Value>>,
    is_secret: impl Fn(&str) -> bool,
    from: impl IntoIterator<Item = (&'a str, &'a str)>,
    to: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<(), Problem> {
    let Some(moved) = moved(from, to) else {
        return Ok(());
    };
    let kept = before.iter().find(|(name, value)| {
        is_secret(name) && !is_empty(value) && is_kept(patch.and_then(|patch| patch.get(name.as_str())))
    });
    match kept {
        Some((name, _)) => Err(Problem::invalid(
            field(group, name),
            &format!("must be given again, because {moved} leads to another origin (scheme, host or port)"),
        )),
        None => Ok(()),
    }
}

/// The path of a field of `group`, which is empty for the body itself.
pub(crate) fn field(group: &str, name: &str) -> String {
    match group {
        "" => name.to_owned(),
        group => format!("{group}.{name}"),
    }
}

/// The first address field whose origin changes.
fn moved<'a>(
    from: impl IntoIterator<Item = (&'a str, &'a str)>,
    to: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Option<&'a str> {
    let (from, to): (BTreeSet<_>, BTreeSet<_>) = (origins(from), origins(to));
    from.symmetric_difference(&to).next().map(|(field, _)| *field)
}

fn origins<'a>(addresses: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeSet<(&'a str, String)> {
    addresses
        .into_iter()
        .map(|(field, address)| (field, outbound_url::origin(address)))
        .collect()
}

/// Whether a patch keeps a secret, or part of it.
fn is_kept(patched: Option<&Value>) -> bool {
    match patched {
        None => true,
        Some(Value::String(text)) => text.is_empty() || text == MASK,
        Some(Value::Array(values)) => values.iter().any(|value| is_kept(Some(value))),
        Some(Value::Object(values)) => values.values().any(|value| is_kept(Some(value))),
        Some(Value::Null | Value::Bool(_) | Value::Number(_)) => false,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.iter().all(is_empty),
        Value::Object(values) => values.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn try_patch(patch: Value, (from, to): (&str, &str)) -> Option<String> {
        let before = json!({"apiKey": "k", "secret": ["a", "b"], "headers": {"x": "d"}, "model": "m", "unset": ""});
        let is_secret = |field: &str| field != "model";
        let done = check(
            "config",
            before.as_object().unwrap(),
            patch.as_object(),
            is_secret,
            (!from.is_empty()).then_some(("baseUrl", from)),
            (!to.is_empty()).then_some(("baseUrl", to)),
        );
        let problem = serde_json::to_value(done.err()?).unwrap();
        assert_eq!(
            (&problem["status"], &problem["code"]),
            (&json!(400), &json!("invalid_field"))
        );
        Some(problem["field"].as_str().unwrap().to_owned())
    }

    const MOVED: (&str, &str) = ("https://a.example/v1", "https://b.example/v1");

    #[test]
    fn every_kept_secret_must_be_given_again() {
        let given = json!({"apiKey": "k", "secret": ["a"], "headers": {"x": "d"}});
        assert_eq!(try_patch(given.clone(), MOVED), None);
        for (field, kept) in [
            ("apiKey", json!("***")),
            ("apiKey", json!("")),
            ("secret", json!(["new", "***"])),
            ("headers", json!({"x": "***"})),
        ] {
            let mut patch = given.clone();
            patch[field] = kept;
            assert_eq!(
                try_patch(patch.clone(), MOVED),
                Some(format!("config.{field}")),
                "{patch}"
            );
        }
        assert_eq!(
            try_patch(json!({"model": "n"}), MOVED).as_deref(),
            Some("config.apiKey")
        );
        assert_eq!(
            try_patch(json!({"apiKey": null, "secret": null, "headers": null}), MOVED),
            None
        );
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let stays = ("https://a.example/v1", "https://A.example:443/v2?x=1");
        assert_eq!(try_patch(json!({}), stays), None);
        for to in [
            "http://a.example/v1",
            "https://a.example:444/v1",
            "https://a.example.evil.example/v1",
            "not an address",
            "",
        ] {
            assert!(try_patch(json!({}), ("https://a.example/v1", to)).is_some(), "{to}");
        }
        assert!(try_patch(json!({}), ("", "https://a.example")).is_some());
    }
}
