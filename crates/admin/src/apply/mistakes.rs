//! Mistakes in a file, each with its position.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::positions::Positions;
use crate::problem::Problem;

/// Maximum number of mistakes reported for a file.
pub(super) const MAX_MISTAKES: usize = 100;

/// A mistake in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FileMistake)]
pub(crate) struct Mistake {
    /// The line, counted from 1. Only for mistakes in the file.
    #[schema(required = false)]
    pub(super) line: usize,
    /// The column, counted from 1. Only for mistakes in the file.
    #[schema(required = false)]
    pub(super) column: usize,
    /// The invalid field as a path (`agents[0].config.model`). Empty for the file as a whole.
    pub(super) field: String,
    /// A stable code for programs.
    pub(super) code: &'static str,
    /// One sentence for people.
    pub(super) detail: String,
    /// The allowed values, if they can be listed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) allowed: Vec<String>,
}

/// The first [`MAX_MISTAKES`] mistakes found in a file, and the positions of its fields.
#[derive(Debug, Clone)]
pub(super) struct Mistakes<'a> {
    positions: &'a Positions,
    found: Vec<Mistake>,
    /// Whether there are more mistakes than `found` has.
    has_more: bool,
}

impl<'a> Mistakes<'a> {
    pub(super) fn new(positions: &'a Positions) -> Self {
        Self {
            positions,
            found: Vec::new(),
            has_more: false,
        }
    }

    /// Adds a field with an invalid value. `reason` follows the field's name in a sentence and never holds the value.
    pub(super) fn invalid(&mut self, field: &str, reason: &str) {
        self.note(field, "invalid_field", &Problem::invalid(field, reason));
    }

    /// Adds a field that is unknown at this position.
    pub(super) fn unknown(&mut self, field: &str, known: &[&str]) {
        let problem = Problem::unknown(field).allowing(known.iter().copied());
        self.note(field, "unknown_field", &problem);
    }

    /// Adds a problem that the API reports about a field of the file.
    pub(super) fn problem(&mut self, field: &str, problem: &Problem) {
        self.note(field, problem.code(), problem);
    }

    fn note(&mut self, field: &str, code: &'static str, problem: &Problem) {
        // Nothing after the limit is compared with what is known: a file can have as many mistakes as bytes.
        if self.has_more || self.found.iter().any(|known| known.field == field) {
            // Report one mistake per field, the first one.
            return;
        }
        if self.found.len() >= MAX_MISTAKES {
            self.has_more = true;
            return;
        }
        let (line, column) = self.positions.of(field);
        let allowed = problem.member("allowed").and_then(Value::as_array);
        self.found.push(Mistake {
            line,
            column,
            field: field.to_owned(),
            code,
            detail: problem.detail().to_owned(),
            allowed: allowed
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether there are more mistakes than are reported, so that the search for others can end.
    pub(super) fn has_more(&self) -> bool {
        self.has_more
    }

    /// The problem with these mistakes, in file order.
    pub(super) fn into_problem(self) -> Problem {
        refusal(self.found, self.has_more)
    }
}

/// The problem that the API reports for a file that is refused before its fields are read: its first [`MAX_MISTAKES`] mistakes.
pub(super) fn unreadable(mut mistakes: Vec<Mistake>) -> Problem {
    let has_more = mistakes.len() > MAX_MISTAKES;
    mistakes.truncate(MAX_MISTAKES);
    refusal(mistakes, has_more)
}

fn refusal(mut mistakes: Vec<Mistake>, has_more: bool) -> Problem {
    mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    mistakes.dedup();
    let detail = match mistakes.as_slice() {
        [one] => format!("line {}: {}; nothing was changed", one.line, one.detail),
        several if has_more => format!(
            "the file has more than {0} mistakes, of which {0} are listed; nothing was changed",
            several.len()
        ),
        several => format!("the file has {} mistakes; nothing was changed", several.len()),
    };
    Problem::new(axum::http::StatusCode::BAD_REQUEST, "invalid_file", detail).with("errors", mistakes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_reported_mistakes_is_bounded() {
        let positions = Positions::default();
        let mut mistakes = Mistakes::new(&positions);
        for n in 0..100_000 {
            mistakes.unknown(&format!("key{n}"), &["agents"]);
        }
        assert_eq!(mistakes.found.len(), MAX_MISTAKES);
        let problem = mistakes.into_problem();
        assert!(
            problem.detail().contains("more than 100 mistakes"),
            "{}",
            problem.detail()
        );
        assert_eq!(
            problem.member("errors").unwrap().as_array().unwrap().len(),
            MAX_MISTAKES
        );
    }

    #[test]
    fn exact_number_is_reported_up_to_the_maximum() {
        let positions = Positions::default();
        let mut mistakes = Mistakes::new(&positions);
        for n in 0..MAX_MISTAKES {
            mistakes.invalid(&format!("key{n}"), "is wrong");
            mistakes.invalid("key0", "is wrong in another way");
        }
        let detail = mistakes.into_problem().detail().to_owned();
        assert!(detail.contains("has 100 mistakes"), "{detail}");
    }
}
