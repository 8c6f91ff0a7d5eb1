//! The summary of an organization: what needs an operator's attention, and the figures of the last day.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use tieline_core::ids::OrganizationId;
use tieline_core::notice::Language;
use tieline_core::timestamp::Timestamp;
use tieline_store::config::integration::{self as store_integration, IntegrationRecord};
use tieline_store::config::user;
use tieline_store::status::{ConnectionState, Status};
use utoipa::ToSchema;

use super::effective_status::Condition;
use super::last_error;
use super::overview::{CONCURRENCY, PAGE, agents, last_day};
use super::remedy::Remedy;
use super::status;
use super::troubles;
use crate::problem::Problem;
use crate::schema;
use crate::state::AdminState;

/// What needs an operator's attention, and the figures of the last day.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    /// Integrations that have a problem, at most 50.
    attention: Vec<Attention>,
    counts: SummaryCounts,
    last_day: SummaryDay,
}

/// An integration that needs attention.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Attention {
    integration_id: String,
    name: String,
    platform: String,
    #[schema(value_type = schema::ConnectionState)]
    state: ConnectionState,
    reason: Option<String>,
    /// What went wrong: the failed answer or the last error, if that is the cause.
    cause: Option<String>,
    /// When that happened.
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// The operator's next step in one sentence.
    next: Option<String>,
    /// The code of the action that fixes it, as in a doctor's check.
    action: Option<&'static str>,
    /// The target of the action, if it isn't the integration itself.
    target: Option<String>,
}

/// Numbers of resources in an organization.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SummaryCounts {
    integrations: usize,
    /// Of the integrations: those on our own channel `web`.
    web: usize,
    connected: usize,
    agents: usize,
    /// Whether any integration of the organization has ever received a message.
    talked: bool,
}

/// The last 24 hours.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SummaryDay {
    answered: u32,
    failed: u32,
    refused: u32,
    /// Whether there were more messages than were counted.
    at_least: bool,
    /// Median time from receipt to the first visible text. Null if there was no answer.
    first_text_millis: Option<u64>,
}

/// Maximum number of integrations that a summary lists as needing attention.
const ATTENTION: usize = 50;

/// Summarizes an organization.
pub(crate) async fn summarize(
    state: &AdminState,
    organization: &OrganizationId,
    language: Language,
) -> Result<Summary, Problem> {
    let n_agents = agents(state, organization).await?.len();
    let day = last_day(state, organization).await?;
    let mut counts = SummaryCounts {
        integrations: 0,
        web: 0,
        connected: 0,
        agents: n_agents,
        talked: has_people(state, organization).await?,
    };
    let mut attention = Vec::new();
    let mut cursor = None;
    loop {
        let found = store_integration::list(&state.world.store, organization, cursor.as_deref(), PAGE).await?;
        let mut asked = Vec::with_capacity(found.items.len());
        for record in &found.items {
            asked.push(status::look(state, record));
        }
        let seen: Vec<_> = stream::iter(asked).buffered(CONCURRENCY).try_collect().await?;
        for (record, seen) in found.items.iter().zip(seen) {
            counts.integrations += 1;
            counts.web += usize::from(status::is_own_channel(state, record));
            let is_up = matches!(
                seen.condition.state,
                ConnectionState::Connected | ConnectionState::Degraded
            );
            counts.connected += usize::from(is_up);
            counts.talked |= seen.reported.last_event_at.is_some();
            if attention.len() < ATTENTION {
                attention.extend(Attention::of(record, &seen, language));
            }
        }
        cursor = found.cursor;
        if cursor.is_none() {
            break;
        }
    }
    let mut millis = day.first_text_millis;
    millis.sort_unstable();
    Ok(Summary {
        attention,
        counts,
        last_day: SummaryDay {
            answered: day.all.answered,
            failed: day.all.failed,
            refused: day.all.refused,
            at_least: day.all.at_least,
            first_text_millis: millis.get(millis.len() / 2).copied(),
        },
    })
}

/// Whether any person is known, who has written to a bot of the organization: people are kept for longer than the ledger.
async fn has_people(state: &AdminState, organization: &OrganizationId) -> Result<bool, Problem> {
    let first = user::list(&state.world.store, organization, None, 1).await?;
    Ok(!first.items.is_empty())
}

/// Whether the last error is the cause of this status.
fn is_of_last_error(condition: &Condition) -> bool {
    let is_so = |reason| {
        matches!(
            reason,
            "config_invalid" | "kicked" | "login_expired" | "silent" | "platform_unavailable"
        )
    };
    condition.state != ConnectionState::Connected && condition.reason.as_deref().is_none_or(is_so)
}

/// What went wrong and when, from the same record as the next step: the last error may be older or newer, and about something else.
fn cause_of(condition: &Condition, reported: &Status, language: Language) -> Option<(String, Timestamp)> {
    if matches!(condition.reason.as_deref(), Some("agent_failed" | "delivery_failed")) {
        let failed = reported.failed_answer.as_ref()?;
        return Some((troubles::explain(failed).render(language), failed.at));
    }
    let error = reported.last_error.as_ref().filter(|_| is_of_last_error(condition))?;
    Some((last_error::words(error, language), error.at))
}

impl Attention {
    /// `None` for an integration that is connected, or that an operator stopped.
    fn of(record: &IntegrationRecord, seen: &status::Seen, language: Language) -> Option<Self> {
        let condition = &seen.condition;
        let is_fine = condition.state == ConnectionState::Connected && condition.next.is_none();
        if is_fine || condition.state == ConnectionState::Disabled {
            return None;
        }
        let (cause, at) = cause_of(condition, &seen.reported, language).unzip();
        let remedy = Remedy::of_condition(condition, seen);
        Some(Self {
            integration_id: record.id.to_string(),
            name: record.name.clone(),
            platform: record.platform.clone(),
            state: condition.state,
            reason: condition.reason.clone(),
            cause,
            at,
            next: condition.next.as_ref().map(|next| next.render(language)),
            action: remedy.as_ref().map(|remedy| remedy.action.as_str()),
            target: remedy.and_then(|remedy| remedy.target),
        })
    }
}

#[cfg(test)]
mod tests {
    use tieline_core::ids::MessageId;
    use tieline_store::message::FailedAnswer;
    use tieline_store::status::StatusError;

    use super::*;

    #[test]
    fn cause_is_the_failed_answer_or_the_last_error_as_the_reason_says() {
        let at = Timestamp::from_secs;
        let reported = |is_agents, code: &str, detail: Option<&str>| Status {
            last_error: Some(StatusError {
                at: at(9),
                code: "reset".to_owned(),
                message: "the connection broke".to_owned(),
            }),
            failed_answer: Some(FailedAnswer {
                message: MessageId::new("msg_1"),
                at: at(5),
                is_agents,
                code: code.to_owned(),
                detail: detail.map(str::to_owned),
            }),
            ..Status::default()
        };
        let cause = |state, reason: &str, reported: &Status| {
            let condition = Condition {
                state,
                reason: Some(reason.to_owned()),
                connected_at: None,
                next: None,
            };
            cause_of(&condition, reported, Language::English)
        };
        let agent = reported(true, "http_500", Some("out of memory"));
        let expected = "the agent failed: http_500: out of memory".to_owned();
        assert_eq!(
            cause(ConnectionState::Degraded, "agent_failed", &agent),
            Some((expected, at(5)))
        );
        let delivery = reported(false, "45015_window_closed", None);
        let (words, failed_at) = cause(ConnectionState::Degraded, "delivery_failed", &delivery).unwrap();
        assert!(words.contains("45015_window_closed"), "{words}");
        assert_eq!(failed_at, at(5));
        assert_eq!(
            cause(ConnectionState::Retrying, "silent", &agent),
            Some(("the connection broke".to_owned(), at(9)))
        );
        assert_eq!(cause(ConnectionState::Degraded, "empty_answer", &agent), None);
    }
}
