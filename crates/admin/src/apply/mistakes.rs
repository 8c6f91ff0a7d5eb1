//! Mistakes in a file, each with its position.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::positions::Positions;
use crate::problem::Problem;

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

/// All mistakes found in a file so far, and the positions of its fields.
#[derive(Debug, Clone)]
pub(super) struct Mistakes<'a> {
    positions: &'a Positions,
    found: Vec<Mistake>,
}

impl<'a> Mistakes<'a> {
    pub(super) fn new(positions: &'a Positions) -> Self {
        Self {
            positions,
            found: Vec::new(),
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
        // Report one mistake per field, the first one.
        if self.found.iter().any(|known| known.field == field) {
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

    /// The problem with all mistakes, in file order.
    pub(super) fn into_problem(self) -> Problem {
        refusal(self.found)
    }
}

/// The problem that the API reports for a file with these mistakes.
pub(super) fn refusal(mut mistakes: Vec<Mistake>) -> Problem {
    mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    mistakes.dedup();
    let detail = match mistakes.as_slice() {
        [one] => format!("line {}: {}; nothing was changed", one.line, one.detail),
        several => format!("the file has {} mistakes; nothing was changed", several.len()),
    };
    Problem::new(axum::http::StatusCode::BAD_REQUEST, "invalid_file", detail).with("errors", mistakes)
}
