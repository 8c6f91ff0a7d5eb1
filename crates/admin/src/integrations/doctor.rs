//! The doctor: diagnoses why a bot doesn't answer. Its checks are sorted by dependency.

mod findings;

use std::cmp::Reverse;
use std::collections::HashSet;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use futures_util::future::try_join_all;
use serde::Serialize;
use tieline_bridge::accounts;
use tieline_bridge::agents as bridge_agents;
use tieline_bridge::error_chain::chain;
use tieline_bridge::mapper as bridge_mapper;
use tieline_bridge::probe::{self as bridge_probe, Probed};
use tieline_core::account::ConnectionMode;
use tieline_core::connector::{Unaddressed, Withheld};
use tieline_core::conversation::Conversation;
use tieline_core::event::ChatKind;
use tieline_core::ids::{AgentId, ConversationId, IntegrationId};
use tieline_core::message_state::MessageState;
use tieline_core::notice::Language;
use tieline_core::trigger::Trigger;
use tieline_store::config::integration::{self as store_integration, IntegrationRecord};
use tieline_store::config::{agent, organization, trigger};
use tieline_store::deadletter::{self, DeadLetter};
use tieline_store::log::{self, Level as LogLevel};
use tieline_store::message::{self, Filter, LATELY, MessageRecord};
use tieline_store::{conversation, leases, run_slots};
use tokio::time::timeout;
use utoipa::ToSchema;

use self::findings::{AgentAnswer, Credentials, Elsewhere, Facts, Finding, Host, Level, RelayHeld};
use super::{find, probe, status, view};
use crate::auth::Scope;
use crate::path::Id;
use crate::problem::Problem;
use crate::schema;
use crate::state::AdminState;
use crate::texts::InLanguage;

/// How many of the newest messages are examined.
const MESSAGES: usize = 200;
/// How many older messages are examined that failed lately, and as many that were refused.
const WENT_WRONG: usize = 50;
/// How many of the organization's newest dead letters are searched for messages that failed lately.
const DEAD_LETTERS: usize = 500;
/// How many conversations are searched for one in a group.
const CONVERSATIONS: usize = 100;
/// How many of the newest log entries are examined.
const LOG_ENTRIES: usize = 50;

/// Result of a diagnosis.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Diagnosis {
    /// The first thing to fix. Null if all is well: nothing failed in the last hour, no person was refused, no check is unknown.
    cause: Option<String>,
    /// What to do about it. Null if there is nothing to do.
    next: Option<String>,
    /// All checks, prerequisites before the checks that depend on them.
    checks: Vec<DoctorCheck>,
}

/// One check and its result.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DoctorCheck {
    name: &'static str,
    /// Whether the level is `ok` or `warning`.
    ok: bool,
    #[schema(value_type = schema::CheckLevel)]
    level: Level,
    /// The result in one line.
    detail: String,
    /// The code of the action that fixes it: `start`, `restart`, `edit_settings`, `edit_credentials`, `create_trigger`, `edit_trigger`,
    /// `edit_access`, `enable_trigger`, `login`, `edit_agent`, `test_agent`, `redrive`, `copy_callback_url`, `set_public_url`, `view_log`,
    /// `view_message`, `edit_organization`. Always present if the level is `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
    /// The target of the action: the id of a trigger, an agent or a message, or a text to copy. Absent: the integration itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

/// Diagnoses why a bot doesn't answer. Calls the platform and the agent.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/integrations/{id}/doctor", tag = "integrations",
    responses((status = 200, body = Diagnosis)))]
pub(crate) async fn examine(
    State(state): State<AdminState>,
    scope: Scope,
    InLanguage(language): InLanguage,
    Id(id): Id,
) -> Result<Json<Diagnosis>, Problem> {
    let record = find(&state, &scope, &id).await?;
    let facts = gather(&state, &record).await?;
    Ok(Json(Diagnosis::of(findings::all(&facts), language)))
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
    // Concurrently: both may be slow, and a person waits for the result.
    let agents = bound.iter().flat_map(Trigger::agents);
    let (credentials, agents, mapper) = tokio::try_join!(
        credentials(state, record, askable),
        try_join_all(agents.map(|id| ask_agent(state, record, id))),
        ask_mapper(state, record),
    )?;
    let messages = newest_messages(state, record).await?;
    Ok(Facts {
        now: state.now(),
        platform: record.platform.clone(),
        mode: record.mode,
        is_own_channel,
        enabled: record.enabled,
        callback_url: seen.callback_url,
        registration: seen.registration,
        called_at: seen.called_at,
        public_callback_url: view::public_callback_url(state, record),
        is_public: view::is_callable(&view::callback_url(state, record)),
        changed_at: record.updated_at,
        has_long_connection: view::has_long_connection(state, record),
        delivers_to: delivers_to(state, record, askable).await,
        missing_permissions: missing_permissions(state, record, askable).await,
        withheld: withheld(state, record).await?,
        needs_unaddressed: bound
            .as_ref()
            .is_some_and(|trigger| trigger.settings.unaddressed() != Unaddressed::Ignored),
        hosts: hosts(state, record, credentials.as_ref()).await,
        credentials,
        credential_fields: credential_fields(state, record),
        unusable: seen.unusable,
        disabled_triggers: triggers
            .iter()
            .filter(|it| it.trigger.integration == record.id && !it.trigger.enabled)
            .map(|it| it.trigger.id.to_string())
            .collect(),
        access: bound.as_ref().map(|trigger| trigger.settings.access.clone()),
        bound: bound.map(|trigger| trigger.id.to_string()),
        elsewhere,
        agents,
        mapper,
        relay: relay(state, record).await?,
        condition: seen.condition,
        reported: seen.reported,
        running: running(state, &messages).await?,
        runs_used_up: runs_used_up(state, record).await?,
        messages,
        log: log::list(
            &state.world.store,
            &record.id,
            LogLevel::Warn,
            None,
            LOG_ENTRIES,
            state.now(),
        )
        .await?
        .items,
    })
}

/// An enabled trigger of another integration of the same platform: a common mistake is to bind the wrong bot.
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

async fn ask_agent(state: &AdminState, record: &IntegrationRecord, id: &AgentId) -> Result<AgentAnswer, Problem> {
    let blank = AgentAnswer {
        id: id.to_string(),
        name: id.to_string(),
        host: String::new(),
        secrets: String::new(),
        is_gone: true,
        millis: 0,
        failure: None,
    };
    let Some(found) = agent::get(&state.world.store, &record.organization, id).await? else {
        return Ok(blank);
    };
    let facts = bridge_agents::check(&found.agent.protocol, &found.agent.config).ok();
    let addresses = facts.map(|facts| facts.addresses).unwrap_or_default();
    let begun = Instant::now();
    let probed = bridge_agents::probe(&state.world, &found.agent).await;
    Ok(AgentAnswer {
        host: addresses
            .first()
            .map_or_else(|| "this deployment".to_owned(), |(_, address)| probe::host_of(address)),
        secrets: bridge_agents::secret_fields(&found.agent.protocol).join(", "),
        name: found.agent.name,
        is_gone: false,
        millis: probe::millis_since(begun),
        failure: probed.err().map(|failure| (failure.code, failure.message)),
        ..blank
    })
}

async fn ask_mapper(state: &AdminState, record: &IntegrationRecord) -> Result<Option<Result<(), String>>, Problem> {
    let facts = organization::look_up(&state.world.store, &record.organization, state.now()).await?;
    let Some((mapper, _)) = facts.mapper else {
        return Ok(None);
    };
    let answered = bridge_mapper::probe(&state.world, &mapper, record).await;
    Ok(Some(answered.map_err(|error| chain(&error))))
}

async fn credentials(
    state: &AdminState,
    record: &IntegrationRecord,
    askable: bool,
) -> Result<Option<Credentials>, Problem> {
    let Ok(bot) = accounts::open(&state.world, record) else {
        return Ok(None);
    };
    if !askable {
        return Ok(None);
    }
    Ok(Some(match probe::ask(state, record, &bot).await? {
        None => Credentials::Unavailable {
            code: "timeout".to_owned(),
        },
        Some(Probed::Works) => Credentials::Accepted,
        Some(Probed::Refused { code }) => Credentials::Refused { code },
        Some(Probed::Unavailable { code }) => Credentials::Unavailable { code },
        Some(Probed::Untold) => match probe::refused_on_connection(state, record).await? {
            Some(code) => Credentials::Refused { code },
            None => Credentials::Untold,
        },
    }))
}

/// The address to which the platform delivers the events of a webhook.
async fn delivers_to(state: &AdminState, record: &IntegrationRecord, askable: bool) -> Option<String> {
    if !askable || !record.enabled || record.mode != ConnectionMode::Webhook {
        return None;
    }
    let bot = accounts::open(&state.world, record).ok()?;
    let asked = bridge_probe::delivery_address(&state.world, &bot);
    timeout(probe::PATIENCE, asked).await.ok().flatten()
}

/// The permissions that the platform hasn't granted. `None`: it can't be asked, or doesn't answer in time.
async fn missing_permissions(
    state: &AdminState,
    record: &IntegrationRecord,
    askable: bool,
) -> Option<Vec<&'static str>> {
    let bot = accounts::open(&state.world, record).ok().filter(|_| askable)?;
    probe::missing_permissions(state, &bot).await
}

/// What the platform withholds from the bot. Reads the record again, because a probe may have just updated it.
async fn withheld(state: &AdminState, record: &IntegrationRecord) -> Result<Option<Withheld>, Problem> {
    let (store, now) = (&state.world.store, state.now());
    let newest = store_integration::get(store, &record.id).await?;
    let bot = newest.and_then(|newest| accounts::open(&state.world, &newest).ok());
    let withheld = bot.and_then(|bot| bot.connector.withheld(&bot.context(&state.world, None)));
    if withheld == Some(Withheld::GroupMessages) {
        let page = conversation::list(store, &record.id, None, None, CONVERSATIONS, now).await?;
        let is_group = |it: &Conversation| it.key.chat.kind == ChatKind::Group;
        // A group conversation proves that group messages arrive.
        return Ok(withheld.filter(|_| !page.items.iter().any(is_group)));
    }
    Ok(withheld)
}

/// The required credential fields of the integration's mode, separated by commas.
fn credential_fields(state: &AdminState, record: &IntegrationRecord) -> String {
    let connector = state.world.connector(&record.platform);
    let mode = connector.and_then(|connector| connector.manifest().mode(record.mode));
    let fields = mode.map_or(&[][..], |mode| mode.credentials);
    let required: Vec<_> = fields
        .iter()
        .filter(|field| field.required)
        .map(|field| field.name)
        .collect();
    required.join(", ")
}

/// Calls the platform's addresses, unless the platform has just answered.
async fn hosts(state: &AdminState, record: &IntegrationRecord, credentials: Option<&Credentials>) -> Vec<Host> {
    if matches!(
        credentials,
        None | Some(Credentials::Accepted | Credentials::Refused { .. })
    ) {
        return Vec::new();
    }
    let Ok(bot) = accounts::open(&state.world, record) else {
        return Vec::new();
    };
    let Some(mode) = bot.connector.manifest().mode(record.mode) else {
        return Vec::new();
    };
    let asked = probe::addresses(mode, &bot).into_iter().map(async |(field, url)| Host {
        field,
        host: probe::host_of(&url),
        failure: probe::unreachable(state, &url).await,
    });
    futures_util::future::join_all(asked).await
}

/// The organization's limit of concurrent runs, if it is used up.
async fn runs_used_up(state: &AdminState, record: &IntegrationRecord) -> Result<Option<u32>, Problem> {
    let (store, organization, now) = (&state.world.store, &record.organization, state.now());
    let facts = organization::look_up(store, organization, now).await?;
    let Some(limit) = facts.limits.max_concurrent_runs else {
        return Ok(None);
    };
    let n_taken = run_slots::count(store, organization, limit, now).await?;
    Ok((n_taken >= limit as usize).then_some(limit))
}

async fn relay(state: &AdminState, record: &IntegrationRecord) -> Result<Option<RelayHeld>, Problem> {
    if record.mode != ConnectionMode::LongConnection {
        return Ok(None);
    }
    let shard_map = leases::shard_map(&state.world.store).await?;
    let now = state.now();
    let shard = state.world.shard_of(&record.id);
    let holder = shard.and_then(|shard| shard_map.holder(shard, now));
    let heartbeat = holder.and_then(|holder| shard_map.tasks.get(&holder.node));
    Ok(Some(RelayHeld {
        n_alive: shard_map.living(now).count(),
        holder: holder.map(|holder| holder.node.clone()),
        lease_left: heartbeat.map(|task| task.expires_at.since(now)),
    }))
}

/// The newest messages, and those below them that went wrong lately: in a busy bot, thousands may be newer.
async fn newest_messages(state: &AdminState, record: &IntegrationRecord) -> Result<Vec<MessageRecord>, Problem> {
    let filter = Filter {
        integration: Some(record.id.clone()),
        ..Filter::default()
    };
    let (store, now) = (&state.world.store, state.now());
    let page = message::list(store, &record.organization, &filter, None, MESSAGES, now).await?;
    let mut messages = page.items;
    let Some(cursor) = page.cursor else {
        return Ok(messages);
    };
    for wrong in [MessageState::Failed, MessageState::Refused] {
        let filter = Filter {
            state: Some(wrong),
            since: Some(now.before(LATELY)),
            ..filter.clone()
        };
        // After the page, so that no message is counted twice.
        let older = message::list(store, &record.organization, &filter, Some(&cursor), WENT_WRONG, now).await?;
        messages.extend(older.items);
    }
    messages.extend(failed_lately(state, record, &messages).await?);
    messages.sort_by_key(|message| Reverse(message.received_at));
    Ok(messages)
}

/// Messages that failed lately, however long ago they were received, except these. Found by their dead letters: the ledger is sorted by receipt.
async fn failed_lately(
    state: &AdminState,
    record: &IntegrationRecord,
    known: &[MessageRecord],
) -> Result<Vec<MessageRecord>, Problem> {
    let (store, now) = (&state.world.store, state.now());
    let letters = deadletter::list(store, &record.organization, None, DEAD_LETTERS, now).await?;
    let known: HashSet<_> = known.iter().map(|message| &message.id).collect();
    let is_wanted = |letter: &DeadLetter| {
        letter.integration.as_ref() == Some(&record.id)
            && now.since(letter.failed_at) < LATELY
            && !known.contains(&letter.message)
    };
    let wanted = letters.items.into_iter().filter(is_wanted).take(WENT_WRONG);
    let ids: Vec<_> = wanted.map(|letter| letter.message).collect();
    let mut found = message::get_many(store, &ids, now).await?;
    // Not one that was redriven since.
    found.retain(|message| message.state == MessageState::Failed);
    Ok(found)
}

/// Of the conversations with waiting messages, those that have a run in progress.
async fn running(state: &AdminState, messages: &[MessageRecord]) -> Result<HashSet<ConversationId>, Problem> {
    let waiting = messages.iter().filter(|record| record.state == MessageState::Queued);
    let ids: Vec<_> = waiting.filter_map(|record| record.conversation.clone()).collect();
    let found = conversation::get_many(&state.world.store, &ids, state.now()).await?;
    let running = found.into_iter().filter(|found| found.run.is_some());
    Ok(running.map(|found| found.key.id()).collect())
}

impl Diagnosis {
    fn of(findings: Vec<Finding>, language: Language) -> Self {
        let worst = findings::cause(&findings);
        let cause = worst.map(|finding| finding.detail.render(language));
        let next = worst.and_then(|finding| Some(finding.next.as_ref()?.render(language)));
        let checks = findings.into_iter().map(|finding| DoctorCheck {
            name: finding.name,
            ok: matches!(finding.level, Level::Ok | Level::Warning),
            level: finding.level,
            detail: finding.detail.render(language),
            action: finding.remedy.as_ref().map(|remedy| remedy.action.as_str()),
            target: finding.remedy.and_then(|remedy| remedy.target),
        });
        Self {
            cause,
            next,
            checks: checks.collect(),
        }
    }
}
