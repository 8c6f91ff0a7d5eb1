//! Validates one object of a file with the API's own rules and continues after each mistake, so that all of them are reported.

use serde_json::{Map, Value};

use super::mistakes::Mistakes;
use super::positions::join;
use crate::problem::Problem;

/// Maximum number of mistakes reported for one object.
const MAX_MISTAKES: usize = 50;
/// Maximum number of values validated to find the mistakes of one object: each mistake found means that all of them are validated again.
const MAX_VALUES: usize = 100_000;
/// Placeholder for a missing required field, so that later rules are checked too. It is an address because some required fields are.
const PLACEHOLDER: &str = "https://placeholder.example";
/// Fields that decide what others mean: if one of them is wrong, the fields in [`DECIDED`] can't be checked.
const DECIDING: [&str; 3] = ["platform", "protocol", "connectionMode"];
/// The fields whose meaning [`DECIDING`] decides.
const DECIDED: [&str; 3] = ["config", "credentials", "endpoints"];

/// Runs `read` on the fields of the object at `at` and returns its result. `None`: all mistakes are noted.
pub(super) fn attempt<T>(
    at: &str,
    fields: &Map<String, Value>,
    mistakes: &mut Mistakes<'_>,
    read: impl Fn(Map<String, Value>) -> Result<T, Problem>,
) -> Option<T> {
    if mistakes.has_more() {
        return None;
    }
    let mut fields = fields.clone();
    let mut reported: Vec<String> = Vec::new();
    let n_rounds = (MAX_VALUES / n_values(fields.values())).clamp(1, MAX_MISTAKES);
    loop {
        let problem = match read(fields.clone()) {
            Ok(done) if reported.is_empty() => return Some(done),
            Ok(_) => return None,
            Err(problem) => problem,
        };
        let field = problem.field().unwrap_or_default().to_owned();
        // A wrong value of a required field is removed, and then missing.
        let n_earlier = reported.iter().filter(|known| **known == field).count();
        if n_earlier > 1 || is_undecided(&field, &reported) {
            return None;
        }
        if n_earlier == 0 {
            mistakes.problem(&join_field(at, &field), &problem);
        }
        let repaired = !field.is_empty() && repair(&mut fields, &field);
        reported.push(field);
        if !repaired || reported.len() >= n_rounds {
            return None;
        }
    }
}

/// The number of these values and of all values below them. At least one.
fn n_values<'a>(values: impl Iterator<Item = &'a Value>) -> usize {
    let below = values.map(|value| match value {
        Value::Array(values) => n_values(values.iter()),
        Value::Object(fields) => n_values(fields.values()),
        _ => 1,
    });
    1 + below.sum::<usize>()
}

fn join_field(at: &str, field: &str) -> String {
    if field.is_empty() {
        at.to_owned()
    } else {
        join(at, field)
    }
}

fn is_undecided(field: &str, reported: &[String]) -> bool {
    let group = field.split('.').next().unwrap_or_default();
    DECIDED.contains(&group) && reported.iter().any(|known| DECIDING.contains(&&**known))
}

/// Repairs the mistake so that validation can continue: removes the field, or fills it with a placeholder if it is missing.
fn repair(fields: &mut Map<String, Value>, field: &str) -> bool {
    let field = field.split('[').next().unwrap_or(field);
    if fields.remove(field).is_some() {
        return true;
    }
    let Some((group, name)) = field.split_once('.') else {
        fields.insert(field.to_owned(), PLACEHOLDER.into());
        return true;
    };
    let group = fields.entry(group).or_insert_with(|| Value::Object(Map::new()));
    let Some(group) = group.as_object_mut() else {
        return false;
    };
    if group.remove(name).is_none() {
        group.insert(name.to_owned(), PLACEHOLDER.into());
    }
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::positions::Positions;
    use super::*;

    /// A rule that requires `name` and the texts `config.a` and `config.b`, and allows a number `n`.
    fn rule(fields: Map<String, Value>) -> Result<(), Problem> {
        for (name, value) in &fields {
            match name.as_str() {
                "name" | "config" => {}
                "n" if value.is_number() => {}
                "n" => return Err(Problem::invalid("n", "must be a number")),
                other => return Err(Problem::unknown(other)),
            }
        }
        if !fields.contains_key("name") {
            return Err(Problem::invalid("name", "is required"));
        }
        for name in ["a", "b"] {
            match fields.get("config").and_then(|config| config.get(name)) {
                None => return Err(Problem::invalid(format!("config.{name}"), "is required")),
                Some(Value::String(_)) => {}
                Some(_) => return Err(Problem::invalid(format!("config.{name}"), "must be a text")),
            }
        }
        Ok(())
    }

    #[track_caller]
    fn check(fields: Value, expected: &[&str]) {
        let positions = Positions::default();
        let mut mistakes = Mistakes::new(&positions);
        let done = attempt("x[0]", fields.as_object().unwrap(), &mut mistakes, rule);
        assert_eq!(done.is_some(), expected.is_empty());
        let problem = serde_json::to_value(mistakes.into_problem()).unwrap();
        let errors = problem["errors"].as_array().unwrap();
        let found: Vec<_> = errors.iter().map(|error| error["field"].as_str().unwrap()).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn work_for_a_large_object_is_bounded() {
        let fields = (0..90_000).map(|n| (format!("key{n}"), json!(n))).collect();
        let positions = Positions::default();
        let n_reads = std::cell::Cell::new(0);
        let read = |fields| {
            n_reads.set(n_reads.get() + 1);
            rule(fields)
        };
        assert!(attempt("x[0]", &fields, &mut Mistakes::new(&positions), read).is_none());
        assert_eq!(n_reads.get(), 1);
    }

    #[test]
    fn all_mistakes_of_an_object_are_found() {
        check(json!({"name": "A", "config": {"a": "1", "b": "1"}}), &[]);
        check(
            json!({"name": "A", "n": "x", "m": 1, "o": 1}),
            &["x[0].m", "x[0].n", "x[0].o", "x[0].config.a", "x[0].config.b"],
        );
        check(
            json!({"config": {"a": 1, "b": 1}}),
            &["x[0].name", "x[0].config.a", "x[0].config.b"],
        );
    }
}
