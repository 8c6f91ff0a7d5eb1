//! Finds out why a bot doesn't answer: the questions that people ask, in the order in which the answers matter.

mod findings;

use std::collections::HashSet;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tieline_bridge::accounts;
use tieline_bridge::agents as bridge_agents;
use tieline_core::account::ConnectionMode;
use tieline_core::ids::{AgentId, ConversationId, IntegrationId};
use tieline_core::message_state::MessageState;
use tieline_store::config::integration::{self as store_integration, IntegrationRecord};
use tieline_store::config::{agent, trigger};
use tieline_store::log::{self, Level};
use tieline_store::message::{self, Filter, MessageRecord};
use tieline_store::{conversation, leases};
use utoipa::ToSchema;

use self::findings::{AgentAnswer, Elsewhere, Facts, Finding, RelayHeld};
use super::{find, probe, status, view};
use crate::auth::Scope;
use crate::path::Id;
use crate::problem::Problem;
use crate::state::AdminState;

/// Newest messages that are looked at.
const MESSAGES: usize = 100;
/// Newest entries of the log that are looked at.
const LOG_ENTRIES: usize = 20;

/// What a doctor found.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Diagnosis {
    /// The first thing to fix. Null if all is well.
    cause: Option<String>,
    /// What to do about it. Null if there is nothing to do.
    next: Option<String>,
    /// All that was looked at, the gravest first.
    checks: Vec<DoctorCheck>,
}

/// One question and its answer.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DoctorCheck {
    name: &'static str,
    ok: bool,
    /// The answer in one line.
    detail: String,
}

/// Finds out why a bot doesn't answer. Asks the platform and the agent for real.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/integrations/{id}/doctor", tag = "integrations",
    responses((status = 200, body = Diagnosis)))]
pub(crate) async fn examine(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
) -> Result<Json<Diagnosis>, Problem> {
    let record = find(&state, &scope, &id).await?;
    let facts = gather(&state, &record).await?;
    Ok(Json(Diagnosis::of(findings::all(&facts))))
}

async fn gather(state: &AdminState, record: &IntegrationRecord) -> Result<Facts, Problem> {
    let seen = status::look(state, record).await?;
    let triggers = trigger::naming(&state.world.store, &record.organization, |_| true).await?;
    let bound = seen.bound.trigger;
    let elsewhere = match bound {
        Some(_) => None,
        None => elsewhere(state, record, &triggers).await?,
    };
    let is_own_channel = status::is_own_channel(state, record);
    let askable = seen.unusable.is_none() && !is_own_channel;
    // At the same time, for both may be slow and somebody waits.
    let (credentials, agent) = tokio::try_join!(
        credentials(state, record, askable),
        ask_agent(state, record, bound.as_ref().map(|trigger| &trigger.agent)),
    )?;
    let messages = newest_messages(state, record).await?;
    Ok(Facts {
        now: state.now(),
        platform: record.platform.clone(),
        mode: record.mode,
        is_own_channel,
        enabled: record.enabled,
        callback_url: view::callback_url(state, record),
        is_callable: view::is_callable(state),
        credentials,
        unusable: seen.unusable,
        disabled_triggers: triggers
            .iter()
            .filter(|it| it.trigger.integration == record.id && !it.trigger.enabled)
            .map(|it| it.trigger.id.to_string())
            .collect(),
        access: bound.as_ref().map(|trigger| trigger.settings.access.clone()),
        bound: bound.map(|trigger| trigger.id.to_string()),
        elsewhere,
        agent,
        relay: relay(state, record).await?,
        condition: seen.condition,
        reported: seen.reported,
        running: running(state, &messages).await?,
        messages,
        log: log::list(
            &state.world.store,
            &record.id,
            Level::Warn,
            None,
            LOG_ENTRIES,
            state.now(),
        )
        .await?
        .items,
    })
}

/// An enabled trigger of another integration of the same platform: the usual slip.
async fn elsewhere(
    state: &AdminState,
    record: &IntegrationRecord,
    triggers: &[trigger::TriggerRecord],
) -> Result<Option<Elsewhere>, Problem> {
    for it in triggers.iter().filter(|it| it.trigger.enabled) {
        let other: &IntegrationId = &it.trigger.integration;
        let found = store_integration::get(&state.world.store, other).await?;
        if let Some(found) = found.filter(|found| found.platform == record.platform && found.id != record.id) {
            return Ok(Some(Elsewhere {
                trigger: it.trigger.id.to_string(),
                integration: found.name,
            }));
        }
    }
    Ok(None)
}

async fn ask_agent(
    state: &AdminState,
    record: &IntegrationRecord,
    id: Option<&AgentId>,
) -> Result<Option<AgentAnswer>, Problem> {
    let Some(id) = id else { return Ok(None) };
    let Some(found) = agent::get(&state.world.store, &record.organization, id).await? else {
        return Ok(Some(AgentAnswer {
            name: id.to_string(),
            millis: 0,
            failure: Some(("agent_missing".to_owned(), "it is gone".to_owned())),
        }));
    };
    let begun = Instant::now();
    let probed = bridge_agents::probe(&state.world, &found.agent).await;
    Ok(Some(AgentAnswer {
        name: found.agent.name,
        millis: probe::millis_since(begun),
        failure: probed.err().map(|failure| (failure.code, failure.message)),
    }))
}

async fn credentials(
    state: &AdminState,
    record: &IntegrationRecord,
    askable: bool,
) -> Result<Option<(bool, String)>, Problem> {
    match accounts::open(&state.world, record) {
        Ok(bot) if askable => probe::credentials(state, record, &bot).await.map(Some),
        _ => Ok(None),
    }
}

async fn relay(state: &AdminState, record: &IntegrationRecord) -> Result<Option<RelayHeld>, Problem> {
    if record.mode != ConnectionMode::LongConnection {
        return Ok(None);
    }
    let picture = leases::picture(&state.world.store).await?;
    let now = state.now();
    let shard = state.world.shard_of(&record.id);
    let holder = shard.and_then(|shard| picture.holder(shard, now));
    let heartbeat = holder.and_then(|holder| picture.tasks.get(&holder.node));
    Ok(Some(RelayHeld {
        n_alive: picture.living(now).count(),
        holder: holder.map(|holder| holder.node.clone()),
        lease_left: heartbeat.map(|task| task.expires_at.since(now)),
    }))
}

async fn newest_messages(state: &AdminState, record: &IntegrationRecord) -> Result<Vec<MessageRecord>, Problem> {
    let filter = Filter {
        integration: Some(record.id.clone()),
        ..Filter::default()
    };
    let store = &state.world.store;
    let page = message::list(store, &record.organization, &filter, None, MESSAGES, state.now()).await?;
    Ok(page.items)
}

/// The conversations of waiting messages in which there is a run.
async fn running(state: &AdminState, messages: &[MessageRecord]) -> Result<HashSet<ConversationId>, Problem> {
    let waiting = messages.iter().filter(|record| record.state == MessageState::Queued);
    let ids: Vec<_> = waiting.filter_map(|record| record.conversation.clone()).collect();
    let found = conversation::get_many(&state.world.store, &ids, state.now()).await?;
    let running = found.into_iter().filter(|found| found.run.is_some());
    Ok(running.map(|found| found.key.id()).collect())
}

impl Diagnosis {
    fn of(findings: Vec<Finding>) -> Self {
        let worst = findings.iter().find(|finding| finding.next.is_some());
        let cause = worst.map(|finding| finding.detail.clone());
        let next = worst.and_then(|finding| finding.next.clone());
        let checks = findings.into_iter().map(|finding| DoctorCheck {
            name: finding.name,
            ok: finding.next.is_none(),
            detail: finding.detail,
        });
        Self {
            cause,
            next,
            checks: checks.collect(),
        }
    }
}
