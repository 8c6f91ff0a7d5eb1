//! Lists of integrations with what operators look for in them: status, agent, counts of the last day.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use tieline_core::ids::{AgentId, IntegrationId, OrganizationId};
use tieline_core::message_state::MessageState;
use tieline_core::notice::Language;
use tieline_core::timestamp::Timestamp;
use tieline_store::config::agent;
use tieline_store::config::integration::{self as store_integration, IntegrationRecord};
use tieline_store::message::{self, Filter};
use tieline_store::status::{ConnectionState, Status};
use utoipa::ToSchema;

use super::effective_status::Condition;
use super::last_error;
use super::remedy::Remedy;
use super::status::{self, StatusView};
use super::troubles;
use super::view::{self, IntegrationView};
use crate::problem::Problem;
use crate::schema;
use crate::state::AdminState;

/// Integrations whose status is read concurrently.
const CONCURRENCY: usize = 16;
/// Time span of the counts.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
/// Maximum number of an organization's messages that are counted; more are reported as "at least".
pub(crate) const COUNTED: usize = 2000;
/// Page size of the reads.
const PAGE: usize = 200;

/// An integration in a list, with the parts that the request includes.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ListedIntegration)]
pub(crate) struct ListedIntegration {
    #[serde(flatten)]
    integration: IntegrationView,
    /// With `include=status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<StatusView>,
    /// With `include=agent`: the agent that an enabled trigger binds. Null if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<Option<BoundAgent>>,
    /// With `include=counts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<Counts>,
}

/// The agent that an integration is bound to.
#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BoundAgent {
    id: String,
    name: String,
}

/// Messages of the last 24 hours by their terminal state.
#[derive(Clone, Copy, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Counts {
    pub(crate) answered: u32,
    pub(crate) failed: u32,
    pub(crate) refused: u32,
    /// Whether there were more messages than were counted.
    pub(crate) at_least: bool,
}

/// What a list includes in addition to the integrations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Include {
    pub(crate) status: bool,
    pub(crate) agent: bool,
    pub(crate) counts: bool,
}

impl Include {
    /// Parses a comma-separated list.
    pub(crate) fn parse(words: Option<&str>) -> Result<Self, Problem> {
        let mut include = Self::default();
        for word in words.unwrap_or_default().split(',').filter(|word| !word.is_empty()) {
            match word {
                "status" => include.status = true,
                "agent" => include.agent = true,
                "counts" => include.counts = true,
                _ => {
                    return Err(Problem::invalid(
                        "include",
                        "accepts status, agent and counts, separated by commas",
                    ));
                }
            }
        }
        Ok(include)
    }
}

/// Filter of a list of integrations.
pub(crate) struct Wanted<'a> {
    pub(crate) state: Option<ConnectionState>,
    /// Substring of the name, the id or the platform, in lower case.
    pub(crate) search: Option<&'a str>,
    /// The language of sentences in the response.
    pub(crate) language: Language,
}

/// One page of an organization's integrations. A filtered page has as many items as an unfiltered one.
pub(crate) async fn page(
    state: &AdminState,
    organization: &OrganizationId,
    wanted: &Wanted<'_>,
    include: Include,
    (cursor, limit): (Option<&str>, usize),
) -> Result<(Vec<ListedIntegration>, Option<String>), Problem> {
    let facts = Facts::load(state, organization, include).await?;
    let mut items = Vec::new();
    let mut cursor = cursor.map(str::to_owned);
    loop {
        let missing = limit - items.len();
        let found = store_integration::list(&state.world.store, organization, cursor.as_deref(), missing).await?;
        // A loop instead of a closure, because the compiler can't prove that a closure's futures are `Send`.
        let mut asked = Vec::with_capacity(found.items.len());
        for record in found.items.iter().filter(|&record| wanted.matches(record)) {
            asked.push(listed(state, record, &facts, include, wanted));
        }
        let listed: Vec<_> = stream::iter(asked).buffered(CONCURRENCY).try_collect().await?;
        items.extend(listed.into_iter().flatten());
        cursor = found.cursor;
        if cursor.is_none() || items.len() >= limit {
            return Ok((items, cursor));
        }
    }
}

/// One page of the deleted integrations of an organization.
pub(crate) async fn deleted_page(
    state: &AdminState,
    organization: &OrganizationId,
    wanted: &Wanted<'_>,
    page: (Option<&str>, usize),
) -> Result<(Vec<ListedIntegration>, Option<String>), Problem> {
    let page = store_integration::list_deleted(&state.world.store, organization, page, state.now()).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for deleted in page.items.iter().filter(|deleted| wanted.matches(&deleted.record)) {
        items.push(ListedIntegration {
            integration: view::of(state, &deleted.record)?.deleted(deleted.at),
            status: None,
            agent: None,
            counts: None,
        });
    }
    Ok((items, page.cursor))
}

impl Wanted<'_> {
    fn matches(&self, record: &IntegrationRecord) -> bool {
        let contains = |text: &str| self.search.is_none_or(|search| text.to_lowercase().contains(search));
        contains(&record.name) || contains(record.id.as_str()) || contains(&record.platform)
    }
}

/// Facts about the organization that all its integrations share.
struct Facts {
    agents: HashMap<AgentId, String>,
    counts: HashMap<IntegrationId, Counts>,
    at_least: bool,
}

impl Facts {
    async fn load(state: &AdminState, organization: &OrganizationId, include: Include) -> Result<Self, Problem> {
        let agents = if include.agent {
            agents(state, organization).await?
        } else {
            HashMap::new()
        };
        let mut day = LastDay::default();
        if include.counts {
            day = last_day(state, organization).await?;
        }
        Ok(Self {
            agents,
            counts: day.by_integration,
            at_least: day.all.at_least,
        })
    }
}

async fn agents(state: &AdminState, organization: &OrganizationId) -> Result<HashMap<AgentId, String>, Problem> {
    let mut names = HashMap::new();
    let mut cursor = None;
    loop {
        let page = agent::list(&state.world.store, organization, cursor.as_deref(), PAGE).await?;
        names.extend(
            page.items
                .into_iter()
                .map(|record| (record.agent.id, record.agent.name)),
        );
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(names);
        }
    }
}

/// Messages of an organization in the last 24 hours.
#[derive(Default)]
pub(crate) struct LastDay {
    pub(crate) all: Counts,
    /// From receipt to the first visible text, of each answered message.
    pub(crate) first_text_millis: Vec<u64>,
    pub(crate) by_integration: HashMap<IntegrationId, Counts>,
}

/// Counts the messages of the last day, newest first, at most [`COUNTED`].
pub(crate) async fn last_day(state: &AdminState, organization: &OrganizationId) -> Result<LastDay, Problem> {
    let filter = Filter {
        since: Some(state.now().before(DAY)),
        ..Filter::default()
    };
    let mut day = LastDay::default();
    let (mut cursor, mut n) = (None, 0);
    loop {
        let page = message::list(
            &state.world.store,
            organization,
            &filter,
            cursor.as_deref(),
            PAGE,
            state.now(),
        )
        .await?;
        for record in &page.items {
            n += 1;
            let own = day.by_integration.entry(record.integration.clone()).or_default();
            for counts in [&mut day.all, own] {
                match record.state {
                    MessageState::Answered => counts.answered += 1,
                    MessageState::Failed => counts.failed += 1,
                    MessageState::Refused => counts.refused += 1,
                    _ => {}
                }
            }
            let first = record
                .steps
                .iter()
                .find(|step| step.step == "first_text" || step.step == "delivered");
            day.first_text_millis
                .extend(first.map(|step| millis(step.at, record.received_at)));
        }
        cursor = page.cursor;
        if cursor.is_none() || n >= COUNTED {
            day.all.at_least = cursor.is_some();
            return Ok(day);
        }
    }
}

fn millis(at: Timestamp, since: Timestamp) -> u64 {
    u64::try_from(at.since(since).as_millis()).unwrap_or(u64::MAX)
}

async fn listed(
    state: &AdminState,
    record: &IntegrationRecord,
    facts: &Facts,
    include: Include,
    wanted: &Wanted<'_>,
) -> Result<Option<ListedIntegration>, Problem> {
    let integration = view::of(state, record)?;
    let (mut shown, mut agent) = (None, None);
    if include.status || include.agent || wanted.state.is_some() {
        let seen = status::look(state, record).await?;
        if wanted.state.is_some_and(|wanted| wanted != seen.condition.state) {
            return Ok(None);
        }
        let id = seen.bound.trigger.as_ref().map(|trigger| trigger.agent.clone());
        agent = include.agent.then(|| {
            id.map(|id| BoundAgent {
                name: facts.agents.get(&id).cloned().unwrap_or_default(),
                id: id.to_string(),
            })
        });
        shown = include
            .status
            .then(|| StatusView::of(seen, wanted.language, state.now()));
    }
    let counts = include.counts.then(|| Counts {
        at_least: facts.at_least,
        ..facts.counts.get(&record.id).copied().unwrap_or_default()
    });
    Ok(Some(ListedIntegration {
        integration,
        status: shown,
        agent,
        counts,
    }))
}

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
    /// Whether any message was received in the last 24 hours.
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
        talked: day.all.answered + day.all.failed + day.all.refused > 0,
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
