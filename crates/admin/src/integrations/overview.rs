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
use tieline_store::status::ConnectionState;
use utoipa::ToSchema;

use super::status::{self, StatusView};
use super::view::{self, IntegrationView};
use crate::problem::Problem;
use crate::state::AdminState;

/// Integrations whose status is read concurrently.
pub(super) const CONCURRENCY: usize = 16;
/// Time span of the counts.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
/// Maximum number of an organization's messages that are counted; more are reported as "at least".
pub(crate) const COUNTED: usize = 2000;
/// Page size of the reads.
pub(super) const PAGE: usize = 200;

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

/// One page of the deleted integrations of an organization. A filtered page has as many items as an unfiltered one.
pub(crate) async fn deleted_page(
    state: &AdminState,
    organization: &OrganizationId,
    wanted: &Wanted<'_>,
    (cursor, limit): (Option<&str>, usize),
) -> Result<(Vec<ListedIntegration>, Option<String>), Problem> {
    let mut items = Vec::new();
    let mut cursor = cursor.map(str::to_owned);
    loop {
        let asked = (cursor.as_deref(), limit - items.len());
        let page = store_integration::list_deleted(&state.world.store, organization, asked, state.now()).await?;
        for deleted in page.items.iter().filter(|deleted| wanted.matches(&deleted.record)) {
            items.push(ListedIntegration {
                integration: view::of(state, &deleted.record)?.deleted(deleted.at),
                status: None,
                agent: None,
                counts: None,
            });
        }
        cursor = page.cursor;
        if cursor.is_none() || items.len() >= limit {
            return Ok((items, cursor));
        }
    }
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

pub(super) async fn agents(
    state: &AdminState,
    organization: &OrganizationId,
) -> Result<HashMap<AgentId, String>, Problem> {
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
            if record.state != MessageState::Answered {
                continue;
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
