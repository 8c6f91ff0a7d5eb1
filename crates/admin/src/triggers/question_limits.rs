//! Quiet hours and rate limit of questions, as the API has them.

use serde::{Deserialize, Serialize};
use tieline_core::quiet_hours::{QuietHours, TimeOfDay, UtcOffset};
use utoipa::ToSchema;

use crate::problem::Problem;

/// Maximum rate limit that can be set; a higher one is as good as no limit.
const MAX_PER_MINUTE: u32 = 10_000;

/// A part of each day in which no questions are answered, past midnight if `to` is earlier than `from`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = QuietHours)]
pub(crate) struct QuietHoursBody {
    /// The first quiet minute, `HH:MM`.
    #[schema(example = "22:00")]
    from: String,
    /// The first minute after the quiet hours, `HH:MM`.
    #[schema(example = "07:00")]
    to: String,
    /// The offset of both from UTC. Default: `+00:00`.
    #[schema(example = "+08:00")]
    #[serde(default = "utc")]
    utc_offset: String,
}

fn utc() -> String {
    UtcOffset::default().to_string()
}

impl QuietHoursBody {
    pub(super) fn of(hours: QuietHours) -> Self {
        Self {
            from: hours.from.to_string(),
            to: hours.to.to_string(),
            utc_offset: hours.utc_offset.to_string(),
        }
    }

    /// Validates the hours.
    pub(super) fn read(&self) -> Result<QuietHours, Problem> {
        let time = |field: &str, text: &str| {
            TimeOfDay::parse(text.trim()).map_err(|error| Problem::invalid(field, &error.to_string()))
        };
        let (from, to) = (time("quietHours.from", &self.from)?, time("quietHours.to", &self.to)?);
        if from == to {
            return Err(Problem::invalid(
                "quietHours.to",
                "must be another time than quietHours.from",
            ));
        }
        let utc_offset = UtcOffset::parse(self.utc_offset.trim())
            .map_err(|error| Problem::invalid("quietHours.utcOffset", &error.to_string()))?;
        Ok(QuietHours { from, to, utc_offset })
    }
}

/// Validates a rate limit per minute.
pub(crate) fn per_minute(field: &str, limit: Option<u32>) -> Result<Option<u32>, Problem> {
    match limit {
        Some(limit) if !(1..=MAX_PER_MINUTE).contains(&limit) => {
            Err(Problem::invalid(field, &format!("must be from 1 to {MAX_PER_MINUTE}")))
        }
        limit => Ok(limit),
    }
}
