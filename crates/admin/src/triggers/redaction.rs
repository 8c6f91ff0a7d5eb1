//! Redaction of credentials, as the API has it.

use serde::{Deserialize, Serialize};
use tieline_core::redaction::{Incoming, MAX_PATTERNS, Outgoing, Redaction, check_patterns};
use utoipa::ToSchema;

use crate::problem::Problem;
use crate::schema;

/// What happens to keys, tokens, passwords and card numbers.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Redaction)]
pub(crate) struct RedactionView {
    /// In messages of people.
    #[schema(value_type = schema::Incoming)]
    incoming: Incoming,
    /// In answers of agents.
    #[schema(value_type = schema::Outgoing)]
    outgoing: Outgoing,
    /// The organization's own regular expressions, each matched within a line.
    patterns: Vec<String>,
}

/// Changes of redaction. Absent fields keep their values; a new trigger redacts nothing.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RedactionPatch {
    #[schema(value_type = Option<schema::Incoming>)]
    incoming: Option<Incoming>,
    #[schema(value_type = Option<schema::Outgoing>)]
    outgoing: Option<Outgoing>,
    /// Regular expressions of at most 256 bytes each.
    #[schema(max_items = 20)]
    patterns: Option<Vec<String>>,
}

impl RedactionView {
    pub(super) fn of(redaction: Redaction) -> Self {
        Self {
            incoming: redaction.incoming,
            outgoing: redaction.outgoing,
            patterns: redaction.patterns,
        }
    }
}

impl RedactionPatch {
    pub(super) fn apply(self, before: Redaction) -> Result<Redaction, Problem> {
        let patterns = self.patterns.unwrap_or(before.patterns);
        if patterns.len() > MAX_PATTERNS {
            let reason = format!("has more than {MAX_PATTERNS} entries");
            return Err(Problem::invalid("redaction.patterns", &reason));
        }
        check_patterns(&patterns)
            .map_err(|(at, error)| Problem::invalid(format!("redaction.patterns[{at}]"), &error.to_string()))?;
        Ok(Redaction {
            incoming: self.incoming.unwrap_or(before.incoming),
            outgoing: self.outgoing.unwrap_or(before.outgoing),
            patterns,
        })
    }
}
