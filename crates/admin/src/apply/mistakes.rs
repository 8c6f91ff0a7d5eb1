//! What is wrong in a file, each mistake with its place.

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
    /// The line, counted from 1. Only of a mistake in the file.
    #[schema(required = false)]
    pub(super) line: usize,
    /// The column, counted from 1. Only of a mistake in the file.
    #[schema(required = false)]
    pub(super) column: usize,
    /// The offending field as a path (`agents[0].config.model`). Empty for the file as a whole.
    pub(super) field: String,
    /// A stable word for programs.
    pub(super) code: &'static str,
    /// One sentence for people.
    pub(super) detail: String,
    /// What may stand there instead, if that can be listed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) allowed: Vec<String>,
}

/// All mistakes of a file so far, and where its fields stand.
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

    /// A field that can't be used. `reason` follows the field's name in a sentence and never holds the value.
    pub(super) fn invalid(&mut self, field: &str, reason: &str) {
        self.note(field, "invalid_field", &Problem::invalid(field, reason));
    }

    /// A field that has no meaning at its place.
    pub(super) fn unknown(&mut self, field: &str, known: &[&str]) {
        let problem = Problem::unknown(field).allowing(known.iter().copied());
        self.note(field, "unknown_field", &problem);
    }

    /// A problem that the API has with a field of the file.
    pub(super) fn problem(&mut self, field: &str, problem: &Problem) {
        self.note(field, problem.code(), problem);
    }

    fn note(&mut self, field: &str, code: &'static str, problem: &Problem) {
        // The first mistake of a field is the one to correct.
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

    /// All of them, in the order of the file.
    pub(super) fn into_problem(self) -> Problem {
        refusal(self.found)
    }
}

/// The problem that a file with these mistakes is answered with.
pub(super) fn refusal(mut mistakes: Vec<Mistake>) -> Problem {
    mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    mistakes.dedup();
    let detail = match mistakes.as_slice() {
        [one] => format!("line {}: {}; nothing was changed", one.line, one.detail),
        several => format!("the file has {} mistakes; nothing was changed", several.len()),
    };
    Problem::new(axum::http::StatusCode::BAD_REQUEST, "invalid_file", detail).with("errors", mistakes)
}
